//! What signs: an ed25519 key in a file, or a command that has one. Which of them a machine signs with is said in its data directory:
//!
//! ```text
//! DATA/signer.json   {"key": "/path"}  or  {"command": ["sign", ...], "public": "<64 hex digits>"}
//!   not there ─▶ DATA/store/keys/signing.key, made when it is first needed
//! ```

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use disk::files;
use ed25519_dalek::{Signature, Signer as _, SigningKey, VerifyingKey};
use model::Fault;
use serde::{Deserialize, Serialize};
use std::io::{Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use store::program;
use store::{Store, to_json};

/// A public key as people pass it on: 64 hex digits.
pub type PublicKey = String;

/// A command that signs may ask a token or a service far away, and may not hang a bake forever.
const PATIENCE_S: u32 = 60;
/// No signature and no complaint is longer.
const SAID_LIMIT: u64 = 64 << 10;

/// What signs.
#[derive(Debug)]
pub enum Key {
    File(Box<SigningKey>),
    /// Gets the bytes to sign on its input, answers with the signature in base64; the public key is given beside it.
    Command {
        command: Vec<String>,
        public: String,
    },
}

/// What this machine signs with, where it is another than the store's own key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged, deny_unknown_fields)]
pub enum Signer {
    File { key: PathBuf },
    Command { command: Vec<String>, public: PublicKey },
}

impl Signer {
    /// A file that is not there is no key here: only the store's own is made.
    pub fn key(&self) -> Result<Key, Fault> {
        match self {
            Signer::File { key } => Key::load(key),
            Signer::Command { command, public } => Key::command(command.clone(), public),
        }
    }
}

pub fn signer_path(store: &Store) -> PathBuf {
    store.layout().signer()
}

/// None: the store's own key.
pub fn read_signer(store: &Store) -> Result<Option<Signer>, Fault> {
    let path = signer_path(store);
    if !files::exists(&path) {
        return Ok(None);
    }
    let signer = serde_json::from_slice(&files::read_limited(&path, SAID_LIMIT)?).map_err(|e| {
        Fault::world("bad-signer", format!("{}: {e}", path.display()))
            .hint("nothing is signed until it can be read; write it again with `afresh image signer`")
            .again(false)
    })?;
    Ok(Some(signer))
}

/// None: the store's own key again. A signer that has no good key is refused.
pub fn write_signer(store: &Store, signer: Option<&Signer>) -> Result<(), Fault> {
    match signer {
        None => files::remove_file(&signer_path(store)),
        Some(signer) => {
            signer.key()?;
            files::write_atomic(&signer_path(store), &to_json(signer))
        }
    }
}

fn own_path(store: &Store) -> PathBuf {
    store.dir("keys").join("signing.key")
}

/// The key that bakes and packs on this machine sign with; None: nothing was signed here yet.
pub fn own_key(store: &Store) -> Result<Option<PublicKey>, Fault> {
    match read_signer(store)? {
        Some(signer) => signer.key().map(|key| Some(key.public())),
        None if files::exists(&own_path(store)) => Key::load(&own_path(store)).map(|key| Some(key.public())),
        None => Ok(None),
    }
}

/// The key that bakes and packs on this machine sign with, made if there is none.
pub fn signing_key(store: &Store) -> Result<Key, Fault> {
    match read_signer(store)? {
        Some(signer) => signer.key(),
        None => Key::load_or_make(&own_path(store)),
    }
}

pub fn is_public_key(text: &str) -> bool {
    text.len() == 64 && hex::decode(text).is_ok()
}

impl Key {
    /// Reads a key file, or makes one that only its owner can read.
    pub fn load_or_make(path: &Path) -> Result<Key, Fault> {
        if !files::exists(path) {
            make_key(path)?;
        }
        Key::load(path)
    }

    pub fn load(path: &Path) -> Result<Key, Fault> {
        let bad = |why: &str| Fault::yours("bad-key", format!("{} holds no ed25519 key: {why}", path.display()));
        let seen = std::fs::metadata(path).map_err(files::at("cannot look at", path))?;
        if !seen.is_file() {
            return Err(bad("it is no plain file").hint("name a file with 64 hex digits"));
        }
        let mode = seen.mode() & 0o777;
        if mode & 0o077 != 0 {
            return Err(Fault::yours("key-exposed", format!("{} can be read by others (mode {mode:o})", path.display()))
                .hint(format!("chmod 600 {}; if others were on this machine, make a new key", path.display())));
        }
        let me = nix::unistd::Uid::effective().as_raw();
        if seen.uid() != me && seen.uid() != 0 {
            return Err(Fault::yours("key-exposed", format!("{} belongs to the user {}, who can read it", path.display(), seen.uid()))
                .hint(format!("chown {me} {}; if that user must not sign, make a new key", path.display())));
        }
        let text = files::read_limited(path, 4096)
            .map_err(|f| if f.code == "too-large" { bad("it is larger than any key").hint("64 hex digits are expected") } else { f })?;
        let text = String::from_utf8_lossy(&text);
        let bytes = hex::decode(text.trim()).ok().and_then(|b| <[u8; 32]>::try_from(b).ok());
        let bytes = bytes.ok_or_else(|| {
            let why = "64 hex digits are expected";
            if text.contains("-----BEGIN") {
                return bad(why).hint(format!(
                    "it is in OpenSSL's form: openssl pkey -in {} -outform DER | tail -c 32 | od -An -v -tx1 | tr -d ' \\n'",
                    path.display()
                ));
            }
            bad(why).hint("move that file away: a new key is made. Hosts that trust the old one must be told the new")
        })?;
        Ok(Key::File(Box::new(SigningKey::from_bytes(&bytes))))
    }

    pub fn command(command: Vec<String>, public: &str) -> Result<Key, Fault> {
        if command.first().is_none_or(String::is_empty) {
            return Err(Fault::yours("bad-key", "the signing command is empty").hint("name a program, and its arguments behind it"));
        }
        if !is_public_key(public) {
            return Err(Fault::yours("bad-key", format!("{public:?} is no public key")).hint("64 hex digits are expected"));
        }
        Ok(Key::Command { command, public: public.to_lowercase() })
    }

    pub fn public(&self) -> PublicKey {
        match self {
            Key::File(key) => hex::encode(key.verifying_key().to_bytes()),
            Key::Command { public, .. } => public.clone(),
        }
    }

    pub fn sign(&self, bytes: &[u8]) -> Result<Vec<u8>, Fault> {
        match self {
            Key::File(key) => Ok(key.sign(bytes).to_bytes().to_vec()),
            Key::Command { command, .. } => sign_by_command(command, bytes),
        }
    }
}

fn make_key(path: &Path) -> Result<(), Fault> {
    let dir = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    files::make_dir(dir)?;
    let random = Path::new("/dev/urandom");
    let mut seed = [0u8; 32];
    std::fs::File::open(random).and_then(|mut f| f.read_exact(&mut seed)).map_err(files::at("cannot read", random))?;
    // tempfile makes it 0600; a link, not a rename, so that of two who make it at once one key stays.
    let mut temp = tempfile::Builder::new().prefix(".key-").tempfile_in(dir).map_err(files::at("cannot write in", dir))?;
    temp.write_all(format!("{}\n", hex::encode(seed)).as_bytes())
        .and_then(|()| temp.as_file().sync_all())
        .map_err(files::at("cannot write", path))?;
    match temp.persist_noclobber(path) {
        Err(e) if e.error.kind() != std::io::ErrorKind::AlreadyExists => Err(files::fault("cannot write", path, &e.error)),
        _ => files::sync_dir(dir),
    }
}

/// The command is the user's own, not a part of a bake: it runs where he stands and with his environment, which may say how his
/// token or key service is reached.
fn sign_by_command(command: &[String], bytes: &[u8]) -> Result<Vec<u8>, Fault> {
    let (program, args) = command.split_first().ok_or_else(|| Fault::yours("bad-key", "the signing command is empty"))?;
    let mut c = Command::new("setpriv");
    c.args(["--pdeathsig", "KILL", "--", "timeout", "--foreground", "--signal=KILL", &PATIENCE_S.to_string(), program]).args(args);
    c.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = program::spawn(&mut c, program)?;
    let (input, output, errors) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let (said, complaints) = std::thread::scope(|scope| {
        // A command that takes no input is found out by its answer.
        scope.spawn(move || input.map(|mut i| i.write_all(bytes)));
        let complaints = scope.spawn(move || at_most(errors));
        (at_most(output), complaints.join().unwrap_or_default())
    });
    let status = child.wait().map_err(files::at("cannot wait for", Path::new(program)))?;
    let complaints = String::from_utf8_lossy(&complaints).into_owned();
    let hint = "it gets the bytes to sign on its input, and answers with their ed25519 signature in base64";
    if program::ran_out_of_time(status) {
        let text = format!("the signing command {program} was killed: it took longer than {PATIENCE_S} s\n{complaints}");
        return Err(Fault::world("tool-failed", text).hint(hint));
    }
    if !status.success() {
        return Err(program::ended_badly(&format!("the signing command {program}"), status, &complaints).hint(hint));
    }
    // `base64` breaks its lines.
    let text: String = String::from_utf8_lossy(&said).split_ascii_whitespace().collect();
    // Its complaints are shown here too: a pipe in a script hides that its first half failed.
    let bad = |why: String| {
        let text = format!("the signing command {program} gave {why}\n{}", program::last_lines(&complaints));
        Fault::yours("bad-signature", text.trim_end()).hint(hint)
    };
    let sig = BASE64.decode(&text).map_err(|e| {
        let shown: String = text.chars().take(80).collect();
        bad(format!("no base64 ({e}): {shown:?}"))
    })?;
    if sig.len() != ed25519_dalek::SIGNATURE_LENGTH {
        return Err(bad(format!("{} bytes, and a signature has {}", sig.len(), ed25519_dalek::SIGNATURE_LENGTH)));
    }
    Ok(sig)
}

/// What somebody says, up to a limit; beyond it he is not listened to.
fn at_most(from: Option<impl Read>) -> Vec<u8> {
    let mut bytes = Vec::new();
    if let Some(from) = from {
        // What was read before an error is all there is.
        let _ = from.take(SAID_LIMIT).read_to_end(&mut bytes);
    }
    bytes
}

pub fn is_good(key: &str, signed: &[u8], sig: &str) -> bool {
    let key = hex::decode(key).ok().and_then(|b| <[u8; 32]>::try_from(b).ok()).and_then(|b| VerifyingKey::from_bytes(&b).ok());
    let sig = BASE64.decode(sig).ok().and_then(|b| Signature::from_slice(&b).ok());
    matches!((key, sig), (Some(k), Some(s)) if k.verify_strict(signed, &s).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    /// RFC 8032, 7.1, test 2.
    #[test]
    fn signatures_are_those_of_the_rfc() {
        let seed: [u8; 32] = hex::decode("4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb").unwrap().try_into().unwrap();
        let key = Key::File(Box::new(SigningKey::from_bytes(&seed)));
        assert_eq!(key.public(), "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c");
        let sig = key.sign(&[0x72]).unwrap();
        assert_eq!(
            hex::encode(&sig),
            "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00"
        );
        assert!(is_good(&key.public(), &[0x72], &BASE64.encode(&sig)));
        assert!(!is_good(&key.public(), &[0x73], &BASE64.encode(&sig)));
        assert!(!is_good("zz", &[0x72], "!!"));
    }

    fn code(path: &Path) -> String {
        let fault = Key::load_or_make(path).err().unwrap();
        assert!(fault.hint.is_some() && fault.message.contains(&path.display().to_string()), "{fault:?}");
        fault.code
    }

    #[test]
    fn a_key_is_made_once_and_kept_from_others() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("sub/key");
        let first = Key::load_or_make(&path).unwrap().public();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(Key::load_or_make(&path).unwrap().public(), first);
        for mode in [0o644, 0o640, 0o604, 0o610] {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            assert_eq!(code(&path), "key-exposed", "{mode:o}");
        }
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o400)).unwrap();
        assert_eq!(Key::load(&path).unwrap().public(), first);
        assert_eq!(code(&dir.path().join("sub")), "bad-key");
    }

    #[test]
    fn what_is_no_key_is_told_and_not_changed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        let long = "ab".repeat(4000);
        let pem = "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIAA=\n-----END PRIVATE KEY-----\n";
        for bad in ["", "short", "zz", "\0\0\0", &"ab".repeat(31), &"ab".repeat(33), &"é".repeat(32), &long, pem] {
            std::fs::write(&path, bad).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
            assert_eq!(code(&path), "bad-key", "{:?}", bad.get(..10));
            assert_eq!(std::fs::read_to_string(&path).unwrap(), bad);
        }
        let fault = Key::load(&path).err().unwrap();
        assert!(fault.hint.unwrap().contains("openssl pkey"), "OpenSSL's own form is known by its head");
        // A pipe that nobody writes to would be waited for.
        std::fs::remove_file(&path).unwrap();
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRUSR).unwrap();
        assert_eq!(code(&path), "bad-key");
    }

    fn says(script: &str) -> Result<Vec<u8>, Fault> {
        sign_by_command(&["sh".to_string(), "-c".to_string(), script.to_string()], &vec![7; 300_000])
    }

    #[test]
    fn what_a_signing_command_says_is_shown() {
        let zeros = "head -c 64 /dev/zero | base64";
        assert_eq!(says(&format!("cat > /dev/null; {zeros}")).unwrap(), [0; 64]);
        assert_eq!(says(zeros).unwrap(), [0; 64], "what it does not read is not waited for");
        for (script, code, text) in [
            ("cat > /dev/null; echo 'the token is locked' >&2; exit 3", "tool-failed", "ended with 3:\nthe token is locked"),
            ("exit 4", "tool-failed", "ended with 4"),
            ("echo AAEC", "bad-signature", "gave 3 bytes, and a signature has 64"),
            ("cat > /dev/null; cat /no/key | base64", "bad-signature", "gave 0 bytes, and a signature has 64\ncat: /no/key"),
            ("echo 'no signature'", "bad-signature", "gave no base64"),
            ("head -c 1000; cat > /dev/null", "bad-signature", "gave no base64"),
            // What is too long is not listened to.
            ("yes | head -c 100000 >&2; yes | head -c 1000000", "tool-failed", "ended with"),
        ] {
            let fault = says(script).unwrap_err();
            assert!(fault.code == code && fault.message.contains(text) && fault.hint.is_some(), "{script}: {fault:?}");
        }
        let fault = sign_by_command(&["/no/such/program".to_string()], b"x").unwrap_err();
        assert!(fault.code == "tool-failed" && fault.message.contains("No such file"), "{fault:?}");
        assert_eq!(Key::command(Vec::new(), &"ab".repeat(32)).unwrap_err().code, "bad-key");
        assert_eq!(Key::command(vec!["x".to_string()], "ab").unwrap_err().code, "bad-key");
    }
}
