//! What is known of a segment, as its foot has it.

use super::{Index, IndexBroken, Run, blocks};
use crate::limits;
use crate::log::carried::Entry;
use crate::log::format::UNIT_BYTES;
use crate::types::{FileIndex, Offset, PartitionHandle, PartitionSlot};

impl Index {
    /// The most bytes that [`Index::index_write`] takes.
    pub fn index_bytes_max(files: usize, segment_bytes: u64, partitions_max: usize) -> usize {
        let blocks = blocks::per_file(files, segment_bytes);
        foot_bytes_max(partitions_max, blocks * blocks::ENTRY_BYTES)
    }

    /// The same of this one.
    pub fn index_bytes_most(&self) -> usize {
        foot_bytes_max(self.partitions, self.blocks.written_bytes())
    }

    /// Writes what is known of the file's segment, for its foot; gives the length. `out` holds at
    /// least [`Index::index_bytes_most`].
    pub fn index_write(&self, file: FileIndex, out: &mut [u8]) -> usize {
        let mut at = HEAD_BYTES;
        let mut count = 0u32;
        for (slot, handle) in self.handles.iter().enumerate() {
            if let Some(entry) = self.in_segment(file, PartitionSlot(slot as u16)) {
                let bytes = &mut out[at..at + ENTRY_BYTES];
                bytes[..4].copy_from_slice(&handle.0.to_le_bytes());
                bytes[4..8].fill(0);
                bytes[8..16].copy_from_slice(&entry.first.0.to_le_bytes());
                bytes[16..].copy_from_slice(&entry.newest_ms.to_le_bytes());
                at += ENTRY_BYTES;
                count += 1;
            }
        }
        self.blocks.write(file, &mut out[at..]);
        at += self.blocks.written_bytes();
        out[..4].copy_from_slice(&count.to_le_bytes());
        out[4..8].copy_from_slice(&(self.blocks() as u32).to_le_bytes());
        self.index_write_carried(file, out, at)
    }

    fn index_write_carried(&self, file: FileIndex, out: &mut [u8], head_at: usize) -> usize {
        let mut at = head_at + CARRIED_HEAD_BYTES;
        let mut count = 0;
        for entry in self.carried.entries().iter().filter(|entry| entry.file == file) {
            if count == limits::CARRIED_PER_FOOT_MAX {
                // The next start finds it invalid, and walks the segment.
                count = usize::MAX;
                break;
            }
            let bytes = &mut out[at..at + CARRIED_BYTES];
            bytes.fill(0);
            let handle = self.handles[usize::from(entry.slot.0)];
            bytes[..4].copy_from_slice(&handle.0.to_le_bytes());
            bytes[4..8].copy_from_slice(&((entry.at() / UNIT_BYTES) as u32).to_le_bytes());
            bytes[8..16].copy_from_slice(&entry.from.0.to_le_bytes());
            bytes[16..20].copy_from_slice(&entry.records().to_le_bytes());
            bytes[20..24].copy_from_slice(&entry.bytes.to_le_bytes());
            bytes[24..32].copy_from_slice(&entry.newest_ms.to_le_bytes());
            bytes[32..36].copy_from_slice(&entry.keys.to_le_bytes());
            at += CARRIED_BYTES;
            count += 1;
        }
        out[head_at..head_at + 4].copy_from_slice(&(count as u32).to_le_bytes());
        out[head_at + 4..head_at + 8].fill(0);
        at
    }

