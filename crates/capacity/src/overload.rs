//! More load than servers for a while: a step of the load until further servers have booted, a zone that is lost.
//!
//! Source: the fluid limit (Newell 1982, Applications of Queueing Theory, ch. 2). For a delay D at load rho1 > 1 the worst
//! wait is D (1 - 1/rho1), that of the arrival at D / rho1. Domain: rho1 > 1, at least 20 servers' worth of load (below,
//! chance moves the wait as much as the overload does), the queue drains before the horizon or is stated not to.

use crate::Refusal;

/// A queue that fills at the rate lambda - c mu until `delay` and then drains at c_after mu - lambda.
#[derive(Clone, Copy, Debug)]
pub struct Overload {
    /// Load per unit of capacity until `delay`, and after it
    pub rho: f64,
    pub rho_after: f64,
    pub delay: f64,
    pub horizon: f64,
}

impl Overload {
    pub fn new(c: u32, c_after: u32, lambda: f64, service: f64, delay: f64, horizon: Option<f64>) -> Result<Overload, Refusal> {
        let offered = lambda * service;
        let (rho, rho_after) = (offered / f64::from(c), offered / f64::from(c_after));
        if rho <= 1.0 {
            return Err(Refusal::new(
                "lambda_peak",
                format!("the load is {offered:.3} servers and {c} carry it, so no queue builds up in the fluid limit"),
                "use method simulate",
            ));
        }
        if offered < 20.0 {
            return Err(Refusal::new(
                "lambda_peak",
                format!("the load is {offered:.3} servers; the fluid limit is trustworthy from 20 on"),
                "use method simulate",
            ));
        }
        let drained = Overload { rho, rho_after, delay, horizon: 0.0 }.drained();
        let horizon = match (horizon, drained) {
            (Some(horizon), _) => horizon,
            (None, Some(drained)) => drained,
            (None, None) => return Err(Refusal::overloaded("c_after", c_after, offered)),
        };
        Ok(Overload { rho, rho_after, delay, horizon })
    }

    /// D (1 - 1/rho1)
    pub fn worst_wait(&self) -> f64 {
        let at = self.delay / self.rho;
        self.wait(at.min(self.horizon)).max(self.wait(self.horizon))
    }

    /// The moment at which the queue is empty again, if it ever is.
    pub fn drained(&self) -> Option<f64> {
        // In units of work: (1 - 1/rho) D is left over at D and drains at 1/rho_after - 1 each moment.
        if self.rho_after >= 1.0 { None } else { Some(self.delay + self.delay * (1.0 - 1.0 / self.rho) / (1.0 / self.rho_after - 1.0)) }
    }

    /// The wait of the arrival at moment `at`.
    pub fn wait(&self, at: f64) -> f64 {
        let served = at * self.rho;
        if served <= self.delay {
            return at * (self.rho - 1.0);
        }
        // Work before it that is not served by the delay is served at the later rate.
        let left = (at - self.delay / self.rho) * self.rho_after;
        (self.delay + left - at).max(0.0)
    }

    /// Mean and quantiles of the waits of arrivals from 0 to the horizon.
    pub fn waits<const N: usize>(&self, levels: [f64; N]) -> (f64, [f64; N], f64) {
        const STEPS: usize = 4000;
        let mut waits: Vec<f64> = (0..STEPS).map(|i| self.wait(self.horizon * (i as f64 + 0.5) / STEPS as f64)).collect();
        let mean = waits.iter().sum::<f64>() / STEPS as f64;
        let waited = waits.iter().filter(|wait| **wait > 0.0).count() as f64 / STEPS as f64;
        waits.sort_by(f64::total_cmp);
        (mean, levels.map(|p| waits[((p * STEPS as f64) as usize).min(STEPS - 1)]), waited)
    }
}
