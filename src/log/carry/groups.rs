//! Walks over groups, their runs and the batches in these, reading through one window.

use super::Packed;
use crate::codec::batch::carry::{Keep, keyed_record, packed_records};
use crate::codec::compression::Compression;
use crate::codec::crc::{Crc32c, crc32c};
use crate::limits::{COMPACTED_KEY_BYTES_MAX, PAGE_BYTES};
use crate::log::format::{GROUP_HEADER_BYTES, GroupHeader, RUN_BYTES, RingId, Run, UNIT_BYTES};
use crate::log::read::batch::BatchHead;
use crate::storage::Storage;
use crate::types::{FileRef, Offset, SegmentSeq};

/// Groups of a segment that start from one position on, and before another.
#[derive(Debug, Clone, Copy)]
pub struct Range {
    /// The segment's file.
    pub file: FileRef,
    /// The segment.
    pub seq: SegmentSeq,
    /// A group starts here, unless it is damaged.
    pub from: u64,
    /// Groups that start here or behind are not part of it.
    pub to: u64,
    /// Where the segment's groups end.
    pub end: u64,
}

/// A batch that was found.
#[derive(Debug, Clone, Copy)]
pub struct Found {
    /// The file.
    pub file: FileRef,
    /// The position.
    pub at: u64,
    /// Its header.
    pub head: BatchHead,
}

/// Gets what a walk finds.
pub trait Visitor {
    /// Whether the batches of this run are of interest.
    fn wants(&mut self, run: &Run) -> bool;

    /// A batch of such a run, whose CRC was not checked.
    fn batch(&mut self, window: &mut Window<'_>, found: &Found) -> Seen;

    /// All readable batches of such a run were shown.
    fn run_ends(&mut self, run: &Run);
}

/// A visitor's answer to a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seen {
    /// It has seen it.
    More,
    /// It has seen enough; the range then begins with this batch's group.
    Enough,
    /// Its CRC does not hold: where the next one begins is not known either.
    Broken,
}

/// A part of a file in memory.
pub struct Window<'a> {
    /// The disk.
    pub storage: &'a dyn Storage,
    /// Bytes that were read so far.
    pub bytes_read: usize,
    buf: &'a mut [u8],
    file: FileRef,
    at: u64,
    len: usize,
}

impl<'a> Window<'a> {
    /// An empty one.
    pub fn new(storage: &'a dyn Storage, buf: &'a mut [u8]) -> Window<'a> {
        assert!(buf.len() >= WINDOW_BYTES_MIN, "the plan has room for a key");
        Window { storage, bytes_read: 0, buf, file: FileRef::default(), at: 0, len: 0 }
    }

    /// `count` bytes of a file from `at`; none: they cannot be read. What follows them up to `end` is
    /// read with them.
    fn get(&mut self, file: FileRef, at: u64, count: usize, end: u64) -> Option<&[u8]> {
        let inside =
            self.file == file && self.at <= at && at + count as u64 <= self.at + self.len as u64;
        if !inside {
            self.fill(file, at, count, end)?;
        }
        let from = (at - self.at) as usize;
        self.buf.get(from..from + count)
    }

    fn fill(&mut self, file: FileRef, at: u64, count: usize, end: u64) -> Option<()> {
        let from = at - at % PAGE_BYTES as u64;
        let least = (at - from) as usize + count;
        let all = (end.saturating_sub(from)).min(self.buf.len() as u64) as usize;
        self.len = 0;
        for bytes in [all.max(least), least] {
            let part = self.buf.get_mut(..bytes)?;
            if self.storage.read(file, from, part).is_ok() {
                (self.file, self.at, self.len) = (file, from, bytes);
                self.bytes_read += bytes;
                return Some(());
            }
        }
        None
    }

    /// Shows the records of a batch whose CRC holds, as far as they can be read, until `each` has seen
    /// enough (false). False: the CRC does not hold.
    pub fn records(&mut self, found: &Found, packed: &mut Packed<'_>, each: &mut Keep<'_>) -> bool {
        match found.head.compression() {
            Some(compression) => self.packed_records(found, compression, packed, each),
            None => self.crc_holds(found) && self.plain_records(found, each),
        }
    }

    fn crc_holds(&mut self, found: &Found) -> bool {
        let end = found.at + u64::from(found.head.bytes);
        let mut at = found.at + BatchHead::CRC_FROM as u64;
        let mut crc = Crc32c::new();
        while at < end {
            let count = (end - at).min(PIECE_BYTES as u64) as usize;
            let Some(piece) = self.get(found.file, at, count, end) else {
                return false;
            };
            crc.update(piece);
            at += count as u64;
        }
        crc.finish() == found.head.crc
    }

    fn plain_records(&mut self, found: &Found, each: &mut Keep<'_>) -> bool {
        let end = found.at + u64::from(found.head.bytes);
        let mut at = found.at + BatchHead::BYTES as u64;
        while at < end {
            let count = (end - at).min(RECORD_BYTES_MAX as u64) as usize;
            let bytes = self.get(found.file, at, count, end);
            let Some(Ok((record, extent))) = bytes.map(keyed_record) else {
                break;
            };
            if !each(&record) {
                break;
            }
            at += extent.bytes as u64;
        }
        true
    }

    fn packed_records(
        &mut self,
        found: &Found,
        compression: Compression,
        packed: &mut Packed<'_>,
        each: &mut Keep<'_>,
    ) -> bool {
        let Some(batch) = packed.buf.get_mut(..found.head.bytes as usize) else {
            return false;
        };
        self.bytes_read += batch.len();
        if !read_batch(self.storage, found, batch) {
            return false;
        }
        packed.beyond = !packed.decompressor.with(|decompressor| {
            packed_records(batch, compression, decompressor, packed.key, each)
        });
        true
    }
}

