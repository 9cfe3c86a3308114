//! Rotations and their journals as records: opening one, listing them, reading lines, and what can be derived from them.

use crate::digest::sum;
use crate::fault;
use crate::records::{Records, Tx, encode, int, nat};
use crate::services::Head;
use model::{
    Event, EventLine, Fault, Fence, GroupRelease, IssuedCommand, Opened, RolloutId, RotationCommand, RotationId, ServiceName, Time, Verdict,
};
use rusqlite::ToSql;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RotationRow {
    pub id: RotationId,
    pub service: ServiceName,
    pub rollout: Option<RolloutId>,
    /// The place of the `Closed` line; None: it is open.
    pub closed_seq: Option<u64>,
}

/// A line with its place in the whole database.
#[derive(Clone, Debug, PartialEq)]
pub struct Numbered {
    pub number: u64,
    pub line: EventLine,
}

/// Where a rotation comes from.
#[derive(Clone, Debug)]
pub struct Origin<'a> {
    pub service: &'a ServiceName,
    pub rollout: Option<&'a RolloutId>,
    pub at: Time,
}

type RawRotation = (String, String, i64, Option<i64>, Option<i64>, i64);
type RawLine = (i64, String, i64, i64, i64, String, i64);

const ROTATION: &str = "SELECT id, service, number, rollout, closed_seq, sum FROM rotations";
const LINE: &str = "SELECT number, rotation, seq, at, fence, body, sum FROM events";

fn raw_rotation(r: &rusqlite::Row<'_>) -> rusqlite::Result<RawRotation> {
    Ok((r.get(0)?, r.get(1)?, r.get(2)?, r.get(3)?, r.get(4)?, r.get(5)?))
}

fn raw_line(r: &rusqlite::Row<'_>) -> rusqlite::Result<RawLine> {
    Ok((r.get(0)?, r.get(1)?, r.get(2)?, r.get(3)?, r.get(4)?, r.get(5)?, r.get(6)?))
}

pub(crate) fn rotation_sum(row: &RotationRow) -> i64 {
    let rollout = row.rollout.as_ref().map_or(0, RolloutId::number);
    let closed = row.closed_seq.map_or(-1, int);
    sum(&[&row.id, &row.service, &row.id.number(), &rollout, &closed])
}

