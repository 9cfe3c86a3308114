//! `guard waivers` and `guard waive`: who accepts what, and until when. Waivers are a file beside the code, reviewed as
//! code is; or the control plane's, for what it deploys.

use super::input::read;
use crate::context::Context;
use crate::exit::Exit;
use crate::failure::{self, Failure};
use crate::show;
use api::guard::{WaiveRequest, WaiverRow};
use clap::Args;
use guard::waiver::{WAIVER_MAX_DAYS, Waiver, schedule};
use guard::{parse_s, show_day};
use model::Fault;
use std::path::PathBuf;

const DAY_S: i64 = 86_400;

/// Where waivers are: a flag that several verbs share.
#[derive(Args, Debug)]
pub(super) struct WaiverFile {
    /// Read waivers from this file
    #[arg(long, value_name = "FILE", default_value = "waivers.toml")]
    waivers: PathBuf,
}

impl WaiverFile {
    /// None of the default name: no waivers.
    pub(super) fn load(&self) -> Result<Vec<Waiver>, Fault> {
        Waiver::load(&self.text()?).map_err(|e| {
            let hint = format!("correct {}: no waiver of it counts until then", self.waivers.display());
            Fault::yours("bad-waiver", e.to_string()).hint(hint)
        })
    }

    fn text(&self) -> Result<String, Fault> {
        let is_default = self.waivers == std::path::Path::new("waivers.toml");
        if is_default && !self.waivers.exists() {
            return Ok(String::new());
        }
        read(&self.waivers, "`afresh guard waive` writes one")
    }
}

/// List waivers, the next to end first
#[derive(Args, Debug)]
#[command(after_help = "Example:\n  afresh guard waivers\n  afresh guard waivers --waivers team/waivers.toml --json")]
pub struct Waivers {
    #[command(flatten)]
    file: WaiverFile,
    /// List those of the control plane
    #[arg(long, conflicts_with = "waivers")]
    control_plane: bool,
}

impl Waivers {
    pub fn run(self, context: &Context) -> Result<Exit, Failure> {
        let waivers = if self.control_plane { at_control_plane(context)? } else { self.file.load()? };
        let all = schedule(&waivers, now_s());
        if context.json {
            for (days, waiver) in all {
                let mut object = serde_json::json!(waiver);
                object["days_left"] = days.into();
                show::json(&object);
            }
            return Ok(Exit::Succeeded);
        }
        if all.is_empty() {
            show::line("no waivers");
            return Ok(Exit::Succeeded);
        }
        let row = |(days, w): (i64, &Waiver)| {
            let ends = match days {
                ..0 => "expired".to_string(),
                0 => "today".to_string(),
                1 => "in 1 day".to_string(),
                days => format!("in {days} days"),
            };
            vec![ends, show_day(w.expires_s), w.rule.clone(), w.resource.clone(), w.owner.clone(), w.ticket.clone(), w.reason.clone()]
        };
        let head = ["ends", "on", "rule", "resource", "owner", "ticket", "reason"];
        show::line(show::table(&head, all.into_iter().map(row).collect()));
        Ok(Exit::Succeeded)
    }
}

fn at_control_plane(context: &Context) -> Result<Vec<Waiver>, Failure> {
    let rows: Vec<WaiverRow> = context.wait(async { Ok(context.api().get(api::guard::WAIVERS).await?) })?;
    let seconds = |at: model::Time| i64::try_from(at.0 / 1000).unwrap_or(i64::MAX);
    let waiver = |row: WaiverRow| Waiver {
        granted_s: seconds(row.granted),
        expires_s: seconds(row.expires),
        rule: row.rule,
        resource: row.resource,
        evidence: row.evidence,
        owner: row.owner,
        reason: row.reason,
        ticket: row.ticket,
    };
    Ok(rows.into_iter().map(waiver).collect())
}

