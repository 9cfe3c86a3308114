//! `network`: the addresses of servers and of this host as they see it, also before there is a server.

use super::doctor::not_root;
use crate::context::Context;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::processes::folders;
use crate::show;
use clap::Args;

/// Show which addresses servers have here, and which one `host.internal` is
#[derive(Args, Debug)]
#[command(
    after_help = "The addresses are chosen once for a data directory and kept; before the first `afresh up` this chooses them. A program of this host that \
                  servers are to reach, such as a database, listens at the addresses of host.internal and lets in the servers' range. The addresses are there \
                  once `afresh host` runs: a program that starts before it needs `sysctl net.ipv4.ip_nonlocal_bind=1 net.ipv6.ip_nonlocal_bind=1`.\n\n\
                  Example:\n  sudo afresh network\n  # postgresql.conf: listen_addresses = 'localhost,198.18.7.1'\n  # pg_hba.conf: host shop shop 198.18.7.0/24 scram-sha-256"
)]
pub struct NetworkVerb {}

impl NetworkVerb {
    pub fn run(self, context: &Context) -> Result<Exit, Failure> {
        context.must_be_local("network")?;
        if !nix::unistd::geteuid().is_root() {
            return Err(not_root().into());
        }
        folders::make(&context.layout, false)?;
        let network = host::reserve_network(&context.layout)?;
        let gateways: Vec<String> = network.gateways().iter().map(ToString::to_string).collect();
        if context.json {
            show::json(&serde_json::json!({ "servers": network.ranges(), "host": gateways, "bridge": network.bridge }));
        } else {
            for (name, value) in
                [("servers", network.ranges().join(" ")), ("host.internal", gateways.join(" ")), ("bridge", network.bridge)]
            {
                show::line(format!("{name:<13}  {value}"));
            }
        }
        Ok(Exit::Succeeded)
    }
}
