//! How the verbs that change something reach AWS, where they keep their journal, and who they say did it.

use crate::context::Context;
use crate::failure;
use aws_client::{Client, Limits, Options};
use clap::Args;
use model::Fault;
use std::path::PathBuf;

/// Which account and where: flags that several verbs share.
#[derive(Args, Clone, Debug)]
pub(super) struct Connection {
    /// Call this address instead of AWS's: an emulator
    #[arg(long, value_name = "URL")]
    endpoint: Option<String>,
    /// Use this region; buckets are found wherever they are
    #[arg(long, value_name = "REGION")]
    pub(super) region: Option<String>,
    /// Use the credentials and the region of this profile
    #[arg(long, value_name = "NAME")]
    profile: Option<String>,
    /// Call the endpoints whose cryptography is validated by FIPS 140
    #[arg(long)]
    fips: bool,
}

impl Connection {
    pub(super) fn client(&self) -> Result<Client, Fault> {
        let options = Options {
            endpoint: self.endpoint.clone(),
            region: self.region.clone(),
            profile: self.profile.clone(),
            fips: self.fips,
            limits: Limits::default(),
        };
        // A variable that is no text is none of AWS's.
        let text = |value: std::ffi::OsString| value.into_string().ok();
        Client::new(&options, std::env::vars_os().filter_map(|(name, value)| Some((text(name)?, text(value)?))).collect())
    }

    /// An emulator takes a change over at once; AWS after a while.
    pub(super) fn is_patient(&self) -> bool {
        self.endpoint.is_none()
    }
}

/// Where the journal and the incidents are.
#[derive(Args, Clone, Debug)]
pub(super) struct StateDir {
    /// Keep the journal and the incidents in this directory [default: guard/ in the data directory]
    #[arg(long, global = true, value_name = "DIR")]
    state: Option<PathBuf>,
}

impl StateDir {
    /// For verbs that read: it need not be there.
    pub(super) fn path(&self, context: &Context) -> PathBuf {
        self.state.clone().unwrap_or_else(|| context.layout.root().join("guard"))
    }

    /// For verbs that write. The data directory must be there already, or be root's to make.
    pub(super) fn for_writing(&self, context: &Context) -> Result<PathBuf, Fault> {
        if let Some(state) = &self.state {
            return std::path::absolute(state).map_err(|e| failure::io("cannot use", state, &e));
        }
        let root = context.layout.root();
        // What it makes first is the mark: a directory that has other things and no mark is nobody's.
        let is_empty = root.read_dir().is_ok_and(|mut entries| entries.next().is_none());
        if !root.is_dir() || is_empty {
            if !root.is_dir() && !nix::unistd::geteuid().is_root() {
                let text = format!("there is no data directory {} to keep the journal in", root.display());
                return Err(Fault::yours("no-state", text).hint("name a directory of your own: --state ~/.local/state/afresh-guard"));
            }
            host::identity::open(&context.layout, false)?;
        }
        Ok(root.join("guard"))
    }
}

/// Who makes an entry: the account that was logged in before sudo.
pub(super) fn by() -> String {
    let var = |name| std::env::var(name).ok().filter(|v| !v.trim().is_empty());
    let name = var("SUDO_USER").or_else(|| var("USER")).or_else(|| var("LOGNAME"));
    name.unwrap_or_else(|| format!("uid {}", nix::unistd::getuid()))
}
