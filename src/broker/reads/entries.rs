//! The arena of requested partitions: 32 bytes for each that a job has, in lists without pointers.
//!
//! An entry is in its job's list, and while the job sleeps also in the list of those that wait for
//! its partition, so that an append finds only the jobs that it concerns.

use super::answer::TopicRef;
use crate::broker::ConnId;
use crate::bytes::{ByteArena, Span};
use crate::codec::ErrorCode;
use crate::limits;
use crate::types::{Offset, PartitionHandle, PartitionSlot, TopicId};

/// A place in the arena.
pub(super) type At = u16;

/// No place.
pub(super) const NIL: At = At::MAX;

/// A requested partition.
#[derive(Debug, Clone, Copy)]
pub(super) struct Entry {
    /// A fetch: the offset. A look-up: the timestamp, then the offset found.
    value: i64,
    /// A fetch: the most bytes (high half) and those planned (low half). A look-up: the timestamp
    /// found.
    extra: i64,
    /// The partition; of an unknown topic the partition's number.
    handle: PartitionHandle,
    /// The partition's slot; of an unknown topic its name's place.
    slot: u16,
    error: u8,
    flags: u8,
    next: At,
    wait_next: At,
    wait_prev: At,
    conn: u16,
}

/// The partition that was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Target {
    /// A partition that existed when the request came.
    Known(PartitionSlot, PartitionHandle),
    /// A partition of a topic that was not.
    Unknown { name: u16, index: i32 },
}

impl Entry {
    pub(super) fn new(conn: ConnId, target: Target, topic_first: bool, error: ErrorCode) -> Entry {
        let (handle, slot, unknown) = match target {
            Target::Known(slot, handle) => (handle, slot.0, 0),
            Target::Unknown { name, index } => (PartitionHandle(index as u32), name, UNKNOWN),
        };
        let first = if topic_first { TOPIC_FIRST } else { 0 };
        Entry {
            value: 0,
            extra: 0,
            handle,
            slot,
            error: error_byte(error),
            flags: unknown | first,
            next: NIL,
            wait_next: NIL,
            wait_prev: NIL,
            conn: conn.0,
        }
    }

    pub(super) fn target(&self) -> Target {
        if self.flags & UNKNOWN == 0 {
            Target::Known(PartitionSlot(self.slot), self.handle)
        } else {
            Target::Unknown { name: self.slot, index: self.handle.0 as i32 }
        }
    }

    /// Whether a topic of the answer begins with it.
    pub(super) fn topic_first(&self) -> bool {
        self.flags & TOPIC_FIRST != 0
    }

    pub(super) fn error(&self) -> ErrorCode {
        ErrorCode(i16::from(self.error))
    }

    pub(super) fn error_set(&mut self, error: ErrorCode) {
        self.error = error_byte(error);
    }

    /// Whether a look-up has its result.
    pub(super) fn is_found(&self) -> bool {
        self.flags & FOUND != 0
    }

    pub(super) fn fetch_set(&mut self, offset: Offset, bytes_max: u32) {
        self.value = offset.0;
        self.extra = i64::from(bytes_max) << 32;
    }

    pub(super) fn offset(&self) -> Offset {
        Offset(self.value)
    }

    pub(super) fn bytes_max(&self) -> u32 {
        (self.extra >> 32) as u32
    }

    pub(super) fn bytes(&self) -> u32 {
        self.extra as u32
    }

    /// Bytes of records in the answer.
    pub(super) fn bytes_to_send(&self) -> u32 {
        if self.is_found() { 0 } else { self.bytes() }
    }

    pub(super) fn bytes_set(&mut self, bytes: u32) {
        self.extra = (self.extra >> 32 << 32) | i64::from(bytes);
    }

    /// Resets what a plan found.
    pub(super) fn plan_reset(&mut self) {
        self.bytes_set(0);
        if self.error() == ErrorCode::OFFSET_OUT_OF_RANGE {
            self.error_set(ErrorCode::NONE);
        }
    }

    pub(super) fn lookup_set(&mut self, timestamp_ms: i64) {
        self.value = timestamp_ms;
    }

    pub(super) fn lookup_wanted(&self) -> i64 {
        self.value
    }

    pub(super) fn found_set(&mut self, offset: Offset, timestamp_ms: i64) {
        self.value = offset.0;
        self.extra = timestamp_ms;
        self.flags |= FOUND;
    }

    pub(super) fn found(&self) -> (Offset, i64) {
        (Offset(self.value), self.extra)
    }

    pub(super) fn conn(&self) -> ConnId {
        ConnId(self.conn)
    }
}

/// The arena.
pub(super) struct Arena {
    /// As far as places were ever in use.
    entries: Vec<Entry>,
    count: usize,
    free: At,
    free_count: usize,
    /// By partition slot: the first that waits for it.
    waits: Vec<At>,
    names: ByteArena,
    missing: Vec<Missing>,
    missing_free: Vec<u16>,
}

