//! Why a value is refused: what was found, what was expected, and what may have been meant. The reader adds the place in the file.

use crate::Fault;

/// The error that a rule reports for a value.
pub type Validated = Result<(), ValidationError>;

/// What was expected instead, and what may have been meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ValidationError {
    pub code: &'static str,
    pub message: String,
    pub expected: String,
    pub hint: Option<String>,
}

impl ValidationError {
    pub fn new(code: &'static str, message: impl Into<String>, expected: impl Into<String>) -> Self {
        Self { code, message: message.into(), expected: expected.into(), hint: None }
    }

    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

impl From<ValidationError> for Fault {
    fn from(wrong: ValidationError) -> Fault {
        Fault::yours(wrong.code, wrong.message)
            .hint(wrong.hint.map_or(wrong.expected.clone(), |hint| format!("{}; {hint}", wrong.expected)))
    }
}
