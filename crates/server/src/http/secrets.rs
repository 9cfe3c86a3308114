//! Calls about secrets: see `api::secrets`.

use crate::access::Caller;
use crate::app::App;
use crate::blocking::blocking;
use crate::secrets;
use api::secrets::{Recipient, SecretRow, SecretStored, SecretValue};
use axum::extract::State;
use json_http::{Json, Out, Refusal};
use model::ServiceName;
use std::sync::Arc;

type Shared = State<Arc<App>>;
type Answer<T> = Result<Out<T>, Refusal>;

pub async fn list(State(app): Shared, caller: Caller) -> Answer<Vec<SecretRow>> {
    caller.services();
    let mut all = blocking(move || secrets::list(&app)).await?;
    all.retain(|row| caller.sees(&row.service));
    Ok(Out(all))
}

/// Public: it only says for whom to encrypt. A service that is not there yet has one too.
pub async fn recipient(State(app): Shared, caller: Caller, json_http::Name(service): json_http::Name<ServiceName>) -> Answer<Recipient> {
    let service = caller.id_of(&service)?;
    Ok(Out(blocking(move || secrets::recipient(&app, service)).await?))
}

pub async fn put(State(app): Shared, caller: Caller, Json(given): Json<SecretValue>) -> Answer<SecretStored> {
    let given = SecretValue { service: caller.id_of(&given.service)?, ..given };
    Ok(Out(blocking(move || secrets::put(&app, &caller, &given, true)).await?))
}

pub async fn version(State(app): Shared, caller: Caller, Json(given): Json<SecretValue>) -> Answer<SecretStored> {
    let given = SecretValue { service: caller.id_of(&given.service)?, ..given };
    Ok(Out(blocking(move || secrets::put(&app, &caller, &given, false)).await?))
}
