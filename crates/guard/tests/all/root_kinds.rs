//! More kinds of exposure of a root directory, each with what only looks like it: password files of clients, settings, copies, keystores, daemons.

use crate::root_tree::{Memory, rows};
use guard::root::Purpose;

const PASSWORD: &str = "tr0ub4dor77";

/// Rule and path of the row, mode, content; then the look-alike's path and content.
type Kind = (&'static str, &'static str, u32, &'static str, &'static str, &'static str);

const KINDS: &[Kind] = &[
    // Password files of clients.
    (
        "credentials",
        "/root/.azure/msal_token_cache.json",
        0o600,
        "{\"secret\": \"0.AXoA9f8e7d6c5b4a\"}",
        "/root/.azure/azureProfile.json",
        "{\"subscriptions\": []}",
    ),
    (
        "credentials",
        "/root/.config/gcloud/legacy_credentials/a/adc.json",
        0o600,
        "{\"refresh_token\": \"1//0gA9f8e7d6c5b4a\"}",
        "/root/.config/gcloud/config.json",
        "{\"project\": \"shop\"}",
    ),
    (
        "credentials",
        "/root/.cargo/credentials.toml",
        0o600,
        "[registry]\ntoken = \"9f8e7d6c5b4a\"\n",
        "/root/.cargo/config.toml",
        "[build]\njobs = 2\n",
    ),
    ("credentials", "/root/.gem/credentials", 0o600, ":rubygems_api_key: 9f8e7d6c5b4a\n", "/root/.gemrc", "gem: --no-document\n"),
    (
        "credentials",
        "/root/.m2/settings.xml",
        0o600,
        "<server><password>tr0ub4dor77</password></server>",
        "/home/app/.m2/settings.xml",
        "<server><password>${env.PW}</password></server>",
    ),
    (
        "credentials",
        "/root/.composer/auth.json",
        0o600,
        "{\"http-basic\": {\"r.x\": {\"username\": \"a\", \"password\": \"tr0ub4dor77\"}}}",
        "/opt/app/composer.json",
        "{\"require\": {\"a/b\": \"1.0\"}}",
    ),
    ("credentials", "/root/.yarnrc.yml", 0o600, "npmAuthToken: 9f8e7d6c5b4a\n", "/opt/app/.yarnrc.yml", "npmAuthToken: ${NPM_TOKEN}\n"),
    (
        "credentials",
        "/etc/pip.conf",
        0o644,
        "[global]\nindex-url = https://ann:tr0ub4dor77@pypi.x/simple\n",
        "/root/.config/pip/pip.conf",
        "[global]\nindex-url = https://pypi.x/simple\n",
    ),
    (
        "credentials",
        "/srv/app/.git/config",
        0o644,
        "[remote \"origin\"]\n url = https://ann:tr0ub4dor77@git.x/a\n",
        "/opt/app/.git/config",
        "[remote \"origin\"]\n url = git@git.x:a/b.git\n",
    ),
    (
        "credentials",
        "/root/.terraform.d/credentials.tfrc.json",
        0o600,
        "{\"credentials\": {\"app.terraform.io\": {\"token\": \"9f8e7d6c5b4a\"}}}",
        "/root/.terraformrc",
        "plugin_cache_dir = \"/var/cache/tf\"\n",
    ),
    (
        "credentials",
        "/srv/infra/prod.tfvars",
        0o644,
        "db_password = \"tr0ub4dor77\"\n",
        "/srv/infra/variables.tf",
        "variable \"db_password\" {\n type = string\n}\n",
    ),
    (
        "credentials",
        "/var/lib/cloud/instances/i-1/user-data.txt",
        0o600,
        "#cloud-config\nchpasswd:\n  list: |\n    root:tr0ub4dor77\n",
        "/var/lib/cloud/seed/nocloud/user-data",
        "#cloud-config\nssh_pwauth: false\nlock_passwd: true\n",
    ),
    (
        "credentials",
        "/var/lib/jenkins/secrets/master.key",
        0o600,
        "9f8e7d6c5b4a3f2e1d0c9f8e7d6c5b4a\n",
        "/var/lib/jenkins/config.xml",
        "<hudson><version>2.4</version></hudson>",
    ),
    (
        "credentials",
        "/var/lib/jenkins/credentials.xml",
        0o600,
        "<privateKey>AQAAABAAAAAw9f8e7d6c5b4a</privateKey>",
        "/opt/jenkins/plugins.xml",
        "<plugin>git</plugin>",
    ),
    (
        "credentials",
        "/srv/ansible/.vault_pass",
        0o600,
        "tr0ub4dor77\n",
        "/srv/ansible/group_vars/all.yml",
        "$ANSIBLE_VAULT;1.1;AES256\n6162636465666768\n",
    ),
    (
        "credentials",
        "/etc/ansible/hosts",
        0o644,
        "[web]\nweb1 ansible_user=ann ansible_password=tr0ub4dor77\n",
        "/srv/ansible/hosts.ini",
        "[web]\nweb1 ansible_user=ann\n",
    ),
    (
        "credentials",
        "/etc/NetworkManager/system-connections/x.nmconnection",
        0o600,
        "[wifi-security]\npsk=tr0ub4dor77\n",
        "/etc/NetworkManager/NetworkManager.conf",
        "[main]\nplugins=keyfile\n",
    ),
    ("credentials", "/etc/ipsec.secrets", 0o600, ": PSK \"tr0ub4dor77\"\n", "/etc/ipsec.conf", "conn a\n authby=secret\n"),
    (
        "credentials",
        "/etc/ppp/chap-secrets",
        0o600,
        "# client server secret\nann * tr0ub4dor77 *\n",
        "/etc/ppp/options",
        "# options\nasyncmap 0\n",
    ),
    (
        "credentials",
        "/etc/bind/rndc.key",
        0o640,
        "key \"rndc-key\" {\n algorithm hmac-sha256;\n secret \"q1w2e3r4t5y6u7i8o9p0==\";\n};\n",
        "/etc/bind/named.conf.options",
        "options { directory \"/var/cache/bind\"; };\n",
    ),
    (
        "credentials",
        "/etc/postfix/sasl_passwd",
        0o600,
        "[smtp.x]:587 ann:tr0ub4dor77\n",
        "/etc/postfix/main.cf",
        "relayhost = [smtp.x]:587\n",
    ),
    // Settings.
    ("credentials", "/opt/app/.env", 0o600, "PORT=80\nDB_PASSWORD=tr0ub4dor77\n", "/opt/app/.env.example", "DB_PASSWORD=tr0ub4dor77\n"),
    (
        "credentials",
        "/opt/app/.env.production",
        0o600,
        "API_KEY=9f8e7d6c5b4a\n",
        "/opt/web/.env",
        "API_KEY=${API_KEY}\nDB_PASSWORD_FILE=/run/secrets/db1\n",
    ),
    ("credentials", "/etc/environment", 0o644, "SMTP_PASSWORD=tr0ub4dor77\n", "/etc/nsswitch.conf", "passwd:         files systemd2\n"),
    (
        "credentials",
        "/etc/systemd/system/app.service",
        0o644,
        "[Service]\nExecStart=/bin/app\nEnvironment=\"DB_PASSWORD=tr0ub4dor77\"\n",
        "/etc/systemd/system/b.service",
        "[Service]\nEnvironmentFile=/etc/app2.d/env\n",
    ),
    (
        "credentials",
        "/etc/cron.d/backup",
        0o644,
        "0 3 * * * root mysqldump -u root -ptr0ub4dor77 shop\n",
        "/etc/cron.d/clean",
        "0 3 * * * root find /tmp -mtime +7 -delete\n",
    ),
    (
        "credentials",
        "/srv/shop/docker-compose.yml",
        0o644,
        "services:\n  db:\n    environment:\n      - POSTGRES_PASSWORD=tr0ub4dor77\n",
        "/srv/other/compose.yaml",
        "services:\n  db:\n    environment:\n      POSTGRES_PASSWORD_FILE: /run/secrets/db1\n",
    ),
    (
        "credentials",
        "/srv/app/config/database.yml",
        0o640,
        "production:\n  password: tr0ub4dor77\n",
        "/srv/app/config/locales/en.yml",
        "en:\n  password: Password2\n",
    ),
    (
        "credentials",
        "/srv/app/application.properties",
        0o640,
        "spring.datasource.url=jdbc:x\nspring.datasource.password=tr0ub4dor77\n",
        "/srv/app/messages.properties",
        "login.password=Password\n",
    ),
    (
        "credentials",
        "/var/www/site/wp-config.php",
        0o640,
        "<?php\ndefine('DB_PASSWORD', 'tr0ub4dor77');\n",
        "/var/www/site/index.php",
        "<?php\n$password = $_POST['password1'];\n",
    ),
    (
        "credentials",
        "/srv/app/settings.py",
        0o640,
        "DATABASES = {'default': {'PASSWORD': 'tr0ub4dor77'}}\n",
        "/usr/lib/python3/dist-packages/x/settings.py",
        "PASSWORD = 'tr0ub4dor77'\n",
    ),
    (
        "credentials",
        "/etc/app/app.toml",
        0o640,
        "url = \"postgres://shop:tr0ub4dor77@db/shop\"\n",
        "/etc/app/plain.toml",
        "url = \"postgres://shop@db/shop\"\n",
    ),
    (
        "credentials",
        "/srv/k8s/secret.yaml",
        0o640,
        "kind: Secret\ndata:\n  password: dHIwdWI0ZG9yNzc=\n",
        "/srv/k8s/sealed.yaml",
        "kind: SealedSecret\nspec:\n  password: AgBy3i4OJSWK5ok\n",
    ),
    ("credentials", "/root/.bashrc", 0o600, "export GITHUB_TOKEN=9f8e7d6c5b4a\n", "/home/app/.bashrc", "export EDITOR=vim1\n"),
    // Copies.
    ("credentials", "/root/.pgpass.bak", 0o600, "db:5432:shop:app:tr0ub4dor77\n", "/root/.pgpass.md", "host:port:database:user:password\n"),
    ("credentials", "/opt/app/.env~", 0o600, "DB_PASSWORD=tr0ub4dor77\n", "/opt/app/notes~", "ask ann for the password\n"),
    (
        "credentials",
        "/opt/app/..env.swp",
        0o600,
        "b0VIM 9.0\nDB_PASSWORD=tr0ub4dor77\n",
        "/opt/app/.main.c.swp",
        "b0VIM 9.0\nint main() {}\n",
    ),
    // Modes.
    ("world-writable", "/home/app/.ssh/authorized_keys", 0o666, "", "/home/app/notes", ""),
    ("world-writable", "/usr/lib/x86_64-linux-gnu/libapp.so", 0o777, "\u{7f}ELF", "/srv/data/lib.txt", ""),
    // Daemons.
    ("ftp-anonymous", "/etc/vsftpd.conf", 0o644, "listen=YES\nanonymous_enable=YES\n", "/etc/vsftpd/vsftpd.conf", "anonymous_enable=NO\n"),
    ("snmp-public", "/etc/snmp/snmpd.conf", 0o600, "rocommunity public\n", "/opt/snmp/snmpd.conf", "rocommunity public 127.0.0.1\n"),
    (
        "mqtt-anonymous",
        "/etc/mosquitto/conf.d/x.conf",
        0o644,
        "listener 1883\nallow_anonymous true\n",
        "/etc/mosquitto/mosquitto.conf",
        "listener 1883 127.0.0.1\nallow_anonymous true\n",
    ),
    (
        "rabbitmq-default-password",
        "/etc/rabbitmq/rabbitmq.conf",
        0o644,
        "loopback_users = none\n",
        "/opt/rabbitmq/rabbitmq.conf",
        "listeners.tcp.default = 5672\n",
    ),
    (
        "cassandra-without-authentication",
        "/etc/cassandra/cassandra.yaml",
        0o644,
        "authenticator: AllowAllAuthenticator\nrpc_address: 0.0.0.0\n",
        "/opt/c/cassandra.yaml",
        "authenticator: AllowAllAuthenticator\nrpc_address: localhost\n",
    ),
    (
        "influxdb-without-password",
        "/etc/influxdb/influxdb.conf",
        0o644,
        "[http]\nbind-address = \":8086\"\nauth-enabled = false\n",
        "/opt/i/influxdb.conf",
        "[http]\n# auth-enabled = false\nauth-enabled = true\n",
    ),
    (
        "kubelet-anonymous",
        "/var/lib/kubelet/config.yaml",
        0o644,
        "authentication:\n  anonymous:\n    enabled: true\n",
        "/opt/kubelet/config.yaml",
        "authentication:\n  anonymous:\n    enabled: false\n",
    ),
    (
        "jupyter-without-password",
        "/root/.jupyter/jupyter_server_config.py",
        0o600,
        "c.ServerApp.ip = '*'\nc.ServerApp.token = ''\n",
        "/home/app/.jupyter/jupyter_server_config.py",
        "c.ServerApp.token = ''\nc.ServerApp.ip = '127.0.0.1'\n",
    ),
    (
        "doas-without-password",
        "/etc/doas.conf",
        0o400,
        "permit nopass app\n",
        "/usr/local/etc/doas.conf",
        "permit nopass app cmd reboot\npermit nopass root\n",
    ),
    (
        "sudo-without-password",
        "/etc/sudoers.d/app",
        0o440,
        "app ALL=(ALL) NOPASSWD: ALL\n",
        "/opt/sudoers.d/app",
        "app ALL=(ALL) NOPASSWD: ALL\n",
    ),
    (
        "sshd-root-password",
        "/etc/ssh/sshd_config.d/10-x.conf",
        0o644,
        "PermitRootLogin yes\n",
        "/etc/ssh/ssh_config.d/10-x.conf",
        "PermitRootLogin yes\n",
    ),
    (
        "web-directory-listing",
        "/etc/caddy/Caddyfile",
        0o644,
        "shop.x {\n file_server browse\n}\n",
        "/opt/caddy/Caddyfile",
        "shop.x {\n file_server\n}\n",
    ),
];

#[test]
fn each_kind_is_found_and_what_looks_like_it_is_not() {
    let mut wrong = Vec::new();
    for (rule, path, mode, content, other, harmless) in KINDS {
        let mut tree = Memory::clean();
        tree.add(path, *mode, content);
        let found = rows(&tree.scan(Purpose::Image));
        if found != [format!("{rule} {path}")] {
            wrong.push(format!("{rule} {path}: {found:?}"));
        }
        let mut tree = Memory::clean();
        tree.add(other, 0o644, harmless);
        let found = rows(&tree.scan(Purpose::Image));
        if !found.is_empty() {
            wrong.push(format!("look-alike of {rule}: {found:?}"));
        }
    }
    assert!(KINDS.len() >= 45 && wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn keystores_are_known_by_what_is_in_them() {
    for (path, bytes, is_found) in [
        ("/opt/a.keystore", &b"\x30\x82\x0a\x1c\x02\x01\x03"[..], true),
        ("/opt/truststore.p12", b"\x30\x82\x0a\x1c\x02\x01\x03", false),
        ("/opt/a.jks", b"\xce\xce\xce\xce\0\0\0\x02\0\0\0\x01\0\0\0\x03\0\x05alias", true),
        ("/opt/cacerts.jks", b"\xfe\xed\xfe\xed\0\0\0\x02\0\0\0\x90\0\0\0\x02\0\x05alias", false),
        ("/etc/krb5.keytab", b"\x05\x02\0\0\0\x4a", true),
        ("/root/.gnupg/private-keys-v1.d/9F.key", b"(21:protected-private-key(3:rsa", true),
        ("/root/.gnupg/pubring.kbx", b"\0\0\0\x20KBXf", false),
    ] {
        let mut tree = Memory::clean();
        tree.add(path, 0o600, bytes);
        let expected = if is_found { vec![format!("keystore {path}")] } else { Vec::new() };
        assert_eq!(rows(&tree.scan(Purpose::Image)), expected, "{path}");
    }
}

/// What a host keeps for itself, and what a package brings, exposes nothing by its settings.
#[test]
fn settings_of_a_host_are_its_own_unless_others_read_them() {
    let mut tree = Memory::clean();
    let text = format!("DB_PASSWORD={PASSWORD}\n");
    tree.add("/etc/default/app", 0o600, &text);
    assert_eq!(rows(&tree.scan(Purpose::Host)), [""; 0]);
    tree.nodes.get_mut("/etc/default/app").unwrap().mode = 0o644;
    assert_eq!(rows(&tree.scan(Purpose::Host)), ["credentials /etc/default/app"]);
    tree.add("/var/lib/dpkg/info/app.list", 0o644, "/etc/default/app\n");
    assert_eq!(rows(&tree.scan(Purpose::Host)), [""; 0]);
}

/// As Debian's packages bring them.
#[test]
fn names_of_services_where_nothing_listens_are_none() {
    let agent = |address: &str| format!("sysServices 72\n{address}rocommunity public default -V systemonly\n");
    for (path, text, is_found) in [
        ("/usr/lib/tmpfiles.d/memcached.conf", "d /run/memcached 0755 memcache memcache - -\n".to_string(), None),
        ("/usr/share/doc/rsync/examples/rsyncd.conf", "[ftp]\n\tpath = /var/www/pub\n".into(), None),
        ("/etc/snmp/snmpd.conf", agent("agentaddress  127.0.0.1,[::1]\n"), None),
        ("/etc/snmp/snmpd.conf", agent("agentAddress udp:127.0.0.1:161\n"), None),
        ("/etc/snmp/snmpd.conf", agent("agentAddress udp:161,udp6:[::1]:161\n"), Some("snmp-public")),
        ("/etc/snmp/snmpd.conf", agent("agentaddress udp:203.0.113.9:161\n"), Some("snmp-public")),
        ("/etc/snmp/snmpd.conf", agent("agentaddress ${ADDRESS}\n"), Some("snmp-public?")),
        ("/etc/snmp/snmpd.conf", agent(""), Some("snmp-public")),
    ] {
        let mut tree = Memory::clean();
        tree.add(path, 0o644, &text);
        let expected: Vec<String> = is_found.iter().map(|rule| format!("{rule} {path}")).collect();
        assert_eq!(rows(&tree.scan(Purpose::Image)), expected, "{text}");
    }
}
