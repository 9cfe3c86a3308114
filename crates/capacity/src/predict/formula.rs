//! Answers by formula, each with the error that was measured for it against long simulations (`tests/all/accuracy.rs`).

use super::answer::{Answer, LEAD_QUANTILES, QUANTILES};
use crate::Refusal;
use crate::abandonment::ErlangA;
use crate::batches::Figure;
use crate::chain::{self, Batches, Found};
use crate::dist::{Dist, Service, balanced_h2};
use crate::erlang::Mmc;
use crate::ggc::Ggc;
use crate::mgc::Mgc;
use crate::overload::Overload;
use crate::preemptive::bondi_buzen;
use crate::request::{Arrival, Model, Request};

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Trust {
    Exact,
    /// The relative error of the mean that nine of ten cases keep
    Within(f64),
}

const MGC_ERROR: f64 = 0.06;
const BATCH_ERROR: f64 = 0.03;
const PREEMPTIVE_ERROR: f64 = 0.05;
const FLUID_ERROR: f64 = 0.2;

pub fn answer(request: &Request) -> Result<(Answer, Trust), Refusal> {
    match request.model {
        Model::Mmc | Model::Mgc => mgc(request, request.c),
        Model::Ggc => ggc(request),
        Model::Batch => batch(request),
        Model::Mmpp => mmpp(request),
        Model::ErlangA => erlang_a(request),
        Model::Setup => Err(no_formula(request, "set-up times of many servers have no formula of known error")),
        Model::Preemptive => preemptive(request),
        Model::Step => step(request),
        Model::ZoneLoss | Model::Rotation => fewer(request),
    }
}

fn no_formula(request: &Request, reason: &str) -> Refusal {
    Refusal::new(format!("model {}", request.name), reason, "use method simulate or auto")
}

fn poisson_only(request: &Request) -> Result<(), Refusal> {
    if request.arrival.is_poisson() {
        return Ok(());
    }
    Err(Refusal::new(
        "arrival.dist",
        format!("the formulas of model {} are for Poisson arrivals (dist exp)", request.name),
        "use method simulate or auto",
    ))
}

fn mgc(request: &Request, c: u32) -> Result<(Answer, Trust), Refusal> {
    poisson_only(request)?;
    let (lambda, service) = (request.lambda, &request.service);
    if service.is_exp() {
        let mm = Mmc::new(c, lambda, service.mean())?;
        let mut answer = Answer::new("formula", "M/M/c: Erlang 1917 (C from B by recursion), exact");
        answer.utilisation = Some(mm.utilisation());
        answer.put("p_wait", Figure::exact(mm.p_wait()));
        answer.put("wait_mean", Figure::exact(mm.wait_mean()));
        answer.put("sojourn_mean", Figure::exact(mm.sojourn_mean()));
        for (name, p) in QUANTILES {
            answer.put(format!("wait_{name}"), Figure::exact(mm.wait_quantile(p)));
            answer.put(format!("sojourn_{name}"), Figure::exact(mm.sojourn_quantile(p)));
        }
        return Ok((answer, Trust::Exact));
    }
    let mg = Mgc::new(c, lambda, service)?;
    let mut answer = Answer::new(
        "formula",
        if c == 1 {
            "M/G/1: Pollaczek 1930, Khinchine 1932 (mean exact); gamma tails (Tijms 2003)"
        } else {
            "M/G/c: Boxma, Cohen, Huffels 1979; gamma tails (Tijms 2003)"
        },
    );
    answer.utilisation = Some(lambda * service.mean() / f64::from(c));
    // The formula is exact in the limit for heavy traffic: at 0.9 its largest error was 3 %.
    let rest = 1.0 - lambda * service.mean() / f64::from(c);
    let error = if c == 1 { 0.0 } else { (MGC_ERROR * 5.0 * rest).clamp(0.01, MGC_ERROR) };
    answer.put("p_wait", Figure::within(mg.p_wait, if c == 1 { 0.0 } else { MGC_ERROR }).probability());
    answer.put("wait_mean", Figure::within(mg.wait_mean, error));
    put_sojourns(&mut answer, &mg, service, error);
    Ok((answer, Trust::Within(MGC_ERROR)))
}

