//! The balancer's two processes, for tests that kill them: this test binary again, running one named test. `cargo test --test all` would
//! not build a separate program, and an old one would be tested instead of the code.

use model::Layout;
use std::ffi::OsString;
use std::process::Command;

const DIR: &str = "AFRESH_TEST_BALANCER_OVER";

fn args(role: &str) -> Vec<OsString> {
    ["--ignored", "--exact", "--nocapture", "--test-threads=1", &format!("program::{role}")].map(OsString::from).into()
}

/// `role`: `control` or `data`. Its children find the directory where it does.
pub fn command(role: &str, layout: &Layout) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(args(role)).env(DIR, layout.root());
    command
}

/// None: all ignored tests are being run.
fn run(role: impl AsyncFnOnce(Layout) -> Result<(), model::Fault>) {
    let Some(dir) = std::env::var_os(DIR) else { return };
    tracing_subscriber::fmt().with_ansi(false).with_writer(std::io::stderr).init();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    if let Err(fault) = runtime.block_on(role(Layout::new(dir))) {
        eprintln!("{fault:?}");
        std::process::exit(1);
    }
}

#[test]
#[ignore = "a process of other tests"]
fn control() {
    run(async |layout| {
        let data_program = std::env::current_exe().unwrap();
        proxy::control(proxy::Config { layout, data_program, data_args: args("data") }).await
    });
}

#[test]
#[ignore = "a process of other tests"]
fn data() {
    run(proxy::data);
}
