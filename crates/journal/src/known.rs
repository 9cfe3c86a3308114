//! What a service's journals come to: the groups that may exist, what stands, and which desired state is in force. Derived from closed
//! journals when one is closed, and again from all of them where the summary is missing or does not cover the last.

use crate::digest::sum;
use crate::records::{Records, Tx, encode, int, nat};
use crate::rotations::RotationRow;
use crate::services::ServiceRow;
use model::{Direction, Fault, GroupName, GroupRelease, Release, ServiceName, ServiceSpec, Verdict};
use rotation::Rotation;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// Journals looked back through for what a stopped rotation may have left.
const LOOK_BACK: u64 = 100;

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Known {
    /// Groups that may exist, and the releases they run as far as a journal says.
    pub groups: BTreeSet<GroupName>,
    pub releases: BTreeMap<GroupName, Release>,
    pub active: Option<GroupRelease>,
    /// There is a route, or may be.
    pub routed: bool,
}

impl Known {
    /// With one more rotation, open or closed. One that was promoted whole retired everything that was there before.
    fn with(self, r: &Rotation) -> Known {
        let verdict = r.closed.as_ref().map(|c| c.verdict);
        let whole = verdict == Some(Verdict::Promoted) && r.plan.direction == Direction::Forward;
        // A rotation that was opened as one back to nothing has removed the service.
        let removed = verdict == Some(Verdict::RolledBack) && r.opened.plan.direction == Direction::Back;
        let whole = whole || removed;
        let mut known = if whole { Known { active: self.active, ..Known::default() } } else { self };
        known.groups.extend(r.groups());
        let ends = r.opened.from.iter().filter(|_| !whole).chain([&r.opened.to]);
        for end in ends {
            known.routed |= end.release.route.is_some();
            known.releases.insert(end.group.clone(), end.release.clone());
        }
        if let Some(closed) = &r.closed {
            known.active.clone_from(&closed.final_inventory.active);
        }
        if let Some(active) = &known.active {
            known.groups.insert(active.group.clone());
            known.routed |= active.release.route.is_some();
            known.releases.insert(active.group.clone(), active.release.clone());
        }
        if r.closed.is_some() {
            known.releases.retain(|group, _| known.groups.contains(group));
        }
        known
    }
}

/// The desired state that a closed rotation put in force; None: it left the one before.
fn took(r: &Rotation) -> Option<&ServiceSpec> {
    let closed = r.closed.as_ref()?;
    let stands = closed.final_inventory.active.as_ref().is_some_and(|s| s.group == r.opened.to.group);
    (closed.verdict == Verdict::Promoted || stands && closed.verdict == Verdict::Stopped).then_some(&r.opened.spec)
}

struct Summary {
    rotation: u64,
    /// 0: none was ever in force.
    in_force: u64,
    known: Known,
}

impl Summary {
    /// It had an active release and has none any more, and nothing of it is left.
    fn is_removed(&self) -> bool {
        self.in_force > 0 && self.known.active.is_none() && self.known.groups.is_empty()
    }
}

/// How a service is now, as far as the store knows.
#[derive(Clone, Debug)]
pub struct Now {
    /// The desired state of the release that is active. Where none ever was, the newest.
    pub in_force: ServiceRow,
    pub known: Known,
    pub open: Option<Rotation>,
    pub is_removed: bool,
}

