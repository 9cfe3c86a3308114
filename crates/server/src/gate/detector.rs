//! The detector of secrets: its rules take a moment to be compiled, and never change.

use guard::secrets::Detector;
use model::Fault;
use std::sync::OnceLock;

pub fn detector() -> Result<&'static Detector, Fault> {
    static DETECTOR: OnceLock<Result<Detector, String>> = OnceLock::new();
    let made = DETECTOR.get_or_init(|| Detector::built_in().map_err(|e| e.to_string()));
    made.as_ref().map_err(|why| Fault::ours("bad-rules", why.clone()))
}