/// Wait and sojourn quantiles of M/G/c
fn put_sojourns(answer: &mut Answer, mg: &Mgc, service: &Dist, error: f64) {
    let sojourn = mg.wait_mean + service.mean();
    answer.put("sojourn_mean", Figure { value: sojourn, low: sojourn - error * mg.wait_mean, high: sojourn + error * mg.wait_mean });
    let sojourns = mg.sojourn_quantiles(service, QUANTILES.map(|(_, p)| p));
    for ((name, p), sojourn) in QUANTILES.into_iter().zip(sojourns) {
        let wait = mg.wait_quantile(p);
        let error = 2.0 * error.max(MGC_ERROR);
        answer.put(format!("wait_{name}"), Figure::within(wait, error));
        let slack = error * wait.min(sojourn);
        answer.put(format!("sojourn_{name}"), Figure { value: sojourn, low: sojourn - slack, high: sojourn + slack });
    }
}

fn ggc(request: &Request) -> Result<(Answer, Trust), Refusal> {
    let Arrival::Renewal(between) = request.arrival else {
        return Err(no_formula(request, "the formulas are for independent interarrival times"));
    };
    if between.is_exp() {
        return mgc(request, request.c);
    }
    let service = &request.service;
    if let (Dist::H2 { scv, .. }, true) = (between, service.is_exp()) {
        let found = chain::hyperexponential(request.c, service.mean(), balanced_h2(1.0 / request.lambda, scv))?;
        return Ok(exact_chain(request, &found, "H2/M/c: matrix-geometric (Neuts 1981), exact"));
    }
    let gg = Ggc::of(request.c, &between.with_mean(1.0 / request.lambda), service.mean(), service.scv())?;
    let mut answer = Answer::new(
        "formula",
        match (between.scv() > 1.0, request.c) {
            (true, _) => "G/G/c: H2/M/c exact, scaled by Whitt 1993; exponential tails",
            (false, 1) => "G/G/1: Kraemer, Langenbach-Belz 1976; exponential tails",
            (false, _) => "G/G/c: Whitt 1993; exponential tails",
        },
    );
    answer.utilisation = Some(request.lambda * service.mean() / f64::from(request.c));
    let error = gg.error;
    let as_mgc = Mgc { p_wait: gg.p_wait, wait_mean: gg.wait_mean, wait_scv: 1.0 };
    answer.put("p_wait", Figure::within(gg.p_wait, 2.0 * error).probability());
    answer.put("wait_mean", Figure::within(gg.wait_mean, error));
    put_sojourns(&mut answer, &as_mgc, service, error);
    Ok((answer, Trust::Within(error)))
}

/// Every figure from what arrivals find, for exponential service.
fn exact_chain(request: &Request, found: &Found, source: &str) -> (Answer, Trust) {
    let mut answer = Answer::new("formula", source);
    let service = request.service.mean();
    answer.utilisation = Some(request.lambda * service / f64::from(request.c));
    answer.put("p_wait", Figure::exact(found.p_wait));
    answer.put("wait_mean", Figure::exact(found.wait_mean));
    answer.put("sojourn_mean", Figure::exact(found.wait_mean + service));
    for (name, p) in QUANTILES {
        answer.put(format!("wait_{name}"), Figure::exact(found.wait_quantile(p)));
        answer.put(format!("sojourn_{name}"), Figure::exact(found.sojourn_quantile(p)));
    }
    (answer, Trust::Exact)
}

fn mmpp(request: &Request) -> Result<(Answer, Trust), Refusal> {
    let Arrival::Mmpp(process) = request.arrival else { return Err(no_formula(request, "arrivals are not of dist mmpp")) };
    if !request.service.is_exp() {
        return Err(no_formula(request, "correlated arrivals have a formula for exponential service only"));
    }
    let found = chain::mmpp(request.c, request.service.mean(), process)?;
    Ok(exact_chain(request, &found, "MMPP/M/c: matrix-geometric (Neuts 1981), exact"))
}

