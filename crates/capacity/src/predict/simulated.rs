//! Answers by simulation: which model is run, for how long, and what is read off it.

use super::answer::{Answer, LEAD_QUANTILES, Limits, QUANTILES};
use crate::Refusal;
use crate::batches::{Batch, Batches, FEWEST, Figure};
use crate::dist::{Dist, Service};
use crate::erlang::check_system;
use crate::overload::Overload;
use crate::request::{Arrival, MAX_SIMULATED, Model, Request};
use crate::simulate::fifo::{SOJOURN, WAIT};
use crate::simulate::preemptive::{INCIDENT, PLANNED, TwoClasses};
use crate::simulate::setup::SetUp;
use crate::simulate::transient::{Change, Transient, WORST};
use crate::simulate::{Arrivals, Effort, Fifo, Sampler, run};
use std::sync::Arc;

/// What every method needs: a steady state where there has to be one, and the fields of the model.
pub fn check(request: &Request) -> Result<(), Refusal> {
    match request.model {
        Model::ErlangA => Ok(()),
        Model::Preemptive => match (request.incident, request.planned) {
            (Some(incident), Some(planned)) => {
                let lambda = incident.lambda + planned.lambda;
                let offered = incident.lambda * incident.service.mean() + planned.lambda * planned.service.mean();
                check_system(request.c, lambda, offered / lambda)
                    .map_err(|refusal| Refusal { place: "planned.lambda".to_owned(), ..refusal })
            }
            _ => Err(Refusal::new("incident", "missing", "state incident and planned")),
        },
        Model::Step => {
            check_system(request.c, request.lambda, request.service.mean())?;
            if request.lambda_peak.is_none() {
                return Err(Refusal::new("lambda_peak", "missing", "state the arrival rate after the step"));
            }
            if request.c_after.is_some_and(|after| after < request.c) {
                return Err(Refusal::new("c_after", "fewer servers after the step than before it", "use model zone_loss"));
            }
            if request.c_after.is_some_and(|after| after > request.c) && request.delay.is_none() {
                return Err(Refusal::new("delay", "missing", "state when the further servers come"));
            }
            transient_horizon(request).map(|_| ())
        }
        Model::ZoneLoss | Model::Rotation => {
            let left = servers_left(request)?;
            check_system(request.c, request.lambda, request.service.mean())?;
            if is_steady(request) {
                return check_system(left, request.lambda, request.service.mean()).map_err(|refusal| {
                    let place = if request.model == Model::ZoneLoss { "c_after" } else { "batch" };
                    let hint = format!("{}; or state delay, after which servers are back", refusal.hint);
                    Refusal { place: place.to_owned(), hint, ..refusal }
                });
            }
            transient_horizon(request).map(|_| ())
        }
        _ => check_system(request.c, request.lambda, request.service.mean()),
    }
}

/// The servers that serve after the loss, or during the rotation: c - batch + surge.
pub fn servers_left(request: &Request) -> Result<u32, Refusal> {
    if request.model == Model::ZoneLoss {
        let Some(after) = request.c_after else {
            return Err(Refusal::new("c_after", "missing", "state how many servers are left"));
        };
        return if after <= request.c {
            Ok(after)
        } else {
            Err(Refusal::new("c_after", "more servers after the loss than before it", "state how many are left"))
        };
    }
    let left = i64::from(request.c) - i64::from(request.batch) + i64::from(request.surge);
    if request.batch > request.c {
        return Err(Refusal::new("batch", format!("a batch of {} of {} servers", request.batch, request.c), "use a batch of at most c"));
    }
    if left < 1 {
        return Err(Refusal::new("batch", "no server is left during the rotation", "use a surge or a smaller batch"));
    }
    Ok(left.min(i64::from(u32::MAX)) as u32)
}

/// Whether the loss or rotation lasts: no delay after which servers are back, no horizon.
pub fn is_steady(request: &Request) -> bool {
    request.delay.is_none() && request.horizon.is_none()
}

/// How long a change is watched: as stated, or until the queue of the fluid limit is drained and as long again.
fn transient_horizon(request: &Request) -> Result<f64, Refusal> {
    if let Some(horizon) = request.horizon {
        return Ok(horizon);
    }
    let (c, c_after, lambda) = match request.model {
        Model::Step => (request.c, request.c_after.unwrap_or(request.c), request.lambda_peak.unwrap_or(request.lambda)),
        _ => (servers_left(request)?, request.c, request.lambda),
    };
    let offered = lambda * request.service.mean();
    let delay = request.delay.unwrap_or(0.0);
    if offered >= f64::from(c_after) {
        return Err(Refusal::overloaded("c_after", c_after, offered));
    }
    let (rho, rho_after) = (offered / f64::from(c), offered / f64::from(c_after));
    let drained = Overload { rho: rho.max(1.0), rho_after, delay, horizon: 0.0 }.drained().unwrap_or(delay);
    Ok(drained.max(10.0 * request.service.mean()))
}

