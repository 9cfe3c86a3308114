//! The directory of an instance: its files record what the instance is and its progress.
//!
//! ```text
//! record.json, shim.lock   exist from the start (the directory is renamed into place)
//! began                    a shim has started for it: it is not launched again
//! started.json             its program runs
//! healthy                  it passed a health check once
//! ending.json              the keeper has decided to stop it
//! exit.json                its program has exited, or could not be started
//! ```

use std::path::PathBuf;

#[derive(Clone, Debug)]
pub struct InstanceDir(pub PathBuf);

impl InstanceDir {
    pub fn record(&self) -> PathBuf {
        self.0.join("record.json")
    }
    pub fn lock(&self) -> PathBuf {
        self.0.join("shim.lock")
    }
    pub fn began(&self) -> PathBuf {
        self.0.join("began")
    }
    pub fn started(&self) -> PathBuf {
        self.0.join("started.json")
    }
    pub fn healthy(&self) -> PathBuf {
        self.0.join("healthy")
    }
    pub fn ending(&self) -> PathBuf {
        self.0.join("ending.json")
    }
    pub fn exit(&self) -> PathBuf {
        self.0.join("exit.json")
    }
    pub fn shim_log(&self) -> PathBuf {
        self.0.join("shim.log")
    }
}
