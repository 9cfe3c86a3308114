//! The value of a secret in memory: wiped when it is dropped, and printed by nobody.

use model::{Fault, SECRET_BYTES_MAX, SecretName};
use std::fmt;
use zeroize::Zeroizing;

#[derive(Clone, PartialEq, Eq)]
pub struct Value(Zeroizing<Vec<u8>>);

impl Value {
    /// Between one byte and [`SECRET_BYTES_MAX`]. The caller's own buffer is taken over, so that no copy stays.
    pub fn new(name: &SecretName, bytes: Vec<u8>) -> Result<Self, Fault> {
        let bytes = Zeroizing::new(bytes);
        if bytes.is_empty() {
            let fault = Fault::yours("secret-empty", format!("secret {name} is empty"));
            return Err(fault.hint("does its source hold it? An empty secret is more often a mistake than a value"));
        }
        if bytes.len() > SECRET_BYTES_MAX {
            return Err(too_large(name));
        }
        Ok(Self(bytes))
    }

    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// As the value of a variable: text without NUL, and without one line break at its end, which files and commands end with.
    pub fn variable(&self, name: &SecretName) -> Result<Zeroizing<String>, Fault> {
        let hint = format!("give it to the service as a file: secrets = [secret.{name}]");
        let wrong = |what: &str| Fault::yours("secret-no-text", format!("secret {name} cannot be a variable: {what}")).hint(hint.clone());
        // What it is not is said without the place: that would tell something of the value.
        let text = std::str::from_utf8(&self.0).map_err(|_| wrong("it is not UTF-8 text"))?;
        if text.contains('\0') {
            return Err(wrong("it has a NUL byte, which no variable can hold"));
        }
        let text = text.strip_suffix('\n').map_or(text, |text| text.strip_suffix('\r').unwrap_or(text));
        Ok(Zeroizing::new(text.to_string()))
    }
}

pub(crate) fn too_large(name: &SecretName) -> Fault {
    Fault::yours("secret-too-large", format!("secret {name} has more than {SECRET_BYTES_MAX} bytes"))
        .hint("a secret is a key or a password; what is larger belongs in an artifact or a volume")
}

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[secret]")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name() -> SecretName {
        SecretName::new("db").unwrap()
    }

    #[test]
    fn a_variable_is_text_without_its_last_line_break() {
        let variable = |bytes: &[u8]| Value::new(&name(), bytes.to_vec()).unwrap().variable(&name()).map(|text| text.to_string());
        for (bytes, text) in [("a", "a"), ("a\n", "a"), ("a\r\n", "a"), ("a\n\n", "a\n"), ("a\nb", "a\nb"), ("\n", ""), ("ü", "ü")] {
            assert_eq!(variable(bytes.as_bytes()).as_deref(), Ok(text), "{bytes:?}");
        }
        for bytes in [&b"hunter2\0"[..], &b"\xffhunter2"[..]] {
            let fault = variable(bytes).unwrap_err();
            assert_eq!(fault.code, "secret-no-text");
            assert!(!format!("{fault:?}").contains("hunter2"));
        }
    }

    #[test]
    fn nobody_prints_it_and_its_size_is_bounded() {
        let value = Value::new(&name(), b"hunter2".to_vec()).unwrap();
        assert_eq!(format!("{value:?} {:#?}", Some(&value)), "[secret] Some(\n    [secret],\n)");
        let code = |bytes: usize| Value::new(&name(), vec![b'x'; bytes]).err().map(|fault| fault.code);
        assert_eq!((code(0).as_deref(), code(1)), (Some("secret-empty"), None));
        assert_eq!((code(SECRET_BYTES_MAX), code(SECRET_BYTES_MAX + 1).as_deref()), (None, Some("secret-too-large")));
    }
}