pub fn answer(request: &Request, limits: Limits) -> Result<Answer, Refusal> {
    if request.c > MAX_SIMULATED {
        return Err(Refusal::new("c", format!("{} servers; at most {MAX_SIMULATED} are simulated", request.c), "use method formula"));
    }
    match request.model {
        Model::Preemptive => preemptive(request, limits),
        Model::Setup => setup(request, limits),
        Model::Step => transient(request, limits),
        Model::ZoneLoss | Model::Rotation if !is_steady(request) => transient(request, limits),
        Model::ZoneLoss | Model::Rotation => {
            let left = servers_left(request)?;
            fifo(&Request { c: left, ..request.clone() }, limits, format!("steady state of {left} servers, first come first served"))
        }
        _ => fifo(request, limits, format!("{} servers, first come first served", request.c)),
    }
}

fn arrivals(arrival: &Arrival, lambda: f64) -> Arrivals {
    match *arrival {
        Arrival::Renewal(dist) => Arrivals::renewal(&dist.with_mean(1.0 / lambda)),
        Arrival::BatchFixed(size) => Arrivals::batch_fixed(lambda, size),
        Arrival::BatchGeometric(mean) => Arrivals::batch_geometric(lambda, mean),
        Arrival::Mmpp(process) => Arrivals::mmpp(process),
    }
}

/// The dispersion of counts over long windows, and the arrivals within which the process forgets its past.
fn dispersion(arrival: &Arrival) -> (f64, f64) {
    match *arrival {
        Arrival::Renewal(dist) => (dist.scv(), dist.scv()),
        Arrival::BatchFixed(size) => (f64::from(size), f64::from(size)),
        Arrival::BatchGeometric(mean) => (2.0 * mean - 1.0, mean),
        Arrival::Mmpp(process) => (process.dispersion(), process.rate() / (process.high_to_low + process.low_to_high)),
    }
}

fn effort(request: &Request, limits: Limits) -> Effort {
    let offered = request.lambda * request.service.mean();
    let rho = offered / f64::from(request.c);
    let (dispersion, memory) = dispersion(&request.arrival);
    let variability = 0.5 * (dispersion + request.service.scv());
    let mut effort = match request.model {
        // Who waits too long leaves: the system forgets within a few patiences or services.
        Model::ErlangA => {
            let patience = request.patience.map_or(0.0, |patience| patience.mean());
            let relaxation = request.lambda * (patience + request.service.mean());
            let mut effort = Effort::for_load(rho.min(0.9), request.c, variability, limits.most_arrivals, request.seed);
            effort.warm_up = effort.warm_up.max((5.0 * relaxation).min(0.2 * limits.most_arrivals as f64) as u64);
            effort
        }
        _ => Effort::for_load(rho, request.c, variability, limits.most_arrivals, request.seed),
    };
    let setup = request.setup.map_or(0.0, |setup| setup.mean() * request.lambda);
    let more = (20.0 * (memory + setup)).min(0.2 * limits.most_arrivals as f64) as u64;
    effort.warm_up = effort.warm_up.max(more);
    effort.least = effort.least.max((64.0 * 20.0 * memory).min(0.5 * limits.most_arrivals as f64) as u64);
    effort
}

fn describe(batches: &Batches, what: &str) -> String {
    let total: u64 = batches.total().map_or(0, |total| total.arrivals);
    format!("simulation of {what}: {total} arrivals after warm-up, {} batches", batches.len())
}

fn waits(batches: &Batches, total: &Batch, answer: &mut Answer) {
    for (series, name) in [(WAIT, "wait"), (SOJOURN, "sojourn")] {
        answer.put(format!("{name}_mean"), batches.figure(total, |batch| batch.series[series].mean()));
        for (quantile, p) in QUANTILES {
            answer.put(format!("{name}_{quantile}"), batches.figure(total, |batch| batch.series[series].quantile(p)));
        }
    }
    answer.put("p_wait", batches.probability(total, |batch| batch.waited as f64 / batch.arrivals.max(1) as f64));
}

/// The figures that end a run once they are narrow: means and the 99th percentile.
fn watched(batches: &Batches, total: &Batch) -> Vec<Figure> {
    vec![
        batches.figure(total, |batch| batch.series[WAIT].mean()),
        batches.figure(total, |batch| batch.series[WAIT].quantile(0.99)),
        batches.figure(total, |batch| batch.series[SOJOURN].quantile(0.99)),
    ]
}

