//! Exposures of a root directory against labels: everything planted is found, look-alikes are not, and what is unread is never safe.

use crate::random::Random;
use crate::root_tree::{Memory, checksum, rows};
use guard::root::{Checksum, Purpose};
use guard::secrets::Detector;
use guard::{Severity, Verdict};

type Change = fn(&mut Memory) -> &mut Memory;
type Plant = (&'static str, Change, &'static [&'static str]);

fn sample(rule: &str) -> String {
    Detector::built_in().unwrap().rules().iter().find(|r| r.id == rule).unwrap().fail[0].clone()
}

fn key() -> String {
    sample("private-key")
}

fn token() -> String {
    sample("github-token")
}

const SHADOW: &str = "root:$6$saltsalt$abcdefgh:19000:0:99999:7:::\n";
const DUMP: &str = "-- MySQL dump 10.13  Distrib 8.0\nINSERT INTO `users` VALUES (1);\n";

/// Each kind by itself in a clean tree, with exactly the rows that it makes in an image.
fn planted() -> Vec<Plant> {
    vec![
        ("token", |t| t.add("/opt/app/settings.py", 0o600, format!("TOKEN = \"{}\"\n", token())), &["secret /opt/app/settings.py"]),
        ("private key", |t| t.add("/home/app/.ssh/id_rsa", 0o600, key()), &["secret /home/app/.ssh/id_rsa"]),
        (
            "aws",
            |t| {
                t.add(
                    "/root/.aws/credentials",
                    0o600,
                    "[default]\naws_access_key_id = AKIAQ\naws_secret_access_key = hunter2hunter3hunter4\n",
                )
            },
            &["credentials /root/.aws/credentials"],
        ),
        ("netrc", |t| t.add("/root/.netrc", 0o600, "machine x login ann password tr0ub4dor\n"), &["credentials /root/.netrc"]),
        ("pgpass", |t| t.add("/root/.pgpass", 0o600, "db:5432:shop:app:tr0ub4dor\n"), &["credentials /root/.pgpass"]),
        ("my.cnf", |t| t.add("/root/.my.cnf", 0o600, "[client]\nuser=root\npassword=tr0ub4dor\n"), &["credentials /root/.my.cnf"]),
        (
            "docker",
            |t| t.add("/root/.docker/config.json", 0o600, "{\"auths\": {\"r.x\": {\"auth\": \"YW5uOnRyMHViNGRvcg==\"}}}"),
            &["credentials /root/.docker/config.json"],
        ),
        (
            "git credentials",
            |t| t.add("/root/.git-credentials", 0o600, "https://ann:tr0ub4dor@git.x\n"),
            &["credentials /root/.git-credentials"],
        ),
        ("npmrc", |t| t.add("/root/.npmrc", 0o600, "//r.x/:_authToken=9f8e7d6c5b4a3f2e\n"), &["credentials /root/.npmrc"]),
        ("pypirc", |t| t.add("/root/.pypirc", 0o600, "[pypi]\nusername = ann\npassword = tr0ub4dor\n"), &["credentials /root/.pypirc"]),
        (
            "kube",
            |t| t.add("/root/.kube/config", 0o600, "users:\n- name: a\n  user:\n    token: k8s9f8e7d6c5b4a\n"),
            &["credentials /root/.kube/config"],
        ),
        (
            "wireguard",
            |t| t.add("/etc/wireguard/wg0.conf", 0o600, "[Interface]\nPrivateKey = yAnz5TF+lXXJte14tji3zlMNq+hd2rYUIgJBgB3fBmk=\n"),
            &["credentials /etc/wireguard/wg0.conf"],
        ),
        (
            "htpasswd",
            |t| t.add("/etc/nginx/.htpasswd", 0o644, "ann:$apr1$abcd1234$Uq7x0GkZl3vWb9RtYhPeN1\n"),
            &["credentials /etc/nginx/.htpasswd"],
        ),
        (
            "keystore",
            |t| t.add("/opt/app/server.jks", 0o600, b"\xfe\xed\xfe\xed\0\0\0\x02\0\0\0\x01\0\0\0\x01\0\x05alias"),
            &["keystore /opt/app/server.jks"],
        ),
        ("history", |t| t.add("/root/.bash_history", 0o600, "ls\nmysql -u root -ptr0ub4dor shop\n"), &["history /root/.bash_history"]),
        ("shadow", |t| t.add("/etc/shadow", 0o644, SHADOW), &["readable-shadow /etc/shadow"]),
        ("shadow copy", |t| t.add("/var/backups/shadow.bak", 0o644, SHADOW), &["readable-shadow /var/backups/shadow.bak"]),
        ("empty password", |t| t.add("/etc/shadow", 0o640, "root::19000:0:99999:7:::\n"), &["account-without-password /etc/shadow"]),
        ("setuid", |t| t.add("/usr/local/bin/helper", 0o4755, "\x7fELF"), &["setuid-without-package /usr/local/bin/helper"]),
        (
            "cron script",
            |t| t.add("/etc/cron.d/job", 0o644, "* * * * * root /opt/job.sh\n").add("/opt/job.sh", 0o777, "#!/bin/sh\n"),
            &["world-writable /opt/job.sh"],
        ),
        (
            "unit's program",
            |t| t.add("/etc/systemd/system/a.service", 0o644, "[Service]\nExecStart=/opt/a --x\n").add("/opt/a", 0o757, ""),
            &["world-writable /opt/a"],
        ),
        ("program directory", |t| t.directory("/usr/local/bin", 0o777), &["world-writable /usr/local/bin"]),
        ("profile", |t| t.add("/etc/profile.d/x.sh", 0o666, ""), &["world-writable /etc/profile.d/x.sh"]),
        (
            "redis",
            |t| t.add("/etc/redis/redis.conf", 0o640, "bind 0.0.0.0\nprotected-mode no\nport 6379\n"),
            &["redis-without-password /etc/redis/redis.conf"],
        ),
        (
            "postgres",
            |t| {
                t.add("/etc/postgresql/16/main/postgresql.conf", 0o644, "listen_addresses = '*'  # all\n").add(
                    "/etc/postgresql/16/main/pg_hba.conf",
                    0o640,
                    "local all all trust\nhost all all 0.0.0.0/0 trust\n",
                )
            },
            &["postgres-without-password /etc/postgresql/16/main/pg_hba.conf"],
        ),
        (
            "mongo",
            |t| t.add("/etc/mongod.conf", 0o644, "net:\n  port: 27017\n  bindIp: 0.0.0.0\n"),
            &["mongodb-without-authentication /etc/mongod.conf"],
        ),
        (
            "elastic",
            |t| t.add("/etc/elasticsearch/elasticsearch.yml", 0o660, "network.host: 0.0.0.0\nxpack.security.enabled: false\n"),
            &["elasticsearch-without-authentication /etc/elasticsearch/elasticsearch.yml"],
        ),
        (
            "docker daemon",
            |t| t.add("/etc/docker/daemon.json", 0o644, "{\n\"hosts\": [\"unix:///run/docker.sock\", \"tcp://0.0.0.0:2375\"]}"),
            &["docker-without-authentication /etc/docker/daemon.json"],
        ),
        (
            "docker unit",
            |t| {
                t.add("/etc/systemd/system/docker.service", 0o644, "[Service]\nExecStart=/usr/bin/dockerd -H fd:// -H tcp://0.0.0.0:2375\n")
            },
            &["docker-without-authentication /etc/systemd/system/docker.service"],
        ),
        (
            "etcd",
            |t| t.add("/etc/default/etcd", 0o644, "ETCD_LISTEN_CLIENT_URLS=\"http://0.0.0.0:2379\"\n"),
            &["etcd-without-authentication /etc/default/etcd"],
        ),
        (
            "memcached",
            |t| t.add("/etc/memcached.conf", 0o644, "-d\n-m 64\n-p 11211\n-l 0.0.0.0\n"),
            &["memcached-without-authentication /etc/memcached.conf"],
        ),
        (
            "memcached default",
            |t| t.add("/etc/sysconfig/memcached", 0o644, "PORT=\"11211\"\nCACHESIZE=\"64\"\nOPTIONS=\"\"\n"),
            &["memcached-without-authentication /etc/sysconfig/memcached"],
        ),
        (
            "minio",
            |t| t.add("/etc/default/minio", 0o640, "MINIO_VOLUMES=/data\nMINIO_ROOT_USER=minioadmin\nMINIO_ROOT_PASSWORD=minioadmin\n"),
            &["minio-default-password /etc/default/minio"],
        ),
        (
            "mysql",
            |t| t.add("/etc/mysql/my.cnf", 0o644, "[mysqld]\nskip-grant-tables\nbind-address = 0.0.0.0\n"),
            &["mysql-without-password /etc/mysql/my.cnf"],
        ),
        (
            "nfs",
            |t| t.add("/etc/exports", 0o644, "/srv/share *(rw,no_root_squash)\n/srv/ok 10.0.0.0/24(rw)\n"),
            &["nfs-to-everyone /etc/exports"],
        ),
        ("nfs with a blank", |t| t.add("/etc/exports", 0o644, "/srv/share trusted.example (rw)\n"), &["nfs-to-everyone /etc/exports"]),
        (
            "rsync",
            |t| t.add("/etc/rsyncd.conf", 0o644, "uid = nobody\n[data]\npath = /srv\nread only = no\n"),
            &["rsync-without-password /etc/rsyncd.conf"],
        ),
        (
            "samba",
            |t| {
                t.add(
                    "/etc/samba/smb.conf",
                    0o644,
                    "[global]\nmap to guest = bad user\n[pub]\npath = /srv\nGuest OK = Yes\nwritable = yes\n",
                )
            },
            &["samba-guest /etc/samba/smb.conf"],
        ),
        (
            "sshd root through PAM",
            |t| t.add("/etc/ssh/sshd_config", 0o644, "PermitRootLogin yes\nPasswordAuthentication no\nUsePAM yes\n"),
            &["sshd-root-password /etc/ssh/sshd_config"],
        ),
        ("sshd root", |t| t.add("/etc/ssh/sshd_config", 0o644, "PermitRootLogin yes\n"), &["sshd-root-password /etc/ssh/sshd_config"]),
        (
            "sshd by an included file",
            |t| {
                t.add("/etc/ssh/sshd_config", 0o644, "Include /etc/ssh/sshd_config.d/*.conf\nPermitEmptyPasswords no\n").add(
                    "/etc/ssh/sshd_config.d/50-x.conf",
                    0o644,
                    "PermitEmptyPasswords yes\n",
                )
            },
            &["sshd-empty-passwords /etc/ssh/sshd_config.d/50-x.conf"],
        ),
        (
            "sudo",
            |t| t.add("/etc/sudoers", 0o440, "root ALL=(ALL:ALL) ALL\nwww-data ALL=(ALL) NOPASSWD: ALL\n"),
            &["sudo-without-password /etc/sudoers"],
        ),
        (
            "sudo by an included file",
            |t| {
                t.add("/etc/sudoers", 0o440, "Defaults env_reset\n#includedir /etc/sudoers.d\n").add(
                    "/etc/sudoers.d/app",
                    0o440,
                    "%app ALL = (root) \\\n  NOPASSWD: /usr/bin/systemctl restart app, /usr/bin/vim\n",
                )
            },
            &["sudo-without-password /etc/sudoers.d/app"],
        ),
        (
            "sudo alias",
            |t| t.add("/etc/sudoers", 0o440, "Cmnd_Alias ANY = ALL\nUser_Alias OPS = ann, bob\nOPS ALL = NOPASSWD: ANY\n"),
            &["sudo-without-password /etc/sudoers"],
        ),
        ("repository", |t| t.directory("/var/www/html/.git", 0o755), &["web-repository /var/www/html/.git"]),
        (
            "env",
            |t| {
                t.add("/etc/nginx/sites-enabled/shop", 0o644, "server {\n root /srv/shop/public;\n}\n").add(
                    "/srv/shop/public/.env",
                    0o644,
                    "DB=x\n",
                )
            },
            &["web-env-file /srv/shop/public/.env"],
        ),
        ("web dump", |t| t.add("/var/www/html/db.sql", 0o644, DUMP), &["web-dump /var/www/html/db.sql"]),
        ("web archive", |t| t.add("/var/www/html/backup-2026.tar.gz", 0o644, "\x1f"), &["web-archive /var/www/html/backup-2026.tar.gz"]),
        (
            "listing",
            |t| t.add("/etc/nginx/conf.d/x.conf", 0o644, "server {\n location /f { autoindex on; }\n}\n"),
            &["web-directory-listing /etc/nginx/conf.d/x.conf"],
        ),
        (
            "apache listing",
            |t| t.add("/etc/apache2/sites-enabled/x.conf", 0o644, "<Directory /srv>\n Options +Indexes FollowSymLinks\n</Directory>\n"),
            &["web-directory-listing /etc/apache2/sites-enabled/x.conf"],
        ),
        ("dump", |t| t.add("/tmp/all.sql", 0o644, DUMP), &["readable-dump /tmp/all.sql"]),
    ]
}

#[test]
fn everything_planted_is_found_in_one_row_each() {
    assert!(planted().len() >= 40);
    assert_eq!(rows(&Memory::clean().scan(Purpose::Image)), [""; 0]);
    let mut wrong = Vec::new();
    for (name, plant, expected) in planted() {
        let mut tree = Memory::clean();
        plant(&mut tree);
        let found = rows(&tree.scan(Purpose::Image));
        if found != expected {
            wrong.push(format!("{name}: {found:?}, planted {expected:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn look_alikes_are_left_alone() {
    let lookalikes: Vec<(&str, Change)> = vec![
        ("a public key", |t| {
            t.add("/etc/ssl/certs/ca.pem", 0o644, "-----BEGIN CERTIFICATE-----\nMIIDdzCCAl+gAwIBAgIEAgAAuTANBgkqhkiG9w0BAQUFADBa\n")
        }),
        ("ssh public key", |t| {
            t.add("/root/.ssh/id_ed25519.pub", 0o644, "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGq1l0v8m5kQx7mYp3bJ9m4Y8dHn2c5r a@b\n")
        }),
        ("a key of a package's examples", |t| {
            let sum = checksum(Checksum::Md5, key().as_bytes());
            t.add("/var/lib/dpkg/info/passwd.md5sums", 0o644, format!("{sum}  usr/share/doc/x/examples/key.pem\n")).add(
                "/usr/share/doc/x/examples/key.pem",
                0o644,
                key(),
            )
        }),
        ("a template", |t| t.add("/var/www/html/.env.example", 0o644, "SECRET=changeme\n")),
        ("placeholders", |t| {
            t.add("/root/.netrc", 0o600, "machine x login ann password <password>\n")
                .add("/root/.npmrc", 0o600, "//r.x/:_authToken=${NPM_TOKEN}\n")
                .add("/root/.my.cnf", 0o600, "[client]\npassword=\n")
        }),
        ("a config of docker without auth", |t| t.add("/root/.docker/config.json", 0o600, "{\"auths\": {}, \"credsStore\": \"pass\"}")),
        ("an aws config", |t| t.add("/root/.aws/config", 0o600, "[default]\nregion = eu-central-1\n")),
        ("cacerts", |t| t.add("/etc/ssl/certs/java/cacerts", 0o644, b"\xfe\xed\xfe\xed\0\0\0\x02\0\0\0\x90\0\0\0\x02\0\x05alias")),
        ("sticky", |t| t.directory("/tmp", 0o1777).directory("/var/tmp", 0o1777).add("/tmp/x", 0o666, "")),
        ("a program of a user", |t| {
            t.add("/etc/systemd/system/a.service", 0o644, "[Service]\nUser=app\nExecStart=/opt/a\n").add("/opt/a", 0o757, "")
        }),
        ("redis on loopback", |t| t.add("/etc/redis/redis.conf", 0o640, "bind 127.0.0.1 -::1\nprotected-mode yes\n")),
        ("redis with a password", |t| t.add("/etc/redis/redis.conf", 0o640, "bind 0.0.0.0\nrequirepass f00b4r\nprotected-mode no\n")),
        ("redis as installed", |t| t.add("/etc/redis/redis.conf", 0o640, "port 6379\n")),
        ("redis with users", |t| {
            t.add("/etc/redis/redis.conf", 0o640, "bind *\nprotected-mode no\nuser default off\nuser app on >x ~* +@all\n")
        }),
        ("redis on a socket", |t| t.add("/etc/redis/redis.conf", 0o640, "bind *\nprotected-mode no\nport 0\nunixsocket /run/r.sock\n")),
        ("postgres as installed", |t| {
            t.add("/etc/postgresql/16/main/postgresql.conf", 0o644, "#listen_addresses = 'localhost'\nport = 5432\n").add(
                "/etc/postgresql/16/main/pg_hba.conf",
                0o640,
                "local all postgres peer\nlocal all all trust\nhost all all 127.0.0.1/32 trust\nhost all all ::1/128 trust\n",
            )
        }),
        ("postgres with passwords", |t| {
            t.add("/d/postgresql.conf", 0o644, "listen_addresses = '*'\n").add(
                "/d/pg_hba.conf",
                0o640,
                "host all all 0.0.0.0/0 scram-sha-256\nhost all all ::/0 reject\nhost all all all trust\n",
            )
        }),
        ("mongo with users", |t| t.add("/etc/mongod.conf", 0o644, "net:\n  bindIp: 0.0.0.0\nsecurity:\n  authorization: enabled\n")),
        ("mongo as installed", |t| t.add("/etc/mongod.conf", 0o644, "net:\n  port: 27017\n  bindIp: 127.0.0.1\n")),
        ("elastic as installed", |t| t.add("/etc/elasticsearch/elasticsearch.yml", 0o660, "#network.host: 192.168.0.1\ncluster.name: x\n")),
        ("docker with certificates", |t| {
            t.add("/etc/docker/daemon.json", 0o644, "{\"hosts\": [\"tcp://0.0.0.0:2376\"], \"tlsverify\": true}")
        }),
        ("etcd with certificates", |t| {
            t.add(
                "/etc/etcd/etcd.conf.yml",
                0o644,
                "listen-client-urls: https://0.0.0.0:2379\nclient-transport-security:\n  client-cert-auth: true\n",
            )
        }),
        ("memcached as installed", |t| t.add("/etc/memcached.conf", 0o644, "-d\n-p 11211\n-l 127.0.0.1\n-l ::1\n")),
        ("minio with a password", |t| t.add("/etc/default/minio", 0o640, "MINIO_ROOT_USER=ann\nMINIO_ROOT_PASSWORD=tr0ub4dor99\n")),
        ("nfs to a network", |t| t.add("/etc/exports", 0o644, "# all\n/srv 10.0.0.0/8(ro) @trusted(rw)\n/k -sec=krb5p *(rw)\n")),
        ("rsync with users", |t| {
            t.add("/etc/rsyncd.conf", 0o644, "hosts allow = 10.0.0.0/24\n[a]\npath = /a\n[b]\npath = /b\nauth users = ann\n")
        }),
        ("samba with users", |t| {
            t.add(
                "/etc/samba/smb.conf",
                0o644,
                "[global]\n[homes]\nbrowseable = no\n[print$]\nguest ok = no\n[printers]\nprintable = yes\nguest ok = yes\n",
            )
        }),
        ("sshd as installed", |t| {
            t.add("/etc/ssh/sshd_config", 0o644, "#PermitRootLogin yes\nPermitRootLogin prohibit-password\nUsePAM yes\n")
        }),
        ("sshd with keys only", |t| t.add("/etc/ssh/sshd_config", 0o644, "PasswordAuthentication no\nPermitRootLogin yes\n")),
        ("sshd with keys only and PAM", |t| {
            let text = "PasswordAuthentication no\nKbdInteractiveAuthentication no\nUsePAM yes\nPermitRootLogin yes\n";
            t.add("/etc/ssh/sshd_config", 0o644, text)
        }),
        ("sudo as installed", |t| {
            t.add(
                "/etc/sudoers",
                0o440,
                "Defaults env_reset\nroot ALL=(ALL:ALL) ALL\n%sudo ALL=(ALL:ALL) ALL\n@includedir /etc/sudoers.d\n",
            )
            .add("/etc/sudoers.d/README", 0o440, "# nothing\n")
        }),
        ("sudo of one command", |t| t.add("/etc/sudoers", 0o440, "app ALL=(root) NOPASSWD: /usr/bin/systemctl restart app\n")),
        ("a site", |t| {
            t.add("/var/www/html/index.html", 0o644, "<html>").add("/var/www/html/shop-1.2.zip", 0o644, "PK").add(
                "/var/www/html/schema.sql",
                0o644,
                "CREATE TABLE a (b int);\n",
            )
        }),
        ("an env file elsewhere", |t| t.add("/opt/app/.env", 0o600, "PORT=80\n")),
        ("a schema", |t| t.add("/usr/share/x/schema.sql", 0o644, DUMP)),
        ("no listing", |t| {
            t.add("/etc/nginx/nginx.conf", 0o644, "# autoindex on;\nautoindex off;\n").add(
                "/etc/apache2/sites-enabled/x.conf",
                0o644,
                "Options -Indexes\n",
            )
        }),
    ];
    assert!(lookalikes.len() >= 30);
    let mut wrong = Vec::new();
    for (name, plant) in lookalikes {
        let mut tree = Memory::clean();
        plant(&mut tree);
        let found = rows(&tree.scan(Purpose::Image));
        if !found.is_empty() {
            wrong.push(format!("{name}: {found:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn what_cannot_be_read_is_never_safe() {
    for (name, plant, expected) in planted() {
        let mut tree = Memory::clean();
        let before: Vec<String> = tree.nodes.keys().cloned().collect();
        plant(&mut tree);
        let added: Vec<String> = tree.nodes.keys().filter(|p| !before.contains(p)).cloned().collect();
        for path in added.iter().filter(|p| tree.nodes[*p].content.is_some()) {
            let is_configuration =
                expected.iter().any(|row| row.ends_with(path.as_str()) && !row.contains("secret ") && !row.contains("dump"));
            let is_by_mode =
                expected.iter().any(|row| ["world-writable", "setuid", "web-env", "web-archive"].iter().any(|r| row.starts_with(r)));
            tree.unreadable.insert(path.clone());
            let found = tree.scan(Purpose::Image);
            tree.unreadable.clear();
            if is_configuration && !is_by_mode && !path.ends_with(".jks") {
                assert!(found.iter().any(|e| e.verdict == Verdict::Unknown), "{name}: {path} is unread: {:?}", rows(&found));
                let hint = &found.iter().find(|e| e.verdict == Verdict::Unknown).unwrap();
                assert!(hint.why.contains("could not read") && hint.fix.contains("root"), "{hint:?}");
            }
        }
    }
}

#[test]
fn what_a_configuration_includes_and_cannot_be_read_is_unknown() {
    let cases: Vec<(&str, Change, &str, &str)> = vec![
        (
            "redis",
            |t| {
                t.add("/etc/redis/redis.conf", 0o640, "bind 127.0.0.1\ninclude /etc/redis/more.conf\n").add(
                    "/etc/redis/more.conf",
                    0o640,
                    "",
                )
            },
            "/etc/redis/more.conf",
            "redis-without-password? /etc/redis/redis.conf",
        ),
        (
            "redis acl",
            |t| {
                t.add("/etc/redis/redis.conf", 0o640, "bind *\nprotected-mode no\naclfile /etc/redis/users.acl\n").add(
                    "/etc/redis/users.acl",
                    0o640,
                    "user default on >x\n",
                )
            },
            "/etc/redis/users.acl",
            "redis-without-password? /etc/redis/redis.conf",
        ),
        (
            "postgres",
            |t| t.add("/d/postgresql.conf", 0o644, "").add("/d/pg_hba.conf", 0o640, "host all all all trust\n"),
            "/d/postgresql.conf",
            "postgres-without-password? /d/pg_hba.conf",
        ),
        (
            "sshd",
            |t| t.add("/etc/ssh/sshd_config", 0o644, "Include sshd_config.d/*.conf\n").add("/etc/ssh/sshd_config.d/a.conf", 0o600, ""),
            "/etc/ssh/sshd_config.d/a.conf",
            "sshd-root-password? /etc/ssh/sshd_config",
        ),
        (
            "sshd's directory",
            |t| t.add("/etc/ssh/sshd_config", 0o644, "Include sshd_config.d/*.conf\n").add("/etc/ssh/sshd_config.d/a.conf", 0o600, ""),
            "/etc/ssh/sshd_config.d",
            "sshd-root-password? /etc/ssh/sshd_config",
        ),
        (
            "sudo",
            |t| t.add("/etc/sudoers", 0o440, "#includedir /etc/sudoers.d\n").add("/etc/sudoers.d/a", 0o440, ""),
            "/etc/sudoers.d/a",
            "sudo-without-password? /etc/sudoers",
        ),
        (
            "samba",
            |t| t.add("/etc/samba/smb.conf", 0o644, "[global]\ninclude = /etc/samba/more.conf\n").add("/etc/samba/more.conf", 0o600, ""),
            "/etc/samba/more.conf",
            "samba-guest? /etc/samba/smb.conf",
        ),
        (
            "rsync",
            |t| t.add("/etc/rsyncd.conf", 0o644, "&include /etc/rsyncd.d/a.conf\n").add("/etc/rsyncd.d/a.conf", 0o600, ""),
            "/etc/rsyncd.d/a.conf",
            "rsync-without-password? /etc/rsyncd.conf",
        ),
        ("packages", |t| t.add("/usr/local/bin/x", 0o4755, ""), "/var/lib/dpkg/info", "setuid-without-package? /usr/local/bin/x"),
        ("cron", |t| t, "/etc/crontab", "unread? /etc/crontab"),
    ];
    for (name, plant, unreadable, expected) in cases {
        let mut tree = Memory::clean();
        plant(&mut tree);
        assert_eq!(rows(&tree.scan(Purpose::Image)).iter().filter(|r| r.contains('?')).count(), 0, "{name}");
        tree.unreadable.insert(unreadable.into());
        let found = rows(&tree.scan(Purpose::Image));
        assert!(found.iter().any(|row| row == expected), "{name}: {found:?}");
    }
    // Neither is a form that is not understood, nor what depends on a version.
    for (path, text, expected) in [
        ("/etc/mongod.conf", "net: {bindIp: 0.0.0.0}\n", "mongodb-without-authentication?"),
        ("/etc/elasticsearch/elasticsearch.yml", "network.host: 0.0.0.0\n", "elasticsearch-without-authentication?"),
        ("/etc/docker/daemon.json", "{\"hosts\": [", "docker-without-authentication?"),
        ("/etc/redis/redis.conf", "bind 0.0.0.0\n", "redis-without-password?"),
        ("/etc/redis/redis.conf", "bind db.internal\nprotected-mode no\n", "redis-without-password?"),
        ("/etc/redis/redis.conf", "bind 127.0.0.1\ninclude /gone.conf\n", "redis-without-password?"),
        ("/etc/samba/smb.conf", "include = /etc/samba/%m.conf\n", "samba-guest?"),
    ] {
        let mut tree = Memory::clean();
        tree.add(path, 0o644, text);
        assert_eq!(rows(&tree.scan(Purpose::Image)), [format!("{expected} {path}")], "{text}");
    }
}

#[test]
fn a_setuid_program_is_measured_by_whose_it_is_and_what_lists_packages() {
    let mut tree = Memory::clean();
    tree.add("/opt/own", 0o4755, "\x7fELF").add("/opt/data", 0o4644, "no program");
    tree.nodes.get_mut("/opt/own").unwrap().owner = 1000;
    let found = tree.scan(Purpose::Host);
    assert_eq!((rows(&found), found[0].severity), (vec!["setuid-without-package /opt/own".to_string()], Severity::Medium));
    // Nothing keeps packages there: no package owns it. Something does that is not read here: nobody knows.
    let mut tree = Memory::default();
    tree.add("/bin/helper", 0o4755, "\x7fELF");
    assert_eq!(rows(&tree.scan(Purpose::Image)), ["setuid-without-package /bin/helper"]);
    tree.add("/var/lib/rpm/rpmdb.sqlite", 0o644, "");
    assert_eq!(rows(&tree.scan(Purpose::Image)), ["setuid-without-package? /bin/helper"]);
    let mut tree = Memory::default();
    tree.add("/bin/helper", 0o4755, "\x7fELF").add("/lib/apk/db/installed", 0o644, "P:helper\nF:bin\nR:helper\n");
    assert_eq!(rows(&tree.scan(Purpose::Image)), [""; 0]);
}

#[test]
fn a_host_keeps_its_own_keys() {
    let mut tree = Memory::clean();
    tree.add("/etc/ssh/ssh_host_ed25519_key", 0o600, key()).add("/root/.pgpass", 0o600, "db:5432:shop:app:tr0ub4dor\n");
    tree.add("/root/.bash_history", 0o600, "ls\n");
    assert_eq!(rows(&tree.scan(Purpose::Host)), [""; 0]);
    assert_eq!(tree.scan(Purpose::Image).len(), 3);
    tree.nodes.get_mut("/etc/ssh/ssh_host_ed25519_key").unwrap().mode = 0o644;
    assert_eq!(rows(&tree.scan(Purpose::Host)), ["secret /etc/ssh/ssh_host_ed25519_key"]);
}

#[test]
fn findings_name_the_line_and_hold_no_secret() {
    let mut tree = Memory::clean();
    tree.add("/opt/app/settings.py", 0o600, format!("\n\nTOKEN = \"{}\"\n", token()));
    let first = tree.scan(Purpose::Image).remove(0);
    let finding = first.finding();
    assert_eq!((finding.kind.as_str(), finding.id.as_str(), finding.severity), ("file", "/opt/app/settings.py", Severity::Critical));
    assert!(finding.why.starts_with("/opt/app/settings.py:3: "), "{}", finding.why);
    let secret = token();
    let body = &secret[secret.find('_').unwrap() + 1..][..10];
    assert!(!serde_json::to_string(&finding).unwrap().contains(body));
    // Stable over lines: the same secret is the same finding.
    tree.add("/opt/app/settings.py", 0o600, format!("TOKEN = \"{}\"\n", token()));
    assert_eq!(tree.scan(Purpose::Image).remove(0).finding().fingerprint, finding.fingerprint);
}

/// Cut at any byte, with bytes changed, and of another file: no panic, and no endless loop of includes.
#[test]
fn hostile_files_do_no_harm() {
    let mut random = Random::new(6);
    let plants = planted();
    for round in 0..1500 {
        let mut tree = Memory::clean();
        for _ in 0..2 {
            (random.pick(&plants).1)(&mut tree);
        }
        let texts: Vec<Vec<u8>> = tree.nodes.values().filter_map(|n| n.content.clone()).collect();
        for node in tree.nodes.values_mut() {
            let Some(content) = &mut node.content else { continue };
            match random.below(6) {
                0 => content.truncate(random.below(content.len() as u64 + 1) as usize),
                1 => *content = random.pick(&texts).clone(),
                2 if !content.is_empty() => {
                    for _ in 0..4 {
                        let place = random.below(content.len() as u64) as usize;
                        content[place] = *random.pick(b"\0\xff\"'\\\n =:#[](){}%*,/-");
                    }
                }
                _ => {}
            }
        }
        tree.scan(if round % 2 == 0 { Purpose::Image } else { Purpose::Host });
    }
    let mut tree = Memory::clean();
    tree.add("/etc/redis/redis.conf", 0o644, "include /etc/redis/redis.conf\nbind 127.0.0.1\n");
    tree.add("/etc/ssh/sshd_config", 0o644, "Include /etc/ssh/sshd_config\n");
    tree.add("/etc/sudoers", 0o440, "@include /etc/sudoers\nUser_Alias A = B\nUser_Alias B = A\nA ALL = NOPASSWD: ALL\n");
    let found = rows(&tree.scan(Purpose::Image));
    for rule in ["redis-without-password?", "sshd-root-password?", "sudo-without-password?"] {
        assert!(found.iter().any(|row| row.starts_with(rule)), "{found:?}");
    }
}

/// Each was a panic, or hours of work, in a file of anybody's home.
#[test]
fn no_line_stops_a_scan() {
    let mut tree = Memory::clean();
    tree.add("/home/app/sshd_config", 0o644, "=\n = \nMatch\nInclude\nPermitRootLogin yes\n");
    tree.add("/etc/memcached.conf", 0o644, b"-\xff\n-\xc3\xa9\n-l 0.0.0.0\n");
    tree.add("/etc/systemd/system/m.service", 0o644, "[Service]\nExecStart=/usr/bin/memcached -\u{e9}\n");
    let chain: String = (0..15_000).rev().map(|n| format!("Cmnd_Alias A{n} = A{}\n", n + 1)).collect();
    tree.add("/etc/sudoers", 0o440, chain + "Cmnd_Alias A15000 = ALL\napp ALL = NOPASSWD: A0\n");
    let found = rows(&tree.scan(Purpose::Image));
    for row in ["sshd-root-password", "memcached", "sudo-without-password"] {
        assert!(found.iter().any(|found| found.starts_with(row)), "{row}: {found:?}");
    }
}

/// What is longer than any configuration may hold anything.
#[test]
fn a_configuration_that_is_too_long_is_unknown() {
    let set = "bind 0.0.0.0\nprotected-mode no\n";
    for text in ["#".repeat(1 << 20) + "\n" + set, "#\n".repeat(20_000) + set] {
        let mut tree = Memory::clean();
        tree.add("/etc/redis/redis.conf", 0o644, text);
        assert!(rows(&tree.scan(Purpose::Image)).iter().any(|row| row.starts_with("unread")), "it passed");
    }
}
