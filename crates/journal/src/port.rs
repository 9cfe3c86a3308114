//! `rotation::Journal` on SQLite. Each call is one transaction, durable before it answers.
//!
//! ```text
//!            take (free, expired, or mine): fence + 1          release
//!  free ────────────────────────────────────────────▶ held ─────────────▶ free
//!    ▲                                                 │ ▲ renew, only under the newest fence
//!    └──────────────── until has passed ───────────────┘─┘
//! ```
//! `append` checks the fence, not the lease's expiry.

use crate::database::Database;
use crate::digest::sum;
use crate::fault;
use crate::records::{FENCE_MAX, Records, Tx, int, nat};
use crate::rotations::no_rotation;
use model::{Event, EventLine, Fault, Fence, IssuedCommand, RotationId, ServiceName, Time};
use rotation::{Journal, Lease, Refused};

/// A transaction's closure returns faults; a refusal of the journal travels beside them.
enum Outcome<T> {
    Done(T),
    Refused(Refused),
}

fn flat<T>(outcome: Result<Outcome<T>, Fault>) -> Result<T, Refused> {
    match outcome {
        Ok(Outcome::Done(value)) => Ok(value),
        Ok(Outcome::Refused(refused)) => Err(refused),
        Err(fault) => Err(Refused::Fault(fault)),
    }
}

impl Records<'_> {
    /// The lease as it was last written, held or not.
    pub fn lease(&self, service: &ServiceName) -> Result<Option<Lease>, Fault> {
        let row = self.row("SELECT holder, fence, until, sum FROM leases WHERE service = ?1", &[&service.as_str()], |r| {
            Ok((r.get::<_, String>(0)?, r.get::<_, i64>(1)?, r.get::<_, i64>(2)?, r.get::<_, i64>(3)?))
        })?;
        let Some((holder, fence, until, s)) = row else { return Ok(None) };
        self.verify("leases", service, s, &[service, &holder, &fence, &until])?;
        Ok(Some(Lease { service: service.clone(), holder, fence: Fence(nat(fence)), until: Time(nat(until)) }))
    }
}

impl Tx<'_> {
    /// No fence is given out at or below it: 0, or what [`crate::restored`] wrote.
    pub(crate) fn fence_floor(&self) -> Result<u64, Fault> {
        Ok(self.row("SELECT value FROM meta WHERE key = 'fence_floor'", &[], |r| r.get::<_, i64>(0))?.map_or(0, nat))
    }

    pub(crate) fn set_fence_floor(&self, fence: u64) -> Result<(), Fault> {
        self.run("INSERT OR REPLACE INTO meta (key, value) VALUES ('fence_floor', ?1)", &[&int(fence)]).map(drop)
    }

    pub(crate) fn put_lease(&self, lease: &Lease) -> Result<(), Fault> {
        let (fence, until) = (int(lease.fence.0), int(lease.until.0));
        let s = sum(&[&lease.service, &lease.holder, &fence, &until]);
        self.run(
            "INSERT INTO leases (service, holder, fence, until, sum) VALUES (?1, ?2, ?3, ?4, ?5)
             ON CONFLICT (service) DO UPDATE SET holder = ?2, fence = ?3, until = ?4, sum = ?5",
            &[&lease.service.as_str(), &lease.holder, &fence, &until, &s],
        )?;
        Ok(())
    }

    /// The next lease of this service gets a fence above `seen`, and whoever holds one now loses it. Returns the old fence if it was
    /// lower: then keeper or balancer took stamps that this journal does not know.
    pub fn outrank(&self, service: &ServiceName, seen: Fence) -> Result<Option<Fence>, Fault> {
        let old = self.lease(service)?.map_or(Fence(0), |l| l.fence);
        if old >= seen {
            return Ok(None);
        }
        self.put_lease(&Lease { service: service.clone(), holder: String::new(), fence: seen, until: Time(0) })?;
        Ok(Some(old))
    }

    fn is_newest(&self, lease: &Lease) -> Result<bool, Fault> {
        Ok(self.lease(&lease.service)?.is_some_and(|l| l.fence == lease.fence))
    }
}