fn finish(mut answer: Answer, batches: &Batches) -> Answer {
    if let Some(total) = batches.total() {
        waits(batches, &total, &mut answer);
        if total.abandoned > 0 {
            answer.put("p_abandon", batches.probability(&total, |batch| batch.abandoned as f64 / batch.arrivals.max(1) as f64));
        }
    }
    answer
}

fn fifo(request: &Request, limits: Limits, what: String) -> Result<Answer, Refusal> {
    let service = Sampler::new(&request.service);
    let patience = request.patience.map(|dist| Sampler::new(&dist));
    let between = 1.0 / request.lambda;
    let squared = match request.arrival {
        Arrival::Renewal(dist) => Some(dist.with_mean(between).second()),
        _ => None,
    };
    let mut model = Fifo::new(request.c, arrivals(&request.arrival, request.lambda), service, patience).expecting(
        between,
        request.service.mean(),
        request.service.second(),
        squared,
    );
    let batches = run(&mut model, effort(request, limits), request.service.mean(), 2, watched);
    let mut answer = Answer::new("simulate", describe(&batches, &what));
    let offered = request.lambda * request.service.mean() / f64::from(request.c);
    if request.patience.is_some() {
        answer.put("p_abandon", Figure::exact(0.0));
    } else {
        answer.utilisation = Some(offered);
    }
    let mut answer = finish(answer, &batches);
    if let (Dist::Det { mean }, None) = (request.service, request.patience) {
        // A histogram would spread the exact service time over one of its bins.
        for (name, _) in QUANTILES {
            let Some(wait) = answer.figures.get(&format!("wait_{name}")).copied() else { continue };
            answer.put(format!("sojourn_{name}"), Figure { value: wait.value + mean, low: wait.low + mean, high: wait.high + mean });
        }
    }
    Ok(answer)
}

pub fn of_trace(c: u32, times: Arc<[f64]>, block: usize, service: Dist, limits: Limits, seed: u64) -> Result<Answer, Refusal> {
    if times.len() < 1000 || times.iter().any(|time| !(time.is_finite() && *time >= 0.0)) {
        return Err(Refusal::new(
            "trace",
            format!("{} interarrival times, of which at least 1000 are needed, none of them negative", times.len()),
            "record for longer, with arrivals in their order",
        ));
    }
    if block == 0 || block * 10 > times.len() {
        return Err(Refusal::new(
            "trace",
            format!("blocks of {block} of {} arrivals: fewer than 10 blocks say nothing of their spread", times.len()),
            "record for longer, or use shorter blocks",
        ));
    }
    let lambda = times.len() as f64 / times.iter().sum::<f64>();
    check_system(c, lambda, service.mean())?;
    let rho = lambda * service.mean() / f64::from(c);
    let mut effort = Effort::for_load(rho, c, service.scv().max(4.0), limits.most_arrivals, seed);
    effort.least = effort.least.max((64.0 * block as f64).min(0.5 * limits.most_arrivals as f64) as u64);
    let mut model = Fifo::new(c, Arrivals::trace(times, block), Sampler::new(&service), None);
    let batches = run(&mut model, effort, service.mean(), 2, watched);
    let mut answer = Answer::new("simulate", describe(&batches, &format!("{c} servers with the recorded arrivals in blocks of {block}")));
    answer.utilisation = Some(rho);
    Ok(finish(answer, &batches))
}

fn setup(request: &Request, limits: Limits) -> Result<Answer, Refusal> {
    let set_up = request.setup.unwrap_or(Dist::Exp { mean: 1.0 });
    let expected = vec![1.0 / request.lambda, request.service.mean(), set_up.mean()];
    let between = arrivals(&request.arrival, request.lambda);
    let mut model = SetUp::new(request.c, between, Sampler::new(&request.service), Sampler::new(&set_up), expected);
    // An arrival costs about four times as much as without set-ups.
    let limits = Limits { most_arrivals: limits.most_arrivals / 4 };
    let batches = run(&mut model, effort(request, limits), request.service.mean(), 2, watched);
    let mut answer = Answer::new("simulate", describe(&batches, "servers that are off when idle (Gandhi, Harchol-Balter, Adan 2010)"));
    answer.utilisation = Some(request.lambda * request.service.mean() / f64::from(request.c));
    Ok(finish(answer, &batches))
}

