//! What went wrong with one call, in the classes that a caller decides by.

use model::Fault;
use serde::Deserialize;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// The credentials may not do this.
    Denied,
    /// The credentials themselves are not accepted: wrong, expired, or the clock is off.
    Credentials,
    /// Still too many requests after all retries.
    Throttled,
    /// What was asked for does not exist; `code` says what.
    NotFound,
    /// The service does not know the operation.
    Unimplemented,
    /// The answer is cut off, too large, or not what the operation answers.
    Broken,
    /// No answer.
    Unreachable,
    Other,
}

/// `action` is the IAM action that allows the call: `s3:GetBucketPolicy`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{action}: {message}")]
pub struct AwsError {
    pub kind: ErrorKind,
    pub action: &'static str,
    /// The service's error code; empty when it gave none.
    pub code: String,
    pub message: String,
}

impl AwsError {
    pub fn new(kind: ErrorKind, action: &'static str, message: impl Into<String>) -> AwsError {
        AwsError { kind, action, code: String::new(), message: message.into() }
    }

    pub fn broken(action: &'static str, message: impl Into<String>) -> AwsError {
        AwsError::new(ErrorKind::Broken, action, message)
    }

    /// Of credentials that are accepted for nothing.
    pub fn refused(message: impl Into<String>) -> Fault {
        Fault::yours("aws-refused", message).hint("`aws sts get-caller-identity` makes the same call")
    }
}

/// The body of an error, in the form that all the protocols come down to.
#[derive(Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct ErrorBody {
    #[serde(alias = "__type")]
    pub code: String,
    #[serde(alias = "Message")]
    pub message: String,
}

const THROTTLING: &[&str] = &[
    "Throttling",
    "ThrottlingException",
    "ThrottledException",
    "RequestThrottled",
    "RequestThrottledException",
    "RequestLimitExceeded",
    "TooManyRequestsException",
    "BandwidthLimitExceeded",
    "LimitExceededException",
    "SlowDown",
    "PriorRequestNotComplete",
    "EC2ThrottledException",
];
const DENIED: &[&str] =
    &["AccessDenied", "AccessDeniedException", "UnauthorizedOperation", "NotAuthorized", "AllAccessDisabled", "OptInRequired"];
const CREDENTIALS: &[&str] = &[
    "AuthFailure",
    "ExpiredToken",
    "ExpiredTokenException",
    "IncompleteSignature",
    "InvalidAccessKeyId",
    "InvalidClientTokenId",
    "InvalidSignatureException",
    "InvalidToken",
    "RequestExpired",
    "RequestTimeTooSkewed",
    "SignatureDoesNotMatch",
    "TokenRefreshRequired",
    "UnrecognizedClientException",
];
const UNIMPLEMENTED: &[&str] = &["InvalidAction", "NotImplemented", "UnknownOperationException", "UnsupportedOperation"];

/// The class of an answer that is no success.
pub fn kind_of(status: u16, code: &str) -> ErrorKind {
    let is = |list: &[&str]| list.contains(&code);
    match status {
        _ if is(THROTTLING) => ErrorKind::Throttled,
        _ if is(DENIED) => ErrorKind::Denied,
        _ if is(CREDENTIALS) => ErrorKind::Credentials,
        _ if is(UNIMPLEMENTED) => ErrorKind::Unimplemented,
        429 | 503 => ErrorKind::Throttled,
        403 if code.is_empty() => ErrorKind::Denied,
        404 if !code.is_empty() => ErrorKind::NotFound,
        400 if code.ends_with("NotFound") || code.ends_with("NotFoundFault") => ErrorKind::NotFound,
        501 => ErrorKind::Unimplemented,
        _ => ErrorKind::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes() {
        for (status, code, kind) in [
            (403, "AccessDenied", ErrorKind::Denied),
            (403, "", ErrorKind::Denied),
            (403, "ExpiredToken", ErrorKind::Credentials),
            (403, "Strange", ErrorKind::Other),
            (400, "Throttling", ErrorKind::Throttled),
            (503, "", ErrorKind::Throttled),
            (404, "NoSuchBucketPolicy", ErrorKind::NotFound),
            // A page of some proxy proves nothing about what exists.
            (404, "", ErrorKind::Other),
            (400, "InvalidAction", ErrorKind::Unimplemented),
            (500, "InternalError", ErrorKind::Other),
        ] {
            assert_eq!(kind_of(status, code), kind, "{status} {code}");
        }
    }
}