    /// Takes back what [`Index::index_write`] wrote, for a segment that was opened and has nothing
    /// yet. Handles that `slot_of` does not know are of deleted topics. On an error nothing was taken,
    /// and the segment's groups have to be walked instead.
    pub fn index_read(
        &mut self,
        file: FileIndex,
        bytes: &[u8],
        slot_of: &dyn Fn(PartitionHandle) -> Option<PartitionSlot>,
    ) -> Result<(), IndexBroken> {
        let (head, rest) = bytes.split_first_chunk::<HEAD_BYTES>().ok_or(IndexBroken)?;
        let (entries, blocks) = (le_u32(head, 0), le_u32(head, 4));
        let entries = (entries as usize).checked_mul(ENTRY_BYTES);
        let (entries, rest) =
            rest.split_at_checked(entries.ok_or(IndexBroken)?).ok_or(IndexBroken)?;
        let (blocks, behind) = self.blocks.split(blocks as usize, rest)?;
        let carried = carried_of(behind)?;
        self.blocks.read(file, &blocks);
        for entry in entries.chunks_exact(ENTRY_BYTES) {
            let handle = PartitionHandle(le_u32(entry, 0));
            if let Some(slot) = slot_of(handle) {
                let run = Run {
                    slot,
                    handle,
                    base_offset: Offset(le_u64(entry, 8) as i64),
                    records: 0,
                    bytes: 0,
                    newest_ms: le_u64(entry, 16) as i64,
                    kept: 0,
                };
                self.run_note(file, &run);
            }
        }
        self.index_read_carried(file, carried, slot_of);
        Ok(())
    }

    fn index_read_carried(
        &mut self,
        file: FileIndex,
        entries: &[u8],
        slot_of: &dyn Fn(PartitionHandle) -> Option<PartitionSlot>,
    ) {
        for entry in entries.chunks_exact(CARRIED_BYTES) {
            let handle = PartitionHandle(le_u32(entry, 0));
            let Some(slot) = slot_of(handle) else { continue };
            self.slot_open(slot, handle);
            let run = Run {
                slot,
                handle,
                base_offset: Offset(le_u64(entry, 8) as i64),
                records: le_u32(entry, 16),
                bytes: le_u32(entry, 20),
                newest_ms: le_u64(entry, 24) as i64,
                kept: le_u32(entry, 32),
            };
            let at = u64::from(le_u32(entry, 4)) * UNIT_BYTES;
            self.carried.found(Entry::new(file, at, &run), true);
        }
    }
}

fn foot_bytes_max(partitions_max: usize, blocks_bytes: usize) -> usize {
    HEAD_BYTES
        + partitions_max * ENTRY_BYTES
        + blocks_bytes
        + CARRIED_HEAD_BYTES
        + limits::CARRIED_PER_FOOT_MAX * CARRIED_BYTES
}

/// The carried stretches behind a foot's blocks. Formats before 4 have none.
fn carried_of(behind: &[u8]) -> Result<&[u8], IndexBroken> {
    if behind.is_empty() {
        return Ok(&[]);
    }
    let (head, entries) = behind.split_first_chunk::<CARRIED_HEAD_BYTES>().ok_or(IndexBroken)?;
    let bytes = (le_u32(head, 0) as usize).checked_mul(CARRIED_BYTES);
    entries.get(..bytes.ok_or(IndexBroken)?).ok_or(IndexBroken)
}

fn le_u32(bytes: &[u8], at: usize) -> u32 {
    let piece = bytes.get(at..).and_then(<[u8]>::first_chunk);
    piece.map_or(0, |piece| u32::from_le_bytes(*piece))
}

fn le_u64(bytes: &[u8], at: usize) -> u64 {
    let piece = bytes.get(at..).and_then(<[u8]>::first_chunk);
    piece.map_or(0, |piece| u64::from_le_bytes(*piece))
}

