//! Reads what a segment file holds, as far as CRCs and positions prove it: for recovery, and for the
//! offline tools.

use std::ops::RangeInclusive;

use crate::codec::batch::{BatchHeader, HEADER_BYTES};
use crate::codec::crc::{Crc32c, crc32c};
use crate::error::DiskError;
use crate::limits::PAGE_BYTES;
use crate::log::format::{GROUP_HEADER_BYTES, GroupHeader, RUN_BYTES, RingId, Run, UNIT_BYTES};
use crate::storage::Storage;
use crate::types::{Boot, FileRef, GroupSeq, SegmentSeq};

/// Reads a segment file piece by piece. A page that cannot be read is zero, so that no CRC over it
/// holds, and is remembered: what is unreadable is not the same as what is damaged.
pub struct Reader<'a> {
    storage: &'a dyn Storage,
    file: FileRef,
    file_bytes: u64,
    medium: bool,
    buf: Vec<u8>,
    at: u64,
    len: usize,
    unreadable: Option<Unreadable>,
}

/// A page that cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unreadable {
    /// In which file.
    pub file: FileRef,
    /// Where the page starts.
    pub at: u64,
    /// What the disk said.
    pub error: DiskError,
}

impl<'a> Reader<'a> {
    /// Over `file_bytes` of a file. `medium`: past the page cache.
    pub fn new(storage: &'a dyn Storage, file: FileRef, file_bytes: u64, medium: bool) -> Self {
        let buf = vec![0; WINDOW_BYTES];
        Reader { storage, file, file_bytes, medium, buf, at: 0, len: 0, unreadable: None }
    }

    /// The first page that could not be read so far.
    pub fn unreadable(&self) -> Option<Unreadable> {
        self.unreadable
    }

    /// Another one over the same file, past the page cache.
    pub fn on_medium(&self) -> Reader<'a> {
        Reader::new(self.storage, self.file, self.file_bytes, true)
    }

    /// The bytes from `at`: `len` of them, at most a window's half; fewer at the end of the file.
    pub fn bytes(&mut self, at: u64, len: usize) -> &[u8] {
        assert!(len <= WINDOW_BYTES / 2);
        let len = len.min(self.file_bytes.saturating_sub(at) as usize);
        if at < self.at || at + len as u64 > self.at + self.len as u64 {
            self.fill(at - at % PAGE_BYTES as u64);
        }
        let from = (at - self.at) as usize;
        self.buf.get(from..from + len).unwrap_or_default()
    }

    /// The CRC-32C of this many bytes from `at`.
    pub fn crc(&mut self, mut at: u64, mut bytes: u64) -> u32 {
        let mut crc = Crc32c::new();
        while bytes > 0 {
            let piece = self.bytes(at, bytes.min(WINDOW_BYTES as u64 / 2) as usize);
            if piece.is_empty() {
                break;
            }
            crc.update(piece);
            at += piece.len() as u64;
            bytes -= piece.len() as u64;
        }
        crc.finish()
    }

    /// All of this many bytes from `at`.
    pub fn vec(&mut self, mut at: u64, bytes: usize) -> Vec<u8> {
        let mut all = Vec::with_capacity(bytes);
        while all.len() < bytes {
            let piece = self.bytes(at, (bytes - all.len()).min(WINDOW_BYTES / 2));
            if piece.is_empty() {
                break;
            }
            all.extend_from_slice(piece);
            at += piece.len() as u64;
        }
        all
    }

    fn fill(&mut self, at: u64) {
        let len = (self.file_bytes.saturating_sub(at)).min(WINDOW_BYTES as u64) as usize;
        self.at = at;
        self.len = len;
        if self.try_fill(0, len).is_ok() {
            return;
        }
        for page in (0..len).step_by(PAGE_BYTES) {
            let end = (page + PAGE_BYTES).min(len);
            if let Err(error) = self.try_fill(page, end) {
                self.buf[page..end].fill(0);
                // What a file that is too short lacks is lost for good, not unreadable.
                if !error.is_short() && self.unreadable.is_none() {
                    let at = at + page as u64;
                    self.unreadable = Some(Unreadable { file: self.file, at, error });
                }
            }
        }
    }

    fn try_fill(&mut self, from: usize, to: usize) -> Result<(), DiskError> {
        let at = self.at + from as u64;
        let window = &mut self.buf[from..to];
        match self.medium {
            true => self.storage.read_medium(self.file, at, window),
            false => self.storage.read(self.file, at, window),
        }
    }
}

