//! Files that hold credentials by their purpose: clients' password files, keys, histories of shells.

use super::File;
use super::exposure::Exposure;
use super::text::{lines, original};
use crate::finding::Severity;
use crate::secrets::is_placeholder;
use regex::bytes::{Regex, RegexBuilder};
use std::sync::LazyLock;

/// How a credential is written in a file.
enum Form {
    Pattern(&'static LazyLock<Regex>),
    /// `host:port:database:user:password`
    Pgpass,
    /// The file is the token.
    Token,
    /// The file is the password.
    Word,
}

/// What the credentials of a file open, by its path: where it ends, and what its path must hold beside that.
type Purpose = (&'static [&'static str], &'static str, &'static str, Form);

const PURPOSES: &[Purpose] = &[
    (&["/.aws/credentials"], "", "an account of AWS", Form::Pattern(&AWS)),
    (&["/.netrc", "/_netrc"], "", "a server, for curl and git", Form::Pattern(&NETRC)),
    (&["/.pgpass"], "", "PostgreSQL", Form::Pgpass),
    (&["/.my.cnf", "/.mylogin.cnf"], "", "MySQL", Form::Pattern(&PASSWORD)),
    (&[".cnf"], "/mysql/", "MySQL", Form::Pattern(&PASSWORD)),
    (&["/.docker/config.json", "/.dockercfg", "/containers/auth.json"], "", "a registry of images", Form::Pattern(&DOCKER)),
    (&["/.git-credentials"], "", "a git server", Form::Pattern(&URL)),
    (
        &["/.git/config", "/.gitconfig", "/pip.conf", "/.condarc", "/pip/pip.conf"],
        "",
        "a server, by an address with a password",
        Form::Pattern(&ADDRESS),
    ),
    (&["/.npmrc"], "", "a registry of npm", Form::Pattern(&NPM)),
    (&["/.yarnrc.yml"], "", "a registry of npm", Form::Pattern(&YARN)),
    (&["/.pypirc"], "", "a registry of Python", Form::Pattern(&PASSWORD)),
    (&["/.cargo/credentials", "/.cargo/credentials.toml"], "", "a registry of Rust", Form::Pattern(&TOKEN)),
    (&["/.gem/credentials"], "", "a registry of Ruby", Form::Pattern(&GEM)),
    (&["/.m2/settings.xml", "/nuget.config", "/NuGet.Config"], "", "a registry of packages", Form::Pattern(&XML)),
    (&["/.composer/auth.json", "/composer/auth.json"], "", "a registry of PHP", Form::Pattern(&COMPOSER)),
    (&["/.kube/config", "/kubeconfig", ".kubeconfig", "/k3s.yaml"], "", "a Kubernetes cluster", Form::Pattern(&KUBE)),
    (&[".conf"], "/kubernetes/", "a Kubernetes cluster", Form::Pattern(&KUBE)),
    (&["/application_default_credentials.json", "/service-account.json"], "", "an account of Google Cloud", Form::Pattern(&GOOGLE)),
    (&[".json", "/credentials.db", "/access_tokens.db"], "/gcloud/", "an account of Google Cloud", Form::Pattern(&GOOGLE)),
    (&[".json"], "/.azure/", "an account of Azure", Form::Pattern(&AZURE)),
    (&["/gh/hosts.yml", "/.config/hub"], "", "GitHub", Form::Pattern(&OAUTH)),
    (&["/glab-cli/config.yml", "/doctl/config.yaml", "/hcloud/cli.toml", "/.fly/config.yml"], "", "an account", Form::Pattern(&TOKEN)),
    (&["/.vault-token"], "", "Vault", Form::Token),
    (
        &["/.vault_pass", "/.vault_pass.txt", "/.vault-pass", "/vault_pass.txt", "/vault-password", "/.vault_password"],
        "",
        "a vault of Ansible",
        Form::Word,
    ),
    (&["/master.key"], "/config/", "the credentials of an application", Form::Token),
    (&["/secrets/master.key", "/hudson.util.Secret"], "", "the credentials of Jenkins", Form::Token),
    (&["/credentials.xml"], "", "what Jenkins reaches", Form::Pattern(&XML)),
    (&["/.htpasswd", "/htpasswd", ".htpasswd"], "", "a web site", Form::Pattern(&HTPASSWD)),
    (&["/rclone.conf"], "", "a store, for rclone", Form::Pattern(&RCLONE)),
    (&[".conf"], "/wireguard/", "a network, for WireGuard", Form::Pattern(&WIREGUARD)),
    (&[".nmconnection", "/wpa_supplicant.conf"], "", "a network", Form::Pattern(&WIRELESS)),
    (&["/ipsec.secrets", "/swanctl.conf"], "", "a network, for IPsec", Form::Pattern(&IPSEC)),
    (&["/chap-secrets", "/pap-secrets"], "", "a network, for PPP", Form::Pattern(&PPP)),
    (&["/rndc.key", "/named.conf.keys"], "", "a name server", Form::Pattern(&RNDC)),
    (&[".tfstate", ".tfstate.backup"], "", "what Terraform made", Form::Pattern(&TFSTATE)),
    (&["/.terraformrc", "/credentials.tfrc.json", "/terraform.rc"], "", "HCP Terraform", Form::Pattern(&TERRAFORM)),
    (
        &["/user-data", "/user-data.txt", "/user-data.txt.i", "/cloud-config.txt"],
        "",
        "an account of the system, set by cloud-init",
        Form::Pattern(&CLOUD_INIT),
    ),
    (
        &["/hosts", "/inventory", "/inventory.ini", "/hosts.ini", ".yml", ".yaml"],
        "ansible",
        "machines, for Ansible",
        Form::Pattern(&ANSIBLE),
    ),
    (&["/inventory", "/inventory.ini", "/hosts.ini"], "", "machines, for Ansible", Form::Pattern(&ANSIBLE)),
    (&["/.smbcredentials", "/.cifs", "/.smbcred"], "", "a share", Form::Pattern(&PASSWORD)),
    (&["/.s3cfg", "/.boto", "/.passwd-s3fs"], "", "a store of objects", Form::Pattern(&S3CFG)),
    (&["/sasl_passwd", "/.msmtprc", "/msmtprc", "/.fetchmailrc", "/ssmtp.conf"], "", "a mail server", Form::Pattern(&MAIL)),
];