const HEAD_BYTES: usize = 8;
const ENTRY_BYTES: usize = 24;
const CARRIED_HEAD_BYTES: usize = 8;
const CARRIED_BYTES: usize = 40;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::index::tests::{BLOCK, SEGMENT, filled, run};
    use crate::types::SegmentSeq;

    #[test]
    fn a_foot_brings_back_what_was_written() {
        let index = filled();
        let mut bytes = vec![0xaa; Index::index_bytes_max(4, SEGMENT, 8)];
        let length = index.index_write(FileIndex(2), &mut bytes);
        assert_eq!(length, 8 + 2 * 24 + 64 * 16 + 8);
        let mut again = Index::new(4, SEGMENT, 8, 8);
        again.segment_opened(FileIndex(1), SegmentSeq(5));
        // Another start: the handles may stand in other slots, and one topic is gone.
        let slot_of = |handle| (handle == PartitionHandle(11)).then_some(PartitionSlot(6));
        assert_eq!(again.index_read(FileIndex(1), &bytes[..length], &slot_of), Ok(()));
        let entry = again.in_segment(FileIndex(1), PartitionSlot(6)).unwrap();
        assert_eq!((entry.first, entry.newest_ms), (Offset(7), 1000));
        assert_eq!(again.block_start(FileIndex(1), 0, PartitionHandle(11)), Some(4096));
        assert_eq!(again.block_start(FileIndex(1), 3, PartitionHandle(11)), None);
        assert_eq!(again.segment_for(PartitionSlot(0), Offset(0)), None);
    }

    #[test]
    fn a_broken_foot_is_refused_whole() {
        let index = filled();
        let mut bytes = vec![0; Index::index_bytes_max(4, SEGMENT, 8)];
        let length = index.index_write(FileIndex(2), &mut bytes);
        let mut again = Index::new(4, SEGMENT, 8, 8);
        again.segment_opened(FileIndex(1), SegmentSeq(5));
        let slot_of = |_| Some(PartitionSlot(0));
        // Without its last part it is one of format 3.
        for cut in (0..length).filter(|cut| *cut != length - 8) {
            let result = again.index_read(FileIndex(1), &bytes[..cut], &slot_of);
            assert_eq!(result, Err(IndexBroken), "{cut}");
        }
        let start = 8 + 2 * 24 + 3 * 16 + 8;
        bytes[start] ^= 0xff;
        bytes[start + 1] ^= 0xff;
        let result = again.index_read(FileIndex(1), &bytes[..length], &slot_of);
        assert_eq!(result, Err(IndexBroken));
        assert_eq!(again.in_segment(FileIndex(1), PartitionSlot(0)), None);
        bytes[..4].fill(0xff);
        let result = again.index_read(FileIndex(1), &bytes[..length], &slot_of);
        assert_eq!(result, Err(IndexBroken));
    }

    #[test]
    fn a_foot_lists_carried_stretches_or_says_that_there_are_too_many() {
        let mut index = filled();
        let carried = |base, kept| Run { kept, ..run(1, base, 4) };
        index.group_carried(FileIndex(2), BLOCK * 5, [carried(0, 2), carried(20, 3)].into_iter());
        let mut bytes = vec![0xaa; Index::index_bytes_max(4, SEGMENT, 8)];
        let length = index.index_write(FileIndex(2), &mut bytes);
        let mut again = Index::new(4, SEGMENT, 8, 8);
        again.segment_opened(FileIndex(1), SegmentSeq(5));
        let slot_of = |handle: PartitionHandle| Some(PartitionSlot(handle.0 as u16 - 10));
        assert_eq!(again.index_read(FileIndex(1), &bytes[..length], &slot_of), Ok(()));
        again.carried_settle();
        let found = again.carried().entries().iter();
        let found: Vec<_> = found.map(|e| (e.from.0, e.to().0, e.at(), e.keys, e.bytes)).collect();
        assert_eq!(found, [(0, 4, BLOCK * 5, 2, 100), (20, 24, BLOCK * 5, 3, 100)]);
        assert_eq!(again.first_offset(PartitionSlot(1)), Some(Offset(0)));
        assert_eq!(again.first_original(PartitionSlot(1)), Some(Offset(7)));
        let many = (0..=limits::CARRIED_PER_FOOT_MAX as i64).map(|i| carried(100 + i * 10, 1));
        index.group_carried(FileIndex(2), BLOCK * 6, many);
        let length = index.index_write(FileIndex(2), &mut bytes);
        let mut again = Index::new(4, SEGMENT, 8, 8);
        again.segment_opened(FileIndex(1), SegmentSeq(5));
        let result = again.index_read(FileIndex(1), &bytes[..length], &slot_of);
        assert_eq!(result, Err(IndexBroken));
    }
}
