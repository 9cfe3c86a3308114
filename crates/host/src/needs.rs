//! What a release needs of this host besides its objects: the values of its secrets, and its volumes. Looked at before a server is made, so
//! that one that cannot start is not counted as one that died; whoever launches looks again.

use crate::admit::REFUSED;
use crate::declared::MountPoints;
use crate::keeper::Keeper;
use crate::state::State;
use crate::volumes;
use model::{Fault, GroupName, Release, Volume};
use secret::Secrets;

/// Whose servers they are.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Group {
    /// It never had a server.
    New,
    /// What had to be mounted for its last server. None: that is not known any more.
    Begun(Option<MountPoints>),
}

impl Group {
    pub fn of(state: &State, name: &GroupName) -> Self {
        // A number is given only after the first admission, and a lost summary restarts far beyond every number that is found.
        let is_new = state.groups.get(name).is_none_or(|group| group.summary.last == 0);
        if is_new { Self::New } else { Self::Begun(state.mount_points_of(name)) }
    }
}

pub struct Needs {
    pub mount_points: MountPoints,
    /// Volumes that the rules permitted when the group began, and permit no longer: it keeps them.
    pub withdrawn: Vec<Fault>,
}

pub fn check(keeper: &Keeper, release: &Release, group: &Group) -> Result<Needs, Fault> {
    let mut needs = Needs { mount_points: MountPoints::new(), withdrawn: Vec::new() };
    for volume in &release.volumes {
        let asked = keeper.permit.ask(&release.service, volume).map(|permitted| permitted.mount_point);
        let mount_point = asked.or_else(|fault| kept(group, volume, fault, &mut needs.withdrawn))?;
        volumes::open(volume, mount_point.as_deref(), keeper.layout.root())?;
        needs.mount_points.extend(mount_point.map(|point| (volume.name.clone(), point)));
    }
    let pinned = &release.secrets;
    if pinned.is_empty() {
        return Ok(needs);
    }
    let secrets = Secrets::of(&keeper.layout);
    for (name, version) in &pinned.versions {
        secrets.must_have(&release.service, name, version)?;
    }
    secrets.check().map(|()| needs)
}

/// A refusal by the rules ends no group that has begun: it goes on with what had to be mounted then. Where that is unknown nothing starts, as
/// a server on the empty directory below a mount point would be worse than none.
fn kept(group: &Group, volume: &Volume, refused: Fault, withdrawn: &mut Vec<Fault>) -> Result<Option<String>, Fault> {
    match group {
        Group::Begun(Some(points)) if refused.code == REFUSED => {
            withdrawn.push(refused);
            Ok(points.get(&volume.name).cloned())
        }
        Group::Begun(None) if refused.code == REFUSED => {
            let message = format!("{}; what must be mounted for it is not known any more", refused.message);
            Err(Fault { message, ..refused })
        }
        _ => Err(refused),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::VolumeName;

    fn volume() -> Volume {
        let (source, at) = ("/srv/db".to_string(), "/data".to_string());
        Volume { name: VolumeName::new("db").unwrap(), source, at, read_only: false }
    }

    #[test]
    fn a_group_that_has_begun_keeps_its_volume_and_what_must_be_mounted() {
        let points = MountPoints::from([(volume().name, "/srv/db".to_string())]);
        let mut withdrawn = Vec::new();
        let mut of = |group: Group, code: &str| {
            kept(&group, &volume(), Fault::yours(code, "no"), &mut withdrawn).map_err(|fault| (fault.code, fault.message))
        };
        let refused = |message: &str| Err((REFUSED.to_string(), message.to_string()));
        assert_eq!(of(Group::Begun(Some(points.clone())), REFUSED), Ok(Some("/srv/db".to_string())));
        assert_eq!(of(Group::Begun(Some(MountPoints::new())), REFUSED), Ok(None), "nothing had to be mounted");
        assert_eq!(of(Group::Begun(None), REFUSED), refused("no; what must be mounted for it is not known any more"));
        assert_eq!(of(Group::New, REFUSED), refused("no"));
        // Rules that cannot be read withdraw nothing: they are waited for.
        assert_eq!(of(Group::Begun(Some(points)), "policy-invalid").unwrap_err().0, "policy-invalid");
        assert_eq!(withdrawn.len(), 2);
    }
}