impl Journal for Database {
    fn take_above(&self, service: &ServiceName, holder: &str, now: Time, ttl_ms: u64, above: Fence) -> Result<Lease, Refused> {
        flat(self.quietly(|tx| {
            let old = tx.lease(service)?;
            if let Some(old) = &old
                && !old.holder.is_empty()
                && old.holder != holder
                && old.until > now
            {
                return Ok(Outcome::Refused(Refused::Held { holder: old.holder.clone(), until: old.until }));
            }
            // Not below the wall clock: a new journal, or an older copy of one, must not give out a fence twice.
            let last = old.map_or(0, |o| o.fence.0).max(above.0).max(tx.fence_floor()?);
            if last >= FENCE_MAX {
                return Err(Fault::ours("no-higher-fence", format!("{service}: there is no fence above {last}")));
            }
            let fence = Fence((last + 1).max(now.0).min(FENCE_MAX));
            let lease = Lease { service: service.clone(), holder: holder.to_string(), fence, until: now.plus(ttl_ms) };
            tx.put_lease(&lease)?;
            Ok(Outcome::Done(lease))
        }))
    }

    fn renew(&self, lease: &Lease, now: Time, ttl_ms: u64) -> Result<Lease, Refused> {
        flat(self.quietly(|tx| {
            if !tx.is_newest(lease)? {
                return Ok(Outcome::Refused(Refused::LeaseLost));
            }
            let lease = Lease { until: now.plus(ttl_ms), ..lease.clone() };
            tx.put_lease(&lease)?;
            Ok(Outcome::Done(lease))
        }))
    }

    fn release(&self, lease: &Lease) -> Result<(), Refused> {
        flat(self.quietly(|tx| {
            if tx.is_newest(lease)? {
                tx.put_lease(&Lease { holder: String::new(), until: Time(0), ..lease.clone() })?;
            }
            Ok(Outcome::Done(()))
        }))
    }

    fn append(&self, lease: &Lease, rotation: &RotationId, seq: u64, at: Time, event: &Event) -> Result<(), Refused> {
        flat(self.write(|tx| {
            let Some(row) = tx.rotation(rotation)? else { return Err(no_rotation(rotation)) };
            if row.service != lease.service {
                let text = format!("a lease on {} was used for rotation {rotation}", lease.service);
                return Err(Fault::ours("wrong-lease", text));
            }
            if !tx.is_newest(lease)? {
                return Ok(Outcome::Refused(Refused::LeaseLost));
            }
            let has = tx.lines_count(rotation)?;
            if has > seq {
                return Ok(Outcome::Refused(Refused::Grown));
            }
            if has < seq {
                return Err(Fault::ours("journal-gap", format!("line {seq} was appended to {rotation}, which has {has} lines")));
            }
            if row.closed_seq.is_some() {
                return Err(Fault::ours("rotation-closed", format!("a line was appended to {rotation}, which is closed")));
            }
            tx.put_line(rotation, seq, at, lease.fence, event)?;
            match event {
                Event::MigrationEnded { release, exit, .. } if exit.succeeded() => {
                    tx.put_migration(&lease.service, release, rotation, at)?
                }
                Event::Closed { .. } => tx.close_rotation(row, seq)?,
                _ => {}
            }
            Ok(Outcome::Done(()))
        }))
    }

    fn read(&self, rotation: &RotationId, from_seq: u64) -> Result<Vec<EventLine>, Refused> {
        let lines = self.read(|records| {
            let lines = records.lines(rotation, from_seq)?;
            if lines.is_empty() {
                let Some(row) = records.rotation(rotation)? else { return Err(no_rotation(rotation)) };
                if records.lines_count(rotation)? == 0 || row.closed_seq.is_some_and(|closed| closed >= from_seq) {
                    return Err(fault::corrupt_row(records.path, "events", format_args!("{rotation}/{from_seq}")));
                }
            }
            Ok(lines)
        })?;
        Ok(lines)
    }

    fn commands(&self, rotation: &RotationId, after: u64) -> Result<Vec<IssuedCommand>, Refused> {
        Ok(self.read(|records| records.commands(rotation, after))?)
    }
}
