//! A commit group while it is filled, and until it is on flash.
//!
//! Batches are copied in as they arrive and get their offsets there; when the group is closed its
//! parts are put in order of partition, without moving a byte: the write job names them in that
//! order. One group fills while another syncs, so each ring has two of these: one for the largest
//! batch, and a smaller one.

use crate::clock::Mono;
use crate::codec::crc::crc32c;
use crate::limits;
use crate::log::format::{GROUP_HEADER_BYTES, GroupHeader, RUN_BYTES, Run};
use crate::log::record::{Appender, MetaRecord};
use crate::storage::Part;
use crate::types::{Boot, Offset, PartitionHandle, PartitionSlot, Ticket};

/// A stretch of batches of one partition, in the order of arrival.
#[derive(Debug, Clone, Copy)]
pub struct Entry {
    /// The partition's place in memory when it was staged.
    pub slot: PartitionSlot,
    /// The leader epoch of its batches.
    pub epoch: Boot,
    /// The partition, its offsets and its bytes.
    pub run: Run,
    at: u32,
}

/// A group's contents.
pub struct Staging {
    /// Metadata records, then room for header and directory, then batches.
    buf: Box<[u8]>,
    /// Where the header is, and where the batches begin.
    header_at: usize,
    payload_at: usize,
    meta: Appender,
    payload: usize,
    entries: Vec<Entry>,
    parts: Vec<Part>,
    runs: u32,
    /// What the waiters for this group hold.
    pub ticket: Ticket,
    /// Whether an answer waits for the sync; else it is enough that all in it is written.
    pub strict: bool,
    /// By when it has to be synced, where it was acknowledged when written.
    pub sync_by: Option<Mono>,
    /// Whether it holds records that the ring is held for.
    pub kept: bool,
    /// Whether it holds more than commits and mirrors' reports: then its corruption as the last group must
    /// be told from a torn write.
    pub wants_seal: bool,
}

/// How much a group takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Capacity {
    payload_bytes: usize,
    runs: usize,
    meta_bytes: usize,
}

impl Capacity {
    /// Of the two groups of a ring that holds records, with this many bytes of them.
    pub fn of_records([large, small]: [usize; 2]) -> [Capacity; 2] {
        let sized = |payload_bytes, runs| Capacity {
            payload_bytes,
            runs,
            meta_bytes: limits::DATA_GROUP_META_BYTES_MAX,
        };
        [sized(large, limits::RUNS_PER_GROUP_MAX), sized(small, limits::RUNS_PER_SMALL_GROUP_MAX)]
    }

    /// Of a group of the metadata ring.
    pub fn of_metadata() -> Capacity {
        Capacity { payload_bytes: 0, runs: 0, meta_bytes: limits::GROUP_META_BYTES_MAX }
    }

    fn payload_at(&self) -> usize {
        self.meta_bytes + GROUP_HEADER_BYTES + self.runs * RUN_BYTES
    }

    fn bytes(&self) -> usize {
        self.payload_at() + self.payload_bytes
    }
}

/// Why a piece does not fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Full;

impl Staging {
    /// An empty one; allocates all it will ever need.
    pub fn new(capacity: Capacity) -> Staging {
        Staging {
            buf: vec![0; capacity.bytes()].into_boxed_slice(),
            header_at: capacity.meta_bytes,
            payload_at: capacity.payload_at(),
            meta: Appender::default(),
            payload: 0,
            entries: Vec::with_capacity(capacity.runs),
            parts: Vec::with_capacity(capacity.runs + 2),
            runs: 0,
            ticket: Ticket(0),
            strict: false,
            sync_by: None,
            kept: false,
            wants_seal: false,
        }
    }

    /// The memory that one takes.
    pub fn memory_bytes(capacity: Capacity) -> usize {
        let per_run = size_of::<Entry>() + size_of::<Part>();
        capacity.bytes() + capacity.runs * per_run
    }

    /// Makes it empty, for the group with this ticket.
    pub fn reset(&mut self, ticket: Ticket) {
        self.meta = Appender::default();
        self.payload = 0;
        self.entries.clear();
        self.parts.clear();
        self.runs = 0;
        self.ticket = ticket;
        self.strict = false;
        self.sync_by = None;
        self.kept = false;
        self.wants_seal = false;
    }

