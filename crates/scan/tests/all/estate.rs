//! A root directory on disk with labels: exposures that are planted, and what only looks like one. Tokens are made by their issuers'
//! formats, not taken from the detector's samples. A label is by construction: nothing here asks `guard`.

use crate::random::{BASE_32, BASE_62, BASE_64, HEX, LETTERS, Random};
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

pub struct Estate {
    pub root: PathBuf,
    /// Path in the tree, and the kind that was planted there.
    pub exposed: Vec<(String, &'static str)>,
    pub look_alikes: Vec<(String, &'static str)>,
    random: Random,
}

/// GitHub's and npm's check digits: CRC-32 in base 62, six places.
fn with_crc(prefix: &str, body: &str) -> String {
    let mut crc = u32::MAX;
    for byte in body.bytes() {
        crc ^= u32::from(byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 { (crc >> 1) ^ 0xedb8_8320 } else { crc >> 1 };
        }
    }
    let (mut left, mut digits) = (!crc, Vec::new());
    for _ in 0..6 {
        digits.push(char::from(BASE_62[left as usize % 62]));
        left /= 62;
    }
    let digits: String = digits.into_iter().rev().collect();
    format!("{prefix}{body}{digits}")
}

impl Estate {
    /// A system of packages without any exposure.
    pub fn clean(root: &Path, seed: u64) -> Estate {
        let mut estate = Estate { root: root.into(), exposed: Vec::new(), look_alikes: Vec::new(), random: Random::new(seed) };
        for directory in ["tmp", "var/tmp"] {
            estate.directory(directory, 0o1777);
        }
        estate.write("usr/bin/passwd", 0o4755, "\x7fELF");
        estate.write("usr/bin/ls", 0o755, "\x7fELF");
        symlink("usr/bin", root.join("bin")).unwrap();
        estate.write("var/lib/dpkg/info/passwd.list", 0o644, "/.\n/usr\n/usr/bin\n/usr/bin/passwd\n");
        estate.write("var/lib/dpkg/info/docs.list", 0o644, "/.\n/usr/share/doc/tls/examples/key.pem\n");
        estate.write("etc/passwd", 0o644, "root:x:0:0:root:/root:/bin/bash\napp:x:1000:1000::/home/app:/bin/sh\n");
        estate.write("etc/shadow", 0o640, "root:*:19000:0:99999:7:::\n");
        estate
    }

    pub fn write(&mut self, path: &str, mode: u32, content: impl AsRef<[u8]>) {
        let whole = self.root.join(path.trim_start_matches('/'));
        fs::create_dir_all(whole.parent().unwrap()).unwrap();
        fs::write(&whole, content).unwrap();
        fs::set_permissions(&whole, fs::Permissions::from_mode(mode)).unwrap();
    }

    pub fn directory(&mut self, path: &str, mode: u32) {
        let whole = self.root.join(path.trim_start_matches('/'));
        fs::create_dir_all(&whole).unwrap();
        fs::set_permissions(&whole, fs::Permissions::from_mode(mode)).unwrap();
    }

    pub fn mode(root: &Path, path: &str, mode: u32) {
        fs::set_permissions(root.join(path), fs::Permissions::from_mode(mode)).unwrap();
    }

    /// What dpkg keeps of a package's files, by the tool that packages are made with.
    pub fn sum(&mut self, package: &str, paths: &[&str]) {
        let sums = Command::new("md5sum").args(paths).current_dir(&self.root).output().unwrap();
        assert!(sums.status.success(), "{sums:?}");
        self.write(&format!("var/lib/dpkg/info/{package}.md5sums"), 0o644, sums.stdout);
    }

    fn plant(&mut self, kind: &'static str, path: &str, mode: u32, content: impl AsRef<[u8]>) {
        self.write(path, mode, content);
        self.exposed.push((path.to_string(), kind));
    }

    fn look_alike(&mut self, kind: &'static str, path: &str, mode: u32, content: impl AsRef<[u8]>) {
        self.write(path, mode, content);
        self.look_alikes.push((path.to_string(), kind));
    }

    /// A file that holds a secret somewhere, as code and settings do.
    fn holding(&mut self, name: &str, secret: &str) -> String {
        let lines = self.random.below(40);
        let before: String = (0..lines).map(|n| format!("setting_{n} = \"{}\"\n", self.random.text(LETTERS, 12))).collect();
        format!("{before}{name} = \"{secret}\"\n# end\n")
    }

    pub fn key(&mut self, kind: &str) -> String {
        let lines: String = (0..12).map(|_| format!("{}\n", self.random.text(BASE_64, 64))).collect();
        ["-----BEGIN ", kind, "PRIVATE", " KEY-----\n", &lines, "-----END ", kind, "PRIVATE", " KEY-----\n"].concat()
    }

    pub fn token(&mut self, issuer: &str) -> String {
        let r = &mut self.random;
        match issuer {
            "github" => with_crc(&["gh", "p_"].concat(), &r.text(BASE_62, 30)),
            "gitlab" => ["gl", "pat-", &r.text(BASE_62, 20)].concat(),
            "stripe" => ["sk_", "live_", &r.text(BASE_62, 24)].concat(),
            "slack" => ["xo", "xb-", &r.text(b"123456789", 11), "-", &r.text(b"123456789", 12), "-", &r.text(BASE_62, 24)].concat(),
            "aws" => ["AK", "IA", &r.text(BASE_32, 16)].concat(),
            "google" => ["AI", "za", &r.text(BASE_62, 35)].concat(),
            "sendgrid" => ["S", "G.", &r.text(BASE_62, 22), ".", &r.text(BASE_62, 43)].concat(),
            "digitalocean" => ["dop", "_v1_", &r.text(HEX, 64)].concat(),
            "hugging face" => ["h", "f_", &r.text(&BASE_62[10..], 34)].concat(),
            "telegram" => [&r.text(b"123456789", 10), ":", "AA", &r.text(BASE_62, 33)].concat(),
            _ => unreachable!("{issuer}"),
        }
    }

    /// Every kind of exposure once: more than thirty.
    pub fn plant_all(&mut self) {
        self.secrets();
        self.credentials();
        self.modes();
        self.services();
        self.web();
    }

    fn secrets(&mut self) {
        for (issuer, path) in [
            ("github", "/opt/app/settings.py"),
            ("gitlab", "/home/app/.config/tool.toml"),
            ("stripe", "/opt/app/config/production.rb"),
            ("slack", "/usr/local/lib/notify/hook.sh"),
            ("aws", "/root/notes.txt"),
            ("google", "/var/lib/app/maps.json"),
            ("sendgrid", "/etc/app/mail.yml"),
            ("digitalocean", "/srv/terraform/main.tf"),
            ("hugging face", "/home/app/train.ipynb"),
            ("telegram", "/opt/bot/bot.js"),
        ] {
            let token = self.token(issuer);
            let text = self.holding("token", &token);
            self.plant("token", path, 0o640, text);
        }
        for (kind, path) in [("", "/etc/ssl/private/site.key"), ("RSA ", "/home/app/.ssh/id_rsa"), ("OPENSSH ", "/root/.ssh/id_ed25519")] {
            let key = self.key(kind);
            self.plant("private key", path, 0o600, key);
        }
        // Deep in what is no text, and beyond what is read at once.
        let token = self.token("github");
        let mut bytes: Vec<u8> = (0..6 << 20).map(|n: u32| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        bytes[5 << 20..][..token.len() + 2].copy_from_slice(format!("\0{token}\0").as_bytes());
        self.plant("token in a large file", "/var/cache/app/heap.bin", 0o644, bytes);
    }

    fn credentials(&mut self) {
        let secret = self.random.text(BASE_62, 24);
        let private = format!("{}=", self.random.text(BASE_64, 43));
        self.plant("AWS", "/root/.aws/credentials", 0o600, format!("[default]\naws_access_key_id = x\naws_secret_access_key = {secret}\n"));
        self.plant("netrc", "/home/app/.netrc", 0o600, format!("machine git.x login ann password {secret}\n"));
        self.plant("pgpass", "/root/.pgpass", 0o600, format!("db:5432:shop:app:{secret}\n"));
        self.plant("docker", "/root/.docker/config.json", 0o600, format!("{{\"auths\": {{\"r.x\": {{\"auth\": \"{secret}\"}}}}}}"));
        self.plant("git", "/root/.git-credentials", 0o600, format!("https://ann:{secret}@git.x\n"));
        self.plant("npm", "/home/app/.npmrc", 0o600, format!("//r.x/:_authToken={secret}\n"));
        self.plant("kube", "/root/.kube/config", 0o600, format!("users:\n- name: a\n  user:\n    token: {secret}\n"));
        self.plant("wireguard", "/etc/wireguard/wg0.conf", 0o600, format!("[Interface]\nPrivateKey = {private}\n"));
        self.plant("history", "/root/.bash_history", 0o600, format!("ls\nmysql -u root -p{secret} shop\n"));
        let mut store = b"\xfe\xed\xfe\xed\0\0\0\x02\0\0\0\x01\0\0\0\x01\0\x05alias".to_vec();
        store.extend((0..200).map(|_| self.random.byte()));
        self.plant("keystore", "/opt/app/server.jks", 0o600, store);
    }

    fn modes(&mut self) {
        self.write("/etc/cron.d/job", 0o644, "* * * * * root /opt/job.sh\n");
        self.plant("world-writable cron script", "/opt/job.sh", 0o777, "#!/bin/sh\n");
        self.plant("world-writable profile", "/etc/profile.d/x.sh", 0o666, "");
        self.plant("setuid", "/usr/local/bin/helper", 0o4755, "\x7fELF");
        let hash = ["root:$6$saltsalt$", &self.random.text(BASE_62, 86), ":19000:0:99999:7:::\n"].concat();
        self.plant("shadow copy", "/var/backups/shadow.bak", 0o644, hash);
    }

    fn services(&mut self) {
        for (kind, path, text) in [
            ("redis", "/etc/redis/redis.conf", "bind 0.0.0.0\nprotected-mode no\n"),
            ("mongodb", "/etc/mongod.conf", "net:\n  port: 27017\n  bindIp: 0.0.0.0\n"),
            ("elasticsearch", "/etc/elasticsearch/elasticsearch.yml", "network.host: 0.0.0.0\nxpack.security.enabled: false\n"),
            ("docker", "/etc/docker/daemon.json", "{\"hosts\": [\"tcp://0.0.0.0:2375\"]}"),
            ("etcd", "/etc/default/etcd", "ETCD_LISTEN_CLIENT_URLS=\"http://0.0.0.0:2379\"\n"),
            ("memcached", "/etc/memcached.conf", "-d\n-l 0.0.0.0\n"),
            ("nfs", "/etc/exports", "/srv/share *(rw,no_root_squash)\n"),
            ("rsync", "/etc/rsyncd.conf", "uid = nobody\n[data]\npath = /srv\nread only = no\n"),
            ("samba", "/etc/samba/smb.conf", "[global]\nmap to guest = bad user\n[pub]\npath = /srv\nguest ok = yes\n"),
            ("sshd", "/etc/ssh/sshd_config", "PermitRootLogin yes\nPermitEmptyPasswords no\n"),
            ("sudo", "/etc/sudoers", "root ALL=(ALL:ALL) ALL\nwww-data ALL=(ALL) NOPASSWD: ALL\n"),
        ] {
            self.plant(kind, path, 0o644, text);
        }
        self.write("/etc/postgresql/16/main/postgresql.conf", 0o644, "listen_addresses = '*'\n");
        self.plant("postgres", "/etc/postgresql/16/main/pg_hba.conf", 0o640, "host all all 0.0.0.0/0 trust\n");
    }

    fn web(&mut self) {
        let dump = "-- MySQL dump 10.13  Distrib 8.0\nINSERT INTO `users` VALUES (1);\n";
        // A site is enabled by a link, as Debian does it.
        self.write("/etc/nginx/sites-available/shop", 0o644, "server {\n root /srv/shop/public;\n}\n");
        self.directory("/etc/nginx/sites-enabled", 0o755);
        symlink("../sites-available/shop", self.root.join("etc/nginx/sites-enabled/shop")).unwrap();
        self.plant("env file", "/srv/shop/public/.env", 0o644, "DB=x\n");
        self.directory("/var/www/html/.git", 0o755);
        self.exposed.push(("/var/www/html/.git".into(), "repository"));
        self.plant("web dump", "/var/www/html/db.sql", 0o644, dump);
        self.plant("web archive", "/var/www/html/backup-2026.tar.gz", 0o644, b"\x1f\x8b\x08");
        self.plant("listing", "/etc/nginx/conf.d/x.conf", 0o644, "server {\n location /f { autoindex on; }\n}\n");
        self.plant("dump", "/var/backups/all.sql", 0o644, dump);
    }

    /// What a careless scan takes for an exposure: thirteen kinds.
    pub fn plant_look_alikes(&mut self) {
        let (key, certificate) = (self.key(""), self.random.text(BASE_64, 64));
        self.look_alike("certificate", "/etc/ssl/certs/ca.pem", 0o644, ["-----BEGIN CERTIFICATE-----\n", &certificate, "\n"].concat());
        self.look_alike("public key", "/root/.ssh/id_ed25519.pub", 0o644, format!("ssh-ed25519 AAAA{certificate} a@b\n"));
        self.look_alike("a package's example", "/usr/share/doc/tls/examples/key.pem", 0o644, key);
        self.sum("docs", &["usr/share/doc/tls/examples/key.pem"]);
        self.look_alike("template", "/srv/shop/public/.env.example", 0o644, "DB_PASSWORD=changeme\n");
        self.look_alike("documented key", "/opt/docs/aws.md", 0o644, ["aws_access_key_id = AK", "IAIOSFODNN7EXAMPLE\n"].concat());
        self.look_alike("placeholder", "/opt/app/client.rc", 0o644, ["token = gh", "p_xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\n"].concat());
        let wrong = self.random.text(BASE_62, 36);
        self.look_alike("wrong check digits", "/opt/app/ids.txt", 0o644, ["id: gh", "p_", &wrong, "\n"].concat());
        let digest = self.random.text(HEX, 64);
        self.look_alike("digests", "/opt/app/yarn.lock", 0o644, format!("integrity sha256-{digest}\n"));
        let body = self.random.text(BASE_62, 24);
        self.look_alike("test mode", "/opt/app/test.env", 0o644, ["STRIPE=sk_", "test_", &body, "\n"].concat());
        self.look_alike("variable", "/home/app/.netrc.tpl", 0o644, "machine git.x login ann password ${TOKEN}\n");
        self.look_alike("redis on loopback", "/opt/redis/redis.conf", 0o644, "bind 127.0.0.1 -::1\nprotected-mode yes\n");
        self.look_alike("download", "/var/www/html/product-1.4.tar.gz", 0o644, b"\x1f\x8b\x08");
        self.look_alike("text about keys", "/opt/docs/keys.md", 0o644, ["It begins with -----BEGIN ", "PRIVATE KEY----- and\n"].concat());
    }
}