/// Batches with exponential service are exact, and the mean for one server is (Burke 1975). Else that of exponential service
/// is scaled by the limit for heavy traffic, (I + cs^2) / (I + 1) with I the dispersion of the batches (Whitt 1983), only as
/// far as servers are busy, by Erlang C: without that weight, means of 10 servers at 0.7 were 8 % low or 15 % high. Waits within a batch are far from a gamma distribution, so only means are given.
fn batch(request: &Request) -> Result<(Answer, Trust), Refusal> {
    let sizes = match request.arrival {
        Arrival::BatchFixed(size) => Batches::Fixed(size),
        Arrival::BatchGeometric(mean) => Batches::Geometric(mean),
        _ => return Err(no_formula(request, "arrivals are not in batches")),
    };
    let service = &request.service;
    let found = chain::batches(request.c, request.lambda, service.mean(), sizes)?;
    if service.is_exp() {
        return Ok(exact_chain(request, &found, "M^X/M/c: balance over cuts (Chaudhry, Templeton 1983), exact"));
    }
    let (dispersion, rho) = (sizes.dispersion(), request.lambda * service.mean() / f64::from(request.c));
    let limit = (dispersion + service.scv()) / (dispersion + 1.0);
    let scale = if request.c == 1 {
        (rho * (1.0 + service.scv()) + dispersion - 1.0) / (2.0 * rho + dispersion - 1.0)
    } else {
        1.0 + Mmc::new(request.c, request.lambda, service.mean())?.p_wait() * (limit - 1.0)
    };
    let wait = found.wait_mean * scale;
    let mut answer = Answer::new("formula", "M^X/G/c: M^X/M/c exact, scaled by the limit for heavy traffic (Whitt 1983)");
    answer.utilisation = Some(request.lambda * service.mean() / f64::from(request.c));
    let error = if request.c == 1 { 0.0 } else { BATCH_ERROR };
    answer.put("wait_mean", Figure::within(wait, error));
    let sojourn = |wait: f64| wait + service.mean();
    answer.put("sojourn_mean", Figure { value: sojourn(wait), low: sojourn(wait * (1.0 - error)), high: sojourn(wait * (1.0 + error)) });
    for name in ["p_wait", "wait_p50", "wait_p95", "wait_p99", "sojourn_p50", "sojourn_p95", "sojourn_p99"] {
        answer.omitted.insert(name.to_owned(), "the formula gives means; use method simulate".to_owned());
    }
    Ok((answer, Trust::Within(BATCH_ERROR)))
}

fn erlang_a(request: &Request) -> Result<(Answer, Trust), Refusal> {
    poisson_only(request)?;
    let Some(patience) = request.patience else { return Err(no_formula(request, "no patience is stated")) };
    if !request.service.is_exp() || !patience.is_exp() {
        return Err(Refusal::new("patience.dist", "Erlang-A is for exponential service and patience", "use method simulate or auto"));
    }
    let system = ErlangA::new(request.c, request.lambda, request.service.mean(), patience.mean())?;
    let mut answer = Answer::new("formula", "Erlang-A: Palm 1957; Zeltyn, Mandelbaum 2005, exact");
    answer.utilisation = Some(request.lambda * request.service.mean() * (1.0 - system.p_abandon()) / f64::from(request.c));
    answer.put("p_wait", Figure::exact(system.p_wait()));
    answer.put("p_abandon", Figure::exact(system.p_abandon()));
    answer.put("wait_mean", Figure::exact(system.wait_mean()));
    answer.put("sojourn_mean", Figure::exact(system.sojourn_mean()));
    let sojourns = system.sojourn_quantiles(QUANTILES.map(|(_, p)| p));
    for ((name, p), sojourn) in QUANTILES.into_iter().zip(sojourns) {
        answer.put(format!("wait_{name}"), Figure::exact(system.wait_quantile(p)));
        answer.put(format!("sojourn_{name}"), Figure::exact(sojourn));
    }
    Ok((answer, Trust::Exact))
}

