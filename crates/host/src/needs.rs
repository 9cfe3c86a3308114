//! What a release needs of this host besides its objects: the values of its secrets. Looked at before a server is made, so that one that
//! cannot start is not counted as one that died; whoever launches looks again.

use model::{Fault, Layout, Release};
use secret::Secrets;

pub fn check(layout: &Layout, release: &Release) -> Result<(), Fault> {
    let pinned = &release.secrets;
    if pinned.is_empty() {
        return Ok(());
    }
    let secrets = Secrets::of(layout);
    for (name, version) in &pinned.versions {
        secrets.must_have(&release.service, name, version)?;
    }
    secrets.check()
}
