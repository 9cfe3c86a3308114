//! A data directory, and names.

use model::{Layout, SecretName, SecretVersion, ServiceName};
use secret::{Secrets, Value};
use std::path::{Path, PathBuf};

pub struct House {
    pub secrets: Secrets,
    pub dir: tempfile::TempDir,
}

impl House {
    pub fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        Self { secrets: Secrets::of(&Layout::new(dir.path())), dir }
    }

    pub fn path(&self, within: &str) -> PathBuf {
        self.dir.path().join("secrets").join(within)
    }

    pub fn put(&self, of: &str, value: &str) -> SecretVersion {
        self.secrets.put(&service(of), &name("db"), &self::value(value)).unwrap()
    }

    pub fn get(&self, of: &str, version: &SecretVersion) -> Result<Value, model::Fault> {
        self.secrets.get(&service(of), &name("db"), version)
    }

    /// Every file below, with its bytes.
    pub fn files(&self) -> Vec<(PathBuf, Vec<u8>)> {
        fn walk(dir: &Path, all: &mut Vec<(PathBuf, Vec<u8>)>) {
            for entry in std::fs::read_dir(dir).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() { walk(&path, all) } else { all.push((path.clone(), std::fs::read(&path).unwrap())) }
            }
        }
        let mut all = Vec::new();
        walk(self.dir.path(), &mut all);
        all
    }
}

pub fn service(name: &str) -> ServiceName {
    ServiceName::new(name).unwrap()
}

pub fn name(name: &str) -> SecretName {
    SecretName::new(name).unwrap()
}

pub fn value(text: &str) -> Value {
    Value::new(&name("db"), text.as_bytes().to_vec()).unwrap()
}

pub fn is(value: &Value, text: &str) -> bool {
    value.bytes() == text.as_bytes()
}