/// What a group's header must say to be valid here.
#[derive(Debug, Clone, Copy)]
pub struct Expect {
    /// The ring.
    pub ring_id: RingId,
    /// The segment.
    pub segment: SegmentSeq,
    /// Where groups start.
    pub alignment: u64,
    /// The lowest sequence.
    pub seq_min: GroupSeq,
    /// The highest: beyond it only a forgery or a fault can be.
    pub seq_max: GroupSeq,
    /// The earliest boot.
    pub boot_min: Boot,
    /// The latest that there can have been.
    pub boot_max: Boot,
}

impl Expect {
    /// Any group of the segment.
    pub fn any(ring_id: RingId, segment: SegmentSeq) -> Expect {
        Expect {
            ring_id,
            segment,
            // The finest: it may have been written with another setting.
            alignment: UNIT_BYTES,
            seq_min: GroupSeq(1),
            seq_max: GroupSeq(u64::MAX - 1),
            boot_min: Boot(0),
            boot_max: Boot::MAX,
        }
    }

    /// Groups that can follow `seq` and `boot`.
    pub fn behind(ring_id: RingId, segment: SegmentSeq, next: GroupSeq, boot: Boot) -> Expect {
        Expect {
            seq_min: next,
            seq_max: GroupSeq(next.0.saturating_add(SEQ_JUMP_MAX)),
            boot_min: boot,
            boot_max: Boot(boot.0.saturating_add(BOOT_JUMP_MAX)).min(Boot::MAX),
            ..Expect::any(ring_id, segment)
        }
    }
}

/// A valid header, and its CRC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Group {
    /// The header.
    pub header: GroupHeader,
    /// Its CRC.
    pub crc: u32,
}

/// The group at `at`, if there is a valid one.
pub fn group_at(reader: &mut Reader<'_>, at: u64, limit: u64, expect: &Expect) -> Option<Group> {
    let (header, crc) = GroupHeader::decode(reader.bytes(at, GROUP_HEADER_BYTES))?;
    let ours = header.ring_id == expect.ring_id
        && header.segment == expect.segment
        && header.position == at
        && (expect.seq_min..=expect.seq_max).contains(&header.seq)
        && (expect.boot_min..=expect.boot_max).contains(&header.boot)
        && header.bytes > 0
        && u64::from(header.bytes) % expect.alignment == 0
        && at + u64::from(header.bytes) <= limit;
    ours.then_some(Group { header, crc })
}

/// The first valid group from `at` on.
pub fn group_from(
    reader: &mut Reader<'_>,
    mut at: u64,
    limit: u64,
    expect: &Expect,
) -> Option<Group> {
    while at + expect.alignment <= limit {
        if let Some(group) = group_at(reader, at, limit, expect) {
            return Some(group);
        }
        at += expect.alignment;
    }
    None
}

/// The first group in a file that is of this ring (none: any) and of one of these segments.
pub fn first_group(
    reader: &mut Reader<'_>,
    ring_id: Option<RingId>,
    segments: RangeInclusive<SegmentSeq>,
    limit: u64,
) -> Option<Group> {
    let mut at = 0;
    while at < limit {
        let header = GroupHeader::decode(reader.bytes(at, GROUP_HEADER_BYTES));
        if let Some((header, crc)) = header
            && ring_id.is_none_or(|id| header.ring_id == id)
            && header.position == at
            && segments.contains(&header.segment)
        {
            return Some(Group { header, crc });
        }
        at += UNIT_BYTES;
    }
    None
}

/// A group's directory and metadata, each if its CRC holds.
#[derive(Debug, Clone, Default)]
pub struct Contents {
    /// The directory.
    pub runs: Option<Vec<Run>>,
    /// The metadata records.
    pub meta: Option<Vec<u8>>,
}

/// Reads what is between a group's header and its batches.
pub fn contents(reader: &mut Reader<'_>, header: &GroupHeader) -> Contents {
    let at = header.position;
    let directory = reader.vec(at + header.directory_at(), header.runs as usize * RUN_BYTES);
    let meta = reader.vec(at + header.meta_at(), header.meta_bytes as usize);
    let runs: Vec<Run> = Run::decode_all(&directory).collect();
    let bytes: u64 = runs.iter().map(|run| u64::from(run.bytes)).sum();
    let whole = crc32c(&directory) == header.directory_crc
        && bytes == u64::from(header.payload_bytes)
        && runs.iter().all(|run| run.is_carried() == header.is_carried())
        && runs.len() == header.runs as usize;
    Contents {
        runs: whole.then_some(runs),
        meta: (crc32c(&meta) == header.meta_crc).then_some(meta),
    }
}

