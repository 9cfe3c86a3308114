//! Who calls, what they may do, and what is kept of it. An identity comes from a token or from the kernel (SO_PEERCRED), never from
//! what a caller writes; what is not allowed by a rule is refused.
//!
//! ```text
//! connection ─▶ identify (token, uid) ─▶ Caller: role, services ─▶ rule of the route ─▶ handler: whose service? host policy? ─▶ audit
//! ```

pub mod audit;
mod caller;
mod host_policy;
mod permit;
pub mod tokens;

pub use caller::{Caller, Peer};
pub use host_policy::read as read_policy;
pub use permit::{deploy, recipes, release, step};

use crate::app::App;
use audit::Audit;
use model::access::{Grant, HostPolicy};
use model::{Fault, Layout};
use std::path::PathBuf;
use tokens::Tokens;

pub struct Access {
    tokens: Tokens,
    pub audit: Audit,
    policy: PathBuf,
    own_uid: u32,
    /// The token of `--token-file`: the administrator's, as it was before tokens had names.
    file_token: Option<String>,
}

impl Access {
    pub fn open(layout: &Layout, policy: PathBuf, token: Option<String>) -> Result<Access, Fault> {
        Ok(Access {
            tokens: Tokens::new(layout),
            audit: Audit::open(layout)?,
            policy,
            own_uid: rustix::process::geteuid().as_raw(),
            file_token: token.map(|token| tokens::digest(&token)),
        })
    }

    pub fn tokens(&self) -> &Tokens {
        &self.tokens
    }

    /// Read at each use, so that a change by root counts at once. One that cannot be trusted permits nobody but the administrator.
    pub fn policy(&self) -> Result<HostPolicy, Fault> {
        read_policy(&self.policy)
    }

    /// A token says who calls, wherever it comes from; without one, the kernel does.
    pub fn identify(&self, peer: &Peer, token: Option<&[u8]>) -> Result<(String, Grant), Fault> {
        if let Some(token) = token {
            let shown = tokens::digest_of(token);
            if self.file_token.as_ref().is_some_and(|digest| tokens::same(digest, &shown)) {
                return Ok(("token-file".to_string(), Grant::admin()));
            }
            return self.tokens.find(&shown)?.ok_or_else(|| {
                Fault::yours("unauthorized", "no such token").hint("`afresh token list` shows who has one; `afresh token create` makes one")
            });
        }
        match peer {
            Peer::Uid(0) => Ok(("root".to_string(), Grant::admin())),
            Peer::Uid(uid) if *uid == self.own_uid => Ok((format!("uid:{uid}"), Grant::admin())),
            Peer::Uid(uid) => {
                let policy = self.policy()?;
                let (name, grant) = policy.peer(*uid).ok_or_else(|| {
                    Fault::yours("forbidden", format!("uid {uid} has no role here"))
                        .hint("the host's root names it as a `peer` in the host policy, or gives it a token")
                })?;
                Ok((format!("peer:{name}"), grant.clone()))
            }
            Peer::Ip(_) => Err(Fault::yours("unauthorized", "this address needs a token").hint("send `Authorization: Bearer TOKEN`")),
        }
    }

    /// The services of a grant at this moment: those that it names, and those that are of its tiers now.
    pub fn scope(&self, app: &App, grant: &Grant) -> Result<Option<std::collections::BTreeSet<model::ServiceName>>, Fault> {
        if !grant.is_scoped() {
            return Ok(None);
        }
        let mut all = grant.services.clone();
        if !grant.tiers.is_empty() {
            let rows = app.database.browse(|r| r.services())?;
            all.extend(rows.into_iter().filter(|row| grant.tiers.contains(&row.spec.tier)).map(|row| row.spec.name));
        }
        Ok(Some(all))
    }
}
