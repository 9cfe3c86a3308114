//! Names of services, where the control plane cannot put ids in their place by itself: it shows rotations, groups and servers by ids.

use crate::context::Context;
use crate::failure::Failure;
use api::control::{NAMES, NameRow};
use model::{Moved, ServiceName, moved_from};

/// What is known of a service that was written by its name or its id. None: there is none, or it is another's.
pub async fn find(context: &Context, written: &ServiceName) -> Result<Option<NameRow>, Failure> {
    let rows: Vec<NameRow> = context.api().get(NAMES).await?;
    Ok(rows.into_iter().find(|row| row.name == *written || row.id == *written))
}

/// The id of a service: of what is called so, or, as a deploy would rename it, of a name from which the file moves it. One that is not
/// there yet stands for itself.
pub async fn id_of(context: &Context, moves: &[Moved], service: &ServiceName) -> Result<ServiceName, Failure> {
    let rows: Vec<NameRow> = context.api().get(NAMES).await?;
    let called = |name: &ServiceName| rows.iter().find(|row| row.name == *name).map(|row| row.id.clone());
    let id = called(service).or_else(|| moved_from(moves, service).into_iter().find_map(called));
    Ok(id.unwrap_or_else(|| service.clone()))
}