    /// Whether nothing is in it.
    pub fn is_empty(&self) -> bool {
        self.meta.end() == 0 && self.entries.is_empty()
    }

    /// Bytes of batches in it.
    pub fn payload_bytes(&self) -> usize {
        self.payload
    }

    /// How many bytes of batches it can hold in all.
    pub fn payload_bytes_max(&self) -> usize {
        self.buf.len() - self.payload_at
    }

    /// Whether this many bytes of batches in this many runs fit.
    pub fn has_room(&self, payload_bytes: usize, runs: usize) -> bool {
        payload_bytes <= self.payload_bytes_max() - self.payload
            && runs <= self.runs_max() - self.entries.len()
    }

    fn runs_max(&self) -> usize {
        (self.payload_at - self.header_at - GROUP_HEADER_BYTES) / RUN_BYTES
    }

    /// How many bytes of metadata records it can hold in all.
    pub fn meta_bytes_max(&self) -> usize {
        self.header_at
    }

    /// Whether this many bytes of metadata records fit.
    pub fn has_room_meta(&self, bytes: usize) -> bool {
        bytes <= self.meta_bytes_max() - self.meta.end()
    }

    /// Copies checked batches in. `run` says what they are, except its `bytes`.
    pub fn push(
        &mut self,
        slot: PartitionSlot,
        epoch: Boot,
        run: Run,
        batches: &[u8],
    ) -> &mut [u8] {
        assert!(self.has_room(batches.len(), 1), "the room is asked for first");
        let at = self.payload_at + self.payload;
        let end = at + batches.len();
        self.buf[at..end].copy_from_slice(batches);
        self.payload += batches.len();
        self.wants_seal = true;
        let run = Run { bytes: batches.len() as u32, ..run };
        match self.entries.last_mut() {
            Some(last) if last.joins(slot, epoch, &run) => last.join(&run),
            _ => self.entries.push(Entry { slot, epoch, run, at: at as u32 }),
        }
        &mut self.buf[at..end]
    }

    /// The free room for batches; what is put at its start can be added with [`Staging::push_tail`].
    pub fn tail(&mut self) -> &mut [u8] {
        &mut self.buf[self.payload_at + self.payload..]
    }

    /// Adds batches that are at the start of the free room. `run` says what they are.
    pub fn push_tail(&mut self, slot: PartitionSlot, run: Run) {
        assert!(self.has_room(run.bytes as usize, 1), "the room is asked for first");
        let at = self.payload_at + self.payload;
        self.payload += run.bytes as usize;
        self.wants_seal = true;
        match self.entries.last_mut() {
            Some(last) if last.joins(slot, Boot(0), &run) => last.join(&run),
            _ => self.entries.push(Entry { slot, epoch: Boot(0), run, at: at as u32 }),
        }
    }

    /// All of its memory, to read into while it is empty.
    pub fn window(&mut self) -> &mut [u8] {
        assert!(self.is_empty(), "what is staged is not read over");
        &mut self.buf
    }

    /// Takes all that is in another one, if it fits: this becomes that group, and the other one is empty.
    pub fn take_over(&mut self, other: &mut Staging) -> bool {
        let fits = self.is_empty() && self.has_room(other.payload, other.entries.len());
        if fits {
            let (meta, from, to) = (other.meta.end(), other.payload_at, self.payload_at);
            self.buf[..meta].copy_from_slice(&other.buf[..meta]);
            let payload = &other.buf[from..from + other.payload];
            self.buf[to..to + other.payload].copy_from_slice(payload);
            self.entries.clear();
            let moved = |at: u32| at - from as u32 + to as u32;
            let entries = other.entries.iter();
            self.entries.extend(entries.map(|entry| Entry { at: moved(entry.at), ..*entry }));
            self.meta = std::mem::take(&mut other.meta);
            self.payload = other.payload;
            (self.ticket, self.strict) = (other.ticket, other.strict);
            (self.sync_by, self.kept) = (other.sync_by, other.kept);
            self.wants_seal = other.wants_seal;
            other.reset(Ticket(0));
        }
        fits
    }

    /// Adds a metadata record.
    pub fn push_meta(&mut self, record: &MetaRecord<'_>) -> Result<(), Full> {
        self.wants_seal |= !record.is_progress();
        let window = &mut self.buf[..self.header_at];
        self.meta.push(record, window).ok_or(Full)
    }

