//! The socket that clients connect to.

use std::io;
use std::net::{SocketAddr, TcpListener};

use listenfd::ListenFd;
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, listen, socket_with, sockopt};

/// The socket that clients connect to. They wait until the broker is started.
#[derive(Debug)]
pub struct Bound {
    /// The socket.
    pub listener: TcpListener,
    /// Whether the supervisor made it.
    pub inherited: bool,
}

/// Takes the socket that the supervisor made (systemd's `LISTEN_FDS`), or makes one. Its connections
/// wait until they are accepted.
///
/// "::" stands for all addresses, IPv4 as well; where the kernel has no IPv6, for all of IPv4.
pub fn bound(address: SocketAddr) -> io::Result<Bound> {
    if let Some(listener) = ListenFd::from_env().take_tcp_listener(0)? {
        return Ok(Bound { listener, inherited: true });
    }
    let listener = match listen_on(address) {
        Err(Errno::AFNOSUPPORT | Errno::ADDRNOTAVAIL) if is_any(address) => {
            listen_on(SocketAddr::from(([0, 0, 0, 0], address.port())))
        }
        done => done,
    };
    Ok(Bound { listener: listener?, inherited: false })
}

fn is_any(address: SocketAddr) -> bool {
    address.is_ipv6() && address.ip().is_unspecified()
}

fn listen_on(address: SocketAddr) -> Result<TcpListener, Errno> {
    let family = if address.is_ipv6() { AddressFamily::INET6 } else { AddressFamily::INET };
    let socket = socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    // Else a restart would fail while the kernel remembers earlier connections (TIME_WAIT).
    sockopt::set_socket_reuseaddr(&socket, true)?;
    if is_any(address) {
        sockopt::set_ipv6_v6only(&socket, false)?;
    }
    bind(&socket, &address)?;
    listen(&socket, BACKLOG)?;
    Ok(TcpListener::from(socket))
}

/// Connections that wait to be accepted, such as those of a whole plant after a restart.
const BACKLOG: i32 = 1024;

#[cfg(test)]
mod tests {
    use std::net::TcpStream;

    use super::*;

    #[test]
    fn all_addresses_are_those_of_both_families() {
        let bound = bound("[::]:0".parse().unwrap()).unwrap();
        let port = bound.listener.local_addr().unwrap().port();
        assert!(!bound.inherited);
        let (_client, ours) = accepted(&bound, ([127, 0, 0, 1], port).into());
        assert_eq!(ours.to_canonical().to_string(), "127.0.0.1");
        if TcpListener::bind("[::1]:0").is_ok() {
            let (_client, ours) = accepted(&bound, format!("[::1]:{port}").parse().unwrap());
            assert_eq!(ours.to_string(), "::1");
        }
    }

    fn accepted(bound: &Bound, to: SocketAddr) -> (TcpStream, std::net::IpAddr) {
        let client = TcpStream::connect(to).unwrap();
        let (socket, _) = bound.listener.accept().unwrap();
        (client, socket.local_addr().unwrap().ip())
    }

    #[test]
    fn an_address_that_is_taken_is_refused() {
        let taken = bound("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = taken.listener.local_addr().unwrap();
        assert_eq!(bound(address).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        // One address of all is taken.
        let all = SocketAddr::from(([0; 8], address.port()));
        assert_eq!(bound(all).unwrap_err().kind(), io::ErrorKind::AddrInUse);
    }
}