/// The name or id by which a request asks for an unknown topic.
#[derive(Debug, Clone, Copy, Default)]
struct Missing {
    name: Span,
    id: TopicId,
}

/// A job's entries, in the order of its request.
#[derive(Debug, Clone, Copy)]
pub(super) struct List {
    pub(super) head: At,
    tail: At,
}

impl List {
    pub(super) const EMPTY: List = List { head: NIL, tail: NIL };

    /// What follows from an entry on, to be walked only.
    pub(super) fn rest(head: At) -> List {
        List { head, tail: NIL }
    }
}

impl Arena {
    pub(super) fn new(count: usize, partitions_max: usize) -> Arena {
        let count = count.min(usize::from(NIL));
        Arena {
            entries: Vec::with_capacity(count),
            count,
            free: NIL,
            free_count: count,
            waits: vec![NIL; partitions_max],
            names: ByteArena::new(limits::FETCH_NAMES_BYTES_MAX),
            missing: vec![Missing::default(); limits::FETCH_NAMES_MAX],
            missing_free: (0..limits::FETCH_NAMES_MAX as u16).collect(),
        }
    }

    pub(super) fn memory_bytes(count: usize, partitions_max: usize) -> usize {
        count.min(usize::from(NIL)) * size_of::<Entry>()
            + partitions_max * size_of::<At>()
            + limits::FETCH_NAMES_MAX * (size_of::<Missing>() + size_of::<u16>())
            + limits::FETCH_NAMES_BYTES_MAX
    }

    pub(super) fn free_count(&self) -> usize {
        self.free_count
    }

    /// Places that sleeping jobs may have: the others are reserved for new requests.
    pub(super) fn waits_max(&self) -> usize {
        self.count - self.count / 4
    }

    pub(super) fn entry(&self, at: At) -> &Entry {
        &self.entries[usize::from(at)]
    }

    pub(super) fn entry_mut(&mut self, at: At) -> &mut Entry {
        &mut self.entries[usize::from(at)]
    }

    /// The entry behind this one in its job's list.
    pub(super) fn next(&self, at: At) -> Option<At> {
        let next = self.entry(at).next;
        (next != NIL).then_some(next)
    }

    /// The places of a list, in order.
    pub(super) fn iter(&self, list: List) -> impl Iterator<Item = At> + '_ {
        let first = (list.head != NIL).then_some(list.head);
        std::iter::successors(first, |at| self.next(*at))
    }

    /// Appends an entry to a list; false: the arena is full.
    pub(super) fn push(&mut self, list: &mut List, mut entry: Entry) -> bool {
        entry.next = NIL;
        let mut at = self.free;
        if at != NIL {
            self.free = self.entry(at).next;
            *self.entry_mut(at) = entry;
        } else if self.entries.len() < self.count {
            at = self.entries.len() as At;
            self.entries.push(entry);
        } else {
            return false;
        }
        self.free_count -= 1;
        if list.head == NIL {
            list.head = at;
        } else {
            self.entry_mut(list.tail).next = at;
        }
        list.tail = at;
        true
    }

    /// Gives a list's entries and names back.
    pub(super) fn release(&mut self, list: List) {
        self.unwait(list);
        let mut at = list.head;
        while at != NIL {
            let entry = *self.entry(at);
            self.name_release(&entry);
            self.entry_mut(at).next = self.free;
            self.free = at;
            self.free_count += 1;
            at = entry.next;
        }
    }

    /// Stores an unknown topic's name until the list is released whose entry begins a topic with it.
    pub(super) fn name_put(&mut self, topic: &TopicRef<'_>) -> Option<u16> {
        if topic.name.len() > limits::TOPIC_NAME_BYTES_MAX {
            return None;
        }
        let at = *self.missing_free.last()?;
        let (name, place) = self.names.take(topic.name.len())?;
        place.copy_from_slice(topic.name.as_bytes());
        self.missing_free.pop();
        self.missing[usize::from(at)] = Missing { name, id: topic.id };
        Some(at)
    }

    /// Gives the name of an unknown topic back with its first entry.
    pub(super) fn name_release(&mut self, entry: &Entry) {
        if let (Target::Unknown { name, .. }, true) = (entry.target(), entry.topic_first()) {
            let gone = std::mem::take(&mut self.missing[usize::from(name)]);
            self.names.free(gone.name, self.missing.iter_mut().map(|missing| &mut missing.name));
            self.missing_free.push(name);
        }
    }

    pub(super) fn name(&self, at: u16) -> TopicRef<'_> {
        let Missing { name, id } = self.missing[usize::from(at)];
        let name = std::str::from_utf8(self.names.bytes(name));
        TopicRef { name: name.expect("it was text when it came"), id }
    }

    /// Enters a list's entries into the waiting lists of their partitions.
    pub(super) fn wait(&mut self, list: List) {
        let mut at = list.head;
        while at != NIL {
            let entry = *self.entry(at);
            if entry.flags & (UNKNOWN | WAITS) == 0 {
                let slot = usize::from(entry.slot);
                let first = std::mem::replace(&mut self.waits[slot], at);
                if first != NIL {
                    self.entry_mut(first).wait_prev = at;
                }
                let entry = self.entry_mut(at);
                entry.wait_next = first;
                entry.wait_prev = NIL;
                entry.flags |= WAITS;
            }
            at = entry.next;
        }
    }

    /// Takes them out again.
    pub(super) fn unwait(&mut self, list: List) {
        let mut at = list.head;
        while at != NIL {
            let entry = *self.entry(at);
            if entry.flags & WAITS != 0 {
                if entry.wait_prev == NIL {
                    self.waits[usize::from(entry.slot)] = entry.wait_next;
                } else {
                    self.entry_mut(entry.wait_prev).wait_next = entry.wait_next;
                }
                if entry.wait_next != NIL {
                    self.entry_mut(entry.wait_next).wait_prev = entry.wait_prev;
                }
                self.entry_mut(at).flags &= !WAITS;
            }
            at = entry.next;
        }
    }

    /// The connections whose jobs wait for a partition; one that asked for it twice comes twice.
    pub(super) fn waiting(&self, slot: PartitionSlot) -> impl Iterator<Item = ConnId> + '_ {
        let first = self.waits.get(usize::from(slot.0)).copied();
        let mut at = first.unwrap_or(NIL);
        std::iter::from_fn(move || {
            let entry = self.entries.get(usize::from(at))?;
            at = entry.wait_next;
            Some(entry.conn())
        })
    }
}

