//! Credentials that a program prints: `credential_process`.

use super::keys::{Credentials, bad, printed};
use model::Fault;
use std::io::Read;
use std::process::{Command, Stdio};

const OUTPUT_BYTES: u64 = 1 << 20;

pub fn credentials(command: &str) -> Result<Credentials, Fault> {
    let failed = |why: &dyn std::fmt::Display| bad(format!("the credential_process `{}` failed: {why}", model::text::shown(command, 120)));
    let started =
        Command::new("/bin/sh").args(["-c", command]).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::inherit()).spawn();
    let mut child = started.map_err(|e| failed(&e))?;
    let mut output = Vec::new();
    if let Some(stdout) = child.stdout.take() {
        stdout.take(OUTPUT_BYTES).read_to_end(&mut output).map_err(|e| failed(&e))?;
    }
    let status = child.wait().map_err(|e| failed(&e))?;
    if !status.success() {
        return Err(failed(&status));
    }
    printed(&output, "the credential_process")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_program_prints() {
        let json = r#"{"Version":1,"AccessKeyId":"AK","SecretAccessKey":"S","SessionToken":"T","Expiration":"2099-01-01T00:00:00Z"}"#;
        let found = credentials(&format!("echo '{json}'")).unwrap();
        assert_eq!((found.access_key.as_str(), found.session_token.as_deref()), ("AK", Some("T")));
        assert!(found.is_fresh(0) && !found.is_fresh(4_070_908_800 - 10));
        for broken in ["echo '{}'", "false", "exec yes"] {
            assert_eq!(credentials(broken).unwrap_err().code, "bad-aws-credentials", "{broken}");
        }
        assert!(!format!("{found:?}").contains("\"S\""));
    }
}
