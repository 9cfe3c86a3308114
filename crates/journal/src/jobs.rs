//! Jobs: what is remembered of each beside its runs. What a file no longer has is forgotten.

use crate::digest::sum;
use crate::records::{Lists, Records, Tx, encode};
use model::{Fault, JobName, JobState, ServiceName};

impl Records<'_> {
    pub fn job_state(&self, service: &ServiceName, job: &JobName) -> Result<Option<JobState>, Fault> {
        let sql = "SELECT body, sum FROM jobs WHERE service = ?1 AND name = ?2";
        let row = self.row(sql, &[&service.as_str(), &job.as_str()], |r| Ok((r.get::<_, String>(0)?, r.get::<_, i64>(1)?)))?;
        let Some((body, s)) = row else { return Ok(None) };
        let key = format!("{service} {job}");
        self.verify("jobs", &key, s, &[service, job, &body])?;
        self.decode("jobs", &key, &body).map(Some)
    }
}

impl Lists<'_> {
    /// Of all services.
    pub fn job_names(&self) -> Result<Vec<(ServiceName, JobName)>, Fault> {
        let rows = self
            .rows("SELECT service, name FROM jobs ORDER BY service, name", &[], |r| Ok((r.get::<_, String>(0)?, r.get::<_, String>(1)?)))?;
        rows.into_iter().map(|(service, name)| Ok((self.name("jobs", service)?, self.name("jobs", name)?))).collect()
    }
}

impl Tx<'_> {
    pub fn put_job_state(&self, service: &ServiceName, job: &JobName, state: &JobState) -> Result<(), Fault> {
        let body = encode(state)?;
        let s = sum(&[service, job, &body]);
        self.run(
            "INSERT INTO jobs (service, name, body, sum) VALUES (?1, ?2, ?3, ?4)
             ON CONFLICT (service, name) DO UPDATE SET body = ?3, sum = ?4",
            &[&service.as_str(), &job.as_str(), &body, &s],
        )?;
        Ok(())
    }

    pub fn forget_job(&self, service: &ServiceName, job: &JobName) -> Result<(), Fault> {
        self.run("DELETE FROM jobs WHERE service = ?1 AND name = ?2", &[&service.as_str(), &job.as_str()]).map(drop)
    }
}

pub fn no_job(service: &ServiceName, job: &JobName) -> Fault {
    Fault::yours("not-found", format!("{service} has no job {job}")).hint(format!("`afresh job list {service}` lists them"))
}
