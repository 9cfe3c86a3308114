//! What every verb has: the service file's path, the data directory, the API's client, and how to print.

use crate::failure::{self, Failure};
use crate::global::Global;
use api::Client;
use model::{Fault, Layout, ServiceFile};
use std::path::{Path, PathBuf};

#[derive(Clone, Debug)]
pub struct Context {
    pub file: PathBuf,
    pub layout: Layout,
    pub json: bool,
    pub reason: Option<String>,
    /// The control plane that was named: HOST:PORT, or the path of a socket.
    pub host: Option<String>,
    /// Says who calls, on a socket too; None: the kernel does.
    pub token: Option<String>,
}

/// What a service file that is not named is called.
const DEFAULT_FILE: &str = "afresh.hcl";

impl Context {
    pub fn new(global: &Global) -> Self {
        // Children run in another directory and mounts need absolute paths, so the directory is made absolute once, here.
        // Links are resolved as well: what is named in mounts and on the bridge must be the directory and not one of its names.
        let root = resolved(&std::path::absolute(&global.data_dir).unwrap_or_else(|_| global.data_dir.clone()));
        Self {
            file: global.file.clone(),
            layout: Layout::new(root),
            json: global.json,
            reason: global.reason.clone(),
            host: global.host.clone(),
            token: None,
        }
    }

    /// Reads the token once and before anything is done: what is wrong with it says more than a refusal of the control plane.
    pub fn read_token(&mut self, file: Option<&Path>) -> Result<(), Failure> {
        let var = |name| std::env::var_os(name).filter(|value| !value.is_empty());
        let named = file.map(Path::to_path_buf);
        self.token = match (named, var("AFRESH_TOKEN"), var("AFRESH_TOKEN_FILE")) {
            (Some(file), ..) => Some(token_in(&file)?),
            (None, Some(token), _) => {
                let text = token.into_string().map_err(|_| Fault::yours("weak-token", "AFRESH_TOKEN is no text"))?;
                Some(text.trim().to_string())
            }
            (None, None, Some(file)) => Some(token_in(Path::new(&file))?),
            (None, None, None) => None,
        };
        Ok(())
    }

    /// Of a data directory on this machine.
    pub fn over(file: PathBuf, layout: Layout, json: bool) -> Self {
        Self { file, layout, json, reason: None, host: None, token: None }
    }

    pub fn data_dir(&self) -> &Path {
        self.layout.root()
    }

    /// The control plane of this data directory, or the one that was named.
    pub fn api(&self) -> Client {
        let client = match &self.host {
            None => Client::unix(self.layout.api_socket()),
            Some(path) if path.contains('/') => Client::unix(path),
            Some(address) => Client::tcp(address),
        };
        client.token(self.token.clone()).reason(self.reason.clone())
    }

    /// Whether the control plane is on another machine, for all that is known here.
    pub fn is_remote(&self) -> bool {
        self.host.as_ref().is_some_and(|host| !host.contains('/'))
    }

    /// For what is done in the data directory of this machine, whatever control plane is named.
    pub fn must_be_local(&self, what: &str) -> Result<(), Fault> {
        let Some(host) = &self.host else { return Ok(()) };
        Err(Fault::yours("not-remote", format!("{what} works in a data directory of this machine, not over the API of {host}"))
            .hint("leave --host out (and AFRESH_HOST), or run it on that host; --data-dir names the directory"))
    }

    /// The image store of this machine. A data directory that is made by this is marked as one of Afresh's, and closed to others.
    pub fn images(&self) -> Result<store::Store, Fault> {
        if self.is_remote() {
            self.must_be_local("the image store")?;
        }
        crate::processes::folders::store(&self.layout)?;
        store::Store::open(&self.layout)
    }

    /// Runs one future to its end on a small runtime: what a verb needs, and no more.
    pub fn wait<T>(&self, future: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
        Self::runtime()?.block_on(future)
    }

    pub fn runtime() -> Result<tokio::runtime::Runtime, Fault> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.map_err(|e| Fault::world("io", format!("no event loop: {e}")))
    }

    /// The service file, decoded; or every error in it, rendered.
    pub fn load(&self) -> Result<ServiceFile, Failure> {
        let name = self.file.display().to_string();
        let text = self.read()?;
        config::parse(&text, &name).map_err(|diagnostics| Failure::File {
            rendered: config::render(&diagnostics, &text, &name, crate::show::colour_on_stderr()),
            errors: diagnostics.len(),
            name,
        })
    }

    /// As [`Self::load`], but a file may be empty; where none was named none must be there.
    pub fn load_or_empty(&self) -> Result<ServiceFile, Failure> {
        if self.file == Path::new(DEFAULT_FILE) && !self.file.exists() {
            return Ok(ServiceFile::default());
        }
        let is_comment = |line: &str| line.is_empty() || line.starts_with('#') || line.starts_with("//");
        if self.read()?.lines().all(|line| is_comment(line.trim())) {
            return Ok(ServiceFile::default());
        }
        self.load()
    }

    pub fn read(&self) -> Result<String, Failure> {
        std::fs::read_to_string(&self.file).map_err(|e| {
            let fault = failure::io("cannot read", &self.file, &e);
            match e.kind() {
                std::io::ErrorKind::NotFound => fault.hint("name the service file: --file FILE").into(),
                std::io::ErrorKind::IsADirectory => {
                    Fault::yours("bad-file", fault.message).hint("name the service file in it: --file DIR/afresh.hcl").into()
                }
                std::io::ErrorKind::InvalidData => Fault::yours("bad-file", fault.message).hint("a service file is UTF-8 text").into(),
                _ => fault.into(),
            }
        })
    }

    /// Paths in the service file are relative to it.
    pub fn beside_file(&self, path: &str) -> PathBuf {
        self.file.parent().unwrap_or(Path::new("")).join(path)
    }
}

fn token_in(file: &Path) -> Result<String, Fault> {
    let hint = "an administrator makes one: (umask 077; afresh token create NAME --role ROLE > FILE)";
    server::read_token(file).map_err(|fault| if matches!(fault.code.as_str(), "no-file" | "weak-token") { fault.hint(hint) } else { fault })
}

/// The real path of what exists of it; the rest as it is given.
fn resolved(path: &Path) -> PathBuf {
    for ancestor in path.ancestors() {
        if let (Ok(real), Ok(rest)) = (ancestor.canonicalize(), path.strip_prefix(ancestor)) {
            return if rest.as_os_str().is_empty() { real } else { real.join(rest) };
        }
    }
    path.to_path_buf()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_resolved_as_far_as_anything_is_there() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path().canonicalize().unwrap();
        std::fs::create_dir(dir.join("real")).unwrap();
        std::os::unix::fs::symlink("real", dir.join("link")).unwrap();
        assert_eq!(resolved(&dir.join("link")), dir.join("real"));
        assert_eq!(resolved(&dir.join("link/not/there")), dir.join("real/not/there"));
        assert_eq!(resolved(&dir.join("nothing")), dir.join("nothing"));
    }
}
