//! One file per API key: contract, message tables, handler, tests. This file has the one table of
//! keys, which drives dispatch, ApiVersions and the docs.

use crate::broker::{Broker, Peer};
use crate::clock::Now;
use crate::types::Until;

/// What a connection does after a request was dispatched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// The answer is in the window: `bytes` is its whole length, its size prefix included. Where that
    /// is more than the window holds, the same frame is dispatched again for the next window.
    Reply {
        /// The answer's whole length.
        bytes: usize,
    },
    /// The same, to be sent once `until` is settled. If that failed, [`fail`] makes the answer.
    ReplyAfter {
        /// The answer's whole length; it always fits one window.
        bytes: usize,
        /// What it waits for.
        until: Until,
    },
    /// Nothing was done: dispatch the same frame again once this is settled, in whatever way.
    Again(Until),
    /// There is no answer (acks=0), ever.
    NoReply,
    /// A read job was started for this connection: see [`Broker::job_step`].
    Job,
    /// Close the connection, and say why in the log.
    Close(&'static str),
}

/// Where an answer goes: the bytes of it from `from` on, as many as `buf` holds.
pub struct Window<'a> {
    /// The connection's leased buffer.
    pub buf: &'a mut [u8],
    /// How many bytes of the answer were sent before; above 0 only for handlers that change nothing.
    pub from: usize,
}

/// Handles one request: `frame` is what follows the size prefix.
pub fn dispatch(
    _broker: &mut Broker,
    _peer: &Peer,
    _frame: &[u8],
    _out: Window<'_>,
    _now: Now,
) -> Step {
    Step::Close("nothing is served yet")
}

/// Turns the encoded answer of a produce request, whose sync failed, into one that says
/// KAFKA_STORAGE_ERROR (56) for each partition. Other requests are dispatched again instead, and find the log
/// failing.
pub fn fail(_frame_key: i16, _frame_version: i16, _answer: &mut [u8]) {}
