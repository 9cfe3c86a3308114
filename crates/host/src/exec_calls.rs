//! Calls on commands inside instances. Each may wait, so each has a thread of its own while it does.

use crate::exec;
use crate::keeper::Keeper;
use api::exec::{EXEC, ExecBegun, ExecInput, ExecOrder, ExecOutput, ExecSeen, ExecTaken};
use axum::Router;
use axum::extract::State;
use axum::routing::{get, post};
use json_http::{Json, Name, Out, Params, Refusal};
use model::{ExecId, Fault};
use serde_json::Value;
use std::sync::Arc;

type Shared = State<Arc<Keeper>>;
type Answer<T> = Result<Out<T>, Refusal>;

pub fn router() -> Router<Arc<Keeper>> {
    let one = format!("{EXEC}/{{session}}");
    Router::new()
        .route(EXEC, get(list).post(begin))
        .route(&format!("{one}/input"), post(input))
        .route(&format!("{one}/output"), get(output))
        .route(&format!("{one}/stop"), post(stop))
        .route(&format!("{one}/recorded"), post(recorded))
}

async fn apart<T: Send + 'static>(work: impl FnOnce() -> Result<T, Fault> + Send + 'static) -> Answer<T> {
    Ok(Out(tokio::task::spawn_blocking(work).await.map_err(|e| Refusal(Fault::ours("keeper", e.to_string())))??))
}

#[derive(serde::Deserialize)]
struct After {
    #[serde(default)]
    after: u64,
}

async fn list(State(keeper): Shared) -> Out<Vec<ExecSeen>> {
    Out(keeper.sessions.list())
}

async fn begin(State(keeper): Shared, Json(order): Json<ExecOrder>) -> Answer<ExecBegun> {
    apart(move || exec::begin(&keeper, order)).await
}

async fn input(State(keeper): Shared, Name(id): Name<ExecId>, Json(more): Json<ExecInput>) -> Answer<ExecTaken> {
    apart(move || keeper.sessions.one(&id)?.input(&more)).await
}

async fn output(State(keeper): Shared, Name(id): Name<ExecId>, Params(after): Params<After>) -> Answer<ExecOutput> {
    apart(move || Ok(keeper.sessions.one(&id)?.output(after.after))).await
}

async fn stop(State(keeper): Shared, Name(id): Name<ExecId>) -> Answer<Value> {
    apart(move || {
        keeper.sessions.one(&id)?.stop();
        Ok(serde_json::json!({}))
    })
    .await
}

async fn recorded(State(keeper): Shared, Name(id): Name<ExecId>) -> Answer<Value> {
    apart(move || {
        keeper.sessions.recorded(&id);
        Ok(serde_json::json!({}))
    })
    .await
}
