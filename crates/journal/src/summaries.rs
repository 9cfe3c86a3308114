//! Summaries of closed journals: written when a rotation is closed, and derived again from the journals where a summary is missing or does
//! not cover the last closed rotation.

use crate::digest::sum;
use crate::fault;
use crate::records::{Records, Tx, encode, int, nat};
use crate::rotations::RotationRow;
use crate::services::ServiceRow;
use control::{Summary, ends_all_before, removes, spec_in_force};
use model::{Fault, ServiceName};
use rotation::Rotation;

/// Journals that are read back for what a stopped rotation may have left.
const LOOK_BACK: u64 = 100;

struct SummaryRow {
    /// The number of the last closed rotation that is in it.
    rotation: u64,
    /// The generation in force; 0: none ever was.
    in_force: u64,
    summary: Summary,
}

/// How a service is now, as far as the database knows.
#[derive(Clone, Debug)]
pub struct Now {
    /// The desired state of the active release. Where none ever was active, the newest.
    pub in_force: ServiceRow,
    pub summary: Summary,
    pub open: Option<Rotation>,
    pub is_removed: bool,
}

impl Records<'_> {
    /// What the journals of a service come to, the open one included.
    pub fn summary(&self, service: &ServiceName) -> Result<Summary, Fault> {
        let closed = self.closed_summary(service)?.summary;
        match self.open_rotation_of(service)? {
            None => Ok(closed),
            Some(open) => Ok(closed.with(&self.fold(&open)?)),
        }
    }

    /// All of it, each part read once: no closed journal is folded, and the open one a single time. None: there is no such service.
    pub fn now(&self, service: &ServiceName) -> Result<Option<Now>, Fault> {
        let closed = self.closed_summary(service)?;
        let open = self.open_rotation_of(service)?.map(|open| self.fold(&open)).transpose()?;
        let is_removed = open.is_none() && self.is_removed(service, &closed)?;
        let Some(in_force) = self.in_force_by(service, closed.in_force)? else { return Ok(None) };
        let summary = open.iter().fold(closed.summary, Summary::with);
        Ok(Some(Now { in_force, summary, open, is_removed }))
    }

    /// The desired state of the active release. Where none ever was active, the newest.
    pub fn in_force(&self, service: &ServiceName) -> Result<Option<ServiceRow>, Fault> {
        self.in_force_by(service, self.closed_summary(service)?.in_force)
    }

    fn in_force_by(&self, service: &ServiceName, generation: u64) -> Result<Option<ServiceRow>, Fault> {
        match generation {
            0 => self.service(service),
            generation => match self.generation(service, generation)? {
                Some(row) => Ok(Some(row)),
                None => Err(fault::corrupt_row(self.path, "history", format_args!("{service} generation {generation}"))),
            },
        }
    }

    fn fold(&self, row: &RotationRow) -> Result<Rotation, Fault> {
        Rotation::fold(&self.lines(&row.id, 0)?)
    }

    /// It has no active release any more, and nothing of it is left. One that never had an active release, as its first failed, is there until
    /// somebody removes it.
    fn is_removed(&self, service: &ServiceName, closed: &SummaryRow) -> Result<bool, Fault> {
        if closed.summary.active.is_some() || !closed.summary.groups.is_empty() {
            return Ok(false);
        }
        let last = if closed.in_force > 0 { None } else { self.closed_rotations(service, 1)?.into_iter().next() };
        last.map_or(Ok(closed.in_force > 0), |row| Ok(removes(&self.fold(&row)?)))
    }

    fn last_closed(&self, service: &ServiceName) -> Result<u64, Fault> {
        let sql = "SELECT coalesce(max(number), 0) FROM rotations WHERE service = ?1 AND closed_seq IS NOT NULL";
        Ok(self.row(sql, &[&service.as_str()], |r| r.get::<_, i64>(0))?.map_or(0, nat))
    }

    /// As it was written if it covers the last closed rotation, else from the journals.
    fn closed_summary(&self, service: &ServiceName) -> Result<SummaryRow, Fault> {
        let last = self.last_closed(service)?;
        match self.written_summary(service)? {
            Some(row) if row.rotation == last => Ok(row),
            written => self.derive(service, last, written.map_or(0, |row| row.in_force)),
        }
    }

    fn written_summary(&self, service: &ServiceName) -> Result<Option<SummaryRow>, Fault> {
        let row = self.row("SELECT rotation, in_force, known, sum FROM summaries WHERE service = ?1", &[&service.as_str()], |r| {
            Ok((r.get::<_, i64>(0)?, r.get::<_, i64>(1)?, r.get::<_, String>(2)?, r.get::<_, i64>(3)?))
        })?;
        let Some((rotation, in_force, body, s)) = row else { return Ok(None) };
        self.verify("summaries", service, s, &[service, &rotation, &in_force, &body])?;
        Ok(Some(SummaryRow { rotation: nat(rotation), in_force: nat(in_force), summary: self.decode("summaries", service, &body)? }))
    }

    fn derive(&self, service: &ServiceName, last: u64, in_force: u64) -> Result<SummaryRow, Fault> {
        let mut folded = Vec::new();
        let mut spec = None;
        for row in self.closed_rotations(service, LOOK_BACK)? {
            let r = self.fold(&row)?;
            if spec.is_none() {
                spec = spec_in_force(&r).cloned();
            }
            let is_last = ends_all_before(&r);
            folded.push(r);
            if is_last {
                break;
            }
        }
        let summary = folded.iter().rev().fold(Summary::default(), Summary::with);
        let found = spec.map(|spec| self.generation_of(service, &spec)).transpose()?.flatten();
        Ok(SummaryRow { rotation: last, in_force: found.unwrap_or(in_force), summary })
    }
}

