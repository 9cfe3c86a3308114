//! What deploys brought: recipes, and services on images. Data; which recipe is in force is in `recipes`.

use model::{Digest, ImageSpec, ServiceName, TierName, Time};
use serde::{Deserialize, Serialize};

/// A recipe that somebody deployed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deployed {
    /// Of all that it says, schedule and checks too. Desired states name it by this.
    pub id: Digest,
    pub recipe: ImageSpec,
    pub by: String,
    /// They were deployed with it, or baked from it; oldest first.
    #[serde(default)]
    pub images: Vec<Digest>,
}

/// A service whose active release has an image of the life's name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    pub service: ServiceName,
    pub tier: TierName,
    /// The image it stands on.
    pub on: Digest,
    pub moved: Moved,
    /// The recipe that its desired state in force names. None: an older version deployed it.
    pub recipe: Option<Digest>,
    /// When that desired state was recorded.
    pub since: Time,
    /// What is under way there, if anything is.
    pub busy: Option<String>,
    /// When nothing is to be rolled out there by itself.
    pub freeze: Vec<String>,
}

/// Who moved a service to the image it stands on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Moved {
    ByItself,
    /// Somebody's deploy or rollback did, away from the image named.
    BySomebody {
        from: Option<Digest>,
    },
}

impl Standing {
    pub fn is_by_somebody(&self) -> bool {
        self.moved != Moved::ByItself
    }
}