impl Records<'_> {
    /// What the journals know of a service, the open one too.
    pub fn known(&self, service: &ServiceName) -> Result<Known, Fault> {
        let known = self.summary(service)?.known;
        match self.open_rotation_of(service)? {
            None => Ok(known),
            Some(open) => Ok(known.with(&self.fold(&open)?)),
        }
    }

    /// All of it, each read once: no closed journal is folded, and the open one a single time. None: there is no such service.
    pub fn now(&self, service: &ServiceName) -> Result<Option<Now>, Fault> {
        let summary = self.summary(service)?;
        let open = self.open_rotation_of(service)?.map(|open| self.fold(&open)).transpose()?;
        let is_removed = open.is_none() && summary.is_removed();
        let Some(in_force) = self.in_force_by(service, summary.in_force)? else { return Ok(None) };
        let known = open.iter().fold(summary.known, Known::with);
        Ok(Some(Now { in_force, known, open, is_removed }))
    }

    /// The desired state of the release that is active. Where none ever was, the newest.
    pub fn in_force(&self, service: &ServiceName) -> Result<Option<ServiceRow>, Fault> {
        self.in_force_by(service, self.summary(service)?.in_force)
    }

    fn in_force_by(&self, service: &ServiceName, generation: u64) -> Result<Option<ServiceRow>, Fault> {
        match generation {
            0 => self.service(service),
            generation => match self.generation(service, generation)? {
                Some(row) => Ok(Some(row)),
                None => Err(crate::fault::rotten(self.path, "history", format_args!("{service} generation {generation}"))),
            },
        }
    }

    fn fold(&self, row: &RotationRow) -> Result<Rotation, Fault> {
        Rotation::fold(&self.lines(&row.id, 0)?)
    }

    fn last_closed(&self, service: &ServiceName) -> Result<u64, Fault> {
        let sql = "SELECT coalesce(max(number), 0) FROM rotations WHERE service = ?1 AND closed_seq IS NOT NULL";
        Ok(self.row(sql, &[&service.as_str()], |r| r.get::<_, i64>(0))?.map_or(0, nat))
    }

    /// As it was written if it covers the last closed rotation, else from the journals.
    fn summary(&self, service: &ServiceName) -> Result<Summary, Fault> {
        let last = self.last_closed(service)?;
        match self.written_summary(service)? {
            Some(summary) if summary.rotation == last => Ok(summary),
            written => self.derive(service, last, written.map_or(0, |s| s.in_force)),
        }
    }

    fn written_summary(&self, service: &ServiceName) -> Result<Option<Summary>, Fault> {
        let row = self.row("SELECT rotation, in_force, known, sum FROM summaries WHERE service = ?1", &[&service.as_str()], |r| {
            Ok((r.get::<_, i64>(0)?, r.get::<_, i64>(1)?, r.get::<_, String>(2)?, r.get::<_, i64>(3)?))
        })?;
        let Some((rotation, in_force, known, s)) = row else { return Ok(None) };
        self.believe("summaries", service, s, &[service, &rotation, &in_force, &known])?;
        Ok(Some(Summary { rotation: nat(rotation), in_force: nat(in_force), known: self.decode("summaries", service, &known)? }))
    }

    fn derive(&self, service: &ServiceName, last: u64, in_force: u64) -> Result<Summary, Fault> {
        let mut folded = Vec::new();
        let mut spec = None;
        for row in self.closed_rotations(service, LOOK_BACK)? {
            let r = self.fold(&row)?;
            let promoted = r.closed.as_ref().is_some_and(|c| c.verdict == Verdict::Promoted) && r.plan.direction == Direction::Forward;
            let whole = promoted || r.opened.plan.direction == Direction::Back;
            if spec.is_none() {
                spec = took(&r).cloned();
            }
            folded.push(r);
            if whole {
                break;
            }
        }
        let known = folded.iter().rev().fold(Known::default(), Known::with);
        let found = spec.map(|spec| self.generation_of(service, &spec)).transpose()?.flatten();
        Ok(Summary { rotation: last, in_force: found.unwrap_or(in_force), known })
    }
}

impl Tx<'_> {
    /// After a rotation was closed. A journal that makes no sense leaves the service without a summary: whoever needs one is told why.
    pub(crate) fn summarise(&self, service: &ServiceName, closed: &RotationRow) -> Result<(), Fault> {
        let Ok(r) = self.fold(closed) else {
            return self.run("DELETE FROM summaries WHERE service = ?1", &[&service.as_str()]).map(drop);
        };
        let before = match self.written_summary(service)? {
            Some(summary) => summary,
            None => return self.summarise_anew(service).or(Ok(())),
        };
        let found = took(&r).map(|spec| self.generation_of(service, spec)).transpose()?.flatten();
        let in_force = found.unwrap_or(before.in_force);
        self.put_summary(service, &Summary { rotation: closed.id.number(), in_force, known: before.known.with(&r) })
    }

    pub(crate) fn summarise_anew(&self, service: &ServiceName) -> Result<(), Fault> {
        self.put_summary(service, &self.derive(service, self.last_closed(service)?, 0)?)
    }

    /// The newest desired state is in force although nothing was rotated: it differs in what needs no rotation.
    pub fn put_in_force(&self, service: &ServiceName) -> Result<(), Fault> {
        let Some(row) = self.service(service)? else { return Ok(()) };
        let summary = self.summary(service)?;
        if summary.in_force == row.generation || summary.known.active.is_none() {
            return Ok(());
        }
        self.put_summary(service, &Summary { in_force: row.generation, ..summary })
    }

    fn put_summary(&self, service: &ServiceName, summary: &Summary) -> Result<(), Fault> {
        let (rotation, in_force, known) = (int(summary.rotation), int(summary.in_force), encode(&summary.known)?);
        let s = sum(&[service, &rotation, &in_force, &known]);
        self.run(
            "INSERT INTO summaries (service, rotation, in_force, known, sum) VALUES (?1, ?2, ?3, ?4, ?5)
             ON CONFLICT (service) DO UPDATE SET rotation = ?2, in_force = ?3, known = ?4, sum = ?5",
            &[&service.as_str(), &rotation, &in_force, &known, &s],
        )?;
        Ok(())
    }
}
