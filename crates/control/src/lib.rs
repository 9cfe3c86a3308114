//! Pure: from desired state and inventory to what is opened, refused or left alone.
//!
//! No I/O, no clock, no randomness, not async. The server reads the journal, the keeper and the balancer, calls this crate, and commits
//! what it returns in one transaction. The simulator calls the same functions.
//!
//! ```text
//! Selection (a deploy request) ─▶ tiers of Desired ─┐
//! journals ─▶ Summary ──────────────────────────────┼─▶ ObservedService ─▶ Change ─▶ Opened (a rotation's first event) or a fault
//! keeper, balancer ─▶ Inventory, View ──────────────┘
//! ```
//!
//! | file | what |
//! | --- | --- |
//! | `moved` | names in a file to ids, and the renames that it makes |
//! | `selection`, `listeners` | which services a deploy concerns, in the order of tiers; two services never share a listener |
//! | `desired` | a service's desired state and the release that it shall run |
//! | `summary` | what a service's journals come to: known groups, the active release, the desired state in force |
//! | `inventory`, `coverage` | what keeper and balancer hold; running groups that no journal names |
//! | `observed` | everything that a decision about one service is made from |
//! | `forward`, `rollback`, `removal`, `manual`, `adoption` | the rotation that is opened: a new release, an earlier one, none, one step, what runs already |

mod adoption;
mod coverage;
mod desired;
mod forward;
mod inventory;
mod listeners;
mod manual;
mod moved;
mod observed;
mod removal;
mod rollback;
mod selection;
mod summary;

pub use adoption::{Adopted, Proposal, adopt, propose};
pub use coverage::{NOT_COVERED, is_running, uncovered, unknown_groups};
pub use desired::{Desired, with_settings};
pub use forward::{Change, Target, change, open};
pub use inventory::{Inventory, ServiceInventory};
pub use listeners::{must_be_free, must_differ};
pub use manual::{must_own_groups, open_manual_step};
pub use moved::{KnownNames, Rename, Resolved, id_in, resolve, with_ids};
pub use observed::ObservedService;
pub use removal::{must_be_removable, open_removal};
pub use rollback::{RollbackSource, rollback};
pub use selection::{Selection, Tiers, tiers};
pub use summary::{Summary, ends_all_before, removes, spec_in_force};
