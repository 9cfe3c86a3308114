//! Pure: what is exposed, what a gate denies, and who waived it.
//!
//! No I/O, no clock (`now_s` is an argument), no randomness. Scans, gates and containment ask the same function, [`public`]. What cannot
//! be read is `Unknown`, never safe.

mod block;
mod cidr;
mod cross_account;
mod date;
mod ec2;
mod finding;
pub mod policy;
mod rds;
pub mod report;
mod rule_file;
pub mod rules;
mod s3;
pub mod secrets;
mod ternary;
mod verdict;
pub mod waiver;

pub use block::{Blocks, PublicAccessBlock};
pub use cidr::AddressSet;
pub use date::{parse_s, show_day};
pub use ec2::{Ami, EbsSnapshot, IpPermission, SecurityGroup, Sharing, SnapshotSharing};
pub use finding::{Finding, Latent, Severity, fingerprint, latent};
pub use policy::Policy;
pub use rds::{RdsInstance, RdsSnapshot, Route, RouteTable};
pub use rule_file::RuleFault;
pub use s3::{AccessPoint, AclGrant, Bucket, Grantee, Object, Ownership};
pub use ternary::{Fact, Missing, Tri};
pub use verdict::{Context, CrossAccount, Judgement, Resource, Verdict, Way, public};