/// Whether the medium holds all of a group.
pub fn is_whole(reader: &Reader<'_>, group: &Group) -> bool {
    let mut medium = reader.on_medium();
    let contents = contents(&mut medium, &group.header);
    let at = group.header.position + group.header.payload_at();
    contents.meta.is_some()
        && contents.runs.is_some_and(|runs| payload_holds(&mut medium, at, &runs))
}

/// Whether all batches of these runs are good; the first run is at `at`, the others follow.
pub fn payload_holds(reader: &mut Reader<'_>, mut at: u64, runs: &[Run]) -> bool {
    runs.iter().all(|run| {
        let mut good = true;
        batches(reader, at, run, &mut |batch| good &= batch.header.is_some());
        at += u64::from(run.bytes);
        good
    })
}

/// A batch on flash, or the damage in its place, as a walk over a run finds it.
#[derive(Debug, Clone, Copy)]
pub struct FoundBatch {
    /// Its header, if its CRC holds and its offset follows from the directory; none: damaged.
    pub header: Option<BatchHeader>,
    /// The first offset that it takes.
    pub first: i64,
    /// And the last.
    pub last: i64,
    /// Where it starts in the file.
    pub at: u64,
    /// Its bytes.
    pub bytes: u64,
}

/// Walks the batches of a run that starts at `at`: all its offsets, in order; those of a carried one
/// leave some out. Behind a damaged batch the walk goes on with the next one that its CRC, its length
/// and its offset prove.
pub fn batches(reader: &mut Reader<'_>, at: u64, run: &Run, each: &mut dyn FnMut(&FoundBatch)) {
    let (mut at, end) = (at, at + u64::from(run.bytes));
    let mut offset = run.offset.0;
    while at < end {
        let found = batch_at(reader, at, end, run, offset);
        let (header, bytes, next) = match found {
            Some(header) => {
                if run.is_carried() {
                    offset = header.base_offset;
                }
                let next = offset + i64::from(header.last_offset_delta) + 1;
                let good = header.base_offset == offset;
                (good.then_some(header), whole_bytes(&header), next)
            }
            None => {
                let (bytes, next) = damaged_at(reader, at, end, run, offset);
                (None, bytes, next)
            }
        };
        each(&FoundBatch { header, first: offset, last: next - 1, at, bytes });
        offset = next;
        at += bytes;
    }
    if offset < run.end().0 && !run.is_carried() {
        each(&FoundBatch { header: None, first: offset, last: run.end().0 - 1, at, bytes: 0 });
    }
}

/// The header of the batch at `at`, if its length and offsets fit the run and its CRC holds.
fn batch_at(
    reader: &mut Reader<'_>,
    at: u64,
    end: u64,
    run: &Run,
    offset: i64,
) -> Option<BatchHeader> {
    let header = BatchHeader::read(reader.bytes(at, HEADER_BYTES))?;
    let bytes = header.batch_bytes()? as u64;
    let first = if run.is_carried() { header.base_offset } else { offset };
    let last = first.checked_add(i64::from(header.last_offset_delta))?;
    let fits = header.magic == 2
        && first >= offset
        && at + bytes <= end
        && header.last_offset_delta >= 0
        && last < run.end().0;
    let holds = fits && reader.crc(at + CRC_COVERS_FROM, bytes - CRC_COVERS_FROM) == header.crc;
    holds.then_some(header)
}

/// How many bytes are damaged from `at` on, and which offset comes behind them.
fn damaged_at(reader: &mut Reader<'_>, at: u64, end: u64, run: &Run, offset: i64) -> (u64, i64) {
    let mut next = at + 1;
    while next + HEADER_BYTES as u64 <= end {
        let bytes = reader.bytes(next, HEADER_BYTES);
        let base = bytes.first_chunk().map_or(0, |base| i64::from_be_bytes(*base));
        if (offset + 1..run.end().0).contains(&base)
            && batch_at(reader, next, end, run, base).is_some()
        {
            return (next - at, base);
        }
        next += 1;
    }
    (end - at, run.end().0)
}

fn whole_bytes(header: &BatchHeader) -> u64 {
    header.batch_bytes().unwrap_or(0) as u64
}

const WINDOW_BYTES: usize = 256 * 1024;

/// Sequences are given one by one; those that a failing disk or an unreadable file cost are far fewer.
const SEQ_JUMP_MAX: u64 = 1 << 32;

/// Starts between two heads: each writes a group, and no segment has this many pages.
const BOOT_JUMP_MAX: u32 = 1 << 22;

/// A batch's CRC covers it from its attributes on.
const CRC_COVERS_FROM: u64 = 21;
