//! What was seen, and when. It may be old; it is never in the future.

use crate::{Digest, GroupName, GroupSeen, RouteSeen, Time};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct View {
    /// Read from the observer's clock *before* it looked, so that everything here is at least this new.
    pub at: Time,
    pub groups: BTreeMap<GroupName, GroupSeen>,
    /// None: the service has no route.
    #[serde(default)]
    pub route: Option<RouteSeen>,
    /// Objects somebody asked about: whether the store has them whole.
    #[serde(default)]
    pub objects: BTreeMap<Digest, bool>,
}
