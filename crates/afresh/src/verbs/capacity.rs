//! `capacity`: how long requests wait, how many servers an objective needs. Only the shell around the crate of that name.

use crate::context::Context;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::show;
use capacity::dist::{Dist, Service};
use capacity::predict::{Answer, predict, predict_batch_line, write};
use capacity::request::{Method, Request};
use capacity::size::{self, Objective, Of};
use clap::{Args, Subcommand, ValueEnum};
use model::Fault;
use std::io::{BufRead, Write};
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

/// Predict waits and choose the number of servers
#[derive(Args, Debug)]
#[command(after_help = "Example:\n  afresh capacity size --rate 2400 --service 100ms --slo \"p99 wait <= 50ms\"")]
pub struct CapacityVerb {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Predict(Predict),
    Size(Size),
}

impl CapacityVerb {
    pub fn run(self, context: &Context) -> Result<Exit, Failure> {
        match self.verb {
            Verb::Predict(verb) => verb.run(context),
            Verb::Size(verb) => verb.run(context),
        }
    }
}

/// Predict waits and times in the system, by formula or simulation
#[derive(Args, Debug)]
#[command(
    after_help = "With --batch each line of standard input is a JSON object (model, c, lambda, service, arrival, patience, setup, incident, planned, delay, \
c_after, lambda_peak, horizon, surge, batch, method) and each line of the output its answer, or \"refused\" with the reason.\n\nExample:\n  afresh capacity \
predict --servers 12 --rate 100 --service 100ms --scv 4\n  echo '{\"model\":\"mmc\",\"c\":12,\"lambda\":10,\"service\":{\"dist\":\"exp\",\"mean\":1}}' | \
afresh capacity predict --batch"
)]
struct Predict {
    /// Answer one JSON request a line from standard input
    #[arg(long, conflicts_with_all = ["servers", "rate", "service"])]
    batch: bool,
    /// The number of servers (requests that are served at the same time)
    #[arg(long, value_name = "N", required_unless_present = "batch")]
    servers: Option<u32>,
    #[command(flatten)]
    load: Load,
    /// How to answer
    #[arg(long, value_enum, default_value_t = By::Auto)]
    method: By,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum By {
    Formula,
    Simulate,
    Auto,
}

/// The load of one service, as flags.
#[derive(Args, Debug)]
struct Load {
    /// Requests a second
    #[arg(long, value_name = "PER_SECOND")]
    rate: Option<f64>,
    /// The mean service time, such as 80ms or 2s
    #[arg(long, value_name = "TIME", value_parser = time)]
    service: Option<f64>,
    /// Variance of service times / mean squared; 1 is exponential, 0 constant
    #[arg(long, value_name = "SCV", default_value_t = 1.0)]
    scv: f64,
}

impl Load {
    /// Requests a second and the service time, which is lognormal unless its SCV says otherwise.
    fn read(&self) -> Result<(f64, Dist), Failure> {
        let (Some(rate), Some(mean)) = (self.rate, self.service) else {
            return Err(Fault::yours("capacity-refused", "the load is not stated").hint("add --rate and --service").into());
        };
        let (family, scv) = match self.scv {
            0.0 => ("det", None),
            1.0 => ("exp", None),
            scv => ("lognormal", Some(scv)),
        };
        Ok((rate, Dist::new(family, mean, scv, "service").map_err(refused)?))
    }
}

/// A time with its unit, in seconds.
fn time(text: &str) -> Result<f64, String> {
    let unit = text.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.');
    let seconds = match unit {
        "us" => 1e-6,
        "ms" => 1e-3,
        "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        _ => return Err(format!("\"{text}\" has no unit that is known: use us, ms, s, m or h")),
    };
    let number: f64 = text[..text.len() - unit.len()].parse().map_err(|_| format!("\"{text}\" is no time: write 80ms or 1.5s"))?;
    Ok(number * seconds)
}

fn refused(refusal: capacity::Refusal) -> Failure {
    Fault::yours("capacity-refused", format!("{}: {}", refusal.place, refusal.reason)).hint(refusal.hint).into()
}

impl Predict {
    fn run(self, context: &Context) -> Result<Exit, Failure> {
        if self.batch {
            return answer_lines();
        }
        let (rate, service) = self.load.read()?;
        let method = match self.method {
            By::Formula => Method::Formula,
            By::Simulate => Method::Simulate,
            By::Auto => Method::Auto,
        };
        let request = Request::mgc(self.servers.unwrap_or(1), rate, service, method);
        let answer = predict(&request, capacity::predict::Limits::default()).map_err(refused)?;
        if context.json {
            let mut object = serde_json::Map::new();
            write(&answer, &mut object);
            show::json(&object);
        } else {
            print(&answer);
        }
        Ok(Exit::Succeeded)
    }
}

fn print(answer: &Answer) {
    if let Some(utilisation) = answer.utilisation {
        show::line(format!("utilisation {:.1} % (rule of thumb: at most {:.0} %)", 100.0 * utilisation, 100.0 * size::RULE_OF_THUMB));
    }
    let shown = |name: &str, value: f64| if name.starts_with("p_") { format!("{:.2} %", 100.0 * value) } else { seconds(value) };
    let rows = answer
        .figures
        .iter()
        .map(|(name, figure)| vec![name.clone(), shown(name, figure.value), shown(name, figure.low), shown(name, figure.high)]);
    show::line(show::table(&["FIGURE", "VALUE", "LOW", "HIGH"], rows.collect()));
    show::line(format!("by {}: {} ({})", answer.method, answer.source, answer.why));
}

