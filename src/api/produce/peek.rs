//! Requests for a ring that is full of what its holders have not had: how long they wait, and how they
//! are told from others before they are read.

use super::ProduceRequest;
use crate::broker::Broker;
use crate::clock::Now;
use crate::codec::{Decode, Reader, frame};
use crate::limits;
use crate::types::HeldBack;

/// What the beginning of a request says.
struct Beginning<'a> {
    acks: i16,
    timeout_ms: i32,
    topic: &'a str,
    /// The length of its first partition's records, if it is there.
    records_bytes: Option<usize>,
}

impl<'a> Beginning<'a> {
    /// Up to the first topic's name, and if they are there its first partition's records.
    fn read(frame: &'a [u8]) -> Option<Beginning<'a>> {
        let mut r = Reader::new(frame);
        let header =
            frame::RequestHeader::decode(&mut r, |_| ProduceRequest::FLEXIBLE_SINCE).ok()?;
        let flexible = header.api_version >= ProduceRequest::FLEXIBLE_SINCE;
        r.set_version(header.api_version, flexible);
        Option::<&str>::decode_from(&mut r).ok()?;
        let acks = i16::decode_from(&mut r).ok()?;
        let timeout_ms = i32::decode_from(&mut r).ok()?;
        if flexible {
            r.uvarint().ok()?;
        } else {
            i32::decode_from(&mut r).ok()?;
        }
        let topic = <&str>::decode_from(&mut r).ok()?;
        let records_bytes = Beginning::read_records_bytes(&mut r);
        Some(Beginning { acks, timeout_ms, topic, records_bytes })
    }

    fn read_records_bytes(r: &mut Reader<'_>) -> Option<usize> {
        r.array_count().ok().filter(|partitions| *partitions > 0)?;
        i32::decode_from(r).ok()?;
        r.bytes_length().ok()?
    }
}

/// Whether a request of which only the beginning is known, and its length, had better be left where
/// it is for now: like [`Step::Held`](crate::api::Step::Held). `frame` is what follows the size prefix.
pub fn held_back(
    broker: &mut Broker,
    frame: &[u8],
    frame_bytes: usize,
    now: Now,
) -> Option<HeldBack> {
    let begin = Beginning::read(frame)?;
    let (_, topic) = broker.log.state().topic_named(begin.topic)?;
    let ring = topic.ring;
    let stored = topic.is_kept() && !broker.log.is_failing(ring);
    // A long request is carried out partition by partition, and what is too long for any group is
    // refused.
    let bytes = match frame_bytes {
        0..=limits::LEASE_BYTES => frame_bytes,
        _ => begin.records_bytes.unwrap_or(limits::LEASE_BYTES),
    };
    let bytes = bytes.min(broker.config.message_max_bytes);
    if !stored || broker.log.takes_kept(ring, bytes) {
        return None;
    }
    broker.hold_begins(ring, bytes, now);
    Some(HeldBack { ring, wait_ms: wait_ms(begin.acks, begin.timeout_ms) })
}

/// How long a request waits for room in a held ring: until shortly before its client gives up, but
/// never so short that three quick retries are used up in no time. Without acknowledgement its client
/// waits for nothing.
pub(super) fn wait_ms(acks: i16, timeout_ms: i32) -> Option<u64> {
    let timeout_ms = u64::try_from(timeout_ms).unwrap_or(0);
    let before_ms = (timeout_ms / 8).min(MARGIN_MS_MAX);
    let wait_ms = (timeout_ms - before_ms).clamp(WAIT_MS_MIN, WAIT_MS_MAX);
    (acks != 0).then_some(wait_ms)
}

const MARGIN_MS_MAX: u64 = 2000;
const WAIT_MS_MIN: u64 = 500;
/// A client that waits for longer may be gone, which a socket with an unread request does not tell.
const WAIT_MS_MAX: u64 = 120_000;
