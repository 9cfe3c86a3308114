//! Runs: commands in servers of their own. A row is written before anything of its run is declared, and numbers are given once.

use crate::digest::sum;
use crate::fault;
use crate::records::{Lists, Records, Tx, encode, int, nat};
use model::{Fault, JobName, Run, RunId, ServiceName};
use rusqlite::ToSql;

/// The most runs that are kept of a service beside those of its jobs, and of each job; those that are not over apart.
const KEPT: u64 = 500;
const KEPT_OF_JOB: u64 = 100;

type Raw = (String, i64, i64, String, i64);

const RUN: &str = "SELECT service, number, over, body, sum FROM runs";

fn raw(r: &rusqlite::Row<'_>) -> rusqlite::Result<Raw> {
    Ok((r.get(0)?, r.get(1)?, r.get(2)?, r.get(3)?, r.get(4)?))
}

fn job_of(run: &Run) -> Option<&str> {
    run.job.as_ref().map(|start| start.name.as_str())
}

impl Records<'_> {
    pub fn run(&self, id: &RunId) -> Result<Option<Run>, Fault> {
        let sql = format!("{RUN} WHERE service = ?1 AND number = ?2");
        Ok(self.run_rows(&sql, &[&id.service().as_str(), &int(id.number())])?.into_iter().next())
    }

    /// Those that are not over, the oldest first.
    pub fn open_runs(&self) -> Result<Vec<Run>, Fault> {
        self.run_rows(&format!("{RUN} WHERE over = 0 ORDER BY service, number"), &[])
    }

    pub fn open_runs_of(&self, service: &ServiceName) -> Result<Vec<Run>, Fault> {
        self.run_rows(&format!("{RUN} WHERE service = ?1 AND over = 0 ORDER BY number"), &[&service.as_str()])
    }

    /// The newest first.
    pub fn runs_of(&self, service: &ServiceName, limit: u64) -> Result<Vec<Run>, Fault> {
        self.run_rows(&format!("{RUN} WHERE service = ?1 ORDER BY number DESC LIMIT ?2"), &[&service.as_str(), &int(limit)])
    }

    /// The newest first.
    pub fn runs_of_job(&self, service: &ServiceName, job: &JobName, limit: u64) -> Result<Vec<Run>, Fault> {
        let sql = format!("{RUN} WHERE service = ?1 AND job = ?2 ORDER BY number DESC LIMIT ?3");
        self.run_rows(&sql, &[&service.as_str(), &job.as_str(), &int(limit)])
    }

    fn run_rows(&self, sql: &str, args: &[&dyn ToSql]) -> Result<Vec<Run>, Fault> {
        let rows = self.rows(sql, args, raw)?;
        rows.into_iter()
            .map(|(service, number, over, body, s)| {
                let key = format!("{service}.x{number}");
                self.verify("runs", &key, s, &[&service, &number, &over, &body])?;
                let run: Run = self.decode("runs", &key, &body)?;
                if run.id.as_str() == key { Ok(run) } else { Err(fault::corrupt_row(self.path, "runs", &key)) }
            })
            .collect()
    }
}

impl Lists<'_> {
    /// Of all services, in the order in which they were asked for, the newest first.
    pub fn all_runs(&self, limit: u64) -> Result<Vec<Run>, Fault> {
        self.run_rows(&format!("{RUN} ORDER BY rowid DESC LIMIT ?1"), &[&int(limit)])
    }
}

impl Tx<'_> {
    /// Takes the service's next number of a run, lets `make` say what it is, and writes that.
    pub fn open_run(&self, service: &ServiceName, make: impl FnOnce(&RunId) -> Result<Run, Fault>) -> Result<Run, Fault> {
        let last =
            self.row("SELECT coalesce(max(number), 0) FROM runs WHERE service = ?1", &[&service.as_str()], |r| r.get::<_, i64>(0))?;
        let floor = self.row("SELECT value FROM meta WHERE key = 'run_floor'", &[], |r| r.get::<_, i64>(0))?;
        let number = last.unwrap_or(0).max(floor.unwrap_or(0)) + 1;
        let run = make(&RunId::of(service, nat(number)))?;
        self.put_run(&run)?;
        // The newest of each kind stays in any case: the next number is read off it.
        let (job, kept) = (job_of(&run), if run.job.is_some() { KEPT_OF_JOB } else { KEPT });
        self.run(
            "DELETE FROM runs WHERE service = ?1 AND job IS ?3 AND over = 1 AND number <= (
               SELECT number FROM runs WHERE service = ?1 AND job IS ?3 AND over = 1 ORDER BY number DESC LIMIT 1 OFFSET ?2)",
            &[&service.as_str(), &int(kept), &job],
        )?;
        Ok(run)
    }

    pub fn put_run(&self, run: &Run) -> Result<(), Fault> {
        let (service, number, over, body) = (run.service(), int(run.id.number()), i64::from(run.is_over), encode(run)?);
        let s = sum(&[&service, &number, &over, &body]);
        self.run(
            "INSERT INTO runs (service, number, job, over, body, sum) VALUES (?1, ?2, ?6, ?3, ?4, ?5)
             ON CONFLICT (service, number) DO UPDATE SET over = ?3, body = ?4, sum = ?5",
            &[&service.as_str(), &number, &over, &body, &s, &job_of(run)],
        )?;
        Ok(())
    }

    /// After a backup was put back: numbers that were given since it was made are not given again.
    pub(crate) fn runs_ahead(&self, by: u64) -> Result<(), Fault> {
        let last = self.row("SELECT coalesce(max(number), 0) FROM runs", &[], |r| r.get::<_, i64>(0))?.unwrap_or(0);
        let floor = self.row("SELECT value FROM meta WHERE key = 'run_floor'", &[], |r| r.get::<_, i64>(0))?.unwrap_or(0);
        self.run("INSERT OR REPLACE INTO meta (key, value) VALUES ('run_floor', ?1)", &[&(last.max(floor) + int(by))])?;
        Ok(())
    }
}

pub fn no_run(id: &RunId) -> Fault {
    Fault::yours("not-found", format!("there is no run {id}")).hint(format!("`afresh run list {}` lists them", id.service()))
}