fn preemptive(request: &Request) -> Result<(Answer, Trust), Refusal> {
    let (Some(incident), Some(planned)) = (request.incident, request.planned) else {
        return Err(no_formula(request, "incident and planned are needed"));
    };
    let both = bondi_buzen(request.c, incident, planned)?;
    let mut answer = Answer::new("formula", "two classes, preemptive resume: Bondi, Buzen 1984");
    answer.utilisation = Some((incident.lambda * incident.service.mean() + planned.lambda * planned.service.mean()) / f64::from(request.c));
    let around = |value: f64, service: f64| {
        let slack = PREEMPTIVE_ERROR * (value - service);
        Figure { value, low: value - slack, high: value + slack }
    };
    answer.put("incident_lead_mean", around(both.incident_lead_mean, incident.service.mean()));
    answer.put("planned_lead_mean", around(both.planned_lead_mean, planned.service.mean()));
    let leads = both.incident.sojourn_quantiles(&incident.service, LEAD_QUANTILES.map(|(_, p)| p));
    for ((name, p), lead) in LEAD_QUANTILES.into_iter().zip(leads) {
        let slack = 2.0 * MGC_ERROR * both.incident.wait_quantile(p);
        answer.put(format!("incident_lead_{name}"), Figure { value: lead, low: lead - slack, high: lead + slack });
        answer.omitted.insert(format!("planned_lead_{name}"), "Bondi and Buzen give means; use method simulate".to_owned());
    }
    Ok((answer, Trust::Within(PREEMPTIVE_ERROR)))
}

fn step(request: &Request) -> Result<(Answer, Trust), Refusal> {
    let peak = request.lambda_peak.unwrap_or(request.lambda);
    fluid(request, request.c, request.c_after.unwrap_or(request.c), peak)
}

/// After the loss of servers or during a rotation: the steady state of those that are left, or an overload until others come.
fn fewer(request: &Request) -> Result<(Answer, Trust), Refusal> {
    let left = super::simulated::servers_left(request)?;
    if super::simulated::is_steady(request) {
        let (mut answer, trust) = mgc(request, left)?;
        answer.source = format!("steady state of {left} servers; {}", answer.source);
        return Ok((answer, trust));
    }
    fluid(request, left, request.c, request.lambda)
}

fn fluid(request: &Request, c: u32, c_after: u32, lambda: f64) -> Result<(Answer, Trust), Refusal> {
    let delay = request.delay.or(request.horizon).unwrap_or(0.0);
    let overload = Overload::new(c, c_after, lambda, request.service.mean(), delay, request.horizon)?;
    let mut answer = Answer::new("formula", "overload in the fluid limit (Newell 1982): worst wait D (1 - 1/rho1)");
    answer.utilisation = Some(overload.rho);
    let (mean, quantiles, waited) = overload.waits(QUANTILES.map(|(_, p)| p));
    answer.put("wait_worst", Figure::within(overload.worst_wait(), FLUID_ERROR));
    answer.put("wait_mean", Figure::within(mean, FLUID_ERROR));
    answer.put("p_wait", Figure::within(waited, FLUID_ERROR).probability());
    let service = request.service.mean();
    answer.put(
        "sojourn_mean",
        Figure { value: mean + service, low: mean * (1.0 - FLUID_ERROR) + service, high: mean * (1.0 + FLUID_ERROR) + service },
    );
    for ((name, _), wait) in QUANTILES.into_iter().zip(quantiles) {
        answer.put(format!("wait_{name}"), Figure::within(wait, FLUID_ERROR));
        answer.omitted.insert(format!("sojourn_{name}"), "the fluid limit has no service times; use method simulate".to_owned());
    }
    Ok((answer, Trust::Within(FLUID_ERROR)))
}
