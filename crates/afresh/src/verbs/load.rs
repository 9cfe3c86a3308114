//! `load`: the demo's client alone, against any target that speaks the shop's paths. Hidden: a tool for those who build Afresh.

use crate::context::Context;
use crate::demo::client::{
    Client, Load as Of,
    account::{Account, Kind},
};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::show;
use clap::Args;
use std::collections::BTreeMap;
use std::net::SocketAddr;

/// Send requests at a fixed rate and account for each
#[derive(Args, Debug)]
#[command(after_help = "Example:\n  afresh load 127.0.0.1:8080 --rate 1000 --requests 10000")]
pub struct Load {
    pub target: SocketAddr,
    /// Requests a second
    #[arg(long, value_name = "N", default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub rate: u32,
    /// Number of requests in total
    #[arg(long, value_name = "N", default_value_t = 10_000)]
    pub requests: u64,
}

impl Load {
    pub fn run(self, context: &Context) -> Result<Exit, Failure> {
        let client = Client::start(Of { target: self.target, per_second: self.rate, requests: Some(self.requests) })?;
        while client.running() {
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
        let account = client.finish()?;
        let all = Account::sums(account.records.iter(), &[]);
        let by_kind: BTreeMap<&str, _> =
            Kind::ALL.iter().map(|kind| (kind.name(), Account::sums(account.records.iter().filter(|r| r.kind == *kind), &[]))).collect();
        let object = serde_json::json!({ "all": all, "by_kind": by_kind, "reasons": account.reasons(&[]) });
        if context.json {
            show::json(&object);
        } else {
            show::line(serde_json::to_string_pretty(&object).unwrap_or_default());
        }
        Ok(if all.failed == 0 { Exit::Succeeded } else { Exit::Environment })
    }
}
