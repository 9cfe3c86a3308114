//! Logs of a service's servers, as the keeper has them. Callers who may read a service may read its logs: the path names the service, the
//! guard checks the caller for it, and a server of another service is not found here.

use crate::app::App;
use crate::blocking::blocking;
use api::logs::{LOGS, LogFile, LogPart, LogQuery};
use model::{Fault, InstanceId, ServiceName};
use std::sync::Arc;

/// The least recently written first; living servers and those that are gone.
pub async fn list(app: &Arc<App>, service: &ServiceName) -> Result<Vec<LogFile>, Fault> {
    let (reader, name) = (app.clone(), service.clone());
    blocking(move || reader.database.read(|r| r.service(&name)?.ok_or_else(|| journal::no_service(&name)))).await?;
    let mut all: Vec<LogFile> = app.fleet.keeper().get(&format!("{LOGS}?service={service}")).await?;
    // A keeper of another version may not know the parameter.
    all.retain(|log| log.instance.service().as_ref() == Some(service));
    Ok(all)
}

pub async fn part(app: &App, service: &ServiceName, instance: &InstanceId, query: &LogQuery) -> Result<LogPart, Fault> {
    if instance.service().as_ref() != Some(service) {
        return Err(Fault::yours("not-found", format!("{instance} is not a server of {service}"))
            .hint(format!("`afresh instance list {service}` lists its servers")));
    }
    // It becomes part of a path: it must not end it or add parameters.
    if query.from.as_ref().is_some_and(|from| !from.bytes().all(|b| b.is_ascii_digit() || b == b':')) {
        return Err(Fault::yours("bad-parameter", "from is not the `next` of an earlier answer"));
    }
    app.fleet.keeper().get(&format!("{LOGS}/{instance}{}", query.text())).await
}
