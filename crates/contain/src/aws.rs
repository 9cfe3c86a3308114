//! The world of an AWS account: reads are those of the scan, changes are sent once.

use crate::calls;
use crate::world::{Judged, World};
use aws_client::{AwsError, Client, ErrorKind};
use aws_scan::Single;
use guard::contain::{Call, Setting, State};
use guard::public;
use model::Fault;
use serde_json::json;
use std::time::Duration;

pub struct Aws<'a> {
    pub client: &'a Client,
    pub single: Single<'a>,
    /// Whether to wait for values that services take over late. Emulators answer at once.
    pub is_patient: bool,
}

impl World for Aws<'_> {
    fn state(&self, setting: &Setting) -> Result<State, Fault> {
        self.single.state(setting).map_err(|e| fault(&e))
    }

    fn write(&self, call: &Call) -> Result<(), Fault> {
        let request = calls::request(call, self.single.account(), self.single.region())
            .ok_or_else(|| Fault::ours("bad-journal", format!("no call of AWS is {} with {}", call.operation, call.parameters)))?;
        self.client.send(&request, self.single.account()).map(drop).map_err(|e| fault(&e))
    }

    fn judge(&self, kind: &str, id: &str) -> Result<Judged, Fault> {
        match self.single.resource(kind, id).map_err(|e| fault(&e))? {
            Some((resource, context)) => Ok(Judged::from(&public(&resource, &context))),
            None => {
                Err(Fault::yours("no-such-resource", format!("{kind} {id} is not there any more"))
                    .hint("scan again: afresh guard scan aws"))
            }
        }
    }

    fn is_gone(&self, _: &Setting, (kind, id): (&str, &str)) -> Result<bool, Fault> {
        self.single.is_gone(kind, id).map_err(|e| fault(&e))
    }

    fn settles_in(&self, setting: &Setting) -> Vec<Duration> {
        let of_instance = matches!(setting, Setting::PubliclyAccessible { .. });
        match (self.is_patient, of_instance) {
            (false, _) => Vec::new(),
            // A database takes a change over within some minutes.
            (true, true) => vec![Duration::from_secs(5); 60],
            (true, false) => [1, 2, 4, 8].map(Duration::from_secs).to_vec(),
        }
    }
}

/// What a failed call means to whoever contains.
pub fn fault(error: &AwsError) -> Fault {
    let message = error.to_string();
    match error.kind {
        ErrorKind::Denied => {
            let statement = json!({"Effect": "Allow", "Action": [error.action], "Resource": "*"});
            Fault::yours("aws-denied", message).hint(format!("allow it with the IAM statement {statement}"))
        }
        ErrorKind::Credentials => AwsError::refused(message),
        ErrorKind::Throttled | ErrorKind::Unreachable | ErrorKind::Broken => Fault::world("aws-failed", message),
        ErrorKind::NotFound | ErrorKind::Unimplemented | ErrorKind::Other => Fault::world("aws-failed", message).again(false),
    }
}
