//! AWS operations over HTTP: credentials, signatures, retries, pages; every answer bounded.
//!
//! What an operation means is its caller's. Nothing here writes to AWS unless it is told to by name.

mod answer;
mod client;
mod credentials;
mod endpoint;
mod error;
mod http;
mod request;
mod retry;
mod sign;
pub mod xml;

pub use client::{Body, Client, Listed, Options, check_region};
pub use credentials::{Credentials, Environment};
pub use endpoint::{Service, partition};
pub use error::{AwsError, ErrorKind};
pub use request::{Request, operation};
pub use retry::Limits;
pub use sign::encode;
