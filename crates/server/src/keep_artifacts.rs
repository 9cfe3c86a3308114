//! The code of services that are deployed without naming any: the active artifact, where the request says that it is kept. Otherwise a deploy
//! of another setting would drop the code.

use crate::access::Caller;
use crate::app::App;
use api::control::{DeployRequest, PlanNote};
use model::{Fault, ServiceSpec};

/// The request with the active artifacts in it, and notes that say so.
pub fn with_active_artifacts(app: &App, caller: &Caller, request: &DeployRequest) -> Result<(DeployRequest, Vec<PlanNote>), Fault> {
    let (mut request, mut notes) = (request.clone(), Vec::new());
    if !request.keep_artifacts || request.release.is_some() {
        return Ok((request, notes));
    }
    let is_selected = |spec: &&ServiceSpec| request.service.as_ref().is_none_or(|only| *only == spec.name);
    let specs: Vec<ServiceSpec> = request.file.services.values().filter(is_selected).cloned().collect();
    for spec in specs {
        if spec.artifact.is_some() || request.artifacts.contains_key(&spec.name) || !caller.sees(&spec.name) {
            continue;
        }
        let Some(active) = app.database.read(|r| r.active(&spec.name))? else { continue };
        let Some(artifact) = active.release.artifact.clone() else { continue };
        let text = format!("keeps artifact {} of {}: neither the file nor --artifact names one", artifact.short(), active.release.label());
        notes.push(PlanNote { service: spec.name.clone(), at: None, text });
        request.artifacts.insert(spec.name, artifact);
    }
    Ok((request, notes))
}
