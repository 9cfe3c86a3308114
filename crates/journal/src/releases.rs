//! Releases: numbered once, never changed. The same content for the same service is the same release.

use crate::digest::{digest_of, sum};
use crate::records::{Lists, Records, Tx, encode, int, nat};
use model::{Digest, Fault, Release, ServiceName, Time};

#[derive(Clone, Debug, PartialEq)]
pub struct ReleaseRow {
    pub release: Release,
    pub digest: Digest,
    pub at: Time,
}

type Raw = (String, i64, String, i64, String, i64);

fn raw(r: &rusqlite::Row<'_>) -> rusqlite::Result<Raw> {
    Ok((r.get(0)?, r.get(1)?, r.get(2)?, r.get(3)?, r.get(4)?, r.get(5)?))
}

impl Records<'_> {
    /// By number.
    pub fn releases(&self, service: &ServiceName) -> Result<Vec<ReleaseRow>, Fault> {
        let rows = self.rows(
            "SELECT service, number, digest, at, body, sum FROM releases WHERE service = ?1 ORDER BY number",
            &[&service.as_str()],
            raw,
        )?;
        rows.into_iter().map(|row| self.release_row(row)).collect()
    }

    pub fn release(&self, service: &ServiceName, number: u64) -> Result<Option<ReleaseRow>, Fault> {
        let row = self.row(
            "SELECT service, number, digest, at, body, sum FROM releases WHERE service = ?1 AND number = ?2",
            &[&service.as_str(), &int(number)],
            raw,
        )?;
        row.map(|row| self.release_row(row)).transpose()
    }

    fn release_row(&self, (service, number, digest, at, body, s): Raw) -> Result<ReleaseRow, Fault> {
        let key = format!("{service}@r{number}");
        self.verify("releases", &key, s, &[&service, &number, &digest, &at, &body])?;
        Ok(ReleaseRow { release: self.decode("releases", &key, &body)?, digest: self.name("releases", digest)?, at: Time(nat(at)) })
    }
}

impl Lists<'_> {
    /// Of all services, by service and number.
    pub fn all_releases(&self) -> Result<Vec<ReleaseRow>, Fault> {
        let rows = self.rows("SELECT service, number, digest, at, body, sum FROM releases ORDER BY service, number", &[], raw)?;
        rows.into_iter().map(|row| self.release_row(row)).collect()
    }
}

impl Tx<'_> {
    /// A release that another journal numbered. It keeps its number if that is free and the content is new; the group that runs it keeps
    /// its own copy in any case.
    pub fn keep_release(&self, release: &Release, at: Time) -> Result<(), Fault> {
        let digest = digest_of(release);
        let (service, number, body, at) = (release.service.as_str(), int(release.number), encode(release)?, int(at.0));
        let s = sum(&[&service, &number, &digest, &at, &body]);
        self.run(
            "INSERT OR IGNORE INTO releases (service, number, digest, at, body, sum) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            &[&service, &number, &digest.as_str(), &at, &body, &s],
        )?;
        Ok(())
    }

    /// Gives the content its number: the one that it has already, or the next. `release.number` is ignored.
    pub fn put_release(&self, release: &Release, at: Time) -> Result<ReleaseRow, Fault> {
        let digest = digest_of(release);
        let service = release.service.as_str();
        let known = self.row(
            "SELECT service, number, digest, at, body, sum FROM releases WHERE service = ?1 AND digest = ?2",
            &[&service, &digest.as_str()],
            raw,
        )?;
        if let Some(row) = known {
            return self.release_row(row);
        }
        let last = self.row("SELECT coalesce(max(number), 0) FROM releases WHERE service = ?1", &[&service], |r| r.get::<_, i64>(0))?;
        let number = last.unwrap_or(0) + 1;
        let release = Release { number: nat(number), ..release.clone() };
        let body = encode(&release)?;
        let stamp = int(at.0);
        let s = sum(&[&service, &number, &digest, &stamp, &body]);
        self.run(
            "INSERT INTO releases (service, number, digest, at, body, sum) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            &[&service, &number, &digest.as_str(), &stamp, &body, &s],
        )?;
        Ok(ReleaseRow { release, digest, at: Time(nat(stamp)) })
    }
}
