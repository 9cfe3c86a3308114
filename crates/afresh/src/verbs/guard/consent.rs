//! What every containing verb has in common: where it works, and that it asks before it changes anything.

use super::changes::{self, Change};
use super::connection::{Connection, StateDir};
use super::rules::RuleFile;
use super::session::{Session, Tally};
use super::target::Account;
use super::waivers::WaiverFile;
use crate::confirm::confirmed;
use crate::context::Context;
use crate::exit::{self, Exit};
use crate::failure::Failure;
use crate::show;
use clap::Args;
use contain::Containment;

#[derive(Args, Debug)]
pub(super) struct Containing {
    #[command(flatten)]
    pub(super) connection: Connection,
    #[command(flatten)]
    pub(super) state: StateDir,
    #[command(flatten)]
    pub(super) rules: RuleFile,
    #[command(flatten)]
    pub(super) waivers: WaiverFile,
}

#[derive(Args, Debug)]
pub(super) struct Consent {
    /// Do not ask; the record is kept all the same
    #[arg(long)]
    now: bool,
    /// Show what would be changed, and change nothing
    #[arg(long, conflicts_with = "now")]
    dry_run: bool,
}

pub(super) enum Made {
    /// A dry run, or nobody agreed.
    Nothing(Exit),
    /// With the incident that has them.
    All(Option<String>),
}

impl Consent {
    /// Shows what would be changed, asks, and makes it: what an interrupted run left first.
    pub(super) fn make(
        &self,
        context: &Context,
        state: &StateDir,
        account: Option<&Account>,
        (changes, pending): (Vec<Change>, &[Containment]),
        incident: Option<String>,
        tally: &mut Tally,
    ) -> Result<Made, Failure> {
        changes::show_pending(pending, context.json);
        changes::show_changes(&changes, context.json, self.dry_run);
        if self.dry_run {
            return Ok(Made::Nothing(exit::of_guard(u8::from(!changes.is_empty() || !pending.is_empty()))));
        }
        let count = changes.iter().filter(|c| c.planned.is_ok()).count() + pending.len();
        if count > 0 && !confirmed(self.now, &format!("make {}", show::times(count as u64, "change")))? {
            show::note("nothing was changed");
            return Ok(Made::Nothing(exit::of_guard(1)));
        }
        let session = Session::open(state, context, account)?;
        session.resume(tally)?;
        Ok(Made::All(changes::carry_out(&session, account, changes, incident, tally)?))
    }
}
