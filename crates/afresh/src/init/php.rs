//! PHP: Apache with mod_php, one process that ends as it is asked to, over the directory with index.php.

use super::guess::Guess;
use super::tree::Tree;
use serde_json::Value;

/// Extensions that are packages of their own.
const EXTENSIONS: &[(&str, &str)] = &[
    ("ext-bcmath", "php-bcmath"),
    ("ext-curl", "php-curl"),
    ("ext-gd", "php-gd"),
    ("ext-imagick", "php-imagick"),
    ("ext-intl", "php-intl"),
    ("ext-mbstring", "php-mbstring"),
    ("ext-mysqli", "php-mysql"),
    ("ext-pdo_mysql", "php-mysql"),
    ("ext-pdo_pgsql", "php-pgsql"),
    ("ext-pdo_sqlite", "php-sqlite3"),
    ("ext-pgsql", "php-pgsql"),
    ("ext-redis", "php-redis"),
    ("ext-soap", "php-soap"),
    ("ext-sqlite3", "php-sqlite3"),
    ("ext-xml", "php-xml"),
    ("ext-zip", "php-zip"),
];
const CONFIG: &str = "/etc/apache2/afresh.conf";

pub fn look(tree: &Tree) -> Option<Guess> {
    let index = tree.first(&["public/index.php", "web/index.php", "htdocs/index.php", "index.php"]);
    if index.is_none() && !tree.has("composer.json") {
        return None;
    }
    let index = index.unwrap_or("index.php");
    let mut guess = Guess::new("a PHP application", tree);
    guess.needs(&["apache2", "libapache2-mod-php"]);
    let root = index.rsplit_once('/').map_or("/app".to_string(), |(dir, _)| format!("/app/{dir}"));
    guess.files.insert(CONFIG.to_string(), config(&root));
    guess.runs(&["apache2", "-f", CONFIG, "-D", "FOREGROUND"], format!("{index} is there: Apache serves its directory"));
    guess.listens(8080, "as in the file for Apache above");
    guess.drain = Some(("WINCH", "Apache ends its requests first"));
    let text = tree.text("composer.json").unwrap_or_default();
    let composer: Value = serde_json::from_str(text).unwrap_or_default();
    for (name, _) in composer["require"].as_object().into_iter().flatten() {
        if let Some((_, package)) = EXTENSIONS.iter().find(|(extension, _)| extension == name) {
            guess.needs(&[package]);
        }
    }
    if tree.has("composer.json") {
        guess
            .notes
            .push("its libraries are deployed with it, before a deploy: composer install --no-dev --optimize-autoloader".to_string());
    }
    guess.notes.push("what the application writes is gone with its server: uploads and sessions belong elsewhere".to_string());
    Some(guess)
}

fn config(root: &str) -> String {
    let modules = ["mpm_prefork", "authz_core", "dir", "mime", "rewrite", "setenvif", "env"];
    let load: Vec<String> = modules.iter().map(|m| format!("LoadModule {m}_module /usr/lib/apache2/modules/mod_{m}.so")).collect();
    format!(
        "ServerRoot /etc/apache2\nServerName localhost\nListen 8080\nPidFile /tmp/apache2.pid\nDefaultRuntimeDir /tmp\nMutex file:/tmp default\n{}\n\
         IncludeOptional /etc/apache2/mods-available/php*.load\n\
         TypesConfig /etc/mime.types\nErrorLog /dev/stderr\nTransferLog /dev/stdout\n\
         DocumentRoot {root}\nDirectoryIndex index.php index.html\n\
         <Directory {root}>\n  AllowOverride All\n  Require all granted\n</Directory>\n\
         <FilesMatch \"\\.php$\">\n  SetHandler application/x-httpd-php\n</FilesMatch>\n\
         <DirectoryMatch \"/\\.git\">\n  Require all denied\n</DirectoryMatch>\n",
        load.join("\n")
    )
}
