//! The keeper alone, for this crate's tests: `keeper run DATA_DIR`, `keeper shim DIR`, `keeper doctor DATA_DIR`, `keeper down DATA_DIR`.

use model::Layout;
use std::process::ExitCode;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let result = match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["run", dir] => run(dir),
        ["shim", dir] => host::shim(dir.as_ref()),
        ["down", dir] => host::down(&Layout::new(dir)),
        ["doctor", dir] => {
            for f in host::doctor(&Layout::new(dir)) {
                println!("{:5} {:16} {} {}", if f.ok { "ok" } else { "NOT" }, f.name, f.detail, f.hint.unwrap_or_default());
            }
            Ok(())
        }
        _ => Err(model::Fault::yours("usage", "keeper run|shim|doctor|down DIR")),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(fault) => {
            eprintln!("{}: {fault}", fault.code);
            ExitCode::FAILURE
        }
    }
}

fn run(dir: &str) -> Result<(), model::Fault> {
    tracing_subscriber::fmt().with_writer(std::io::stderr).init();
    // A policy that a test can change while the keeper runs.
    let refuse = std::path::Path::new(dir).join("refuse");
    let config = host::Config {
        layout: Layout::new(dir),
        program: std::env::current_exe().expect("we run, so we have a path"),
        shim_args: vec!["shim".to_string()],
        subnet: None,
        runtime: None,
        admit: host::Admit::new(move |_, object, _| {
            if refuse.exists() {
                Err(model::Fault::world("signature-refused", format!("{} is not trusted", object.short())))
            } else {
                Ok(())
            }
        }),
    };
    let runtime = tokio::runtime::Runtime::new().expect("threads can be made");
    runtime.block_on(host::run(config))
}
