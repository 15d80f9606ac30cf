//! The state behind the handlers; knows no wire format and no socket.

pub mod reads;
pub mod refusal;
pub mod topic_config;

use std::net::SocketAddr;

use crate::clock::Now;
use crate::config::Config;
use crate::error::DiskError;
use crate::log::Log;
use crate::metrics::Metrics;
use crate::types::FileRef;

/// A connection's slot: 0 to `max_connections` − 1. Reused after it closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnId(pub u16);

/// What a handler may know of the connection that it serves.
#[derive(Debug, Clone, Copy)]
pub struct Peer {
    /// Its slot.
    pub conn: ConnId,
    /// The address that the client reached: what brooklet advertises unless configured otherwise.
    pub local: SocketAddr,
    /// The client's address.
    pub remote: SocketAddr,
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
}

/// What a read job (a fetch, a look-up by timestamp) wants next. The connection carries it out with
/// one leased buffer and asks again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JobStep {
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
    /// Give the buffer back and wait until woken (see [`Broker::woken`]) or until this moment, then step
    /// again with a buffer.
    Sleep(crate::clock::Mono),
    /// The answer is out.
    Done,
    /// The answer cannot be completed: close the connection.
    Close(&'static str),
}

impl Broker {
    /// A broker over an open log; allocates what its jobs will ever need.
    pub fn new(config: Config, log: Log) -> Broker {
        let reads = reads::Reads::new(&config);
        Broker {
            config,
            log,
            metrics: Metrics::default(),
            reads,
        }
    }

    /// Goes on with the read job of a connection. `buf` is the leased buffer, whose contents are kept
    /// between steps except over a sleep; `read` is the outcome of the read asked for last.
    pub fn job_step(
        &mut self,
        _conn: ConnId,
        _buf: &mut [u8],
        _read: Option<Result<(), DiskError>>,
        _now: Now,
    ) -> JobStep {
        JobStep::Close("no jobs yet")
    }

    /// The connection is gone: so is its job.
    pub fn job_cancel(&mut self, _conn: ConnId) {}

    /// A connection whose sleeping job should be stepped, each once; asked until none is left, after
    /// every [`Log::io_done`] and every dispatch.
    pub fn woken(&mut self) -> Option<ConnId> {
        None
    }
}