impl Tx<'_> {
    /// After a rotation was closed. A journal that does not fold leaves the service without a summary: whoever needs one gets the reason.
    pub(crate) fn update_summary(&self, service: &ServiceName, closed: &RotationRow) -> Result<(), Fault> {
        let Ok(r) = self.fold(closed) else {
            return self.run("DELETE FROM summaries WHERE service = ?1", &[&service.as_str()]).map(drop);
        };
        let before = match self.written_summary(service)? {
            Some(row) => row,
            None => return self.rebuild_summary(service).or(Ok(())),
        };
        let found = spec_in_force(&r).map(|spec| self.generation_of(service, spec)).transpose()?.flatten();
        let in_force = found.unwrap_or(before.in_force);
        self.put_summary(service, &SummaryRow { rotation: closed.id.number(), in_force, summary: before.summary.with(&r) })
    }

    pub(crate) fn rebuild_summary(&self, service: &ServiceName) -> Result<(), Fault> {
        self.put_summary(service, &self.derive(service, self.last_closed(service)?, 0)?)
    }

    /// The newest desired state is in force although nothing was rotated: it differs in what needs no rotation.
    pub fn put_in_force(&self, service: &ServiceName) -> Result<(), Fault> {
        let Some(newest) = self.service(service)? else { return Ok(()) };
        let row = self.closed_summary(service)?;
        if row.in_force == newest.generation || row.summary.active.is_none() {
            return Ok(());
        }
        self.put_summary(service, &SummaryRow { in_force: newest.generation, ..row })
    }

    fn put_summary(&self, service: &ServiceName, row: &SummaryRow) -> Result<(), Fault> {
        let (rotation, in_force, body) = (int(row.rotation), int(row.in_force), encode(&row.summary)?);
        let s = sum(&[service, &rotation, &in_force, &body]);
        self.run(
            "INSERT INTO summaries (service, rotation, in_force, known, sum) VALUES (?1, ?2, ?3, ?4, ?5)
             ON CONFLICT (service) DO UPDATE SET rotation = ?2, in_force = ?3, known = ?4, sum = ?5",
            &[&service.as_str(), &rotation, &in_force, &body, &s],
        )?;
        Ok(())
    }
}