    /// The metadata records. While a job is out with the buffer they cannot be seen: see
    /// [`Staging::is_out`].
    pub fn meta(&self) -> &[u8] {
        self.buf.get(..self.meta.end()).unwrap_or_default()
    }

    /// How many bytes of metadata records there are, seen or not.
    pub fn meta_bytes(&self) -> usize {
        self.meta.end()
    }

    /// Whether a job is out with the buffer.
    pub fn is_out(&self) -> bool {
        self.buf.is_empty()
    }

    /// Puts the contents into their order on flash. Nothing is added later.
    pub fn close(&mut self) {
        let key = |entry: &Entry| (entry.run.handle, entry.at);
        if !self.entries.is_sorted_by_key(key) {
            self.entries.sort_unstable_by_key(key);
        }
        self.parts.clear();
        self.parts.push(Part { at: self.header_at as u32, bytes: 0 });
        if self.meta.end() > 0 {
            self.parts.push(Part { at: 0, bytes: self.meta.end() as u32 });
        }
        let directory_at = self.header_at + GROUP_HEADER_BYTES;
        let mut runs = 0;
        let mut merged: Option<Run> = None;
        for entry in &self.entries {
            match &mut merged {
                Some(run) if run.handle == entry.run.handle => extend(run, &entry.run),
                other => {
                    if let Some(run) = other.replace(entry.run) {
                        put_run(&mut self.buf[directory_at..], runs, &run);
                        runs += 1;
                    }
                }
            }
            match self.parts.last_mut() {
                Some(part)
                    if part.at + part.bytes == entry.at && part.at >= self.payload_at as u32 =>
                {
                    part.bytes += entry.run.bytes;
                }
                _ => self.parts.push(Part { at: entry.at, bytes: entry.run.bytes }),
            }
        }
        if let Some(run) = merged {
            put_run(&mut self.buf[directory_at..], runs, &run);
            runs += 1;
        }
        self.runs = runs as u32;
        self.parts[0].bytes = (GROUP_HEADER_BYTES + runs * RUN_BYTES) as u32;
    }

    /// Bytes on flash without the padding.
    pub fn contents_bytes(&self) -> usize {
        GROUP_HEADER_BYTES + self.runs as usize * RUN_BYTES + self.meta.end() + self.payload
    }

    /// The most that they would be with this much more in it.
    pub fn contents_bytes_bound(&self, bytes: usize, runs: usize, meta_bytes: usize) -> usize {
        let runs = self.entries.len() + runs;
        let contents = self.meta.end() + meta_bytes + self.payload + bytes;
        GROUP_HEADER_BYTES + runs * RUN_BYTES + contents
    }

    /// Writes the header of the closed group, with its lengths and CRCs.
    pub fn put_header(&mut self, header: GroupHeader) -> u32 {
        let directory_at = self.header_at + GROUP_HEADER_BYTES;
        let directory = &self.buf[directory_at..directory_at + self.runs as usize * RUN_BYTES];
        let header = GroupHeader {
            runs: self.runs,
            payload_bytes: self.payload as u32,
            meta_bytes: self.meta.end() as u32,
            directory_crc: crc32c(directory),
            meta_crc: crc32c(&self.buf[..self.meta.end()]),
            ..header
        };
        header.encode(&mut self.buf[self.header_at..])
    }

    /// Lends buffer and parts to a write job.
    pub fn lend(&mut self) -> (Box<[u8]>, Vec<Part>) {
        (std::mem::take(&mut self.buf), std::mem::take(&mut self.parts))
    }

    /// Takes them back.
    pub fn take_back(&mut self, buf: Box<[u8]>, parts: Vec<Part>) {
        self.buf = buf;
        self.parts = parts;
    }

    /// The stretches of batches: by partition once the group is closed.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The closed group's runs, one for each partition, in order of handle.
    pub fn runs(&self) -> impl Iterator<Item = Entry> + '_ {
        let mut entries = self.entries.iter().peekable();
        std::iter::from_fn(move || {
            let mut merged = *entries.next()?;
            while let Some(next) = entries.next_if(|next| next.run.handle == merged.run.handle) {
                extend(&mut merged.run, &next.run);
                merged.epoch = next.epoch;
            }
            Some(merged)
        })
    }
}

