//! Small values of `guard` as text.

use guard::Severity;
use guard::rules::Enforcement;

pub fn enforcement(of: Enforcement) -> &'static str {
    match of {
        Enforcement::Observe => "observe",
        Enforcement::Warn => "warn",
        Enforcement::Deny => "deny",
        Enforcement::Hard => "hard",
    }
}

pub fn severity(of: Severity) -> &'static str {
    match of {
        Severity::None => "none",
        Severity::Low => "low",
        Severity::Medium => "medium",
        Severity::High => "high",
        Severity::Critical => "critical",
    }
}
