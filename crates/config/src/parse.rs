//! The text of a service file to `model::ServiceFile`, or every error in it.

use crate::diagnostic::Diagnostic;
use crate::sink::{self, Sink};
use crate::{decode, json, places};

/// Decodes a service file. A name that ends in `.json` is read as JSON, everything else as HCL.
///
/// All errors of the file come at once, in the order of their places; at most [`crate::ERRORS_MAX`] of them.
pub fn parse(text: &str, name: &str) -> Result<model::ServiceFile, Vec<Diagnostic>> {
    let mut sink = Sink::new(text, name);
    let file = match places::unreadable(text) {
        Some((code, span, message, hint)) => {
            sink.push(sink::Draft::new(code, span, message).hint(hint));
            None
        }
        None if name.ends_with(".json") => json::decode(text, &mut sink),
        None => decode::decode(text, &mut sink),
    };
    sink.finish(file)
}
