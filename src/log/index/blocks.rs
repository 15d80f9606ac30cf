//! Where groups start in the segments, block by block, and which partitions they have.
//!
//! A block is as small as a bounded number of them allows: [`limits::BLOCK_BYTES_MIN`] in a ring of up to
//! half a gibibyte, 4 MiB in one of 16. A ring that has become smaller keeps the larger blocks of its
//! feet: blocks can be merged, but not split.

use super::IndexBroken;
use crate::limits;
use crate::log::format::UNIT_BYTES;
use crate::types::{FileIndex, PartitionHandle};

/// The blocks of a ring's files.
pub(super) struct Blocks {
    segment_bytes: u64,
    /// Bytes of a block, as a power of two.
    shift: u32,
    per_file: usize,
    /// By file and block.
    bitmaps: Vec<u64>,
    /// By file and block, as far as files were ever in use: in units, or [`NO_GROUP`].
    starts: Vec<u32>,
}

impl Blocks {
    /// Of `files` files in which no group starts.
    pub fn new(files: usize, segment_bytes: u64) -> Blocks {
        let shift = shift_of(files, segment_bytes);
        let per_file = count(segment_bytes, shift);
        Blocks {
            segment_bytes,
            shift,
            per_file,
            bitmaps: vec![0; files * per_file],
            starts: Vec::with_capacity(files * per_file),
        }
    }

    /// The memory that these take.
    pub fn memory_bytes(files: usize, segment_bytes: u64) -> usize {
        files * per_file(files, segment_bytes) * (size_of::<u64>() + size_of::<u32>())
    }

    /// How many a file has.
    pub fn per_file(&self) -> usize {
        self.per_file
    }

    /// The block that a position lies in.
    pub fn at(&self, position: u64) -> usize {
        (position >> self.shift) as usize
    }

    /// Where a block ends.
    pub fn end(&self, block: usize) -> u64 {
        ((block + 1) as u64) << self.shift
    }

    /// The file is in use.
    pub fn file_opened(&mut self, file: FileIndex) {
        let starts = (usize::from(file.0) + 1) * self.per_file;
        self.starts.resize(self.starts.len().max(starts), NO_GROUP);
    }

    /// No group starts in the file any more.
    pub fn file_cleared(&mut self, file: FileIndex) {
        let row = self.row(file);
        // A file that was never in use has no rows yet.
        if let Some(starts) = self.starts.get_mut(row.clone()) {
            starts.fill(NO_GROUP);
            self.bitmaps[row].fill(0);
        }
    }

    /// A group starts there; gives the bitmap of its block. Groups of a file come in ascending order.
    pub fn note(&mut self, file: FileIndex, position: u64) -> &mut u64 {
        let block = self.at(position);
        assert!(block < self.per_file, "a group outside its segment");
        let at = self.row(file).start + block;
        if self.starts[at] == NO_GROUP {
            self.starts[at] = (position / UNIT_BYTES) as u32;
        }
        &mut self.bitmaps[at]
    }

    /// Which partitions may be in the groups that start in a block, and where the first of them
    /// is; none: no group starts there.
    pub fn get(&self, file: FileIndex, block: usize) -> Option<(u64, u64)> {
        let at = self.row(file).start + block;
        let start = *self.starts.get(at).filter(|_| block < self.per_file)?;
        (start != NO_GROUP).then(|| (self.bitmaps[at], u64::from(start) * UNIT_BYTES))
    }

    /// The position of the first group that starts in a block from `block` on.
    pub fn group_from(&self, file: FileIndex, block: usize) -> Option<u64> {
        let row = self.row(file);
        let starts = self.starts.get(row.start + block.min(self.per_file)..row.end)?;
        let start = starts.iter().find(|start| **start != NO_GROUP)?;
        Some(u64::from(*start) * UNIT_BYTES)
    }

    /// Bytes that [`Blocks::write`] takes.
    pub fn written_bytes(&self) -> usize {
        self.per_file * ENTRY_BYTES
    }

