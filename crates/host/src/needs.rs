//! What a release needs of this host besides its objects: the values of its secrets, and its volumes. Looked at before a server is made, so
//! that one that cannot start is not counted as one that died; whoever launches looks again.

use crate::admit::Launch;
use crate::keeper::Keeper;
use crate::volumes;
use model::{Fault, Release, VolumeName};
use secret::Secrets;
use std::collections::BTreeMap;

/// Ok: the directories that must be mount points, by volume.
pub fn check(keeper: &Keeper, release: &Release, launch: Launch) -> Result<BTreeMap<VolumeName, String>, Fault> {
    let mut mount_points = BTreeMap::new();
    for volume in &release.volumes {
        let permitted = keeper.permit.ask(&release.service, volume, launch)?;
        volumes::open(volume, permitted.mount_point.as_deref(), keeper.layout.root())?;
        mount_points.extend(permitted.mount_point.map(|point| (volume.name.clone(), point)));
    }
    let pinned = &release.secrets;
    if pinned.is_empty() {
        return Ok(mount_points);
    }
    let secrets = Secrets::of(&keeper.layout);
    for (name, version) in &pinned.versions {
        secrets.must_have(&release.service, name, version)?;
    }
    secrets.check().map(|()| mount_points)
}