/// The codes that readers answer with are below 128.
fn error_byte(error: ErrorCode) -> u8 {
    u8::try_from(error.0).unwrap_or(u8::MAX)
}

const TOPIC_FIRST: u8 = 1;
const UNKNOWN: u8 = 2;
const FOUND: u8 = 4;
const WAITS: u8 = 8;

const _: () = assert!(size_of::<Entry>() == 32);

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(conn: u16, slot: u16) -> Entry {
        let target = Target::Known(PartitionSlot(slot), PartitionHandle(9));
        Entry::new(ConnId(conn), target, true, ErrorCode::NONE)
    }

    #[test]
    fn an_append_finds_those_who_wait_for_its_partition_and_nobody_else() {
        let mut arena = Arena::new(8, 4);
        let mut lists = [List::EMPTY; 3];
        for (conn, list) in lists.iter_mut().enumerate() {
            assert!(arena.push(list, entry(conn as u16, 1)));
            assert!(arena.push(list, entry(conn as u16, conn as u16)));
            arena.wait(*list);
        }
        let waiting = |arena: &Arena, slot| {
            let conns = arena.waiting(PartitionSlot(slot));
            let mut conns: Vec<u16> = conns.map(|conn| conn.0).collect();
            conns.sort_unstable();
            conns
        };
        assert_eq!(waiting(&arena, 1), [0, 1, 1, 2]);
        assert_eq!(waiting(&arena, 2), [2]);
        assert_eq!(waiting(&arena, 3), [0u16; 0]);
        arena.unwait(lists[1]);
        assert_eq!(waiting(&arena, 1), [0, 2]);
        arena.release(lists[0]);
        assert_eq!(waiting(&arena, 1), [2]);
        assert_eq!(waiting(&arena, 0), [0u16; 0]);
        arena.release(lists[2]);
        arena.release(lists[1]);
        assert_eq!(arena.free_count(), 8);
    }

    #[test]
    fn a_full_arena_takes_no_more_until_something_is_released() {
        let mut arena = Arena::new(2, 1);
        let mut list = List::EMPTY;
        assert!(arena.push(&mut list, entry(0, 0)));
        assert!(arena.push(&mut list, entry(0, 0)));
        assert!(!arena.push(&mut list, entry(0, 0)));
        arena.release(list);
        let mut list = List::EMPTY;
        assert!(arena.push(&mut list, entry(0, 0)));
        assert_eq!(arena.iter(list).count(), 1);
    }

    #[test]
    fn fetch_numbers_share_a_word_without_touching_each_other() {
        let mut entry = entry(0, 0);
        entry.fetch_set(Offset(7), u32::MAX);
        entry.bytes_set(u32::MAX - 1);
        assert_eq!((entry.bytes_max(), entry.bytes()), (u32::MAX, u32::MAX - 1));
        entry.bytes_set(0);
        assert_eq!((entry.bytes_max(), entry.bytes()), (u32::MAX, 0));
    }
}
