//! Two classes of work for c people: incidents pre-empt planned work, which resumes where it was interrupted.
//!
//! Source: Bondi and Buzen 1984, "The response times of priority classes under preemptive resume in M/G/m queues":
//! the delay over both classes is that of M/G/c first come first served, times the ratio of the two disciplines for one
//! server c times as fast, where both are exact (Kleinrock, Queueing Systems II, 1976, 3.30). Incidents see no planned work.
//! Domain: Poisson arrivals of both classes, utilisation below 1, 1 <= c <= 1,000,000.

use crate::Refusal;
use crate::dist::{Dist, Mixture, Service};
use crate::erlang::check_system;
use crate::mgc::Mgc;

#[derive(Clone, Copy, Debug)]
pub struct Class {
    pub lambda: f64,
    pub service: Dist,
}

#[derive(Clone, Copy, Debug)]
pub struct Preemptive {
    pub incident: Mgc,
    pub incident_lead_mean: f64,
    pub planned_lead_mean: f64,
}

pub fn bondi_buzen(c: u32, incident: Class, planned: Class) -> Result<Preemptive, Refusal> {
    let load = |class: Class| class.lambda * class.service.mean();
    let (rho_1, offered) = (load(incident), load(incident) + load(planned));
    let lambda = incident.lambda + planned.lambda;
    check_system(c, lambda, offered / lambda)?;
    let mixture = Mixture { parts: [(incident.lambda / lambda, incident.service), (planned.lambda / lambda, planned.service)] };
    let of_incidents = Mgc::new(c, incident.lambda, &incident.service)?;
    let fifo = Mgc::new(c, lambda, &mixture)?.wait_mean;

    // One server, c times as fast: lead times by class, then delays beyond the own service.
    let n = f64::from(c);
    let residual = |class: Class| class.lambda * class.service.second() / (n * n) / 2.0;
    let (free_1, free) = (1.0 - rho_1 / n, 1.0 - offered / n);
    let delay_1 = residual(incident) / free_1;
    let planned_service = planned.service.mean() / n;
    let delay_2 = planned_service * (1.0 / free_1 - 1.0) + (residual(incident) + residual(planned)) / (free_1 * free);
    let delay_fifo = (residual(incident) + residual(planned)) / free;
    let share = incident.lambda / lambda;
    let ratio = (share * delay_1 + (1.0 - share) * delay_2) / delay_fifo;

    let all = fifo * ratio;
    let planned_delay = ((all - share * of_incidents.wait_mean) / (1.0 - share)).max(of_incidents.wait_mean);
    Ok(Preemptive {
        incident: of_incidents,
        incident_lead_mean: of_incidents.wait_mean + incident.service.mean(),
        planned_lead_mean: planned_delay + planned.service.mean(),
    })
}
