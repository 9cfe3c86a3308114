//! The keeper's processes, for tests that kill them: this test binary again, running one named test. `cargo test --test all` would not
//! build a separate program, and an old one would be tested instead of the code.

use model::Layout;
use std::path::Path;
use std::process::Command;

/// Which data directory the keeper runs. Its shims inherit it and find their own directory in their last argument.
const DIR: &str = "AFRESH_TEST_KEEPER_OVER";

fn args(role: &str) -> Vec<String> {
    ["--ignored", "--exact", "--nocapture", "--test-threads=1", &format!("program::{role}")].map(str::to_string).into()
}

pub fn keeper(dir: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(args("keeper_process")).env(DIR, dir);
    command
}

fn end(result: Result<(), model::Fault>) {
    if let Err(fault) = result {
        eprintln!("{}: {fault}", fault.code);
        std::process::exit(1);
    }
}

/// The room of all logs together, where a test says so.
pub const LOG_TOTAL: &str = "AFRESH_TEST_LOG_TOTAL";

fn log_total() -> u64 {
    std::env::var(LOG_TOTAL).map_or(host::LOGS_TOTAL_BYTES, |text| text.parse().unwrap())
}

/// Returns at once when all ignored tests are run.
#[test]
#[ignore = "a process of other tests"]
fn keeper_process() {
    let Some(dir) = std::env::var_os(DIR) else { return };
    tracing_subscriber::fmt().with_ansi(false).with_writer(std::io::stderr).init();
    // Policies that a test can change while the keeper runs.
    let (refuse, rules) = (Path::new(&dir).join("refuse"), Path::new(&dir).join("rules.json"));
    let config = host::Config {
        layout: Layout::new(dir),
        program: std::env::current_exe().unwrap(),
        shim_args: args("shim_process"),
        subnet: None,
        runtime: None,
        logs: host::LogSettings { total_bytes: log_total(), forward: None },
        admit: host::Admit::new(move |_, object, _| {
            if refuse.exists() {
                Err(model::Fault::world("signature-refused", format!("{} is not trusted", object.short())))
            } else {
                Ok(())
            }
        }),
        permit: host::Permit::new(move |service, volume| {
            let rules = serde_json::from_slice(&std::fs::read(&rules).unwrap_or(b"{}".to_vec()));
            let rules = rules.map_err(|e| model::Fault::yours("policy-invalid", e.to_string()))?;
            model::volume::permitted(&rules, &model::Names::default(), service, volume)
                .map_err(|why| model::Fault::yours("policy-volume", why))
        }),
    };
    end(tokio::runtime::Runtime::new().unwrap().block_on(host::run(config)));
}

#[test]
#[ignore = "a process of other tests"]
fn shim_process() {
    if std::env::var_os(DIR).is_some() {
        end(host::shim(std::env::args_os().next_back().unwrap().as_ref()));
    }
}
