//! What a service manager is told of a start and an end, over a socket as systemd has one.

use std::io::{BufRead as _, BufReader};
use std::net::TcpStream;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use kafka_protocol::messages::ApiVersionsRequest;
use rustix::process::{Pid, Signal, kill_process};

use crate::cli::{Scratch, command};
use crate::online::peer::ask;

/// A broker and who listens to it.
struct Managed {
    broker: Child,
    socket: UnixDatagram,
    _data: Scratch,
}

impl Managed {
    /// Starts it with the name of the socket in its environment, and what else is wanted there.
    fn start(name: &str, is_abstract: bool, environment: &[(&str, &str)]) -> Managed {
        let data = Scratch::new(name);
        let path = data.path("notify.sock");
        let address = match is_abstract {
            true => SocketAddr::from_abstract_name(&path[1..]),
            false => SocketAddr::from_pathname(&path),
        };
        let socket = UnixDatagram::bind_addr(&address.unwrap()).unwrap();
        // Only a broker that says nothing is waited for so long.
        socket.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        let shown = if is_abstract { format!("@{}", &path[1..]) } else { path };
        let broker = broker(&data, &shown, environment).spawn().unwrap();
        Managed { broker, socket, _data: data }
    }

    /// The next datagram.
    fn told(&self) -> String {
        let mut buf = [0; 512];
        let bytes = self.socket.recv(&mut buf).expect("it says something");
        String::from_utf8(buf[..bytes].to_vec()).unwrap()
    }

    /// All that is told till this one, which begins so.
    fn told_until(&self, begins: &str) -> Vec<String> {
        let mut all = Vec::new();
        while all.last().is_none_or(|last: &String| !last.starts_with(begins)) {
            all.push(self.told());
        }
        all
    }

    fn signal(&self) {
        let id = Pid::from_raw(self.broker.id() as i32).unwrap();
        kill_process(id, Signal::TERM).unwrap();
    }
}

impl Drop for Managed {
    fn drop(&mut self) {
        let _ = self.broker.kill();
        let _ = self.broker.wait();
    }
}

#[test]
fn a_manager_is_told_of_the_start_in_its_steps_and_of_the_end() {
    for is_abstract in [false, true] {
        // The time of a watchdog that is meant for another process is none of ours.
        let others = [("WATCHDOG_USEC", "2"), ("WATCHDOG_PID", "1")];
        let name = if is_abstract { "notify-abstract" } else { "notify-path" };
        let mut managed = Managed::start(name, is_abstract, &others);
        let starting = managed.told_until("READY=1\n");
        assert_eq!(starting[0], "EXTEND_TIMEOUT_USEC=600000000\nSTATUS=opening the rings");
        let making = "EXTEND_TIMEOUT_USEC=600000000\nSTATUS=making segment files: ";
        assert!(starting[1].starts_with(making), "{starting:?}");
        assert!(starting[1].ends_with(" MiB"), "{starting:?}");
        let ready = starting.last().unwrap();
        assert!(ready.starts_with("READY=1\nSTATUS=listening on 127.0.0.1:"), "{ready}");
        managed.signal();
        assert_eq!(managed.told(), "STOPPING=1\nSTATUS=stopping on SIGTERM");
        assert!(managed.broker.wait().unwrap().success());
    }
}

#[test]
fn a_watchdog_is_fed_where_there_is_one() {
    let mut managed = Managed::start("watchdog", false, &[("WATCHDOG_USEC", "20000")]);
    managed.told_until("READY=1\n");
    for _ in 0..3 {
        assert_eq!(managed.told(), "WATCHDOG=1");
    }
    managed.signal();
    let told = managed.told_until("STOPPING=1\n");
    assert!(told.iter().rev().skip(1).all(|text| text == "WATCHDOG=1"), "{told:?}");
    assert!(managed.broker.wait().unwrap().success());
}

#[test]
fn a_manager_that_does_not_read_is_not_waited_for() {
    let data = Scratch::new("notify-deaf");
    let path = data.path("notify.sock");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let others = UnixDatagram::unbound().unwrap();
    others.set_nonblocking(true).unwrap();
    while others.send_to(b"another's", &path).is_ok() {}

    let mut command = broker(&data, &path, &[("WATCHDOG_USEC", "20000"), ("RUST_LOG", "info")]);
    let mut broker = command.stderr(Stdio::piped()).spawn().unwrap();
    let log = BufReader::new(broker.stderr.take().unwrap()).lines();
    let listening = log.map(Result::unwrap).find(|line| line.contains(" listening on ")).unwrap();
    let address = listening.split("listening on ").nth(1).unwrap().split(';').next().unwrap();
    // Who is answered knows that all was said that is said of a start.
    ask(&mut TcpStream::connect(address).unwrap(), 0, ApiVersionsRequest::default());
    let mut managed = Managed { broker, socket, _data: data };
    // It serves though it could not say so, and goes on saying how it is.
    let told = managed.told_until("WATCHDOG=1");
    assert!(told[..told.len() - 1].iter().all(|text| text == "another's"), "{told:?}");
    managed.signal();
    managed.told_until("STOPPING=1\n");
    assert!(managed.broker.wait().unwrap().success());
}

/// A broker over a small ring in this folder, whose manager has this socket.
fn broker(data: &Scratch, socket: &str, environment: &[(&str, &str)]) -> Command {
    let mut command = command(&["--listen", "127.0.0.1:0", "--data", &data.path("ring")]);
    for setting in ["http_listen=", "ring.segments=3", "ring.spares=1", "ring.segment_bytes=4MiB"] {
        command.args(["--set", setting]);
    }
    command.env("NOTIFY_SOCKET", socket).env("RUST_LOG", "warn").stdin(Stdio::null());
    command.envs(environment.iter().copied());
    command
}
