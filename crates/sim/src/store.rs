//! The simulated store: journals and one lease, transactional, never lost. The lease has the rules of the real one.

use model::{Digest, Event, EventLine, Fence, IssuedCommand, RotationId, Time};
use rotation::{Lease, Refused};

/// One rotation's journal and the users' commands to it.
#[derive(Clone, Debug)]
pub(crate) struct Journal {
    pub id: RotationId,
    pub lines: Vec<EventLine>,
    /// The true time at which each line was decided on.
    pub decided: Vec<u64>,
    pub commands: Vec<IssuedCommand>,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Store {
    pub journals: Vec<Journal>,
    pub fence: Fence,
    pub holder: Option<(String, Time)>,
}

impl Store {
    pub fn journal(&self, id: &RotationId) -> Result<&Journal, Refused> {
        let found = self.journals.iter().find(|j| j.id == *id);
        found.ok_or_else(|| Refused::Fault(model::Fault::yours("not-found", format!("no rotation {id}"))))
    }

    pub fn take(&mut self, service: &model::ServiceName, holder: &str, now: Time, ttl_ms: u64, above: Fence) -> Result<Lease, Refused> {
        if let Some((other, until)) = &self.holder
            && other != holder
            && *until > now
        {
            return Err(Refused::Held { holder: other.clone(), until: *until });
        }
        self.fence = Fence(self.fence.max(above).0 + 1);
        let until = now.plus(ttl_ms);
        self.holder = Some((holder.to_string(), until));
        Ok(Lease { service: service.clone(), holder: holder.to_string(), fence: self.fence, until })
    }

    pub fn renew(&mut self, lease: &Lease, now: Time, ttl_ms: u64) -> Result<Lease, Refused> {
        if lease.fence != self.fence {
            return Err(Refused::LeaseLost);
        }
        let until = now.plus(ttl_ms);
        self.holder = Some((lease.holder.clone(), until));
        Ok(Lease { until, ..lease.clone() })
    }

    pub fn release(&mut self, lease: &Lease) {
        if lease.fence == self.fence {
            self.holder = None;
        }
    }

    /// A line of some journal says that the migration of this release succeeded.
    pub fn has_migrated(&self, digest: &Digest) -> bool {
        let lines = self.journals.iter().flat_map(|journal| &journal.lines);
        lines
            .into_iter()
            .any(|line| matches!(&line.event, Event::MigrationEnded { release, exit, .. } if release == digest && exit.succeeded()))
    }

    /// Restores an older copy: it has only `lines` lines of the last journal, and the commands that they took. Fences restart at the
    /// wall clock, unless `repeats`: then the copy's next ones are given again.
    pub fn restore_backup(&mut self, lines: usize, now: u64, repeats: bool) {
        let Some(journal) = self.journals.last_mut() else { return };
        journal.lines.truncate(lines);
        journal.decided.truncate(lines);
        let taken =
            journal.lines.iter().filter_map(|l| if let Event::CommandTaken(issued) = &l.event { Some(issued.n) } else { None }).max();
        journal.commands.retain(|issued| taken.is_some_and(|taken| issued.n <= taken));
        let newest = journal.lines.iter().map(|l| l.fence).max().unwrap_or_default();
        (self.holder, self.fence) = (None, if repeats { newest } else { Fence(now) });
    }

    /// `checked` is false only with the planted bug: then any line is appended.
    pub fn append(
        &mut self,
        id: &RotationId,
        fence: Fence,
        seq: u64,
        at: Time,
        event: &Event,
        checked: bool,
    ) -> Result<EventLine, Refused> {
        if checked && fence != self.fence {
            return Err(Refused::LeaseLost);
        }
        let Some(journal) = self.journals.iter_mut().find(|j| j.id == *id) else {
            return Err(Refused::Fault(model::Fault::yours("not-found", format!("no rotation {id}"))));
        };
        let len = journal.lines.len() as u64;
        if checked && seq != len {
            return Err(Refused::Grown);
        }
        let line = EventLine { rotation: id.clone(), seq: len, at, fence, event: event.clone() };
        journal.lines.push(line.clone());
        Ok(line)
    }
}
