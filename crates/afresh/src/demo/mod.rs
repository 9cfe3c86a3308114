//! The demo: every kind of deploy, with a client that accounts for every request. Used by `afresh demo` and the e2e tests.

mod act;
mod chaos;
pub mod client;
mod measure;
mod report;
mod script;
mod shop;
mod stage;
mod steps;
mod waves;

use crate::context::Context;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::show;
use client::{Client, Load};
use model::Fault;
use report::Report;
use stage::Stage;
use std::path::PathBuf;
use std::time::{Duration, Instant};

#[derive(Clone, Debug)]
pub struct Options {
    pub dir: PathBuf,
    pub stay: bool,
    pub json: bool,
    pub per_second: u32,
    /// At least this many, however quick the rotations are.
    pub requests: u64,
    pub play: Play,
}

#[derive(Clone, Copy, Debug)]
pub enum Play {
    Script,
    /// This many kills of serve and as many of host at random moments, from this seed.
    Chaos {
        kills: u32,
        seed: u64,
    },
    /// This many rotations without soaks.
    Measure(u32),
    /// Every kind of step twice.
    Steps,
}

pub fn run(options: &Options) -> Result<Exit, Failure> {
    let stage = Stage::set(&options.dir, options.json)?;
    let runtime = Context::runtime()?;
    let mut stage = Some(stage);
    let played = runtime.block_on(async {
        let stage = stage.as_mut().expect("set above");
        tokio::select! {
            played = play(stage, options) => played,
            _ = tokio::signal::ctrl_c() => Err(Fault::yours("interrupted", "interrupted; cleaning up").into()),
        }
    });
    // Of the client's thread: it ends with the process, and what it would still count is of no use to anybody.
    drop(runtime);
    let stage = stage.expect("set above");
    let good = played.is_ok();
    if options.stay && good {
        stage.leave();
    } else {
        stage.strike()?;
    }
    let report = played?;
    report.print(options.json);
    Ok(if report.good() { Exit::Succeeded } else { Exit::Internal })
}

async fn play(stage: &mut Stage, options: &Options) -> Result<Report, Failure> {
    let began = Instant::now();
    show::note(format!("data directory {}, customers at http://{}/", stage.context.data_dir().display(), stage.listen));
    stage.up().await?;
    let mut report = Report::default();
    report.add(script::first(stage).await?);
    let load = Load { target: stage.listen, per_second: options.per_second, requests: None };
    let client = Client::start(load)?;
    match options.play {
        Play::Script => script::play(stage, &client, &mut report).await?,
        Play::Chaos { kills, seed } => chaos::play(stage, &client, &mut report, kills, seed).await?,
        Play::Measure(times) => measure::play(stage, &client, &mut report, times).await?,
        Play::Steps => steps::play(stage, &mut report).await?,
    }
    while client.sent() < options.requests && client.running() {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    report.account =
        tokio::task::spawn_blocking(move || client.finish()).await.map_err(|e| Fault::ours("client-broke", e.to_string()))??;
    for (rotation, version) in report.bad.clone() {
        let lines = act::events(stage, &rotation).await?;
        report.waves.extend(waves::by_wave(&lines, &mut report.account, version));
    }
    report.seconds = began.elapsed().as_secs_f64();
    Ok(report)
}
