//! What was observed, and when. A view may be old; it is never from the future.

use crate::{Digest, GroupName, GroupSeen, RouteSeen, Time};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct View {
    /// Read from the observer's clock *before* it observed, so that everything here is at least this new.
    pub at: Time,
    pub groups: BTreeMap<GroupName, GroupSeen>,
    /// None: the service has no route.
    #[serde(default)]
    pub route: Option<RouteSeen>,
    /// The objects that were to be verified: whether the store has them, undamaged.
    #[serde(default)]
    pub objects: BTreeMap<Digest, bool>,
}
