//! What every containing verb has in common: where it works, and that it asks before it changes anything.

use super::carry_out::carry_out;
use super::changes::{self, Change};
use super::connection::{Connection, StateDir};
use super::reach::Pending;
use super::rules::RuleFile;
use super::session::{Session, Tally};
use super::target::Connected;
use super::waivers::WaiverFile;
use crate::confirm::confirmed;
use crate::context::Context;
use crate::exit::{self, Exit};
use crate::failure::Failure;
use crate::show;
use clap::Args;

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
        connected: Option<&Connected>,
        (changes, pending): (Vec<Change>, &Pending),
        incident: Option<String>,
        tally: &mut Tally,
    ) -> Result<Made, Failure> {
        pending.show(context.json);
        tally.unknown += pending.unreached();
        changes::show_changes(&changes, context.json, self.dry_run);
        let count = changes.iter().filter(|c| c.planned.is_ok()).count() + pending.here.len();
        if self.dry_run {
            changes.iter().filter_map(|change| change.planned.as_ref().err()).for_each(|none| tally.count(none));
            return Ok(Made::Nothing(if count > 0 { exit::of_guard(1) } else { tally.exit() }));
        }
        if count > 0 && !confirmed(self.now, &format!("make {}", show::times(count as u64, "change")))? {
            show::note("nothing was changed");
            return Ok(Made::Nothing(exit::of_guard(1)));
        }
        let session = Session::open(state, context, connected)?;
        session.resume(&pending.here, self.now, tally)?;
        Ok(Made::All(carry_out(&session, changes, incident, self.now, tally)?))
    }
}