fn preemptive(request: &Request, limits: Limits) -> Result<Answer, Refusal> {
    let (Some(incident), Some(planned)) = (request.incident, request.planned) else {
        return Err(Refusal::new("incident", "missing", "state incident and planned"));
    };
    let share = incident.lambda / (incident.lambda + planned.lambda);
    let rare = share.min(1.0 - share);
    let most = limits.most_arrivals / 2;
    if rare * (most as f64) < 64_000.0 {
        return Err(Refusal::new(
            "incident.lambda",
            format!("one class is a share of {rare:.2e} of all arrivals: too few of it come in a simulation of bounded work"),
            "use method formula",
        ));
    }
    let offered = incident.lambda * incident.service.mean() + planned.lambda * planned.service.mean();
    let rho = offered / f64::from(request.c);
    let mean = offered / (incident.lambda + planned.lambda);
    let second = share * incident.service.second() + (1.0 - share) * planned.service.second();
    let mut effort = Effort::for_load(rho, request.c, 0.5 * second / (mean * mean), most, request.seed);
    effort.least = effort.least.max((500_000.0 / rare).min(0.5 * most as f64) as u64);
    let samplers = [Sampler::new(&incident.service), Sampler::new(&planned.service)];
    let mut model =
        TwoClasses::new(request.c, [incident.lambda, planned.lambda], [incident.service.mean(), planned.service.mean()], samplers);
    let batches = run(&mut model, effort, mean, 2, |batches, total| {
        let of = |class: usize| {
            [batches.figure(total, |batch| batch.series[class].mean()), batches.figure(total, |batch| batch.series[class].quantile(0.95))]
        };
        [of(INCIDENT), of(PLANNED)].concat()
    });
    let mut answer = Answer::new("simulate", describe(&batches, "two classes, preemptive resume"));
    answer.utilisation = Some(rho);
    if let Some(total) = batches.total() {
        for (class, name) in [(INCIDENT, "incident"), (PLANNED, "planned")] {
            answer.put(format!("{name}_lead_mean"), batches.figure(&total, |batch| batch.series[class].mean()));
            for (quantile, p) in LEAD_QUANTILES {
                answer.put(format!("{name}_lead_{quantile}"), batches.figure(&total, |batch| batch.series[class].quantile(p)));
            }
        }
    }
    Ok(answer)
}

fn transient(request: &Request, limits: Limits) -> Result<Answer, Refusal> {
    let horizon = transient_horizon(request)?;
    let lambda_after = if request.model == Model::Step { request.lambda_peak.unwrap_or(request.lambda) } else { request.lambda };
    if let Arrival::Mmpp(_) = request.arrival {
        return Err(Refusal::new("arrival.dist", "a change is not simulated with mmpp arrivals", "use a renewal process or batches"));
    }
    let after = arrivals(&request.arrival, lambda_after);
    let delay = request.delay.unwrap_or(f64::INFINITY);
    let change = match request.model {
        Model::Step => {
            let added = request.c_after.unwrap_or(request.c) - request.c;
            Change { lost: 0, taken_out: 0, added, delay, arrivals: after, horizon }
        }
        Model::ZoneLoss => {
            let lost = request.c - servers_left(request)?;
            Change { lost, taken_out: 0, added: if delay.is_finite() { lost } else { 0 }, delay, arrivals: after, horizon }
        }
        _ => {
            let left = servers_left(request)?;
            let fewer = request.c.saturating_sub(left);
            Change { lost: 0, taken_out: fewer, added: if delay.is_finite() { fewer } else { 0 }, delay, arrivals: after, horizon }
        }
    };
    // Copies are far enough apart for the fast part of the state to be new.
    let base = Effort::for_load(request.lambda * request.service.mean() / f64::from(request.c), request.c, 1.0, limits.most_arrivals, 1);
    let apart = (base.warm_up / 100).clamp(200, 200_000).max(u64::from(request.c));
    let each = lambda_after * horizon * 2.0 + apart as f64 * 2.0;
    let most = (limits.most_arrivals as f64 / each).floor() as u64;
    if most < FEWEST as u64 {
        return Err(Refusal::new(
            "horizon",
            format!(
                "{:.2e} arrivals come within the horizon; bounded work allows {:.2e} in each of {FEWEST} replications",
                lambda_after * horizon,
                limits.most_arrivals as f64 / FEWEST as f64
            ),
            "use a shorter horizon, or method formula",
        ));
    }
    let effort =
        Effort { warm_up: (base.warm_up / apart).max(2), least: (FEWEST as u64 * 4).min(most), most, relative: 0.006, seed: request.seed };
    let service = Sampler::new(&request.service);
    let mut model = Transient::new(request.c, arrivals(&request.arrival, request.lambda), service, change, apart);
    let batches = run(&mut model, effort, request.service.mean(), 3, watched);
    let total = batches.total();
    let replications = total.as_ref().map_or(0, |total| total.series[WORST].count);
    let mut answer = Answer::new(
        "simulate",
        format!(
            "simulation of the change: {replications} replications of {horizon:.6} time units from a steady state, arrivals within them"
        ),
    );
    answer.utilisation = Some(lambda_after * request.service.mean() / f64::from(request.c));
    answer = finish(answer, &batches);
    if let Some(total) = total {
        answer.put("wait_worst", batches.figure(&total, |batch| batch.series[WORST].mean()));
    }
    Ok(answer)
}