    /// Writes a file's blocks, for a foot.
    pub fn write(&self, file: FileIndex, out: &mut [u8]) {
        for (at, bytes) in self.row(file).zip(out.chunks_exact_mut(ENTRY_BYTES)) {
            bytes[..8].copy_from_slice(&self.bitmaps[at].to_le_bytes());
            bytes[8..12].copy_from_slice(&self.starts[at].to_le_bytes());
            bytes[12..].fill(0);
        }
    }

    /// Splits this many written blocks from what is behind them, if they are valid.
    pub fn split<'a>(
        &self,
        blocks: usize,
        bytes: &'a [u8],
    ) -> Result<(Written<'a>, &'a [u8]), IndexBroken> {
        let mut shifts = SHIFT_MIN..=SHIFT_MAX;
        let shift = shifts.find(|shift| count(self.segment_bytes, *shift) == blocks);
        let shift = shift.ok_or(IndexBroken)?;
        let (bytes, behind) = bytes.split_at_checked(blocks * ENTRY_BYTES).ok_or(IndexBroken)?;
        let written = Written { shift, bytes };
        let last = self.segment_bytes / UNIT_BYTES;
        for (block, (_, start)) in written.entries().enumerate() {
            let inside = (u64::from(start) * UNIT_BYTES) >> shift == block as u64;
            if start != NO_GROUP && (u64::from(start) >= last || !inside) {
                return Err(IndexBroken);
            }
        }
        Ok((written, behind))
    }

    /// Takes written blocks back, for a file that is in use and in which no group starts.
    pub fn read(&mut self, file: FileIndex, written: &Written<'_>) {
        if written.shift > self.shift {
            self.coarsen(written.shift);
        }
        let row = self.row(file).start;
        let finer = self.shift - written.shift;
        for (block, (bits, start)) in written.entries().enumerate() {
            let at = row + (block >> finer);
            self.bitmaps[at] |= bits;
            self.starts[at] = self.starts[at].min(start);
        }
    }

    /// Merges blocks until they have that size.
    fn coarsen(&mut self, shift: u32) {
        let (finer, before) = (shift - self.shift, self.per_file);
        self.shift = shift;
        self.per_file = count(self.segment_bytes, shift);
        let files = self.bitmaps.len() / before;
        let opened = self.starts.len() / before;
        for file in 0..files {
            for block in 0..self.per_file {
                let from = file * before + (block << finer);
                let to = (file * before + ((block + 1) << finer)).min((file + 1) * before);
                let at = file * self.per_file + block;
                self.bitmaps[at] = self.bitmaps[from..to].iter().fold(0, |all, bits| all | bits);
                if file < opened {
                    self.starts[at] =
                        self.starts[from..to].iter().copied().min().unwrap_or(NO_GROUP);
                }
            }
        }
        self.bitmaps.truncate(files * self.per_file);
        self.starts.truncate(opened * self.per_file);
    }

    fn row(&self, file: FileIndex) -> std::ops::Range<usize> {
        let row = usize::from(file.0) * self.per_file;
        row..row + self.per_file
    }
}

/// Blocks as a foot has them.
pub(super) struct Written<'a> {
    shift: u32,
    bytes: &'a [u8],
}

impl Written<'_> {
    fn entries(&self) -> impl Iterator<Item = (u64, u32)> {
        self.bytes.chunks_exact(ENTRY_BYTES).map(|entry| {
            let (bits, rest) = entry.split_first_chunk().unwrap_or((&[0; 8], &[]));
            let start = rest.first_chunk().unwrap_or(&[0; 4]);
            (u64::from_le_bytes(*bits), u32::from_le_bytes(*start))
        })
    }
}

/// How many blocks each of this many files has.
pub(super) fn per_file(files: usize, segment_bytes: u64) -> usize {
    count(segment_bytes, shift_of(files, segment_bytes))
}

/// Handles are given out in order, so their low bits spread best.
pub(super) fn bit_of(handle: PartitionHandle) -> u64 {
    1 << (handle.0 % u64::BITS)
}

fn count(segment_bytes: u64, shift: u32) -> usize {
    (segment_bytes.div_ceil(1 << shift)) as usize
}