/// Accept one finding for a limited time, on somebody's responsibility
#[derive(Args, Debug)]
#[command(after_help = "\
It appends to the file of waivers, which is reviewed as code is; with --control-plane to that of the control plane. A waiver is for one rule, one resource and one piece of evidence: what changes is refused again.
It lasts 90 days at most, 14 for a rule that is critical.

Example:
  afresh guard waive not-root web --evidence 3fa9… --owner ann@example.org --ticket OPS-17 --days 14 --reason 'port 80 until the new image'")]
pub struct Waive {
    /// The rule's name
    rule: String,
    /// The exact resource, as the check shows it
    resource: String,
    /// The fingerprint that the check shows
    #[arg(long, value_name = "FINGERPRINT")]
    evidence: String,
    /// Who answers for it
    #[arg(long, value_name = "WHO")]
    owner: String,
    /// Where it is followed up
    #[arg(long, value_name = "TICKET")]
    ticket: String,
    /// How many days it lasts
    #[arg(long, value_name = "DAYS", default_value_t = 14, value_parser = clap::value_parser!(i64).range(1..=WAIVER_MAX_DAYS))]
    days: i64,
    #[command(flatten)]
    file: WaiverFile,
    /// Grant it at the control plane, for its plans and deploys: for administrators
    #[arg(long, conflicts_with = "waivers")]
    control_plane: bool,
}

impl Waive {
    pub fn run(self, context: &Context) -> Result<Exit, Failure> {
        let reason = context.reason.clone().unwrap_or_default();
        if reason.trim().is_empty() {
            let fault = Fault::yours("bad-waiver", "a waiver needs a reason");
            return Err(fault.hint("say why it is accepted: --reason TEXT").into());
        }
        if self.control_plane {
            return self.ask(context, reason);
        }
        let today_s = parse_s(&show_day(now_s())).unwrap_or_default();
        let waiver = Waiver {
            rule: self.rule.clone(),
            resource: self.resource.clone(),
            evidence: self.evidence.clone(),
            owner: self.owner.clone(),
            reason,
            ticket: self.ticket.clone(),
            granted_s: today_s,
            expires_s: today_s + self.days * DAY_S,
        };
        let (text, expires) = (waiver.appended_to(&self.file.text()?), show_day(waiver.expires_s));
        // Whole, as it would be read: what is not a waiver is not written.
        Waiver::load(&text).map_err(|e| Fault::yours("bad-waiver", e.to_string()).hint("nothing was written"))?;
        let path = std::path::absolute(&self.file.waivers).map_err(|e| failure::io("cannot write", &self.file.waivers, &e))?;
        disk::write(&path, text.as_bytes(), 0o644, disk::Lasting::Now).map_err(|e| failure::io("cannot write", &path, &e))?;
        if context.json {
            show::json(&serde_json::json!({ "file": path, "expires": expires }));
        } else {
            show::line(format!("{} of {} is waived until {expires}, in {}", self.resource, self.rule, self.file.waivers.display()));
        }
        Ok(Exit::Succeeded)
    }

    fn ask(&self, context: &Context, reason: String) -> Result<Exit, Failure> {
        let request = WaiveRequest {
            rule: self.rule.clone(),
            resource: self.resource.clone(),
            evidence: self.evidence.clone(),
            owner: self.owner.clone(),
            reason,
            ticket: self.ticket.clone(),
            days: u32::try_from(self.days).unwrap_or(u32::MAX),
        };
        let row: WaiverRow = context.wait(async { Ok(context.api().post(api::guard::WAIVERS, &request).await?) })?;
        if context.json {
            show::json(&row);
        } else {
            show::line(format!(
                "{} of {} is waived until {}, by the control plane",
                row.resource,
                row.rule,
                show::upkeep::day(row.expires)
            ));
        }
        Ok(Exit::Succeeded)
    }
}

pub(super) fn now_s() -> i64 {
    i64::try_from(show::now().0 / 1000).unwrap_or(i64::MAX)
}
