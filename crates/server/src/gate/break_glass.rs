//! The record of rules that deploys lifted in an emergency. It is an alarm until it expires, and judges nobody's next deploy.

use super::files::{read, unusable};
use crate::app::App;
use crate::files::{io_fault, private_dir};
use api::guard::BreakGlassSeen;
use guard::waiver::{BREAK_GLASS_MAX_S, BreakGlass};
use model::{Fault, Layout, ServiceName, Time};
use std::path::PathBuf;

/// Older ones go; the audit and the journals have them all.
const KEPT: usize = 200;
const BYTES_MAX: usize = super::files::BYTES_MAX as usize;

pub fn path(layout: &Layout) -> PathBuf {
    layout.root().join("guard/break-glass.json")
}

/// For the rules that deny, by the caller that the connection identified. Refused without a reason.
pub fn open(owner: &str, reason: &str, lifted: &[(&str, &str)], now: Time) -> Result<BreakGlass, Fault> {
    let bad = |why: String| Fault::yours("bad-reason", why).hint("say what the emergency is: --break-glass REASON");
    model::text::line(reason).map_err(|wrong| Fault { code: "bad-reason".to_string(), ..wrong.into() })?;
    BreakGlass::open(owner, reason, lifted, seconds(now), BREAK_GLASS_MAX_S).map_err(bad)
}

pub fn record(app: &App, services: Vec<ServiceName>, opened: &BreakGlass) -> Result<(), Fault> {
    let path = path(&app.layout);
    let mut all = all(&app.layout)?;
    all.push(BreakGlassSeen {
        services,
        rules: opened.rules.clone(),
        evidence: opened.evidence.clone(),
        owner: opened.owner.clone(),
        reason: opened.reason.clone(),
        opened: time(opened.opened_s),
        expires: time(opened.expires_s),
    });
    all.drain(..all.len().saturating_sub(KEPT));
    let mut bytes = written(&all)?;
    // What could not be read again would be no record.
    while bytes.len() > BYTES_MAX && all.len() > 1 {
        all.drain(..all.len() / 2);
        bytes = written(&all)?;
    }
    private_dir(&app.layout.root().join("guard"))?;
    disk::write(&path, &bytes, 0o600, disk::Lasting::Now).map_err(|e| io_fault(&path, &e))
}

fn written(all: &[BreakGlassSeen]) -> Result<Vec<u8>, Fault> {
    serde_json::to_vec_pretty(all).map_err(|e| Fault::ours("unwritable", e.to_string()))
}

/// Oldest first.
fn all(layout: &Layout) -> Result<Vec<BreakGlassSeen>, Fault> {
    let path = path(layout);
    let Some(text) = read(&path)? else { return Ok(Vec::new()) };
    serde_json::from_str(&text).map_err(|e| unusable(&path, &e.to_string()))
}

/// Those that have not expired.
pub fn live(layout: &Layout, now: Time) -> Result<Vec<BreakGlassSeen>, Fault> {
    let mut all = all(layout)?;
    all.retain(|one| (one.opened..one.expires).contains(&now));
    Ok(all)
}

/// The newest that covers the service, for the gate.
pub fn of_service(live: &[BreakGlassSeen], service: &str) -> Option<BreakGlass> {
    let one = live.iter().rev().find(|one| one.services.iter().any(|name| name.as_str() == service))?;
    Some(BreakGlass {
        owner: one.owner.clone(),
        reason: one.reason.clone(),
        rules: one.rules.clone(),
        evidence: one.evidence.clone(),
        opened_s: seconds(one.opened),
        expires_s: seconds(one.expires),
    })
}

pub fn seconds(at: Time) -> i64 {
    i64::try_from(at.0 / 1000).unwrap_or(i64::MAX)
}

pub fn time(seconds: i64) -> Time {
    Time(u64::try_from(seconds).unwrap_or_default().saturating_mul(1000))
}