fn purpose(path: &str) -> Option<(&'static str, &'static Form)> {
    // A copy of it opens the same.
    let path = original(path);
    let fits = |(ends, holds, _, _): &&Purpose| ends.iter().any(|end| path.ends_with(end)) && path.contains(holds);
    PURPOSES.iter().find(fits).map(|(_, _, what, form)| (*what, form))
}

/// Whether a file that cannot be read may well hold one.
pub(super) fn is_for_credentials(file: &File) -> bool {
    let is_key = file.name().starts_with("id_") && !file.name().ends_with(".pub");
    purpose(file.path).is_some() || is_history(file) || is_key || ["shadow", "gshadow"].iter().any(|start| file.name().starts_with(start))
}

/// The line of the first credential in a file of a known purpose, and what it opens.
pub(super) fn credential<'t>(file: &File, text: impl FnOnce() -> &'t str) -> Option<(usize, &'static str)> {
    let (what, form) = purpose(file.path)?;
    let text = text();
    let line = match form {
        Form::Pattern(pattern) => first(text, pattern),
        Form::Pgpass => lines(text).find(|(_, l)| l.matches(':').count() >= 4 && is_value(l.rsplit(':').next())).map(|(n, _)| n),
        Form::Token => lines(text).find(|(_, line)| line.len() >= 20 && is_value(Some(line))).map(|(n, _)| n),
        Form::Word => lines(text).find(|(_, line)| line.len() >= 6 && !line.contains(' ') && is_value(Some(line))).map(|(n, _)| n),
    };
    line.map(|line| (line, what))
}

