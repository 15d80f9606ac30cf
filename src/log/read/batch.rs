//! Walks over the record batches of one run, by their headers.

use super::{Got, View, Wanted};
use crate::codec::compression::Compression;
use crate::types::{FileRef, Offset, SegmentSeq};

/// A record batch's header, as far as readers need it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchHead {
    /// Offset of the first record.
    pub first: Offset,
    /// Offset of the last record.
    pub last: Offset,
    /// Bytes of the whole batch.
    pub bytes: u32,
    /// CRC-32C of everything behind it.
    pub crc: u32,
    /// The low 3 bits tell the compression.
    pub attributes: i16,
    /// Timestamp of the first record.
    pub first_ms: i64,
    /// The newest timestamp.
    pub newest_ms: i64,
    /// How many records there are.
    pub records: i32,
}

impl BatchHead {
    /// Bytes of a batch without its records.
    pub const BYTES: usize = 61;

    /// The CRC covers what follows these bytes.
    pub const CRC_FROM: usize = 21;

    /// Bytes of a header that tell length, offsets and CRC.
    pub const START_BYTES: usize = 27;

    /// Reads a header; none if it cannot be one.
    pub fn read(bytes: &[u8]) -> Option<BatchHead> {
        let bytes: &[u8; Self::BYTES] = bytes.first_chunk()?;
        let first = be_i64(bytes, 0);
        let length = u32::try_from(be_i32(bytes, 8)).ok()?;
        let whole = length.checked_add(LENGTH_FROM as u32)?;
        let delta = be_i32(bytes, 23);
        if bytes[16] != 2 || (whole as usize) < Self::BYTES || delta < 0 {
            return None;
        }
        Some(BatchHead {
            first: Offset(first),
            last: Offset(first.wrapping_add(i64::from(delta))),
            bytes: whole,
            crc: be_i32(bytes, 17) as u32,
            attributes: be_i16(bytes, 21),
            first_ms: be_i64(bytes, 27),
            newest_ms: be_i64(bytes, 35),
            records: be_i32(bytes, 57),
        })
    }

    /// Reads the first [`BatchHead::START_BYTES`] of a header: length, CRC, and the offsets of the
    /// first record and behind the last.
    pub fn start(bytes: &[u8]) -> Option<BatchStart> {
        let bytes: &[u8; Self::START_BYTES] = bytes.first_chunk()?;
        let length = u32::try_from(be_i32(bytes, 8)).ok()?;
        let whole = length.checked_add(LENGTH_FROM as u32)?;
        let (first, delta) = (be_i64(bytes, 0), be_i32(bytes, 23));
        if bytes[16] != 2 || (whole as usize) < Self::BYTES || delta < 0 {
            return None;
        }
        Some(BatchStart {
            bytes: whole,
            crc: be_i32(bytes, 17) as u32,
            first: Offset(first),
            next: Offset(first.wrapping_add(i64::from(delta) + 1)),
        })
    }

    /// The same with the offset that it must have at its place. Whether it has it is checked when it is
    /// sent.
    fn moved_to(self, first: Offset) -> BatchHead {
        let records = self.last.0.wrapping_sub(self.first.0);
        let last = Offset(first.0.saturating_add(records));
        BatchHead { first, last, ..self }
    }

    /// The offset behind the last record.
    pub fn next(&self) -> Offset {
        Offset(self.last.0.saturating_add(1))
    }

    /// What the records are compressed with.
    pub fn compression(&self) -> Option<Compression> {
        Compression::from_number(self.attributes & 7)
    }

    /// Whether all records have the time of their arrival, which is the newest timestamp.
    pub fn is_append_time(&self) -> bool {
        self.attributes & 8 != 0
    }
}

/// What the first bytes of a header tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchStart {
    /// Bytes of the whole batch.
    pub bytes: u32,
    /// CRC-32C of what follows it.
    pub crc: u32,
    /// Offset of the first record.
    pub first: Offset,
    /// Offset behind the last record.
    pub next: Offset,
}

/// The batches of one run.
#[derive(Debug, Clone, Copy)]
pub struct Batches {
    file: FileRef,
    seq: SegmentSeq,
    at: u64,
    end: u64,
    /// The next batch's first offset: a batch's CRC does not cover it.
    first: Offset,
    /// The offset behind the run's last.
    limit: Offset,
    large: bool,
    /// The batch before it is damaged, so where the next one begins is not known.
    lost: bool,
    /// They were carried: the next batch's first offset may be higher.
    gaps: bool,
}

/// A step of a walk over batches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scanned {
    /// These bytes must be read first.
    Read(Wanted),
    /// A batch, and its position.
    Batch(BatchHead, u64),
    /// There is no batch at this position; the walk goes on with the next that can be one.
    Broken(u64),
    /// That was all.
    End,
}

