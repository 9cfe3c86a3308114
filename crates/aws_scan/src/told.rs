//! What a scan is asked for, and what it tells.

use guard::Finding;
use serde::Serialize;
use std::collections::BTreeMap;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Services {
    pub s3: bool,
    pub ec2: bool,
    pub rds: bool,
}

impl Services {
    pub const ALL: Services = Services { s3: true, ec2: true, rds: true };
}

#[derive(Clone, Debug)]
pub struct Choice {
    pub services: Services,
    /// None: every region that the account has enabled. Buckets are scanned wherever they are.
    pub regions: Vec<String>,
    /// Objects of a bucket that are scanned.
    pub sample: usize,
}

/// What a scan tells while it runs.
#[derive(Debug)]
pub enum Event {
    Found(Box<Finding>),
    Progress { what: &'static str, done: usize, of: usize },
}

impl Event {
    pub(crate) fn found(finding: Finding) -> Event {
        Event::Found(Box::new(finding))
    }
}

/// The last line.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Summary {
    pub account: String,
    pub calls: u64,
    pub seconds: f64,
    pub public: usize,
    pub unknown: usize,
    /// Lines by type.
    pub resources: BTreeMap<String, usize>,
    pub calls_by_action: BTreeMap<&'static str, u64>,
    /// Calls about buckets themselves, for each bucket; those for objects and access points apart.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub calls_a_bucket: Option<f64>,
    pub regions: Vec<String>,
    /// "Private, but nothing would keep it so", said once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub latent: Option<String>,
}

impl Summary {
    /// 0 clean, 1 something is public, 2 nothing is known to be public but something could not be told.
    pub fn exit_code(&self) -> u8 {
        match (self.public, self.unknown) {
            (0, 0) => 0,
            (0, _) => 2,
            _ => 1,
        }
    }
}
