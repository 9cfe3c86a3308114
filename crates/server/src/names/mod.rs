//! Names of services at the edge: requests come with names and go on with ids, answers leave with names. Nothing else of the control plane
//! knows that a service can be called otherwise.
//!
//! | file | what |
//! | --- | --- |
//! | `request` | a deploy: the ids behind the names of its file, and the renames that it makes |
//! | `show` | ids in answers to names |
//! | `file` | the names on disk, for the keeper; they outlive the journal |

mod file;
mod request;
mod show;

pub use file::{adopt, all, keep_published, read};
pub use request::{of_request, record};
pub use show::{rows, show, shown};