impl Records<'_> {
    /// Newest first, over all services by the number of their `Opened` line.
    pub fn rotations(&self, service: Option<&ServiceName>, limit: u64) -> Result<Vec<RotationRow>, Fault> {
        let sql = "SELECT r.id, r.service, r.number, r.rollout, r.closed_seq, r.sum FROM rotations r JOIN events e ON e.rotation = r.id AND e.seq = 0
                   WHERE ?1 IS NULL OR r.service = ?1 ORDER BY e.number DESC LIMIT ?2";
        self.rotation_rows(sql, &[&service.map(ServiceName::as_str), &int(limit)])
    }

    /// Newest first.
    pub fn closed_rotations(&self, service: &ServiceName, limit: u64) -> Result<Vec<RotationRow>, Fault> {
        let sql = format!("{ROTATION} WHERE service = ?1 AND closed_seq IS NOT NULL ORDER BY number DESC LIMIT ?2");
        self.rotation_rows(&sql, &[&service.as_str(), &int(limit)])
    }

    /// Oldest first.
    pub fn open_rotations(&self) -> Result<Vec<RotationRow>, Fault> {
        self.rotation_rows(&format!("{ROTATION} WHERE closed_seq IS NULL ORDER BY service"), &[])
    }

    /// `busy` while a rotation of the service is open.
    pub fn must_be_free(&self, service: &ServiceName) -> Result<(), Fault> {
        let Some(open) = self.open_rotation_of(service)? else { return Ok(()) };
        Err(Fault::yours("busy", format!("{service} has an open rotation, {}", open.id)).hint(format!(
            "wait for it (`afresh why {service}`), or end it: `afresh rotation abort {0}` or `afresh rotation stop {0}`",
            open.id
        )))
    }

    pub fn open_rotation_of(&self, service: &ServiceName) -> Result<Option<RotationRow>, Fault> {
        let rows = self.rotation_rows(&format!("{ROTATION} WHERE service = ?1 AND closed_seq IS NULL"), &[&service.as_str()])?;
        Ok(rows.into_iter().next())
    }

    pub fn rotation(&self, id: &RotationId) -> Result<Option<RotationRow>, Fault> {
        Ok(self.rotation_rows(&format!("{ROTATION} WHERE id = ?1"), &[&id.as_str()])?.into_iter().next())
    }

    /// In the order they were opened.
    pub fn rotations_of(&self, rollout: &RolloutId) -> Result<Vec<RotationRow>, Fault> {
        let sql = "SELECT r.id, r.service, r.number, r.rollout, r.closed_seq, r.sum FROM rotations r JOIN events e ON e.rotation = r.id AND e.seq = 0
                   WHERE r.rollout = ?1 ORDER BY e.number";
        self.rotation_rows(sql, &[&int(rollout.number())])
    }

    fn rotation_rows(&self, sql: &str, args: &[&dyn ToSql]) -> Result<Vec<RotationRow>, Fault> {
        let rows = self.rows(sql, args, raw_rotation)?;
        rows.into_iter()
            .map(|(id, service, _, rollout, closed, s)| {
                let row = RotationRow {
                    id: self.name("rotations", id)?,
                    service: self.name("rotations", service)?,
                    rollout: rollout.map(|n| RolloutId::of(nat(n))),
                    closed_seq: closed.map(nat),
                };
                if rotation_sum(&row) == s { Ok(row) } else { Err(fault::corrupt_row(self.path, "rotations", &row.id)) }
            })
            .collect()
    }

    /// Lines from `from_seq` on; a gap is corruption.
    pub fn lines(&self, rotation: &RotationId, from_seq: u64) -> Result<Vec<EventLine>, Fault> {
        let sql = format!("{LINE} WHERE rotation = ?1 AND seq >= ?2 ORDER BY seq");
        let rows = self.rows(&sql, &[&rotation.as_str(), &int(from_seq)], raw_line)?;
        let mut lines = Vec::with_capacity(rows.len());
        for row in rows {
            let line = self.line(row)?.line;
            if line.seq != from_seq + lines.len() as u64 {
                return Err(fault::corrupt_row(self.path, "events", format_args!("{rotation}/{}", from_seq + lines.len() as u64)));
            }
            lines.push(line);
        }
        Ok(lines)
    }

    /// The `Opened` line; None: there is no such rotation.
    pub fn first_line(&self, rotation: &RotationId) -> Result<Option<EventLine>, Fault> {
        let row = self.row(&format!("{LINE} WHERE rotation = ?1 AND seq = 0"), &[&rotation.as_str()], raw_line)?;
        row.map(|row| Ok(self.line(row)?.line)).transpose()
    }

    /// Lines of all journals after a number, oldest first.
    pub fn events(&self, after: u64, limit: u64) -> Result<Vec<Numbered>, Fault> {
        let rows = self.rows(&format!("{LINE} WHERE number > ?1 ORDER BY number LIMIT ?2"), &[&int(after), &int(limit)], raw_line)?;
        rows.into_iter().map(|row| self.line(row)).collect()
    }

    /// The number of the newest line in the database; 0: there is none.
    pub fn last_event(&self) -> Result<u64, Fault> {
        let last = self.row("SELECT coalesce(max(number), 0) FROM events", &[], |r| r.get::<_, i64>(0))?;
        Ok(last.map_or(0, nat))
    }

    fn line(&self, (number, rotation, seq, at, fence, body, s): RawLine) -> Result<Numbered, Fault> {
        let key = format!("{rotation}/{seq}");
        self.verify("events", &key, s, &[&rotation, &seq, &at, &fence, &body])?;
        let event: Event = self.decode("events", &key, &body)?;
        let rotation = self.name("events", rotation)?;
        Ok(Numbered {
            number: nat(number),
            line: EventLine { rotation, seq: nat(seq), at: Time(nat(at)), fence: Fence(nat(fence)), event },
        })
    }

    pub(crate) fn lines_count(&self, rotation: &RotationId) -> Result<u64, Fault> {
        let count =
            self.row("SELECT coalesce(max(seq) + 1, 0) FROM events WHERE rotation = ?1", &[&rotation.as_str()], |r| r.get::<_, i64>(0))?;
        Ok(count.map_or(0, nat))
    }

    /// How a rotation ended; None: it is open.
    pub fn verdict(&self, row: &RotationRow) -> Result<Option<Verdict>, Fault> {
        Ok(self.closed(row)?.map(|(verdict, _)| verdict))
    }

    fn closed(&self, row: &RotationRow) -> Result<Option<(Verdict, Option<GroupRelease>)>, Fault> {
        let Some(seq) = row.closed_seq else { return Ok(None) };
        match self.lines(&row.id, seq)?.into_iter().next().map(|l| l.event) {
            Some(Event::Closed { verdict, final_inventory, .. }) => Ok(Some((verdict, final_inventory.active))),
            _ => Err(fault::corrupt_row(self.path, "events", format_args!("{}/{seq}", row.id))),
        }
    }

    /// The active group and release: read off the final inventory of the last closed rotation, never stored a second time.
    pub fn active(&self, service: &ServiceName) -> Result<Option<GroupRelease>, Fault> {
        let sql = format!("{ROTATION} WHERE service = ?1 AND closed_seq IS NOT NULL ORDER BY number DESC LIMIT 1");
        match self.rotation_rows(&sql, &[&service.as_str()])?.first() {
            None => Ok(None),
            Some(row) => Ok(self.closed(row)?.and_then(|(_, active)| active)),
        }
    }

    /// The releases that were active, newest first; at most `limit`, and none twice in a row.
    pub fn were_active(&self, service: &ServiceName, limit: usize) -> Result<Vec<GroupRelease>, Fault> {
        let sql = format!("{ROTATION} WHERE service = ?1 AND closed_seq IS NOT NULL ORDER BY number DESC");
        let mut previous: Vec<GroupRelease> = Vec::new();
        for row in self.rotation_rows(&sql, &[&service.as_str()])? {
            let Some((_, Some(active))) = self.closed(&row)? else { continue };
            if previous.last().is_none_or(|s| s.release.number != active.release.number) {
                previous.push(active);
            }
            if previous.len() >= limit {
                break;
            }
        }
        Ok(previous)
    }

    /// What was active last with servers, and how many it had: what a parked service was before.
    pub fn served_last(&self, service: &ServiceName) -> Result<Option<(GroupRelease, u32)>, Fault> {
        let sql = format!("{ROTATION} WHERE service = ?1 AND closed_seq IS NOT NULL ORDER BY number DESC");
        for row in self.rotation_rows(&sql, &[&service.as_str()])? {
            let Some((Verdict::Promoted, Some(active))) = self.closed(&row)? else { continue };
            let Some(Event::Opened(opened)) = self.first_line(&row.id)?.map(|l| l.event) else { continue };
            if opened.spec.count > 0 && opened.to == active {
                return Ok(Some((active, opened.spec.count)));
            }
        }
        Ok(None)
    }

    /// Commands that users gave to a rotation, after number `after`.
    pub fn commands(&self, rotation: &RotationId, after: u64) -> Result<Vec<IssuedCommand>, Fault> {
        let rows = self.rows(
            "SELECT n, command, by, at, sum FROM commands WHERE rotation = ?1 AND n > ?2 ORDER BY n",
            &[&rotation.as_str(), &int(after)],
            |r| Ok((r.get::<_, i64>(0)?, r.get::<_, String>(1)?, r.get::<_, String>(2)?, r.get::<_, i64>(3)?, r.get::<_, i64>(4)?)),
        )?;
        rows.into_iter()
            .map(|(n, command, by, at, s)| {
                let key = format!("{rotation} command {n}");
                self.verify("commands", &key, s, &[rotation, &n, &command, &by, &at])?;
                Ok(IssuedCommand { n: nat(n), command: self.decode("commands", &key, &command)?, by })
            })
            .collect()
    }
}