/// Reads all of a batch; false: it cannot be read, or its CRC does not hold.
pub fn read_batch(storage: &dyn Storage, found: &Found, buf: &mut [u8]) -> bool {
    storage.read(found.file, found.at, buf).is_ok()
        && buf.get(BatchHead::CRC_FROM..).is_some_and(|rest| crc32c(rest) == found.head.crc)
}

/// Shows what a range has; the range then begins behind what was shown. False: not all was, because
/// the visitor has seen enough, or this many bytes were read.
pub fn walk(
    window: &mut Window<'_>,
    ring_id: &RingId,
    range: &mut Range,
    bytes_max: usize,
    visitor: &mut dyn Visitor,
) -> bool {
    let mut first = true;
    while range.from < range.to.min(range.end) {
        if !first && window.bytes_read >= bytes_max {
            return false;
        }
        first = false;
        let Some(header) = believed(window, ring_id, range) else {
            range.from += UNIT_BYTES;
            continue;
        };
        if directory_holds(window, range, &header) && !walk_group(window, range, &header, visitor) {
            return false;
        }
        range.from += u64::from(header.bytes);
    }
    true
}

fn believed(window: &mut Window<'_>, ring_id: &RingId, range: &Range) -> Option<GroupHeader> {
    let bytes = window.get(range.file, range.from, GROUP_HEADER_BYTES, range.end)?;
    let (header, _) = GroupHeader::decode(bytes)?;
    let ours = header.ring_id == *ring_id
        && header.segment == range.seq
        && header.position == range.from
        && header.bytes > 0
        && range.from + u64::from(header.bytes) <= range.end;
    ours.then_some(header)
}

fn directory_holds(window: &mut Window<'_>, range: &Range, header: &GroupHeader) -> bool {
    let mut at = range.from + header.directory_at();
    let mut left = header.directory_bytes();
    let mut crc = Crc32c::new();
    while left > 0 {
        let count = left.min(PIECE_BYTES as u64);
        let Some(piece) = window.get(range.file, at, count as usize, range.end) else {
            return false;
        };
        crc.update(piece);
        at += count;
        left -= count;
    }
    crc.finish() == header.directory_crc
}

fn walk_group(
    window: &mut Window<'_>,
    range: &Range,
    header: &GroupHeader,
    visitor: &mut dyn Visitor,
) -> bool {
    let mut payload_at = range.from + header.payload_at();
    for place in 0..u64::from(header.runs) {
        let at = range.from + header.directory_at() + place * RUN_BYTES as u64;
        let bytes = window.get(range.file, at, RUN_BYTES, range.end);
        let Some(run) = bytes.and_then(|bytes| Run::decode_all(bytes).next()) else {
            return true;
        };
        if visitor.wants(&run) {
            if !walk_run(window, range, &run, payload_at, visitor) {
                return false;
            }
            visitor.run_ends(&run);
        }
        payload_at += u64::from(run.bytes);
    }
    true
}

/// The batches of a run. Behind a damaged one the walk goes on with the next whole one.
fn walk_run(
    window: &mut Window<'_>,
    range: &Range,
    run: &Run,
    mut at: u64,
    visitor: &mut dyn Visitor,
) -> bool {
    let end = at + u64::from(run.bytes);
    let mut first = run.offset;
    while at + BatchHead::BYTES as u64 <= end {
        let found = batch_at(window, range, run, (at, end));
        let follows = |found: &Found| {
            found.head.first == first || (run.is_carried() && found.head.first > first)
        };
        let seen = match found.filter(follows) {
            None => Seen::Broken,
            Some(found) => {
                first = found.head.next();
                let seen = visitor.batch(window, &found);
                if seen == Seen::Broken {
                    first = found.head.first;
                }
                seen
            }
        };
        at = match (seen, found) {
            (Seen::Enough, _) => return false,
            (Seen::More, Some(found)) => at + u64::from(found.head.bytes),
            _ => match batch_behind(window, range, run, (at, end), first) {
                Some(found) => {
                    first = found.head.first;
                    found.at
                }
                None => return true,
            },
        };
    }
    true
}

/// The batch at a position of a run, if there can be one.
fn batch_at(
    window: &mut Window<'_>,
    range: &Range,
    run: &Run,
    (at, end): (u64, u64),
) -> Option<Found> {
    let head = BatchHead::read(window.get(range.file, at, BatchHead::BYTES, range.end)?)?;
    let fits = at + u64::from(head.bytes) <= end
        && run.offset <= head.first
        && head.first <= head.last
        && head.last < run.end();
    fits.then_some(Found { file: range.file, at, head })
}

/// The next batch behind a place with an offset above `first` that its CRC proves.
fn batch_behind(
    window: &mut Window<'_>,
    range: &Range,
    run: &Run,
    (mut at, end): (u64, u64),
    first: Offset,
) -> Option<Found> {
    loop {
        at += 1;
        if at + BatchHead::BYTES as u64 > end {
            return None;
        }
        let found = batch_at(window, range, run, (at, end));
        if let Some(found) = found.filter(|found| found.head.first > first)
            && window.crc_holds(&found)
        {
            return Some(found);
        }
    }
}

/// How much of a record is read to get its key.
const RECORD_BYTES_MAX: usize = COMPACTED_KEY_BYTES_MAX + 64;

/// CRCs are fed this much at once.
const PIECE_BYTES: usize = 8 * 1024;

/// A window holds a record's key wherever it begins in a page.
pub const WINDOW_BYTES_MIN: usize = 2 * PAGE_BYTES + RECORD_BYTES_MAX;
