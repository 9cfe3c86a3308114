//! Commands inside servers that run: the keeper runs them, here is who may, and the audit. A line is in the audit before a command begins,
//! and another once it has ended; where the first cannot be written, nothing begins.

use crate::access::Caller;
use crate::app::App;
use crate::blocking::blocking;
use crate::exec_known::{RECORDED_FOR_MS, Session};
use api::Client;
use api::control::AuditLine;
use api::exec::{self, EXEC, ExecBegun, ExecInput, ExecOrder, ExecOutput, ExecRequest, ExecSeen, ExecTaken};
use model::{ExecId, Fault, ServiceName, check_command};
use serde_json::Value;
use std::sync::Arc;
use std::time::Duration;

/// The keeper answers a call for output within five seconds.
const ANSWER_WITHIN: Duration = Duration::from_secs(20);
const LOOK_EVERY: Duration = Duration::from_millis(500);
const DETAIL_BYTES_MAX: usize = 1_000;

fn keeper(app: &App) -> Client {
    app.fleet.keeper().clone().timeout(ANSWER_WITHIN)
}

pub async fn begin(app: &Arc<App>, caller: &Caller, service: &ServiceName, request: ExecRequest) -> Result<ExecBegun, Fault> {
    caller.must_deploy(service, None, false)?;
    caller.about(request.instance.as_str());
    caller.detail(&request.command.join(" "));
    check_command(&request.command)?;
    if request.instance.service().as_ref() != Some(service) {
        return Err(Fault::yours("not-found", format!("{} is not a server of {service}", request.instance))
            .hint(format!("`afresh instance list {service}` lists its servers")));
    }
    let line = AuditLine {
        at: app.now(),
        who: caller.name().to_string(),
        what: format!("exec {}", request.instance),
        on: service.to_string(),
        detail: model::text::shown(&request.command.join(" "), DETAIL_BYTES_MAX),
        outcome: "begins".to_string(),
        reason: caller.reason().unwrap_or_default().to_string(),
        ..AuditLine::default()
    };
    must_be_permitted(app, caller, service).await?;
    let writer = app.clone();
    blocking(move || writer.access.audit.must_write(&line)).await?;
    let order = ExecOrder { request, by: caller.signed(), is_admin: caller.is_admin() };
    let begun: ExecBegun = keeper(app).post(EXEC, &order).await?;
    let ExecOrder { request, by, .. } = order;
    let seen =
        ExecSeen { session: begun.session.clone(), instance: request.instance, by, command: request.command, began: app.now(), exit: None };
    app.execs.began(Session { service: service.clone(), seen, recorded: None });
    Ok(begun)
}

/// Asked at each call: who is not permitted any more has a session no longer, and the keeper ends it.
async fn must_be_permitted(app: &Arc<App>, caller: &Caller, service: &ServiceName) -> Result<(), Fault> {
    let (reader, who, named) = (app.clone(), caller.clone(), service.clone());
    // A policy that cannot be read permits this to nobody: it is not needed to bring a service back.
    blocking(move || reader.access.policy()?.permits_exec(who.name(), who.is_admin(), &named)).await
}

/// Only whoever began it, and through the service that it is of. `others`: that of others too.
async fn must_be_own(app: &App, caller: &Caller, service: &ServiceName, session: &ExecId, others: bool) -> Result<(), Fault> {
    caller.must_deploy(service, None, false)?;
    let known = app.execs.change(|all| all.get(session).cloned());
    let known = match known {
        Some(known) => Some(known),
        // Begun by an earlier control plane.
        None => {
            let all: Vec<ExecSeen> = keeper(app).get(EXEC).await?;
            let seen = all.into_iter().find(|seen| seen.session == *session);
            seen.and_then(|seen| Some(Session { service: seen.instance.service()?, seen, recorded: None }))
        }
    };
    let is_own = |known: &Session| known.service == *service && (others || exec::caller(&known.seen.by) == caller.name());
    match known {
        Some(known) if is_own(&known) => Ok(()),
        _ => Err(Fault::yours("not-found", format!("there is no session {session} of yours in {service}"))
            .hint("only who began it has its input and output; the audit lists all: `afresh audit`")),
    }
}