impl Tx<'_> {
    /// Takes the service's next rotation number, lets `make` say what the rotation is (it gets the active group and release), and writes
    /// that as line 0. Refused (`busy`) while another rotation of the service is open. The desired state was recorded before.
    pub fn open_rotation(
        &self,
        origin: &Origin<'_>,
        make: impl FnOnce(&RotationId, Option<GroupRelease>) -> Result<Opened, Fault>,
    ) -> Result<RotationId, Fault> {
        let service = origin.service;
        self.must_be_free(service)?;
        let Some(head) = self.head(service)? else { return Err(no_service(service)) };
        let number = head.rotation_last + 1;
        let id = RotationId::of(service, number);
        let opened = make(&id, self.active(service)?)?;
        self.put_head(service, &Head { generation: head.generation, rotation_last: number })?;
        let row = RotationRow { id: id.clone(), service: service.clone(), rollout: origin.rollout.cloned(), closed_seq: None };
        let rollout = row.rollout.as_ref().map(|r| int(r.number()));
        self.run(
            "INSERT INTO rotations (id, service, number, rollout, closed_seq, sum) VALUES (?1, ?2, ?3, ?4, NULL, ?5)",
            &[&id.as_str(), &service.as_str(), &int(number), &rollout, &rotation_sum(&row)],
        )?;
        self.put_line(&id, 0, origin.at, Fence(0), &Event::Opened(opened))?;
        Ok(id)
    }

    pub(crate) fn put_line(&self, rotation: &RotationId, seq: u64, at: Time, fence: Fence, event: &Event) -> Result<(), Fault> {
        let body = encode(event)?;
        let (seq, at, fence) = (int(seq), int(at.0), int(fence.0));
        let s = sum(&[rotation, &seq, &at, &fence, &body]);
        self.run(
            "INSERT INTO events (rotation, seq, at, fence, body, sum) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            &[&rotation.as_str(), &seq, &at, &fence, &body, &s],
        )?;
        Ok(())
    }

    /// Records a command of a user; returns its number. A closed rotation takes none (`closed`).
    pub fn command(&self, rotation: &RotationId, command: RotationCommand, by: &str, at: Time) -> Result<u64, Fault> {
        let Some(row) = self.rotation(rotation)? else { return Err(no_rotation(rotation)) };
        if row.closed_seq.is_some() {
            return Err(Fault::yours("closed", format!("{rotation} is closed; it takes no more commands"))
                .hint(format!("`afresh rollback {}` rolls back to the release before", row.service)));
        }
        let last =
            self.row("SELECT coalesce(max(n), 0) FROM commands WHERE rotation = ?1", &[&rotation.as_str()], |r| r.get::<_, i64>(0))?;
        let n = last.unwrap_or(0) + 1;
        let (word, at) = (encode(&command)?, int(at.0));
        let s = sum(&[rotation, &n, &word, &by, &at]);
        self.run(
            "INSERT INTO commands (rotation, n, command, by, at, sum) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            &[&rotation.as_str(), &n, &word, &by, &at, &s],
        )?;
        Ok(nat(n))
    }
}

pub fn no_service(service: &ServiceName) -> Fault {
    Fault::yours("not-found", format!("there is no service {service}")).hint("`afresh status` lists the services that were deployed")
}

pub fn no_rotation(rotation: &RotationId) -> Fault {
    Fault::yours("not-found", format!("there is no rotation {rotation}")).hint("`afresh step list` and `afresh events` show rotations")
}
