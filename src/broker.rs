//! The state behind the handlers, without wire format and sockets.

pub mod allowed;
#[cfg(feature = "consumer-protocol")]
mod consumers;
mod displace;
pub mod full_ring;
mod mirror_reports;
pub mod offsets;
pub mod reads;
pub mod refusal;
mod released;
mod retention;
#[cfg(test)]
pub(crate) mod testing;
mod told;
pub mod topic_config;
pub mod topics;
mod unpacker;
pub mod wall_clock;

use std::fmt::Write;
use std::net::{IpAddr, SocketAddr};

use std::rc::Rc;
use std::sync::Arc;

use crate::clock::{Mono, Now};
use crate::config::Config;
use crate::error::DiskError;
use crate::group::Groups;
use crate::log::Log;
use crate::log_limit::LogLimit;
use crate::metrics::Metrics;
pub use crate::types::ConnId;
use crate::types::{Boot, FileRef, Until};
use unpacker::Unpacker;

/// What a handler knows of the connection that it serves.
#[derive(Debug, Clone, Copy)]
pub struct Peer {
    /// Its slot.
    pub conn: ConnId,
    /// The address that the client reached: what brooklet advertises unless configured otherwise.
    pub local: SocketAddr,
    /// The client's address.
    pub remote: SocketAddr,
    /// Its produce request has waited for room as long as it may.
    pub waited_out: bool,
    /// What was done of its request before it is dispatched again.
    pub partly: Partly,
}

impl Peer {
    /// That of a connection before its first request.
    pub fn new(conn: ConnId, local: SocketAddr, remote: SocketAddr) -> Peer {
        Peer { conn, local, remote, waited_out: false, partly: Partly::default() }
    }
}

/// How much was done of a request that takes more than one commit group.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Partly {
    /// How many items, from the first on.
    pub items: usize,
    /// What they wait for.
    pub until: Until,
}

/// An address that clients are told to connect to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    /// A name or a numeric address.
    pub host: heapless::String<255>,
    /// The port.
    pub port: u16,
}

/// Everything that requests act on.
pub struct Broker {
    /// The configuration.
    pub config: Config,
    /// The rings.
    pub log: Log,
    /// Counters.
    pub metrics: Metrics,
    /// Fetches and look-ups under way.
    pub reads: reads::Reads,
    /// Consumer groups and their members.
    pub groups: Groups,
    /// What is logged of what clients do.
    pub lines: Rc<LogLimit>,
    /// Reads what is compressed.
    pub unpacker: Unpacker,
    cluster_id: heapless::String<64>,
    retention_next: Mono,
    holds: full_ring::Holds,
    released: released::Released,
    allowed: allowed::Allowed,
    /// It was logged that the clock is not trusted.
    clock_distrusted: bool,
    /// The newest time that was given to arriving records.
    append_time_newest_ms: i64,
}

/// What a job (a fetch, a look-up by timestamp, a wait for other members of a group) wants next. The
/// connection carries it out with one leased buffer, and steps the job again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JobNext {
    /// Fill `buf[from..to]` from the file, then step again with the outcome.
    Read {
        /// The file.
        file: FileRef,
        /// The position in it.
        at: u64,
        /// Start of the range in the buffer.
        from: usize,
        /// End of the range in the buffer.
        to: usize,
    },
    /// Send `buf[from..to]` to the client, then step again.
    Send {
        /// Start of the range in the buffer.
        from: usize,
        /// End of the range in the buffer.
        to: usize,
    },
    /// Let all other tasks have a turn, then step again.
    Turn,
    /// Give the buffer back, and step again with a large one, or with one of the usual length.
    Buffer {
        /// Whether it is to be a large one.
        large: bool,
    },
    /// Give the buffer back and wait until woken (see [`Broker::woken`]) or until this moment, then step
    /// again with a buffer.
    Sleep(Mono),
    /// The answer is out.
    Done,
    /// The answer cannot be completed: close the connection.
    Close(&'static str),
}

impl Broker {
    /// A broker over an open log; allocates what its jobs will ever need.
    pub fn new(config: Config, log: Log) -> Broker {
        let reads = reads::Reads::new(&config);
        let lines = Rc::new(LogLimit::default());
        let mut groups = Groups::new(&config, Rc::clone(&lines));
        if log.state().boot > Boot(1) {
            groups.former_begin();
        }
        #[cfg(feature = "consumer-protocol")]
        groups.epochs_begin(log.state().boot);
        let cluster_id = match config.cluster_id.as_str() {
            "" => id_text(log.state().cluster_id),
            own => own.try_into().expect("the configuration bounds it"),
        };
        let unpacker = Unpacker::new(Arc::clone(log.decompressor()));
        let broker = Broker {
            cluster_id,
            retention_next: Mono::default(),
            config,
            log,
            metrics: Metrics::default(),
            reads,
            groups,
            unpacker,
            holds: full_ring::Holds::default(),
            lines,
            released: released::Released::default(),
            allowed: allowed::Allowed::default(),
            clock_distrusted: false,
            append_time_newest_ms: i64::MIN,
        };
        broker.hold_warn_at_start();
        broker
    }

