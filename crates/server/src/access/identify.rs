//! Who calls: from a token or from the kernel (SO_PEERCRED), never from what a caller writes.

use super::audit::Audit;
use super::host_policy;
use super::tokens::{self, Tokens};
use journal::Database;
use json_http::Peer;
use model::access::{Grant, HostPolicy};
use model::{Fault, Layout, Names, ServiceName};
use std::collections::BTreeSet;
use std::path::PathBuf;

pub struct Access {
    tokens: Tokens,
    pub audit: Audit,
    policy: PathBuf,
    own_uid: u32,
    /// `--token-file`: its token is the administrator's.
    token_file: Option<PathBuf>,
}

impl Access {
    pub fn open(layout: &Layout, policy: PathBuf, token_file: Option<PathBuf>) -> Result<Access, Fault> {
        Ok(Access {
            tokens: Tokens::new(layout),
            audit: Audit::open(layout)?,
            policy,
            own_uid: rustix::process::geteuid().as_raw(),
            token_file,
        })
    }

    pub fn tokens(&self) -> &Tokens {
        &self.tokens
    }

    /// Read at each use, so that a change by root is in force at once. A policy that others can write permits nobody but the administrator.
    pub fn policy(&self) -> Result<HostPolicy, Fault> {
        host_policy::read(&self.policy)
    }

    /// Read at each use too: a token that was exchanged, or whose file is gone or open to others, counts no more.
    fn is_of_file(&self, shown: &str) -> bool {
        let token = self.token_file.as_deref().and_then(|file| tokens::read_token(file).ok());
        token.is_some_and(|token| tokens::same(&tokens::digest(&token), shown))
    }

    /// A token identifies the caller, wherever it comes from; without one, the kernel does.
    pub fn identify(&self, peer: &Peer, token: Option<&[u8]>) -> Result<(String, Grant), Fault> {
        if let Some(token) = token {
            let shown = tokens::digest_of(token);
            if self.is_of_file(&shown) {
                return Ok(("token-file".to_string(), Grant::admin()));
            }
            return self.tokens.find(&shown)?.ok_or_else(|| {
                Fault::yours("unauthorized", "no such token").hint("`afresh token list` lists tokens; `afresh token create` creates one")
            });
        }
        match peer {
            Peer::Uid(0) => Ok(("root".to_string(), Grant::admin())),
            Peer::Uid(uid) if *uid == self.own_uid => Ok((format!("uid:{uid}"), Grant::admin())),
            Peer::Uid(uid) => {
                let policy = self.policy()?;
                let (name, grant) = policy.peer(*uid).ok_or_else(|| {
                    Fault::yours("forbidden", format!("uid {uid} has no role here"))
                        .hint("root of the host can name it as a `peer` in the host policy, or create a token for it")
                })?;
                Ok((format!("peer:{name}"), grant.clone()))
            }
            Peer::Ip(_) => Err(Fault::yours("unauthorized", "this address needs a token")
                .hint("give one: --token-file FILE or AFRESH_TOKEN; over HTTP `Authorization: Bearer TOKEN`")),
        }
    }

    /// The grant with ids in place of names: of a service it names the id, or what it is called now.
    pub fn with_ids(&self, names: &Names, grant: Grant) -> Grant {
        Grant { services: names.ids_of(&grant.services), ..grant }
    }

    /// The services of a grant at this moment: those that it names, and those that are of its tiers now. None: all of them.
    pub fn scope(&self, database: &Database, grant: &Grant) -> Result<Option<BTreeSet<ServiceName>>, Fault> {
        if !grant.is_scoped() {
            return Ok(None);
        }
        let mut all = grant.services.clone();
        if !grant.tiers.is_empty() {
            let rows = database.browse(|r| r.services())?;
            all.extend(rows.into_iter().filter(|row| grant.tiers.contains(&row.spec.tier)).map(|row| row.spec.name));
        }
        Ok(Some(all))
    }
}
