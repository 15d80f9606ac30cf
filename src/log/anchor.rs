//! Heads and feet: how a segment begins and ends, with a snapshot of everything that is synced.

use crate::limits::PAGE_BYTES;
use crate::log::carry::groups::WINDOW_BYTES_MIN;
use crate::log::format::{
    Anchor, AnchorKind, GROUP_HEADER_BYTES, GroupHeader, LIST_ENTRY_BYTES, ListEntry, Piece,
    RingId, RingName, whole_pages,
};
use crate::log::index::Index;
use crate::log::record::{Appender, MetaRecord};
use crate::log::ring::Ring;
use crate::log::state::State;
use crate::storage::Part;
use crate::types::{Boot, FileIndex, GroupSeq, RingIndex, SegmentSeq};

/// What an anchor says, apart from its body.
#[derive(Debug, Clone, Copy)]
pub struct Fields {
    /// The ring.
    pub ring_id: RingId,
    /// Head or foot.
    pub kind: AnchorKind,
    /// The boot that writes it.
    pub boot: Boot,
    /// The segment.
    pub seq: SegmentSeq,
    /// Its file.
    pub file: FileIndex,
    /// Where groups may start.
    pub alignment: u32,
    /// Bytes of each segment file.
    pub segment_bytes: u64,
    /// The ring's name.
    pub name: RingName,
    /// How many segments it is to have.
    pub segments: u16,
    /// Where its groups start; computed for a head.
    pub groups_at: u64,
    /// Where they end; computed for a head.
    pub end: u64,
    /// The group that comes next.
    pub group_next: GroupSeq,
    /// The CRC of the last group's header.
    pub prev_crc: u32,
    /// The wall clock.
    pub wall_ms: i64,
}

/// The buffer in which anchors, seals and notes of eviction are made; one per ring.
#[derive(Default)]
pub struct AnchorBuffer {
    buf: Box<[u8]>,
    parts: Vec<Part>,
}

impl AnchorBuffer {
    /// For anchors of at most `bytes_max`.
    pub fn new(bytes_max: usize) -> AnchorBuffer {
        let buf = vec![0; bytes_max].into_boxed_slice();
        AnchorBuffer { buf, parts: Vec::with_capacity(1) }
    }

    /// Makes a head; gives its length, or none if it does not fit.
    pub fn put_head(
        &mut self,
        fields: Fields,
        list: impl Iterator<Item = ListEntry>,
        index: RingIndex,
        state: &State,
        ring: &Ring,
    ) -> Option<usize> {
        let (list, snapshot) = self.put_body(PAGE_BYTES, list, index, state, ring)?;
        let body = list.len() + snapshot.len();
        let bytes = PAGE_BYTES + whole_pages(body as u64) as usize;
        let anchor = Anchor {
            groups_at: bytes as u64,
            end: bytes as u64,
            ..self.anchor(fields, PAGE_BYTES as u64, &list, &snapshot, &(0..0))
        };
        self.buf.get_mut(PAGE_BYTES + body..bytes)?.fill(0);
        self.buf[..PAGE_BYTES].fill(0);
        anchor.encode(&mut self.buf[..PAGE_BYTES]);
        Some(bytes)
    }

    /// Makes a foot, with the index of its segment; gives its length, or none if it does not fit.
    pub fn put_foot(
        &mut self,
        fields: Fields,
        list: impl Iterator<Item = ListEntry>,
        ring_index: RingIndex,
        state: &State,
        ring: &Ring,
        index: &Index,
    ) -> Option<usize> {
        let (list, snapshot) = self.put_body(0, list, ring_index, state, ring)?;
        let from = snapshot.end;
        let segment_bytes = fields.segment_bytes;
        let room = index.index_bytes_most();
        let window = self.buf.get_mut(from..from + room)?;
        let entries = from..from + index.index_write(fields.file, window);
        let body = whole_pages(entries.end as u64) as usize;
        let bytes = body + PAGE_BYTES;
        self.buf.get_mut(entries.end..bytes)?.fill(0);
        let body_at = segment_bytes.checked_sub(bytes as u64)?;
        let anchor = self.anchor(fields, body_at, &list, &snapshot, &entries);
        anchor.encode(&mut self.buf[body..bytes]);
        Some(bytes)
    }

