//! Listens, and opens a conversation for each connection that comes.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpListener, TcpStream};

use super::connection;
use super::driver::Driver;
use super::hosts;
use crate::core::machine::Origin;

/// How many connections the system holds for us before they are accepted.
const BACKLOG: i32 = 1024;

/// How long to wait where the system has no socket left for a further connection.
const EXHAUSTED_PAUSE: Duration = Duration::from_millis(20);

/// A socket that listens on IPv4, on every interface where `bind` is empty, on any free port where
/// `port` is 0. A restarted program gets its port back at once.
pub(super) fn bind(bind: &str, port: u16) -> io::Result<std::net::TcpListener> {
    let addr = match bind {
        "" => SocketAddr::from((Ipv4Addr::UNSPECIFIED, port)),
        host => hosts::resolve(&format!("{host}:{port}"))?[0],
    };
    let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP))?;
    // On Windows the option would let two programs share the port.
    #[cfg(not(windows))]
    socket.set_reuse_address(true)?;
    socket.bind(&addr.into())?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

/// An address of the socket that this machine can connect to.
pub(super) fn reachable(addr: SocketAddr) -> SocketAddr {
    let ip = if addr.ip().is_unspecified() { IpAddr::V4(Ipv4Addr::LOCALHOST) } else { addr.ip() };
    SocketAddr::new(ip, addr.port())
}

/// Accepts for as long as the node runs.
pub(super) async fn accept(driver: Rc<Driver>, listener: TcpListener) {
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => open(&driver, stream, peer),
            // Out of sockets: an idle connection gives way, else the queue of the system waits.
            Err(error) if is_exhausted(&error) => {
                driver.connections.close_idle();
                tokio::time::sleep(EXHAUSTED_PAUSE).await;
            }
            // The connection was gone before it was accepted.
            Err(_) => tokio::task::yield_now().await,
        }
    }
}

fn open(driver: &Rc<Driver>, stream: TcpStream, peer: SocketAddr) {
    let connections = &driver.connections;
    if connections.len() >= driver.limits.connections_max && !connections.close_idle() {
        return;
    }
    let Ok(local) = stream.local_addr() else {
        return;
    };
    let origin =
        Origin { peer_ip: peer.ip().to_string().into(), local_ip: local.ip().to_string().into() };
    // Without the option replies are only slower.
    let _ = stream.set_nodelay(true);
    connection::spawn(driver, stream, origin);
}

/// Whether the process or the system has no room for a further socket.
fn is_exhausted(error: &io::Error) -> bool {
    !matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::Interrupted
            | io::ErrorKind::PermissionDenied
    )
}