fn is_value(text: Option<&str>) -> bool {
    text.is_some_and(|text| {
        let text = text.trim();
        text.len() >= 3 && !is_placeholder_value(text)
    })
}

/// `${PASSWORD}`, `<password>`, `xxxx`, `changeme`.
fn is_placeholder_value(text: &str) -> bool {
    let lower = text.to_ascii_lowercase();
    let bytes = text.as_bytes();
    text.starts_with(['$', '<', '{', '%', '*'])
        || bytes.iter().all(|b| *b == bytes[0])
        || matches!(lower.as_str(), "password" | "passwd" | "secret" | "token" | "none" | "null" | "changeme" | "change_me" | "todo")
        || (text.len() >= 16 && is_placeholder(bytes))
        || lower.contains("example")
        || lower.starts_with("your")
}

/// The first line where the pattern's group is a value and no placeholder.
fn first(text: &str, pattern: &Regex) -> Option<usize> {
    let is_genuine = |value: &regex::bytes::Match| is_value(std::str::from_utf8(value.as_bytes()).ok());
    let found = pattern.captures_iter(text.as_bytes()).filter_map(|c| c.get(1)).find(is_genuine)?;
    Some(line_of(text, found.start()))
}

fn line_of(text: &str, place: usize) -> usize {
    text.as_bytes()[..place].iter().filter(|b| **b == b'\n').count() + 1
}

fn regex(pattern: &str) -> Regex {
    #[expect(clippy::expect_used, reason = "constants that a test compiles")]
    RegexBuilder::new(pattern).unicode(false).build().expect("a constant pattern")
}