    /// Makes a group without batches; gives the length of its contents and its header's CRC.
    pub fn put_group(
        &mut self,
        header: GroupHeader,
        record: Option<&MetaRecord<'_>>,
    ) -> (usize, u32) {
        let mut meta = Appender::at(GROUP_HEADER_BYTES);
        if let Some(record) = record {
            meta.push(record, &mut self.buf).expect("a small record fits the anchor buffer");
        }
        let end = meta.end();
        let meta = Piece::of(&self.buf[GROUP_HEADER_BYTES..end]);
        let empty = Piece::of(&[]);
        let header = GroupHeader {
            meta_bytes: meta.bytes,
            meta_crc: meta.crc,
            directory_crc: empty.crc,
            ..header
        };
        let crc = header.encode(&mut self.buf);
        (end, crc)
    }

    /// Lends the first `bytes` to a write job.
    pub fn lend(&mut self, bytes: usize) -> (Box<[u8]>, Vec<Part>) {
        self.parts.clear();
        self.parts.push(Part { at: 0, bytes: bytes as u32 });
        (std::mem::take(&mut self.buf), std::mem::take(&mut self.parts))
    }

    /// Lends all of it, to read into.
    pub fn lend_all(&mut self) -> (Box<[u8]>, Vec<Part>) {
        self.parts.clear();
        (std::mem::take(&mut self.buf), std::mem::take(&mut self.parts))
    }

    /// Takes the buffer back.
    pub fn take_back(&mut self, buf: Box<[u8]>, parts: Vec<Part>) {
        self.buf = buf;
        self.parts = parts;
    }

    fn put_body(
        &mut self,
        from: usize,
        list: impl Iterator<Item = ListEntry>,
        index: RingIndex,
        state: &State,
        ring: &Ring,
    ) -> Option<(std::ops::Range<usize>, std::ops::Range<usize>)> {
        let mut at = from;
        for entry in list {
            entry.encode(self.buf.get_mut(at..at + LIST_ENTRY_BYTES)?);
            at += LIST_ENTRY_BYTES;
        }
        let list = from..at;
        let buf = &mut self.buf;
        let mut records = Appender::at(at);
        let put = &mut |record: &MetaRecord<'_>| records.push(record, buf).is_some();
        let whole = state.snapshot(index, ring.ticket_synced(), put);
        whole.then(|| (list.clone(), list.end..records.end()))
    }

    fn anchor(
        &self,
        fields: Fields,
        body_at: u64,
        list: &std::ops::Range<usize>,
        snapshot: &std::ops::Range<usize>,
        index: &std::ops::Range<usize>,
    ) -> Anchor {
        Anchor {
            ring_id: fields.ring_id,
            kind: fields.kind,
            boot: fields.boot,
            seq: fields.seq,
            file: fields.file,
            alignment: fields.alignment,
            segment_bytes: fields.segment_bytes,
            name: fields.name,
            segments: fields.segments,
            groups_at: fields.groups_at,
            end: fields.end,
            group_next: fields.group_next,
            prev_crc: fields.prev_crc,
            body_at,
            list: Piece::of(&self.buf[list.clone()]),
            snapshot: Piece::of(&self.buf[snapshot.clone()]),
            index: Piece::of(&self.buf[index.clone()]),
            wall_ms: fields.wall_ms,
        }
    }
}

/// The most bytes that the current segment's foot may take now.
pub fn foot_bytes_max(ring: &Ring, state: &State) -> u64 {
    let partitions =
        if ring.index == state.numbers().shared() { 0 } else { state.limits().partitions_max };
    let list = (ring.segments().len() + 1) * LIST_ENTRY_BYTES;
    let files = usize::from(ring.config.segments) + usize::from(ring.config.spares);
    let index = Index::index_bytes_max(files, ring.config.segment_bytes, partitions);
    let body = list + state.snapshot_bytes_bound(ring.index) + index;
    whole_pages(body as u64) + PAGE_BYTES as u64
}

/// The size of the buffer for the anchors of a ring.
pub fn anchor_bytes_max(
    files: usize,
    segment_bytes: u64,
    partitions_max: usize,
    snapshot_bytes_max: usize,
) -> usize {
    let list = (files + 1) * LIST_ENTRY_BYTES;
    let index = Index::index_bytes_max(files, segment_bytes, partitions_max);
    let anchor = whole_pages((list + snapshot_bytes_max + index) as u64) as usize + 2 * PAGE_BYTES;
    // Compaction reads into it as well.
    anchor.max(WINDOW_BYTES_MIN)
}