impl Batches {
    /// Those from `at` to `end` of a segment, with the offsets from `first` up to, not
    /// including, `limit`. `gaps`: they were carried, and leave offsets out.
    pub fn new(
        file: FileRef,
        seq: SegmentSeq,
        (at, end): (u64, u64),
        (first, limit): (Offset, Offset),
        gaps: bool,
    ) -> Batches {
        let large = end.saturating_sub(at) >= LARGE_BYTES as u64;
        Batches { file, seq, at, end, first, limit, large, lost: false, gaps }
    }

    /// The batch at this position, which came last, is damaged: its length may be wrong as well.
    pub fn damaged(&mut self, at: u64, first: Offset) {
        self.at = at + 1;
        self.first = first;
        self.lost = true;
    }

    /// Where the next one is.
    pub fn at(&self) -> u64 {
        self.at
    }

    /// Where the run ends.
    pub fn end(&self) -> u64 {
        self.end
    }

    /// The next batch.
    pub fn next(&mut self, view: &View<'_>) -> Scanned {
        let left = self.end.saturating_sub(self.at);
        if left == 0 {
            return Scanned::End;
        }
        if left < BatchHead::BYTES as u64 {
            let at = std::mem::replace(&mut self.at, self.end);
            return if self.lost { Scanned::End } else { Scanned::Broken(at) };
        }
        match view.get(self.file.ring, self.seq, self.at, BatchHead::BYTES) {
            Got::Missing => {
                let useful = left.min(usize::MAX as u64) as usize;
                let few = if self.large && !self.lost { HEAD_READ_BYTES } else { useful };
                Scanned::Read(Wanted {
                    file: self.file,
                    seq: self.seq,
                    at: self.at,
                    bytes_min: BatchHead::BYTES,
                    bytes_max: useful.min(few),
                })
            }
            Got::Broken => self.broken(),
            Got::Bytes(bytes) if self.lost => match self.found_again(bytes) {
                Some((skip, head)) => {
                    self.at += skip;
                    self.lost = false;
                    self.batch(head)
                }
                None => {
                    // The last bytes may be the beginning of a header, and are read again with what follows.
                    self.at += (bytes.len() - (BatchHead::BYTES - 1)) as u64;
                    self.next(view)
                }
            },
            Got::Bytes(bytes) => match BatchHead::read(bytes).map(|head| self.placed(head)) {
                Some(head) if u64::from(head.bytes) <= left && self.holds(&head) => {
                    self.batch(head)
                }
                _ => self.broken(),
            },
        }
    }

    /// A header with the offset that it must have at its place.
    fn placed(&self, head: BatchHead) -> BatchHead {
        if self.gaps { head } else { head.moved_to(self.first) }
    }

    /// Whether a header with an offset of its own can be here.
    fn holds(&self, head: &BatchHead) -> bool {
        !self.gaps
            || (self.first <= head.first && head.first <= head.last && head.last < self.limit)
    }

    fn batch(&mut self, head: BatchHead) -> Scanned {
        let at = self.at;
        self.first = head.next();
        self.at += u64::from(head.bytes);
        self.large = head.bytes as usize >= LARGE_BYTES;
        Scanned::Batch(head, at)
    }

    fn broken(&mut self) -> Scanned {
        let at = self.at;
        self.at += 1;
        self.lost = true;
        Scanned::Broken(at)
    }

    /// The next header that fits the run; its offset says how much is lost before it. Whether it is one
    /// is checked when its batch is sent.
    fn found_again(&self, bytes: &[u8]) -> Option<(u64, BatchHead)> {
        let heads = bytes.windows(BatchHead::BYTES).enumerate();
        let mut heads = heads.filter_map(|(skip, head)| {
            // This byte rules out most.
            let head = (head[16] == 2).then(|| BatchHead::read(head))??;
            Some((skip as u64, head))
        });
        heads.find(|(skip, head)| {
            let fits = self.at + skip + u64::from(head.bytes) <= self.end;
            fits && self.first < head.first && head.last < self.limit && head.first <= head.last
        })
    }
}

fn be_i16(bytes: &[u8], at: usize) -> i16 {
    let piece = bytes.get(at..).and_then(<[u8]>::first_chunk);
    piece.map_or(0, |piece| i16::from_be_bytes(*piece))
}

fn be_i32(bytes: &[u8], at: usize) -> i32 {
    let piece = bytes.get(at..).and_then(<[u8]>::first_chunk);
    piece.map_or(0, |piece| i32::from_be_bytes(*piece))
}

fn be_i64(bytes: &[u8], at: usize) -> i64 {
    let piece = bytes.get(at..).and_then(<[u8]>::first_chunk);
    piece.map_or(0, |piece| i64::from_be_bytes(*piece))
}

/// The length field does not count the base offset and itself.
const LENGTH_FROM: usize = 12;

/// Behind a batch of this size the next header is read alone, not with what follows it; so is the
/// first of a run of this size.
const LARGE_BYTES: usize = 8 * 1024;

/// Enough for a header wherever it lies.
const HEAD_READ_BYTES: usize = 512;