fn shift_of(files: usize, segment_bytes: u64) -> u32 {
    let mut shifts = SHIFT_MIN..SHIFT_MAX;
    let fits = |shift: &u32| files * count(segment_bytes, *shift) <= limits::BLOCKS_MAX;
    shifts.find(fits).unwrap_or(SHIFT_MAX)
}

const SHIFT_MIN: u32 = limits::BLOCK_BYTES_MIN.trailing_zeros();

/// A segment of the largest size in one block.
const SHIFT_MAX: u32 = 30;

/// No group starts in the block.
const NO_GROUP: u32 = u32::MAX;

/// Bytes of a block in a foot.
pub(super) const ENTRY_BYTES: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn noted(files: usize, positions: &[u64]) -> Blocks {
        let mut blocks = Blocks::new(files, 16 * MIB);
        blocks.file_opened(FileIndex(1));
        for position in positions {
            let handle = PartitionHandle((position >> 16) as u32);
            *blocks.note(FileIndex(1), *position) |= bit_of(handle);
        }
        blocks
    }

    #[test]
    fn blocks_grow_with_the_ring_and_their_number_is_bounded() {
        for (files, segment_bytes, block_bytes) in [
            (18, 16 * MIB, 65_536),
            (32, 16 * MIB, 65_536),
            (33, 16 * MIB, 2 * 65_536),
            (34, 512 * MIB, 4 * MIB),
            (66, 1024 * MIB, 16 * MIB),
            (1024, 4 * MIB, MIB / 2),
            (1024, 1024 * MIB, 128 * MIB),
        ] {
            let blocks = Blocks::new(files, segment_bytes);
            assert_eq!(1 << blocks.shift, block_bytes, "{files} × {segment_bytes}");
            assert!(files * blocks.per_file() <= limits::BLOCKS_MAX);
        }
    }

    #[test]
    fn what_a_foot_has_of_other_blocks_is_put_together() {
        let positions = [4096, 70_000 / 512 * 512, 5 * MIB + 512, 15 * MIB];
        let (fine, mut coarse) = (noted(4, &positions), noted(512, &positions));
        assert_eq!((fine.per_file(), coarse.per_file()), (256, 16));
        let mut bytes = vec![0; fine.written_bytes()];
        fine.write(FileIndex(1), &mut bytes);
        let mut read = Blocks::new(512, 16 * MIB);
        read.file_opened(FileIndex(1));
        let (written, behind) = fine.split(256, &bytes).unwrap();
        assert!(behind.is_empty());
        read.read(FileIndex(1), &written);
        let all = |blocks: &Blocks| {
            (0..16).map(|block| blocks.get(FileIndex(1), block)).collect::<Vec<_>>()
        };
        assert_eq!(all(&read), all(&coarse));
        assert_eq!(all(&read)[0], Some((0b11, 4096)));

        // A ring that was larger: what is there already is put together, too.
        bytes.truncate(coarse.written_bytes());
        coarse.write(FileIndex(1), &mut bytes);
        let mut read = noted(4, &positions);
        read.file_opened(FileIndex(2));
        let (written, _) = read.split(16, &bytes).unwrap();
        read.read(FileIndex(2), &written);
        assert_eq!(read.per_file(), 16);
        assert_eq!(all(&read), all(&coarse));
        assert_eq!(read.get(FileIndex(2), 5), Some((1 << 16, 5 * MIB + 512)));
        assert_eq!(read.group_from(FileIndex(2), 6), Some(15 * MIB));
        assert_eq!(read.get(FileIndex(3), 5), None);
        coarse.file_cleared(FileIndex(1));
        assert_eq!(coarse.group_from(FileIndex(1), 0), None);
    }

    #[test]
    fn blocks_that_no_ring_can_have_are_refused() {
        let blocks = noted(4, &[4096]);
        let mut bytes = vec![0; blocks.written_bytes()];
        blocks.write(FileIndex(1), &mut bytes);
        for count in [0, 3, 255, 257, usize::MAX] {
            assert!(blocks.split(count, &bytes).is_err(), "{count}");
        }
        assert!(blocks.split(256, &bytes[1..]).is_err());
        bytes[9] = 0xff;
        assert!(blocks.split(256, &bytes).is_err());
    }
}
