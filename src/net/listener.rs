//! Accepts connections, each into a slot. Connections that get no slot are accepted and closed at once,
//! so that their clients need not wait in the backlog.

use std::future::poll_fn;
use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::rc::Rc;
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::sockopt;
use smol::{Async, LocalExecutor, Timer};

use super::Net;
use super::connection::Connection;
use super::core::Core;
use super::turn::{Turn, Work};
use crate::broker::{ConnId, Peer};
use crate::log_limit::About;
use crate::metrics::CloseReason;

/// Accepts until the task is dropped.
pub async fn listen<C: Core>(
    net: Rc<Net<C>>,
    executor: Rc<LocalExecutor<'static>>,
    listener: Async<TcpListener>,
) {
    let turn = Turn::default();
    loop {
        turn.take(Work::Step).await;
        match listener.get_ref().accept() {
            Ok((stream, remote)) => admit(&net, &executor, stream, remote).await,
            Err(e) if e.kind() == ErrorKind::WouldBlock => {
                let _ = poll_fn(|context| listener.poll_readable(context)).await;
            }
            Err(e) if e.kind() == ErrorKind::ConnectionAborted => {}
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            Err(e) => {
                // No file descriptor or memory for another socket: displace a connection, or wait.
                // Trying again at once would be a busy loop.
                let about = About::kind("accept");
                net.complain(log::Level::Error, about, format_args!("cannot accept: {e}"));
                let no_descriptor = e.raw_os_error() == Some(Errno::MFILE.raw_os_error());
                if no_descriptor && displace(&net, None).is_some() {
                    net.hub.slot_free.rung().await;
                } else {
                    Timer::after(Duration::from_millis(ACCEPT_RETRY_MS)).await;
                }
            }
        }
    }
}

async fn admit<C: Core>(
    net: &Rc<Net<C>>,
    executor: &LocalExecutor<'static>,
    stream: TcpStream,
    remote: SocketAddr,
) {
    let Some(id) = slot_for(net, remote).await else {
        net.hub.connections.borrow_mut().refused += 1;
        net.complain(
            log::Level::Warn,
            About::kind("refused").from(remote.ip()),
            format_args!("refused a connection from {remote}: too many are open"),
        );
        return;
    };
    net.hub.connections.borrow_mut().opened();
    match socket_from(stream) {
        Ok((socket, local)) => {
            let (local, remote) = (canonical(local), canonical(remote));
            let peer = Peer::new(id, local, remote);
            let connection = Connection::new(Rc::clone(net), id, socket, peer);
            executor.spawn(connection.serve()).detach();
            net.hub.opened.ring();
        }
        Err(_) => {
            net.hub.connections.borrow_mut().closed(CloseReason::Network);
            net.hub.leave(id);
        }
    }
}

/// A slot for a connection from this address, for which another one may be displaced; one of its own
/// where the address has its share. Clients that were displaced while they waited for room reconnect at
/// once, so these are displaced at a limited rate, while other new connections wait in the backlog.
async fn slot_for<C: Core>(net: &Net<C>, remote: SocketAddr) -> Option<ConnId> {
    let address = remote.ip().to_canonical();
    loop {
        let has_share = net.hub.slots.borrow().open_of(address) >= net.setup.max_connections_per_ip;
        if !has_share {
            let now = net.hub.clock.mono();
            let free = net.hub.slots.borrow_mut().open(address, now);
            if free.is_some() {
                return free;
            }
        }
        let why = displace(net, has_share.then_some(address))?;
        net.hub.slot_free.rung().await;
        if why == CloseReason::Held {
            Timer::after(Duration::from_millis(HELD_PACE_MS)).await;
        }
    }
}

/// Tells the most dispensable connection to end, of all or of those from one address; gives the reason.
/// `slot_free` rings when it has ended. None if all are at work.
fn displace<C: Core>(net: &Net<C>, of: Option<IpAddr>) -> Option<CloseReason> {
    net.hub.slot_free.reset();
    let mut slots = net.hub.slots.borrow_mut();
    if slots.is_ending(of) {
        return Some(CloseReason::Displaced);
    }
    let now = net.hub.clock.mono();
    let places = match of {
        Some(_) => net.setup.max_connections_per_ip,
        None => net.setup.max_connections,
    };
    let (id, why) = slots.victim((of, places), now, net.setup.newcomer_ms)?;
    let slot = slots.get(id);
    slot.end(why);
    let key = if of.is_some() { "max_connections_per_ip" } else { "max_connections" };
    if let Some(line) = net.displaced.note(why, slot.remote, now) {
        log::warn!("{line}; {key} = {places} is too few for the clients there are");
    }
    Some(why)
}

fn socket_from(stream: TcpStream) -> std::io::Result<(Async<TcpStream>, SocketAddr)> {
    stream.set_nodelay(true)?;
    keep_alive(&stream)?;
    let local = stream.local_addr()?;
    Ok((Async::new(stream)?, local))
}

/// A client that lost its power sends no FIN: its slot is free again after two minutes, whether the
/// connection was receiving or sending.
fn keep_alive(stream: &TcpStream) -> std::io::Result<()> {
    sockopt::set_socket_keepalive(stream, true)?;
    sockopt::set_tcp_keepidle(stream, Duration::from_secs(KEEPALIVE_IDLE_S))?;
    sockopt::set_tcp_keepintvl(stream, Duration::from_secs(KEEPALIVE_PROBE_S))?;
    sockopt::set_tcp_keepcnt(stream, KEEPALIVE_PROBES)?;
    let gone_s = KEEPALIVE_IDLE_S + KEEPALIVE_PROBE_S * u64::from(KEEPALIVE_PROBES);
    sockopt::set_tcp_user_timeout(stream, gone_s as u32 * 1000)?;
    Ok(())
}

/// IPv4 addresses that came in over IPv6 are shown as IPv4.
fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

const ACCEPT_RETRY_MS: u64 = 100;

/// Pause after displacing a connection that waits for room: at most twenty a second.
const HELD_PACE_MS: u64 = 50;

/// After this silence a client is probed, at this interval and this many times.
const KEEPALIVE_IDLE_S: u64 = 60;
const KEEPALIVE_PROBE_S: u64 = 15;
const KEEPALIVE_PROBES: u32 = 4;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_that_lost_its_power_is_noticed() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let _client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (socket, _) = socket_from(listener.accept().unwrap().0).unwrap();
        let socket = socket.get_ref();
        assert!(sockopt::socket_keepalive(socket).unwrap());
        assert_eq!(sockopt::tcp_keepidle(socket).unwrap(), Duration::from_secs(60));
        assert_eq!(sockopt::tcp_keepintvl(socket).unwrap(), Duration::from_secs(15));
        assert_eq!(sockopt::tcp_keepcnt(socket).unwrap(), 4);
        assert_eq!(sockopt::tcp_user_timeout(socket).unwrap(), 120_000);
    }
}
