//! Rollouts: the plan, and how it ended. The rows of its rotations name it.

use crate::digest::sum;
use crate::records::{Records, Tx, encode, int, nat};
use model::{Fault, RolloutEnd, RolloutId, RolloutPlan, RolloutSeen, Time};
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq)]
pub struct RolloutRow {
    pub id: RolloutId,
    pub plan: RolloutPlan,
    pub at: Time,
    /// Who paused it: no further tier is opened.
    pub paused: Option<String>,
    pub end: Option<RolloutEnd>,
    /// Why it ended so.
    pub why: Option<String>,
}

/// The content of the column `plan`.
#[derive(Serialize, Deserialize)]
struct Body {
    #[serde(flatten)]
    plan: RolloutPlan,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    paused: Option<String>,
}

type Raw = (i64, i64, String, Option<String>, Option<String>, i64);

const ROLLOUT: &str = "SELECT number, at, plan, ended, why, sum FROM rollouts";

fn raw(r: &rusqlite::Row<'_>) -> rusqlite::Result<Raw> {
    Ok((r.get(0)?, r.get(1)?, r.get(2)?, r.get(3)?, r.get(4)?, r.get(5)?))
}

impl Records<'_> {
    pub fn rollout(&self, id: &RolloutId) -> Result<Option<RolloutRow>, Fault> {
        self.row(&format!("{ROLLOUT} WHERE number = ?1"), &[&int(id.number())], raw)?.map(|row| self.rollout_row(row)).transpose()
    }

    /// Those that have not ended, oldest first.
    pub fn open_rollouts(&self) -> Result<Vec<RolloutRow>, Fault> {
        let rows = self.rows(&format!("{ROLLOUT} WHERE ended IS NULL ORDER BY number"), &[], raw)?;
        rows.into_iter().map(|row| self.rollout_row(row)).collect()
    }

    /// The newest first, at most this many.
    pub fn rollouts(&self, limit: u64) -> Result<Vec<RolloutSeen>, Fault> {
        let rows = self.rows(&format!("{ROLLOUT} ORDER BY number DESC LIMIT ?1"), &[&int(limit)], raw)?;
        rows.into_iter().map(|row| self.with_rotations(self.rollout_row(row)?)).collect()
    }

    pub fn rollout_seen(&self, id: &RolloutId) -> Result<Option<RolloutSeen>, Fault> {
        self.rollout(id)?.map(|row| self.with_rotations(row)).transpose()
    }

    /// With its rotations and their verdicts.
    fn with_rotations(&self, row: RolloutRow) -> Result<RolloutSeen, Fault> {
        let mut rotations = Vec::new();
        for rotation in self.rotations_of(&row.id)? {
            let verdict = self.verdict(&rotation)?;
            rotations.push((rotation.id, verdict));
        }
        Ok(RolloutSeen { id: row.id, at: row.at, plan: row.plan, rotations, paused: row.paused, end: row.end, why: row.why })
    }

    fn rollout_row(&self, (number, at, plan, ended, why, s): Raw) -> Result<RolloutRow, Fault> {
        let key = format!("rollout.{number}");
        let (word, reason) = (ended.as_deref().unwrap_or_default(), why.as_deref().unwrap_or_default());
        self.verify("rollouts", &key, s, &[&number, &at, &plan, &word, &reason])?;
        let end = ended.map(|e| self.decode("rollouts", &key, &e)).transpose()?;
        let Body { plan, paused } = self.decode("rollouts", &key, &plan)?;
        Ok(RolloutRow { id: RolloutId::of(nat(number)), plan, at: Time(nat(at)), paused, end, why })
    }
}

impl Tx<'_> {
    pub fn open_rollout(&self, plan: &RolloutPlan, at: Time) -> Result<RolloutId, Fault> {
        let last = self.row("SELECT coalesce(max(number), 0) FROM rollouts", &[], |r| r.get::<_, i64>(0))?;
        let number = last.unwrap_or(0) + 1;
        let (body, at) = (encode(plan)?, int(at.0));
        let s = sum(&[&number, &at, &body, &"", &""]);
        self.run("INSERT INTO rollouts (number, at, plan, sum) VALUES (?1, ?2, ?3, ?4)", &[&number, &at, &body, &s])?;
        Ok(RolloutId::of(nat(number)))
    }

    /// `by`: who pauses it; None: it goes on.
    pub fn pause_rollout(&self, id: &RolloutId, by: Option<&str>) -> Result<(), Fault> {
        let row = self.rollout(id)?.ok_or_else(|| no_rollout(id))?;
        if row.end.is_some() {
            return Err(Fault::yours("closed", format!("{id} has ended; it takes no more commands"))
                .hint("`afresh rollback SERVICE` returns to the release before"));
        }
        let body = encode(&Body { plan: row.plan, paused: by.map(str::to_string) })?;
        let s = sum(&[&int(id.number()), &int(row.at.0), &body, &"", &""]);
        self.run("UPDATE rollouts SET plan = ?2, sum = ?3 WHERE number = ?1", &[&int(id.number()), &body, &s])?;
        Ok(())
    }

    /// Ending one that has ended changes nothing.
    pub fn end_rollout(&self, id: &RolloutId, end: RolloutEnd, why: &str) -> Result<(), Fault> {
        let row = self.rollout(id)?.ok_or_else(|| no_rollout(id))?;
        if row.end.is_some() {
            return Ok(());
        }
        let (word, body) = (encode(&end)?, encode(&Body { plan: row.plan, paused: row.paused })?);
        let s = sum(&[&int(id.number()), &int(row.at.0), &body, &word, &why]);
        self.run(
            "UPDATE rollouts SET ended = ?2, plan = ?3, why = ?4, sum = ?5 WHERE number = ?1",
            &[&int(id.number()), &word, &body, &why, &s],
        )?;
        Ok(())
    }
}

pub fn no_rollout(id: &RolloutId) -> Fault {
    Fault::yours("not-found", format!("there is no rollout {id}")).hint("`afresh rollout list` lists them")
}
