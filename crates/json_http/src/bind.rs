//! Binds sockets; an error is a fault that says what to do.

use disk::files;
use model::Fault;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::path::Path;
use tokio::net::{TcpListener, UnixListener};

/// The caller holds the lock that makes it the only process at this path: what lies there is a dead process's. Mode 0600: only the
/// owner may connect. 0666: everybody may, and the kernel says who it is.
pub fn unix(path: &Path, mode: u32) -> Result<UnixListener, Fault> {
    let listener = disk::socket::listen(path, mode).and_then(UnixListener::from_std);
    listener.map_err(|e| match e.kind() {
        ErrorKind::InvalidFilename => Fault::yours("path-too-long", format!("{}: {e}", path.display())).hint("choose a shorter --data-dir"),
        _ => files::fault("cannot listen on", path, &e),
    })
}

pub async fn tcp(address: SocketAddr) -> Result<TcpListener, Fault> {
    TcpListener::bind(address).await.map_err(|e| match e.kind() {
        ErrorKind::AddrInUse => Fault::yours("port-in-use", format!("cannot listen on {address}: address already in use"))
            .hint("another process holds it; choose another --listen address"),
        ErrorKind::PermissionDenied => {
            Fault::yours("port-denied", format!("cannot listen on {address}: {e}")).hint("ports below 1024 need root")
        }
        _ => Fault::yours("bad-listen", format!("cannot listen on {address}: {e}")).hint("give an address of this machine"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[tokio::test]
    async fn a_socket_has_its_mode_and_a_reason_where_it_cannot_be() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.sock");
        let _listener = unix(&path, 0o600).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let long = dir.path().join("x".repeat(100));
        assert_eq!(unix(&long, 0o600).unwrap_err().code, "path-too-long");
        let missing = unix(&dir.path().join("no/x.sock"), 0o600).unwrap_err();
        assert_eq!((missing.code.as_str(), missing.message.contains("no/x.sock")), ("no-such-file", true));
        let taken = tcp("127.0.0.1:0".parse().unwrap()).await.unwrap();
        assert_eq!(tcp(taken.local_addr().unwrap()).await.unwrap_err().code, "port-in-use");
    }
}
