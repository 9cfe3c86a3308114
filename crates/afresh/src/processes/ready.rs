//! Whether a process answers on its socket, and which one it is.

use super::Role;
use api::Client;
use api::paths::{HEALTH, Health};
use model::{Fault, Layout};
use std::path::PathBuf;
use std::time::Duration;

pub fn socket(layout: &Layout, role: Role) -> PathBuf {
    match role {
        Role::Serve => layout.api_socket(),
        Role::Host => layout.host_socket(),
        Role::Proxy => layout.proxy_socket(),
    }
}

pub async fn health(layout: &Layout, role: Role) -> Result<Health, Fault> {
    Client::unix(socket(layout, role)).timeout(Duration::from_secs(2)).get(HEALTH).await
}