impl Entry {
    fn joins(&self, slot: PartitionSlot, epoch: Boot, run: &Run) -> bool {
        self.slot == slot
            && self.epoch == epoch
            && self.run.handle == run.handle
            && self.run.end() == run.offset
    }

    fn join(&mut self, run: &Run) {
        extend(&mut self.run, run);
    }
}

fn extend(run: &mut Run, next: &Run) {
    debug_assert_eq!(run.end(), next.offset);
    run.records += next.records;
    run.bytes += next.bytes;
    run.kept += next.kept;
    run.timestamp_max_ms = run.timestamp_max_ms.max(next.timestamp_max_ms);
}

fn put_run(directory: &mut [u8], place: usize, run: &Run) {
    let at = place * RUN_BYTES;
    run.encode(&mut directory[at..at + RUN_BYTES]);
}

/// A run for [`Staging::push`], which fills in its bytes.
pub fn run_of(handle: PartitionHandle, offset: Offset, records: u32, newest_ms: i64) -> Run {
    Run { handle, records, offset, bytes: 0, timestamp_max_ms: newest_ms, kept: 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn push(staging: &mut Staging, handle: u32, offset: i64, bytes: &[u8]) {
        let run = run_of(PartitionHandle(handle), Offset(offset), 1, offset);
        staging.push(PartitionSlot(handle as u16), Boot(1), run, bytes);
    }

    fn laid_out(staging: &mut Staging) -> Vec<u8> {
        let (buf, parts) = staging.lend();
        let pieces = parts.iter().map(|p| &buf[p.at as usize..(p.at + p.bytes) as usize]);
        let bytes = pieces.collect::<Vec<_>>().concat();
        staging.take_back(buf, parts);
        bytes
    }

    #[test]
    fn a_closed_group_is_sorted_by_partition_and_keeps_each_partitions_order() {
        let mut staging = Staging::new(Capacity::of_records([1000; 2])[0]);
        push(&mut staging, 2, 0, b"c0");
        push(&mut staging, 1, 5, b"a5");
        push(&mut staging, 2, 1, b"c1");
        push(&mut staging, 2, 2, b"c2");
        push(&mut staging, 1, 6, b"a6");
        staging.push_meta(&MetaRecord::Boot { boot: Boot(3) }).unwrap();
        staging.close();
        let meta = staging.meta().len();
        let bytes = laid_out(&mut staging);
        assert_eq!(bytes.len(), staging.contents_bytes());
        let payload = GROUP_HEADER_BYTES + 2 * RUN_BYTES + meta;
        assert_eq!(&bytes[payload..], b"a5a6c0c1c2");
        let directory = &bytes[GROUP_HEADER_BYTES..][..2 * RUN_BYTES];
        let runs: Vec<Run> = Run::decode_all(directory).collect();
        assert_eq!(
            (runs[0].handle.0, runs[0].offset.0, runs[0].records, runs[0].bytes),
            (1, 5, 2, 4)
        );
        assert_eq!(
            (runs[1].handle.0, runs[1].offset.0, runs[1].records, runs[1].bytes),
            (2, 0, 3, 6)
        );
        assert_eq!(runs, staging.runs().map(|entry| entry.run).collect::<Vec<_>>());
    }

    #[test]
    fn one_partition_is_one_run_and_one_part_however_many_requests() {
        let mut staging = Staging::new(Capacity::of_records([1000; 2])[0]);
        for offset in 0..64 {
            push(&mut staging, 1, offset, b"x");
        }
        assert_eq!(staging.entries().len(), 1);
        staging.close();
        assert_eq!(staging.parts.len(), 2);
    }

    #[test]
    fn the_room_is_bounded_in_bytes_in_runs_and_in_metadata() {
        let mut staging = Staging::new(Capacity::of_records([10; 2])[0]);
        assert!(staging.has_room(10, 1) && !staging.has_room(11, 1));
        push(&mut staging, 1, 0, b"12345678");
        assert!(staging.has_room(2, 1) && !staging.has_room(3, 1));
        assert!(!staging.has_room(0, limits::RUNS_PER_GROUP_MAX));
        let name = "n".repeat(100);
        let record = MetaRecord::GroupDelete { group: &name };
        let fits = (0..).take_while(|_| staging.push_meta(&record).is_ok()).count();
        assert_eq!(fits, limits::DATA_GROUP_META_BYTES_MAX / 102);
    }
}