pub async fn input(app: &Arc<App>, caller: &Caller, service: &ServiceName, session: &ExecId, more: &ExecInput) -> Result<ExecTaken, Fault> {
    must_be_own(app, caller, service, session, false).await?;
    must_be_permitted(app, caller, service).await?;
    keeper(app).post(&format!("{EXEC}/{session}/input"), more).await
}

pub async fn output(app: &Arc<App>, caller: &Caller, service: &ServiceName, session: &ExecId, after: u64) -> Result<ExecOutput, Fault> {
    must_be_own(app, caller, service, session, false).await?;
    must_be_permitted(app, caller, service).await?;
    keeper(app).get(&format!("{EXEC}/{session}/output?after={after}")).await
}

/// An administrator stops any: whoever holds a server's or the host's room cannot be told to end it otherwise.
pub async fn stop(app: &App, caller: &Caller, service: &ServiceName, session: &ExecId) -> Result<Value, Fault> {
    must_be_own(app, caller, service, session, caller.is_admin()).await?;
    caller.detail(session.as_str());
    keeper(app).post(&format!("{EXEC}/{session}/stop"), &serde_json::json!({})).await
}

/// Those that run: the caller's own, in services that it is for; to an administrator all.
pub async fn list(app: &App, caller: &Caller) -> Result<Vec<ExecSeen>, Fault> {
    let all: Vec<ExecSeen> = keeper(app).get(EXEC).await?;
    let is_seen = |seen: &ExecSeen| {
        let is_own = exec::caller(&seen.by) == caller.name() && seen.instance.service().is_some_and(|service| caller.sees(&service));
        seen.exit.is_none() && (is_own || caller.is_admin())
    };
    // Also where there is none: whose they are was asked.
    caller.services();
    Ok(all.into_iter().filter(is_seen).collect())
}

/// Writes the end of every session into the audit, also of those that began under an earlier control plane. Ends with the control plane.
pub async fn record_ends(app: Arc<App>) {
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        let listed_from = app.now();
        let Ok(all) = keeper(&app).get::<Vec<ExecSeen>>(EXEC).await else { continue };
        // A keeper that was restarted knows none of those that ran.
        let now = app.now();
        let gone = app.execs.change(|known| {
            known.retain(|_, one| one.recorded.is_none_or(|at| now.since(at) < RECORDED_FOR_MS));
            let gone = known.values().filter(|one| one.recorded.is_none() && all.iter().all(|seen| seen.session != one.seen.session));
            // One that began while the list was made need not be in it.
            gone.filter(|one| one.seen.began < listed_from).cloned().collect::<Vec<_>>()
        });
        for one in &gone {
            record(&app, &one.seen, "its end is not known: the keeper was restarted").await;
            app.execs.change(|known| known.remove(&one.seen.session));
        }
        for seen in &all {
            let Some(exit) = &seen.exit else { continue };
            if record(&app, seen, &exit.to_string()).await {
                app.execs.recorded(seen, now);
                let _ = keeper(&app).post::<_, Value>(&format!("{EXEC}/{}/recorded", seen.session), &serde_json::json!({})).await;
            }
        }
    }
}

async fn record(app: &Arc<App>, seen: &ExecSeen, how: &str) -> bool {
    let line = AuditLine {
        at: app.now(),
        who: exec::caller(&seen.by).to_string(),
        what: format!("exec {}", seen.instance),
        on: seen.instance.service().map_or_else(String::new, |service| service.to_string()),
        detail: model::text::shown(&seen.command.join(" "), DETAIL_BYTES_MAX),
        outcome: "ended".to_string(),
        message: how.to_string(),
        ..AuditLine::default()
    };
    let app = app.clone();
    blocking(move || app.access.audit.must_write(&line)).await.is_ok()
}