fn seconds(value: f64) -> String {
    match value {
        v if v <= 0.0 => "0".to_owned(),
        v if v < 1e-3 => format!("{:.3} us", v * 1e6),
        v if v < 1.0 => format!("{:.3} ms", v * 1e3),
        v => format!("{v:.3} s"),
    }
}

/// Find the smallest number of servers for an objective
#[derive(Args, Debug)]
#[command(after_help = "Example:\n  afresh capacity size --rate 2400 --service 100ms --slo \"p99 wait <= 50ms\" --zones 3")]
struct Size {
    #[command(flatten)]
    load: Load,
    /// The objective, such as "p99 <= 200ms" (time in the system) or "p99 wait <= 50ms"
    #[arg(long, value_name = "OBJECTIVE", value_parser = objective)]
    slo: Objective,
    /// Keep the objective after the loss of the largest of this many zones
    #[arg(long, value_name = "N")]
    zones: Option<u32>,
}

/// "p99 <= 200ms", "p99.9 wait <= 50ms"; without `wait`, the time in the system.
fn objective(text: &str) -> Result<Objective, String> {
    let form = || format!("\"{text}\" is no objective: write \"p99 wait <= 50ms\" or \"p99 <= 200ms\"");
    let (left, bound) = text.split_once("<=").ok_or_else(form)?;
    let mut words = left.split_whitespace();
    let percent: f64 = words.next().and_then(|word| word.strip_prefix('p')).and_then(|word| word.parse().ok()).ok_or_else(form)?;
    let of = match words.next() {
        None | Some("sojourn" | "latency") => Of::Sojourn,
        Some("wait") => Of::Wait,
        Some(_) => return Err(form()),
    };
    Objective::new(of, percent / 100.0, time(bound.trim())?).map_err(|refusal| format!("{}: {}", refusal.reason, refusal.hint))
}

impl Size {
    fn run(self, context: &Context) -> Result<Exit, Failure> {
        let (rate, service) = self.load.read()?;
        let needed = size::smallest_mgc(rate, &service, self.slo).map_err(refused)?;
        let zones = self.zones.map(|zones| size::with_zones(needed, zones)).transpose().map_err(refused)?;
        let servers = zones.map_or(needed, |zones| zones.total);
        let offered = rate * service.mean();
        let utilisation = offered / f64::from(servers);
        // The ceiling before a zone is lost is that of the servers that are left, spread over all.
        let left = zones.map_or(needed, |zones| zones.total - zones.largest);
        let ceiling = size::utilisation_ceiling(left, &service, self.slo).map_err(refused)? * f64::from(left) / f64::from(servers);
        let rule = self.zones.map_or(size::RULE_OF_THUMB, |zones| size::before_zone_loss(size::RULE_OF_THUMB, zones));
        if context.json {
            show::json(&serde_json::json!({
                "servers": servers, "needed": needed, "utilisation": utilisation, "ceiling": ceiling, "rule_of_thumb": rule,
                "largest_zone": zones.map(|zones| zones.largest),
            }));
            return Ok(Exit::Succeeded);
        }
        show::line(match zones {
            None => show::times(u64::from(servers), "server"),
            Some(zones) => format!(
                "{}: the largest zone has {}, and {needed} keep the objective without it",
                show::times(u64::from(servers), "server"),
                zones.largest
            ),
        });
        show::line(format!(
            "utilisation {:.1} %; ceiling for this objective {:.1} %; rule of thumb {:.1} %",
            100.0 * utilisation,
            100.0 * ceiling,
            100.0 * rule
        ));
        Ok(Exit::Succeeded)
    }
}

/// Standard input to standard output, line by line and in order, on all processors.
fn answer_lines() -> Result<Exit, Failure> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    type Job = (String, SyncSender<String>);
    let (give, take): (SyncSender<Job>, Receiver<Job>) = sync_channel(2 * threads);
    let (order, ordered) = sync_channel::<Receiver<String>>(4 * threads);
    let take = Mutex::new(take);
    let stdout_error = |error: std::io::Error| Fault::world("io", format!("cannot write to standard output: {error}"));
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let job = take.lock().map(|take| take.recv());
                    let Ok(Ok((line, answer))) = job else { return };
                    let _ = answer.send(predict_batch_line(&line));
                }
            });
        }
        scope.spawn(move || {
            let mut input = std::io::stdin().lock();
            let mut bytes = Vec::new();
            while input.read_until(b'\n', &mut bytes).is_ok_and(|read| read > 0) {
                let line = String::from_utf8_lossy(&bytes).trim_end_matches(['\n', '\r']).to_owned();
                bytes.clear();
                let (answer, answered) = sync_channel(1);
                if line.trim().is_empty() {
                    continue;
                }
                if order.send(answered).is_err() || give.send((line, answer)).is_err() {
                    return;
                }
            }
        });
        let mut out = std::io::stdout().lock();
        for answered in ordered {
            let Ok(line) = answered.recv() else { break };
            writeln!(out, "{line}").and_then(|()| out.flush()).map_err(stdout_error)?;
        }
        Ok(Exit::Succeeded)
    })
}
