//! Which releases are migrated: an index over the journals, written in the transaction of the line that says so.

use crate::digest::sum;
use crate::records::{Records, Tx, int, nat};
use model::{Digest, Fault, RotationId, ServiceName, Time};

/// A migration that succeeded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MigrationRow {
    /// The rotation in whose journal its end stands; of a release that was taken over, the one that took it over.
    pub rotation: RotationId,
    pub at: Time,
}

impl Records<'_> {
    /// The success of the migration of the release with this digest. None: it has not succeeded, for all that the journal knows.
    pub fn migration(&self, service: &ServiceName, release: &Digest) -> Result<Option<MigrationRow>, Fault> {
        let sql = "SELECT rotation, at, sum FROM migrations WHERE service = ?1 AND digest = ?2";
        let row = self.row(sql, &[&service.as_str(), &release.as_str()], |r| {
            Ok((r.get::<_, String>(0)?, r.get::<_, i64>(1)?, r.get::<_, i64>(2)?))
        })?;
        let Some((rotation, at, s)) = row else { return Ok(None) };
        self.verify("migrations", &format_args!("{service} {release}"), s, &[service, release, &rotation, &at])?;
        Ok(Some(MigrationRow { rotation: self.name("migrations", rotation)?, at: Time(nat(at)) }))
    }
}

impl Tx<'_> {
    /// The first success stays: there is no second.
    pub fn put_migration(&self, service: &ServiceName, release: &Digest, rotation: &RotationId, at: Time) -> Result<(), Fault> {
        let at = int(at.0);
        let s = sum(&[service, release, rotation, &at]);
        self.run(
            "INSERT INTO migrations (service, digest, rotation, at, sum) VALUES (?1, ?2, ?3, ?4, ?5)
             ON CONFLICT (service, digest) DO NOTHING",
            &[&service.as_str(), &release.as_str(), &rotation.as_str(), &at, &s],
        )?;
        Ok(())
    }
}
