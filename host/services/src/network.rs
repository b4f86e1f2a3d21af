//! Sockets: the shared listener, names and addresses, connections out.

mod resolver;
mod route;

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::time::Duration;

use boundary_wire::frame::DialFailure;
use rustix::io::Errno;
use rustix::net::{SocketFlags, acceptfrom_with};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use socket2::{Domain, Protocol, SockAddr, Socket, TcpKeepalive, Type};

pub use resolver::{Resolved, Resolver};
pub use route::{Route, RouteError};

/// Connections that the kernel holds before they are accepted.
const LISTEN_BACKLOG: i32 = 1024;
/// A peer that has been silent for so long is asked whether it is still there.
const KEEPALIVE: Duration = Duration::from_secs(60);

/// A listening socket that all stations of a host accept from. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Listener(Arc<Socket>);

/// Why there is no listener.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// Somebody else has the port.
    #[error("{0} is in use by another program: stop it, or choose another port with --port")]
    InUse(SocketAddr),
    /// The port is not for this user.
    #[error("{0} is not for this user: choose a port above 1023 with --port, or grant CAP_NET_BIND_SERVICE")]
    Denied(SocketAddr),
    /// The address is not one of this machine.
    #[error("{0} is not an address of this machine: choose another with --listen")]
    NotLocal(SocketAddr),
    /// Anything else.
    #[error("cannot listen on {0}: {1}")]
    Io(SocketAddr, io::Error),
}

impl Listener {
    /// Listens on `address`; port 0 takes a free one.
    ///
    /// # Errors
    /// [`ListenError`].
    pub fn bind(address: SocketAddr) -> Result<Listener, ListenError> {
        Self::try_bind(address).map_err(|error| match error.kind() {
            io::ErrorKind::AddrInUse => ListenError::InUse(address),
            io::ErrorKind::PermissionDenied => ListenError::Denied(address),
            io::ErrorKind::AddrNotAvailable => ListenError::NotLocal(address),
            _ => ListenError::Io(address, error),
        })
    }

    fn try_bind(address: SocketAddr) -> io::Result<Listener> {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
        // Not SO_REUSEPORT: two hosts must not share a port unnoticed.
        socket.set_reuse_address(true)?;
        socket.set_nonblocking(true)?;
        // Accepted connections inherit these.
        socket.set_tcp_nodelay(true)?;
        socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(KEEPALIVE))?;
        socket.bind(&SockAddr::from(address))?;
        socket.listen(LISTEN_BACKLOG)?;
        Ok(Listener(Arc::new(socket)))
    }

    /// Where it listens.
    ///
    /// # Errors
    /// When the kernel does not say.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()?.as_socket().ok_or_else(|| io::Error::other("not an internet address"))
    }

    pub(crate) fn accept(&self) -> Result<(Socket, SocketAddr), AcceptError> {
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let (socket, peer) = acceptfrom_with(&self.0, flags).map_err(AcceptError::of)?;
        let peer = peer.and_then(|peer| SocketAddr::try_from(peer).ok()).ok_or(AcceptError::Retry)?;
        Ok((Socket::from(socket), peer))
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Why there is no connection to accept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AcceptError {
    /// None is waiting.
    Empty,
    /// This one was lost; the next may be there.
    Retry,
    /// The process or the machine is out of descriptors or memory: later.
    Exhausted,
}

impl AcceptError {
    fn of(error: Errno) -> Self {
        match error {
            Errno::AGAIN => Self::Empty,
            Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM => Self::Exhausted,
            _ => Self::Retry,
        }
    }
}

/// Begins to connect. The socket is writable when it is done; [`connected`] says how it went.
pub(crate) fn connect(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    socket.set_tcp_nodelay(true)?;
    match socket.connect(&SockAddr::from(address)) {
        Err(error) if error.raw_os_error() != Some(Errno::INPROGRESS.raw_os_error()) => Err(error),
        _ => Ok(socket),
    }
}

/// How a connect went, once the socket is writable.
pub(crate) fn connected(socket: &Socket) -> io::Result<()> {
    socket.take_error()?.map_or(Ok(()), Err)
}

/// Lets the process open as many descriptors as its hard limit allows, and says how many that is.
pub fn raise_descriptor_limit() -> usize {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    let current = if setrlimit(Resource::Nofile, raised).is_ok() { limit.maximum } else { limit.current };
    current.and_then(|n| usize::try_from(n).ok()).unwrap_or(usize::MAX)
}

/// What the enclave is told about a connect that failed.
pub(crate) fn dial_failure(error: &io::Error) -> DialFailure {
    match error.kind() {
        io::ErrorKind::ConnectionRefused | io::ErrorKind::ConnectionReset => DialFailure::Refused,
        io::ErrorKind::TimedOut => DialFailure::TimedOut,
        io::ErrorKind::NetworkUnreachable
        | io::ErrorKind::HostUnreachable
        | io::ErrorKind::NetworkDown
        | io::ErrorKind::AddrNotAvailable => DialFailure::Unreachable,
        _ => DialFailure::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_in_use_is_named() {
        let first = Listener::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = first.address().unwrap();
        let second = Listener::bind(address).unwrap_err();
        assert!(matches!(second, ListenError::InUse(a) if a == address), "{second}");
        let foreign = Listener::bind("192.0.2.1:0".parse().unwrap()).unwrap_err();
        assert!(matches!(foreign, ListenError::NotLocal(_)), "{foreign}");
    }
}
