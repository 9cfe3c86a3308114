//! The three control processes as operating-system processes: locks, supervision, their end. What they do is not known here.

pub mod folders;
pub mod interrupt;
pub mod lock;
pub mod log;
pub mod own_up;
pub mod parent;
pub mod ready;
pub mod service_manager;
pub mod supervise;

/// One of the processes that `afresh up` keeps alive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    Serve,
    Host,
    Proxy,
}

impl Role {
    pub const ALL: [Role; 3] = [Role::Host, Role::Proxy, Role::Serve];

    pub fn name(self) -> &'static str {
        match self {
            Role::Serve => "serve",
            Role::Host => "host",
            Role::Proxy => "proxy",
        }
    }
}

/// Servers pass, as users that are nobody here, through directories that are made by this process: whatever umask it was started with.
pub fn let_servers_pass() {
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
}
