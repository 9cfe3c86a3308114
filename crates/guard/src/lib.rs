//! Pure: what is exposed, what a gate denies, and who waived it.
//!
//! No I/O, no clock (`now_s` is an argument), no randomness. Scans, gates and containment ask the same function, [`public`]. What cannot
//! be read is `Unknown`, never safe.

mod acl;
mod block;
mod cidr;
pub mod contain;
mod cross_account;
mod date;
mod ec2;
mod finding;
pub mod incident;
mod judgement;
pub mod policy;
mod rds;
pub mod report;
pub mod root;
mod rule_file;
pub mod rules;
mod s3;
pub mod secrets;
pub mod service_facts;
mod ternary;
mod terraform;
mod verdict;
pub mod waiver;
mod waiver_text;

pub use acl::{AclGrant, Grantee};
pub use block::{Blocks, PublicAccessBlock, SnapshotSharing};
pub use cidr::AddressSet;
pub use date::{parse_s, show_day, show_s};
pub use ec2::{Ami, EbsSnapshot, IpPermission, PrefixList, SecurityGroup, Sharing};
pub use finding::{Finding, Latent, Severity, fingerprint, latent};
pub use judgement::{Context, CrossAccount, Judgement, Verdict, Way};
pub use policy::Policy;
pub use rds::{RdsInstance, RdsSnapshot, Route, RouteTable};
pub use rule_file::RuleFault;
pub use s3::{AccessPoint, Bucket, Object, Ownership};
pub use ternary::{Fact, Missing, Tri};
pub use terraform::{NotJudged, PlanFault, PlannedResource, TerraformPlan};
pub use verdict::{Resource, public};
