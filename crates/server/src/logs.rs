//! Logs of a service's servers, as the keeper has them. A log goes to those who may read its service: the path names the service, the
//! guard asks the caller about it, and a server of another service is not found here.

use crate::app::App;
use crate::blocking;
use api::logs::{LOGS, LogFile, LogPart, LogQuery};
use model::{Fault, InstanceId, ServiceName};
use std::sync::Arc;

/// The least recently written first; living servers and those that are gone.
pub async fn list(app: &Arc<App>, service: &ServiceName) -> Result<Vec<LogFile>, Fault> {
    let (known, name) = (app.clone(), service.clone());
    blocking(move || known.database.read(|r| r.service(&name)?.ok_or_else(|| journal::no_service(&name)))).await?;
    let mut all: Vec<LogFile> = app.fleet.keeper.get(&format!("{LOGS}?service={service}")).await?;
    // A keeper of another version may not know the parameter.
    all.retain(|log| log.instance.service().as_ref() == Some(service));
    Ok(all)
}

pub async fn part(app: &App, service: &ServiceName, instance: &InstanceId, query: &LogQuery) -> Result<LogPart, Fault> {
    if instance.service().as_ref() != Some(service) {
        return Err(Fault::yours("not-found", format!("{instance} is no server of {service}"))
            .hint(format!("`afresh instances {service}` lists its servers")));
    }
    app.fleet.keeper.get(&format!("{LOGS}/{instance}{}", query.text())).await
}