    /// Where clients are to connect to: what the configuration says, or else the address that this one
    /// reached. A link-local IPv6 address means nothing on other machines: the configured listening
    /// address is taken instead, if it is a particular one.
    pub fn advertised(&self, peer: &Peer) -> Address {
        if let Some((host, port)) = &self.config.advertised_listeners.0 {
            return Address { host: host.as_str().try_into().unwrap_or_default(), port: *port };
        }
        let mut ip = peer.local.ip().to_canonical();
        let listen = self.config.listen.ip().to_canonical();
        if matches!(ip, IpAddr::V6(v6) if v6.is_unicast_link_local()) && !listen.is_unspecified() {
            ip = listen;
        }
        let mut host = heapless::String::new();
        write!(host, "{ip}").expect("an address has at most 45 characters");
        Address { host, port: peer.local.port() }
    }

    /// The cluster's id, as clients see it.
    pub fn cluster_id(&self) -> &str {
        &self.cluster_id
    }

    /// Steps the read job of a connection. `buf` is the leased buffer, whose contents stay between steps
    /// except over a sleep or a change of buffers; `read` is the outcome of the read asked for last.
    pub fn job_step(
        &mut self,
        conn: ConnId,
        buf: &mut [u8],
        read: Option<Result<(), DiskError>>,
        now: Now,
    ) -> JobNext {
        self.unpacker.turn();
        let step = self.reads.step(&self.log, &mut self.unpacker, conn, buf, read, now);
        self.metrics.fetches_waiting = self.reads.waiting();
        for code in self.reads.errors_take() {
            self.metrics.error(code.0);
        }
        step
    }

    /// The connection has ended: drops its job, its wait in a group, and what it was decompressing.
    pub fn job_cancel(&mut self, conn: ConnId) {
        self.groups.cancel(conn);
        self.reads.cancel(conn);
        self.unpacker.release(conn);
        self.metrics.fetches_waiting = self.reads.waiting();
    }

    /// A connection whose sleeping job should be stepped, each once; asked until none is left, after
    /// every [`Log::io_done`] and every dispatch.
    pub fn woken(&mut self) -> Option<ConnId> {
        while let Some((slot, bytes)) = self.log.fresh_take() {
            self.reads.partition_synced(slot, bytes);
        }
        self.reads.topics_left(self.log.state());
        self.groups.woken().or_else(|| self.reads.woken())
    }

    /// Does what is due; see [`Broker::due`].
    pub fn tick(&mut self, now: Now) {
        self.groups.tick(now);
        self.hold_tick(now);
    }

    /// When [`Broker::tick`] is wanted, unless a request changes that.
    pub fn due(&self) -> Mono {
        self.groups.due().min(self.holds.due())
    }

    /// 16 random bytes.
    pub fn random(&self) -> [u8; 16] {
        let mut bytes = [0; 16];
        let flags = rustix::rand::GetRandomFlags::empty();
        let got = rustix::rand::getrandom(&mut bytes, flags);
        assert_eq!(got, Ok(bytes.len()), "the kernel has random bytes");
        bytes
    }
}

/// 16 bytes as Kafka writes them: base64 of letters, digits, - and _, without padding.
fn id_text(id: [u8; 16]) -> heapless::String<64> {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let number = u128::from_be_bytes(id);
    let letter = |shift: i32| {
        let six = if shift >= 0 { number >> shift } else { number << -shift };
        char::from(LETTERS[(six & 63) as usize])
    };
    (0..22).map(|place| letter(122 - 6 * place)).collect()
}

#[cfg(test)]
mod tests {
    use super::testing::Bench;
    use super::*;

    #[test]
    fn ids_are_written_as_kafka_does() {
        assert_eq!(id_text([0; 16]), "AAAAAAAAAAAAAAAAAAAAAA");
        assert_eq!(id_text([0xff; 16]), "_____________________w");
        assert_eq!(id_text(*b"0123456789abcdef"), "MDEyMzQ1Njc4OWFiY2RlZg");
    }

    #[test]
    fn clients_are_told_the_address_that_they_reached() {
        let mut bench = Bench::new();
        let mut host = |local: &str| {
            bench.peer.local = local.parse().unwrap();
            bench.broker.advertised(&bench.peer)
        };
        let told = host("192.168.1.5:9093");
        assert_eq!((told.host.as_str(), told.port), ("192.168.1.5", 9093));
        assert_eq!(host("[::ffff:10.0.0.1]:9092").host, "10.0.0.1");
        assert_eq!(host("[fd00::5]:9092").host, "fd00::5");
        // Nothing better is known than this.
        assert_eq!(host("[fe80::5]:9092").host, "fe80::5");
        bench.broker.config.listen = "[fd00::9]:9092".parse().unwrap();
        let told = bench.broker.advertised(&bench.peer);
        assert_eq!(told.host, "fd00::9");
        bench.broker.config.advertised_listeners.0 = Some(("edge.example".into(), 19_092));
        let told = bench.broker.advertised(&bench.peer);
        assert_eq!((told.host.as_str(), told.port), ("edge.example", 19_092));
    }
}
