//! What came of each partition of a produce request, before it is said: the answer is made of this, and
//! making it changes nothing.
//!
//! Outcomes are packed into a piece of a buffer. Those of a request that is read as it comes have the
//! topics' names with them, from the buffer's other end.

use crate::codec::batch::Refusal;
use crate::limits;
use crate::types::{Offset, RingIndex, Ticket};

/// What came of the records of one partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Outcome {
    /// The partition's number, as the client gave it.
    pub index: i32,
    pub done: Result<Placed, Refusal>,
}

/// Where one batch is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Placed {
    pub offset: Offset,
    /// -1: none.
    pub append_time_ms: i64,
    pub log_start: Offset,
    /// What it is acknowledged after: the ticket of the ring, written or synced, and, if it reports
    /// for a mirror, what the request's reports wait for.
    pub ring: RingIndex,
    pub ticket: Ticket,
    pub written: bool,
    pub reports: bool,
}

/// Packed outcomes, one behind the other.
pub(super) struct Outcomes<'b> {
    buf: &'b mut [u8],
    used: Used,
}

/// How much of its buffer a list takes.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Used {
    outcomes: usize,
    /// Bytes, counted from the end.
    topics: usize,
}

impl<'b> Outcomes<'b> {
    /// An empty list.
    pub fn new(buf: &'b mut [u8]) -> Outcomes<'b> {
        Outcomes { buf, used: Used::default() }
    }

    /// A list that was begun before, in the same buffer.
    pub fn begun(buf: &'b mut [u8], used: Used) -> Outcomes<'b> {
        Outcomes { buf, used }
    }

    /// How much it takes now.
    pub fn used(&self) -> Used {
        self.used
    }

    /// Appends an outcome, for which there is room.
    #[inline(always)]
    pub fn push(&mut self, outcome: Outcome) {
        let rest = self.buf.get_mut(self.used.outcomes * OUTCOME_BYTES..);
        let place = rest.and_then(|rest| rest.first_chunk_mut());
        outcome.pack(place.expect("the room is asked for first"));
        self.used.outcomes += 1;
    }

    /// Notes that the next `partitions` outcomes are of this topic. There is room for it, and the name
    /// is at most 255 bytes long.
    pub fn push_topic(&mut self, name: &str, partitions: u32) {
        let end = self.buf.len() - self.used.topics;
        let entry_bytes = topic_bytes(name);
        let (name_place, rest) = self.buf[end - entry_bytes..end].split_at_mut(name.len());
        name_place.copy_from_slice(name.as_bytes());
        rest[..4].copy_from_slice(&partitions.to_be_bytes());
        rest[4] = u8::try_from(name.len()).expect("the name was measured");
        self.used.topics += entry_bytes;
    }

    /// Whether there is room for an outcome and, if given, for its topic.
    pub fn has_room(&self, topic: Option<&str>) -> bool {
        let used = self.used.outcomes * OUTCOME_BYTES + self.used.topics;
        used + OUTCOME_BYTES + topic.map_or(0, topic_bytes) <= self.buf.len()
    }

    /// All of them.
    pub fn packed(&self) -> &[Packed] {
        packed(self.buf, self.used)
    }

    /// Changes some.
    pub fn update(&mut self, mut change: impl FnMut(Outcome) -> Outcome) {
        for packed in self.buf.as_chunks_mut().0.iter_mut().take(self.used.outcomes) {
            change(Outcome::unpack(packed)).pack(packed);
        }
    }
}

/// The outcomes that are packed in `buf`.
pub(super) fn packed(buf: &[u8], used: Used) -> &[Packed] {
    &buf.as_chunks().0[..used.outcomes]
}

/// The topics that are noted in `buf`, each with how many of the outcomes are its own.
pub(super) fn topics(buf: &[u8], used: Used) -> impl Iterator<Item = (&str, usize)> {
    let (_, mut rest) = buf.split_at(buf.len() - used.topics);
    std::iter::from_fn(move || {
        let (before, length) = rest.split_last_chunk::<1>()?;
        let (before, partitions) = before.split_last_chunk()?;
        let (before, name) = before.split_at(before.len() - usize::from(length[0]));
        rest = before;
        let name = std::str::from_utf8(name).expect("it was a name when it was noted");
        Some((name, u32::from_be_bytes(*partitions) as usize))
    })
}

/// Moves a list to a larger buffer.
pub(super) fn copy(used: Used, from: &[u8], to: &mut [u8]) {
    let front = used.outcomes * OUTCOME_BYTES;
    to[..front].copy_from_slice(&from[..front]);
    let back = to.len() - used.topics..;
    to[back].copy_from_slice(&from[from.len() - used.topics..]);
}

fn topic_bytes(name: &str) -> usize {
    name.len() + 5
}

impl Outcome {
    /// Five words: nobody else reads them, so that their bytes stand as the processor has them.
    #[inline(always)]
    fn pack(&self, packed: &mut Packed) {
        let (refusal, placed) = match self.done {
            Ok(placed) => (0, placed),
            Err(refusal) => (1 + refusal as u8, NOWHERE),
        };
        let [i0, i1, i2, i3] = self.index.to_ne_bytes();
        let flags = u8::from(placed.written) | u8::from(placed.reports) << 1;
        let words = packed.as_chunks_mut().0;
        if let [first, offset, append_time_ms, log_start, ticket] = words {
            *first = [i0, i1, i2, i3, refusal, placed.ring.0, flags, 0];
            *offset = placed.offset.0.to_ne_bytes();
            *append_time_ms = placed.append_time_ms.to_ne_bytes();
            *log_start = placed.log_start.0.to_ne_bytes();
            *ticket = placed.ticket.0.to_ne_bytes();
        }
    }

    /// What was packed.
    #[inline(always)]
    pub fn unpack(packed: &Packed) -> Outcome {
        let &[first, offset, append_time_ms, log_start, ticket] = packed.as_chunks().0 else {
            unreachable!("an outcome is five words");
        };
        let [i0, i1, i2, i3, refusal, ring, flags, _] = first;
        let placed = Placed {
            offset: Offset(i64::from_ne_bytes(offset)),
            append_time_ms: i64::from_ne_bytes(append_time_ms),
            log_start: Offset(i64::from_ne_bytes(log_start)),
            ring: RingIndex(ring),
            ticket: Ticket(u64::from_ne_bytes(ticket)),
            written: flags & 1 != 0,
            reports: flags & 2 != 0,
        };
        let refusal = refusal.checked_sub(1).and_then(Refusal::of);
        let index = i32::from_ne_bytes([i0, i1, i2, i3]);
        Outcome { index, done: refusal.map_or(Ok(placed), Err) }
    }
}

const NOWHERE: Placed = Placed {
    offset: Offset::NONE,
    append_time_ms: -1,
    log_start: Offset::NONE,
    ring: RingIndex(0),
    ticket: Ticket(0),
    written: false,
    reports: false,
};

/// A packed outcome.
pub(super) const OUTCOME_BYTES: usize = limits::PRODUCE_OUTCOME_BYTES;
pub(super) type Packed = [u8; OUTCOME_BYTES];

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(index: i32) -> Outcome {
        let placed = Placed {
            offset: Offset(1 << 40),
            append_time_ms: 1_700_000_000_000,
            log_start: Offset(7),
            ring: RingIndex(3),
            ticket: Ticket(1 << 50),
            written: index % 2 == 0,
            reports: index % 3 == 0,
        };
        let refused = index % 5 == 4;
        Outcome { index, done: if refused { Err(Refusal::EpochOld) } else { Ok(placed) } }
    }

    #[test]
    fn outcomes_and_topics_are_read_as_they_were_noted_also_from_a_larger_buffer() {
        let mut small = [0xee; 300];
        let mut list = Outcomes::new(&mut small);
        let mut wanted = Vec::new();
        for index in -1.. {
            let name = if index % 2 == 0 { "telemetry" } else { "" };
            if !list.has_room(Some(name)) {
                break;
            }
            list.push_topic(name, 1);
            list.push(sample(index));
            wanted.push((name, sample(index)));
        }
        assert_eq!(wanted.len(), 6);
        let used = list.used();
        let mut large = [0xdd; 500];
        copy(used, &small, &mut large);
        for buf in [&small[..], &large] {
            let named = topics(buf, used).map(|(name, count)| {
                assert_eq!(count, 1);
                name
            });
            let outcomes = packed(buf, used).iter().map(Outcome::unpack);
            let read: Vec<_> = named.zip(outcomes).collect();
            assert_eq!(read, wanted);
        }
        let mut list = Outcomes::begun(&mut large, used);
        list.update(|outcome| Outcome { done: Err(Refusal::Storage), ..outcome });
        let mut changed = list.packed().iter().map(Outcome::unpack);
        assert!(changed.all(|outcome| outcome.done == Err(Refusal::Storage)));
    }
}