static AWS: LazyLock<Regex> = LazyLock::new(|| regex(r"(?m)^\s*aws_secret_access_key\s*=\s*([^\s#]+)"));
static NETRC: LazyLock<Regex> = LazyLock::new(|| regex(r"\bpassword\s+(\S+)"));
static PASSWORD: LazyLock<Regex> = LazyLock::new(|| regex(r#"(?mi)^\s*passw(?:or)?d\s*[=:]\s*["']?([^\s"'#]+)"#));
static DOCKER: LazyLock<Regex> = LazyLock::new(|| regex(r#""(?:auth|identitytoken|password)"\s*:\s*"([^"]+)""#));
static ADDRESS: LazyLock<Regex> = LazyLock::new(|| regex(r"(?m)^[^#;\n]*\b[a-z+]+://[^:/@\s]*:([^@\s/]+)@"));
static YARN: LazyLock<Regex> = LazyLock::new(|| regex(r#"(?m)^\s*npmAuth(?:Token|Ident):\s*["']?([^\s"']+)"#));
static TOKEN: LazyLock<Regex> = LazyLock::new(|| regex(r#"(?m)^\s*(?:access[-_])?token\s*[=:]\s*["']?([^\s"']+)"#));
static GEM: LazyLock<Regex> = LazyLock::new(|| regex(r"(?m)^:\w*api_key:\s*(\S+)"));
static XML: LazyLock<Regex> = LazyLock::new(|| {
    regex(r#"(?i)(?:<(?:password|secret|apitoken|privatekey|passphrase|secretbytes)>|key="(?:cleartext)?password"\s+value=")([^<"]+)["<]"#)
});
static COMPOSER: LazyLock<Regex> =
    LazyLock::new(|| regex(r#""(?:password|github-oauth|gitlab-token|bearer)"\s*:\s*(?:\{\s*"[^"]*"\s*:\s*)?"([^"]+)""#));
static AZURE: LazyLock<Regex> =
    LazyLock::new(|| regex(r#""(?:refreshToken|accessToken|secret|client_secret|servicePrincipalKey|_accessToken)"\s*:\s*"([^"]+)""#));
static WIRELESS: LazyLock<Regex> =
    LazyLock::new(|| regex(r#"(?m)^\s*(?:psk|password|wep-key0|private-key-password|leap-password)\s*=\s*"?([^\s#"]+)"#));
static IPSEC: LazyLock<Regex> = LazyLock::new(|| regex(r#"(?m)^[^#\n]*(?::\s*(?:PSK|EAP|XAUTH)|\bsecret\s*=)\s*"?([^\s"]+)"#));
static PPP: LazyLock<Regex> = LazyLock::new(|| regex(r#"(?m)^[ \t]*[^#\s]+[ \t]+\S+[ \t]+"?([^\s"]+)"#));
static RNDC: LazyLock<Regex> = LazyLock::new(|| regex(r#"\bsecret\s+"([0-9A-Za-z+/=]{16,})""#));
static TERRAFORM: LazyLock<Regex> = LazyLock::new(|| regex(r#"\btoken"?\s*[=:]\s*"([^"]+)""#));
static CLOUD_INIT: LazyLock<Regex> = LazyLock::new(|| {
    regex(
        r#"(?m)^\s*(?:-\s*)?(?:(?:passwd|hashed_passwd|plain_text_passwd|password):\s*["']?|root:|ubuntu:|debian:)(?:\$[0-9a-z]+\$)?([^\s"'{|]+)"#,
    )
});
static ANSIBLE: LazyLock<Regex> = LazyLock::new(|| {
    regex(r#"(?m)^[^#\n]*\bansible_(?:ssh_pass|password|become_pass|become_password|sudo_pass|winrm_password)\s*[=:]\s*["']?([^\s"']+)"#)
});
static MAIL: LazyLock<Regex> =
    LazyLock::new(|| regex(r#"(?mi)^[ \t]*(?:[^#\s]+[ \t]+[^:\s]+:|[^#\n]*\bpassw(?:or)?d[ \t]+"?|AuthPass[ \t]*=[ \t]*)([^\s"]+)"#));
static URL: LazyLock<Regex> = LazyLock::new(|| regex(r"(?m)^\w+://[^:/@\s]*:([^@\s]+)@"));
static NPM: LazyLock<Regex> = LazyLock::new(|| regex(r"(?m)^[^#;\n]*_(?:authToken|auth|password)\s*=\s*(\S+)"));
static KUBE: LazyLock<Regex> = LazyLock::new(|| regex(r"(?m)^\s*(?:-\s*)?(?:token|client-key-data|password):\s*(\S+)"));
static GOOGLE: LazyLock<Regex> = LazyLock::new(|| regex(r#""(?:private_key|refresh_token)"\s*:\s*"([^"]+)""#));
static OAUTH: LazyLock<Regex> = LazyLock::new(|| regex(r"(?m)^\s*oauth_token:\s*(\S+)"));
static HTPASSWD: LazyLock<Regex> = LazyLock::new(|| regex(r"(?m)^[^:#\n]+:[${]((?:apr1|2[aby]|5|6)\$\S+|SHA\}\S+)"));
static RCLONE: LazyLock<Regex> = LazyLock::new(|| regex(r"(?m)^\s*(?:pass|token|secret_access_key|client_secret|key)\s*=\s*(\S+)"));
static WIREGUARD: LazyLock<Regex> = LazyLock::new(|| regex(r"(?m)^\s*PrivateKey\s*=\s*([0-9A-Za-z+/]{43}=)"));
static S3CFG: LazyLock<Regex> =
    LazyLock::new(|| regex(r"(?m)^\s*(?:(?:secret_key|aws_secret_access_key|gs_secret_access_key)\s*=\s*|[0-9A-Z]{16,}:)(\S+)"));
static TFSTATE: LazyLock<Regex> =
    LazyLock::new(|| regex(r#""(?:password|secret|private_key(?:_pem)?|secret_string|token|master_password)"\s*:\s*"([^"]+)""#));

const HISTORIES: &[&str] = &[
    ".bash_history",
    ".zsh_history",
    ".zhistory",
    ".sh_history",
    ".ash_history",
    ".history",
    ".mysql_history",
    ".psql_history",
    ".python_history",
    ".node_repl_history",
    ".rediscli_history",
    ".dbshell",
    ".sqlite_history",
    "fish_history",
];

pub(super) fn is_history(file: &File) -> bool {
    HISTORIES.contains(&file.name())
}

static TYPED: LazyLock<Vec<Regex>> = LazyLock::new(|| {
    [
        r"\b(?:mysql|mysqldump|mariadb|mysqladmin)\b[^\n|;]*\s-p([^\s-][^\s]*)",
        r#"--password[= ]["']?([^\s"']+)"#,
        r"\b(?:curl|wget)\b[^\n|;]*\s(?:-u|--user)\s*\S+?:([^\s@]+)",
        r#"\b(?:PGPASSWORD|MYSQL_PWD|SSHPASS|REDISCLI_AUTH|RESTIC_PASSWORD)=["']?([^\s"']+)"#,
        r#"\bsshpass\s+-p\s*["']?([^\s"']+)"#,
        r#"(?i)\bexport\s+\w*(?:secret|token|passw(?:or)?d|api_?key|private_?key)\w*=["']?([^\s"']+)"#,
        r"\b(?:docker|podman|helm)\b[^\n|;]*\blogin\b[^\n|;]*\s-p\s*(\S+)",
        r"\bredis-cli\b[^\n|;]*\s-a\s*(\S+)",
        r"\b\w+://[^\s:/@]+:([^\s@/]+)@",
        r"(?i)\b(?:identified by|set password\s*=|with password)\s+'([^']+)'",
        r#"(?i)authorization:\s*(?:bearer|basic)\s+([^\s"']+)"#,
    ]
    .iter()
    .map(|pattern| regex(pattern))
    .collect()
});

/// The first line of a history with a password in it.
pub(super) fn typed_password(text: &str) -> Option<usize> {
    TYPED.iter().filter_map(|pattern| first(text, pattern)).min()
}

/// Keystores: binary files with private keys.
pub(super) fn keystore(file: &File, bytes: &[u8]) -> Option<&'static str> {
    let name = file.name().to_ascii_lowercase();
    let ends = |suffixes: &[&str]| suffixes.iter().any(|s| name.ends_with(s));
    // The first entry of a Java keystore: 1 is a private key, 2 a certificate, 3 (of JCEKS alone) a secret key.
    let is_java = bytes.starts_with(b"\xfe\xed\xfe\xed") || bytes.starts_with(b"\xce\xce\xce\xce");
    if is_java && matches!(bytes.get(12..16), Some(&[0, 0, 0, 1 | 3])) {
        return Some("a Java keystore with a private key");
    }
    // Since Java 9 a keystore is one of PKCS #12. What is trusted is kept in the same form.
    let is_trusted = name.contains("trust") || name.contains("cacerts");
    if ends(&[".p12", ".pfx", ".jks", ".keystore"]) && bytes.starts_with(b"\x30\x82") && !is_trusted {
        return Some("a PKCS #12 store");
    }
    if ends(&[".keytab"]) && bytes.starts_with(b"\x05\x02") {
        return Some("keys of Kerberos");
    }
    let is_gnupg = file.path.contains("/private-keys-v1.d/")
        && ["(protected-private-key", "(private-key", "(11:private-key", "(21:protected-private-key"]
            .iter()
            .any(|start| bytes[..bytes.len().min(512)].windows(start.len()).any(|w| w == start.as_bytes()));
    if is_gnupg || (name == "secring.gpg" && bytes.first().is_some_and(|b| b & 0x80 != 0)) {
        return Some("a private key of GnuPG");
    }
    if ends(&[".kdbx"]) && bytes.starts_with(b"\x03\xd9\xa2\x9a") {
        return Some("a database of KeePass");
    }
    // PKCS #8 and PKCS #1 in DER: a sequence that begins with the version 0.
    let is_der = ends(&[".der", ".key", ".pk8"]) && bytes.starts_with(b"\x30\x82") && bytes.get(4..7) == Some(&[2, 1, 0]);
    is_der.then_some("a private key in DER")
}

/// Hashes of passwords, as `/etc/shadow` has them.
static SHADOW: LazyLock<Regex> = LazyLock::new(|| regex(r"(?m)^[a-z_][\w.-]*:(\$(?:1|2[abxy]|5|6|7|y|gy)\$[^:\n]+):\d*:"));
static NO_PASSWORD: LazyLock<Regex> = LazyLock::new(|| regex(r"(?m)^([a-z_][\w.-]*)::\d*:[\d:]*$"));

/// Whether the first lines have the fields of `/etc/shadow`: cheap enough to ask of every file.
pub(super) fn has_fields_of_shadow(bytes: &[u8]) -> bool {
    let head = &bytes[..bytes.len().min(1024)];
    head.split(|b| *b == b'\n').take(3).any(|line| line.iter().filter(|b| **b == b':').count() == 8)
}

pub(super) fn shadow(file: &File, text: &str) -> Vec<Exposure> {
    let mut found = Vec::new();
    if file.is_read_by_others()
        && let Some(line) = SHADOW.captures(text.as_bytes()).and_then(|c| c.get(1)).map(|m| line_of(text, m.start()))
    {
        let why = "every account of the host can read the hashes of passwords in it".to_string();
        let fix = format!("chmod 0640 {} (or delete the copy), and set new passwords", file.path);
        found.push(Exposure::new("readable-shadow", file.path, line, Severity::Critical, why, fix));
    }
    if file.path == "/etc/shadow"
        && let Some(name) = NO_PASSWORD.captures(text.as_bytes()).and_then(|c| c.get(1))
    {
        let (line, name) = (line_of(text, name.start()), String::from_utf8_lossy(name.as_bytes()));
        let why = format!("the account {name} has no password: everybody becomes it who can log in");
        found.push(Exposure::new("account-without-password", file.path, line, Severity::Critical, why, format!("passwd -l {name}")));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pattern_compiles_and_placeholders_are_none() {
        for (_, _, _, form) in PURPOSES {
            assert!(!matches!(form, Form::Pattern(pattern) if pattern.captures_len() != 2));
        }
        assert!(TYPED.iter().all(|p| p.captures_len() == 2) && SHADOW.captures_len() == 2 && NO_PASSWORD.captures_len() == 2);
        for text in ["password = ${DB_PASSWORD}", "password = <password>", "password = changeme", "password = xxxxxx", "password ="] {
            assert_eq!(first(text, &PASSWORD), None, "{text}");
        }
        assert_eq!(first("a\npassword = tr0ub4dor\n", &PASSWORD), Some(2));
    }

    #[test]
    fn passwords_typed_into_a_shell() {
        for (text, expected) in [
            ("ls\nmysql -u root -phunter22 shop", Some(2)),
            ("mysqldump --password=s3cr3tpw shop", Some(1)),
            ("curl -u ann:s3cr3tpw https://x", Some(1)),
            ("PGPASSWORD=s3cr3tpw psql", Some(1)),
            ("export API_TOKEN=abc123def", Some(1)),
            ("git clone https://ann:s3cr3tpw@git.x/y", Some(1)),
            ("mysql -u root -p shop", None),
            ("mysql -u root -p", None),
            ("export TOKEN=$(cat t)", None),
            ("export PATH=/bin", None),
            ("curl -u ann https://x:8080/y", None),
            ("ssh -p 22 host", None),
            ("git clone ssh://git@host:22/x", None),
        ] {
            assert_eq!(typed_password(text), expected, "{text}");
        }
    }
}
