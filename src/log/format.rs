//! The bytes of a ring on flash; FORMAT.md says the same for readers who do not read Rust.
//!
//! Everything here turns fixed layouts into values and back. Integers are little-endian. Nothing is
//! used before its CRC was checked, and nothing here decides what a broken part means.

use crate::codec::crc::crc32c;
use crate::limits::{PAGE_BYTES, RING_NAME_BYTES_MAX};
use crate::types::{Boot, FileIndex, GroupSeq, Offset, PartitionHandle, SegmentSeq};

/// The format that this build writes, and the newest that it reads.
pub const VERSION: u32 = 5;

/// What every anchor page starts with.
pub const ANCHOR_MAGIC: [u8; 8] = *b"brooklet";

/// What every commit group starts with.
pub const GROUP_MAGIC: u32 = u32::from_le_bytes(*b"bkGr");

/// Bytes of an anchor's fields; the rest of its page is zero.
pub const ANCHOR_BYTES: usize = 192;

/// Bytes of a commit group's header.
pub const GROUP_HEADER_BYTES: usize = 128;

/// Groups start and end at multiples of this, whatever the alignment: a sector.
pub const UNIT_BYTES: u64 = 512;

/// Bytes of a run in a group's directory.
pub const RUN_BYTES: usize = 32;

/// Bytes of an entry in an anchor's list of segments.
pub const LIST_ENTRY_BYTES: usize = 32;

/// A ring's random id, in each of its anchors and groups: nothing with another ring's id is used.
pub type RingId = [u8; 16];

/// What the configuration calls a ring; empty in anchors from before format 5.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RingName([u8; RING_NAME_BYTES_MAX]);

impl RingName {
    /// Of a name that the configuration accepts.
    pub fn of(name: &str) -> RingName {
        let mut bytes = [0; RING_NAME_BYTES_MAX];
        let length = name.len().min(bytes.len());
        bytes[..length].copy_from_slice(&name.as_bytes()[..length]);
        RingName(bytes)
    }

    /// As text; empty if it is not UTF-8.
    pub fn as_str(&self) -> &str {
        let length = self.0.iter().position(|byte| *byte == 0).unwrap_or(self.0.len());
        std::str::from_utf8(&self.0[..length]).unwrap_or("")
    }
}

/// Which of the three kinds of anchor this is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AnchorKind {
    /// At position 0 of a segment.
    Head,
    /// In the last page of a closed segment.
    Foot,
    /// In the last page of the ring's first segment until its foot replaces it: the head's twin.
    Twin,
}

/// A head or foot: where things are in its segment, and which segments live.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Anchor {
    /// The ring.
    pub ring_id: RingId,
    /// What it is.
    pub kind: AnchorKind,
    /// Who wrote it.
    pub boot: Boot,
    /// The segment.
    pub seq: SegmentSeq,
    /// The segment's file.
    pub file: FileIndex,
    /// Where groups may start.
    pub alignment: u32,
    /// Bytes of each segment file.
    pub segment_bytes: u64,
    /// The ring's name.
    pub name: RingName,
    /// `segments` of the writer's configuration; 0: from before format 5.
    pub segments: u16,
    /// Where this segment's groups start.
    pub groups_at: u64,
    /// Where they end (foot), or start (head).
    pub end: u64,
    /// The sequence of the group that comes next.
    pub group_next: GroupSeq,
    /// The CRC in the header of the last group before this anchor.
    pub prev_crc: u32,
    /// Where the body starts: list, snapshot and index, one behind the other.
    pub body_at: u64,
    /// Bytes and CRC of the list of live segments.
    pub list: Piece,
    /// Bytes and CRC of the snapshot.
    pub snapshot: Piece,
    /// Bytes and CRC of the segment's index (foot only).
    pub index: Piece,
    /// When it was written, by the wall clock.
    pub wall_ms: i64,
}

/// Length and CRC-32C of a part of an anchor's body.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Piece {
    /// Its bytes.
    pub bytes: u32,
    /// Its CRC.
    pub crc: u32,
}

impl Piece {
    /// Of these bytes.
    pub fn of(bytes: &[u8]) -> Piece {
        Piece { bytes: bytes.len() as u32, crc: crc32c(bytes) }
    }

    /// Whether these are the bytes.
    pub fn holds(&self, bytes: &[u8]) -> bool {
        *self == Piece::of(bytes)
    }
}

/// What an anchor page may turn out to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AnchorPage {
    /// A whole anchor of this format.
    Valid(Box<Anchor>),
    /// An anchor of a newer format: the broker must not touch the ring.
    Newer(u32),
    /// Zeroes: never written.
    Blank,
    /// Anything else: torn, damaged, or not an anchor's page.
    Invalid,
}

const NAME_AT: usize = 136;

impl Anchor {
    /// Writes the fields to the start of `page`.
    pub fn encode(&self, page: &mut [u8]) {
        assert!(page.len() >= ANCHOR_BYTES);
        page[..ANCHOR_BYTES].fill(0);
        page[..8].copy_from_slice(&ANCHOR_MAGIC);
        put_u32(page, 8, VERSION);
        page[16..32].copy_from_slice(&self.ring_id);
        put_u32(page, 32, self.kind.number());
        put_u32(page, 36, self.boot.0);
        put_u64(page, 40, self.seq.0);
        page[48..50].copy_from_slice(&self.file.0.to_le_bytes());
        page[50..52].copy_from_slice(&self.segments.to_le_bytes());
        put_u32(page, 52, self.alignment);
        put_u64(page, 56, self.segment_bytes);
        put_u64(page, 64, self.groups_at);
        put_u64(page, 72, self.end);
        put_u64(page, 80, self.group_next.0);
        put_u32(page, 88, self.prev_crc);
        put_u64(page, 96, self.body_at);
        for (at, piece) in [(104, self.list), (112, self.snapshot), (120, self.index)] {
            put_u32(page, at, piece.bytes);
            put_u32(page, at + 4, piece.crc);
        }
        put_u64(page, 128, self.wall_ms as u64);
        page[NAME_AT..NAME_AT + RING_NAME_BYTES_MAX].copy_from_slice(&self.name.0);
        let crc = crc32c(&page[16..ANCHOR_BYTES]);
        put_u32(page, 12, crc);
    }

    /// Reads a page. A version beyond ours is told apart first: its fields may mean other things.
    pub fn decode(page: &[u8]) -> AnchorPage {
        let Some(page) = page.get(..ANCHOR_BYTES) else {
            return AnchorPage::Invalid;
        };
        if page.iter().all(|byte| *byte == 0) {
            return AnchorPage::Blank;
        }
        if page[..8] != ANCHOR_MAGIC {
            return AnchorPage::Invalid;
        }
        if get_u32(page, 8) > VERSION {
            return AnchorPage::Newer(get_u32(page, 8));
        }
        let kind = AnchorKind::from_number(get_u32(page, 32));
        let (Some(kind), true) = (kind, get_u32(page, 12) == crc32c(&page[16..ANCHOR_BYTES]))
        else {
            return AnchorPage::Invalid;
        };
        let piece = |at| Piece { bytes: get_u32(page, at), crc: get_u32(page, at + 4) };
        AnchorPage::Valid(Box::new(Anchor {
            ring_id: get_id(page, 16),
            kind,
            boot: Boot(get_u32(page, 36)),
            seq: SegmentSeq(get_u64(page, 40)),
            file: FileIndex(u16::from_le_bytes([page[48], page[49]])),
            alignment: get_u32(page, 52),
            segment_bytes: get_u64(page, 56),
            name: RingName(std::array::from_fn(|at| page[NAME_AT + at])),
            segments: u16::from_le_bytes([page[50], page[51]]),
            groups_at: get_u64(page, 64),
            end: get_u64(page, 72),
            group_next: GroupSeq(get_u64(page, 80)),
            prev_crc: get_u32(page, 88),
            body_at: get_u64(page, 96),
            list: piece(104),
            snapshot: piece(112),
            index: piece(120),
            wall_ms: get_u64(page, 128) as i64,
        }))
    }

    /// Bytes of the body.
    pub fn body_bytes(&self) -> u64 {
        u64::from(self.list.bytes) + u64::from(self.snapshot.bytes) + u64::from(self.index.bytes)
    }
}

impl AnchorKind {
    fn number(self) -> u32 {
        match self {
            AnchorKind::Head => 1,
            AnchorKind::Foot => 2,
            AnchorKind::Twin => 3,
        }
    }

    fn from_number(number: u32) -> Option<AnchorKind> {
        [AnchorKind::Head, AnchorKind::Foot, AnchorKind::Twin]
            .into_iter()
            .find(|kind| kind.number() == number)
    }
}

/// One live segment, as an anchor lists it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ListEntry {
    /// Its place in history.
    pub seq: SegmentSeq,
    /// Where its valid groups end.
    pub end: u64,
    /// The last valid group in it.
    pub group_last: GroupSeq,
    /// Its file.
    pub file: FileIndex,
    /// Whether it was given up after a failure: then it has no foot.
    pub given_up: bool,
    /// Bytes of compacted partitions in it that no pass has read.
    pub dirty: u32,
}

impl ListEntry {
    /// Writes the entry to `out`.
    pub fn encode(&self, out: &mut [u8]) {
        out[..LIST_ENTRY_BYTES].fill(0);
        put_u64(out, 0, self.seq.0);
        put_u64(out, 8, self.end);
        put_u64(out, 16, self.group_last.0);
        out[24..26].copy_from_slice(&self.file.0.to_le_bytes());
        out[26..28].copy_from_slice(&u16::from(self.given_up).to_le_bytes());
        put_u32(out, 28, self.dirty);
    }

    /// Reads a checked list.
    pub fn decode_all(list: &[u8]) -> impl Iterator<Item = ListEntry> {
        list.chunks_exact(LIST_ENTRY_BYTES).map(|entry| ListEntry {
            seq: SegmentSeq(get_u64(entry, 0)),
            end: get_u64(entry, 8),
            group_last: GroupSeq(get_u64(entry, 16)),
            file: FileIndex(u16::from_le_bytes([entry[24], entry[25]])),
            given_up: entry[26] & 1 != 0,
            dirty: get_u32(entry, 28),
        })
    }
}

/// Set in a group that only says that the one before it is on flash.
pub const FLAG_SEAL: u16 = 1;

/// Set in a group that repeats what an earlier boot left unproven. No longer written.
pub const FLAG_COPY: u16 = 2;

/// Set in a group of carried runs: live records of compacted partitions, written once more before
/// their segment is overwritten.
pub const FLAG_CARRIED: u16 = 4;

/// A commit group's header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GroupHeader {
    /// The ring.
    pub ring_id: RingId,
    /// The segment.
    pub segment: SegmentSeq,
    /// The group.
    pub seq: GroupSeq,
    /// Where it starts in the segment.
    pub position: u64,
    /// Who wrote it.
    pub boot: Boot,
    /// `FLAG_…`
    pub flags: u16,
    /// All groups up to this one were known to be on flash when this one was written.
    pub synced_through: GroupSeq,
    /// Where not 0: this group repeats that one, of an earlier boot, which nothing proves. No longer
    /// written.
    pub supersedes: GroupSeq,
    /// When it was written, by the wall clock.
    pub wall_ms: i64,
    /// Bytes from its start to the next group's, padding included.
    pub bytes: u32,
    /// Runs in its directory.
    pub runs: u32,
    /// Bytes of record batches.
    pub payload_bytes: u32,
    /// Bytes of metadata records.
    pub meta_bytes: u32,
    /// CRC-32C of the directory.
    pub directory_crc: u32,
    /// CRC-32C of the metadata records.
    pub meta_crc: u32,
    /// The CRC in the header of the group before.
    pub prev_crc: u32,
}

impl GroupHeader {
    /// Writes the header to `out`; gives its CRC.
    pub fn encode(&self, out: &mut [u8]) -> u32 {
        out[..GROUP_HEADER_BYTES].fill(0);
        put_u32(out, 0, GROUP_MAGIC);
        out[8..24].copy_from_slice(&self.ring_id);
        put_u64(out, 24, self.segment.0);
        put_u64(out, 32, self.seq.0);
        put_u64(out, 40, self.position);
        put_u32(out, 48, self.boot.0);
        out[52..54].copy_from_slice(&self.flags.to_le_bytes());
        put_u64(out, 56, self.synced_through.0);
        put_u64(out, 64, self.supersedes.0);
        put_u64(out, 72, self.wall_ms as u64);
        let words = [
            self.bytes,
            self.runs,
            self.payload_bytes,
            self.meta_bytes,
            self.directory_crc,
            self.meta_crc,
            self.prev_crc,
        ];
        for (i, word) in words.into_iter().enumerate() {
            put_u32(out, 80 + 4 * i, word);
        }
        let crc = crc32c(&out[8..GROUP_HEADER_BYTES]);
        put_u32(out, 4, crc);
        crc
    }

    /// Reads a header whose magic, CRC and lengths hold; also gives its CRC.
    pub fn decode(bytes: &[u8]) -> Option<(GroupHeader, u32)> {
        let bytes = bytes.get(..GROUP_HEADER_BYTES)?;
        let crc = get_u32(bytes, 4);
        if get_u32(bytes, 0) != GROUP_MAGIC || crc != crc32c(&bytes[8..]) {
            return None;
        }
        let header = GroupHeader {
            ring_id: get_id(bytes, 8),
            segment: SegmentSeq(get_u64(bytes, 24)),
            seq: GroupSeq(get_u64(bytes, 32)),
            position: get_u64(bytes, 40),
            boot: Boot(get_u32(bytes, 48)),
            flags: u16::from_le_bytes([bytes[52], bytes[53]]),
            synced_through: GroupSeq(get_u64(bytes, 56)),
            supersedes: GroupSeq(get_u64(bytes, 64)),
            wall_ms: get_u64(bytes, 72) as i64,
            bytes: get_u32(bytes, 80),
            runs: get_u32(bytes, 84),
            payload_bytes: get_u32(bytes, 88),
            meta_bytes: get_u32(bytes, 92),
            directory_crc: get_u32(bytes, 96),
            meta_crc: get_u32(bytes, 100),
            prev_crc: get_u32(bytes, 104),
        };
        (header.contents_bytes() <= u64::from(header.bytes)).then_some((header, crc))
    }

    /// Whether its runs are carried ones.
    pub fn is_carried(&self) -> bool {
        self.flags & FLAG_CARRIED != 0
    }

    /// Bytes without the padding.
    pub fn contents_bytes(&self) -> u64 {
        self.payload_at() + u64::from(self.payload_bytes)
    }

    /// Where the directory starts, counted from the group's start.
    pub fn directory_at(&self) -> u64 {
        GROUP_HEADER_BYTES as u64
    }

    /// Bytes of the directory.
    pub fn directory_bytes(&self) -> u64 {
        u64::from(self.runs) * RUN_BYTES as u64
    }

    /// Where the metadata records start, counted from the group's start.
    pub fn meta_at(&self) -> u64 {
        self.directory_at() + self.directory_bytes()
    }

    /// Where the record batches start, counted from the group's start.
    pub fn payload_at(&self) -> u64 {
        self.meta_at() + u64::from(self.meta_bytes)
    }
}

/// One partition's part of a commit group: batches one behind the other, offsets without gaps. In a
/// carried group it is a stretch of offsets, of which only the records in these batches count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Run {
    /// The partition.
    pub handle: PartitionHandle,
    /// How many offsets it takes.
    pub records: u32,
    /// The first offset.
    pub offset: Offset,
    /// Bytes of its batches.
    pub bytes: u32,
    /// The newest timestamp in it.
    pub timestamp_max_ms: i64,
    /// In a carried group: how many records its batches hold; else 0.
    pub kept: u32,
}

impl Run {
    /// Writes the run to `out`.
    pub fn encode(&self, out: &mut [u8]) {
        put_u32(out, 0, self.handle.0);
        put_u32(out, 4, self.records);
        put_u64(out, 8, self.offset.0 as u64);
        put_u32(out, 16, self.bytes);
        put_u32(out, 20, self.kept);
        put_u64(out, 24, self.timestamp_max_ms as u64);
    }

    /// Reads a checked directory.
    pub fn decode_all(directory: &[u8]) -> impl Iterator<Item = Run> + Clone {
        directory.chunks_exact(RUN_BYTES).map(|run| Run {
            handle: PartitionHandle(get_u32(run, 0)),
            records: get_u32(run, 4),
            offset: Offset(get_u64(run, 8) as i64),
            bytes: get_u32(run, 16),
            timestamp_max_ms: get_u64(run, 24) as i64,
            kept: get_u32(run, 20),
        })
    }

    /// Whether its batches were carried, and leave offsets out.
    pub fn is_carried(&self) -> bool {
        self.kept > 0
    }

    /// The offset behind its last record.
    pub fn end(&self) -> Offset {
        self.offset.plus(self.records)
    }
}

/// `bytes`, rounded up to whole pages.
pub fn whole_pages(bytes: u64) -> u64 {
    bytes.next_multiple_of(PAGE_BYTES as u64)
}

fn put_u32(out: &mut [u8], at: usize, value: u32) {
    out[at..at + 4].copy_from_slice(&value.to_le_bytes());
}

fn put_u64(out: &mut [u8], at: usize, value: u64) {
    out[at..at + 8].copy_from_slice(&value.to_le_bytes());
}

fn get_u32(bytes: &[u8], at: usize) -> u32 {
    let mut word = [0; 4];
    word.copy_from_slice(&bytes[at..at + 4]);
    u32::from_le_bytes(word)
}

fn get_u64(bytes: &[u8], at: usize) -> u64 {
    let mut word = [0; 8];
    word.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(word)
}

fn get_id(bytes: &[u8], at: usize) -> RingId {
    let mut id = [0; 16];
    id.copy_from_slice(&bytes[at..at + 16]);
    id
}

const _: () = assert!(ANCHOR_BYTES <= 512, "an anchor's fields stay in one sector");
const _: () = assert!(GROUP_HEADER_BYTES <= 512, "a header stays in one sector");

#[cfg(test)]
mod tests {
    use super::*;

    fn header() -> GroupHeader {
        GroupHeader {
            ring_id: [7; 16],
            segment: SegmentSeq(3),
            seq: GroupSeq(9),
            position: 8192,
            boot: Boot(2),
            flags: FLAG_COPY,
            synced_through: GroupSeq(8),
            supersedes: GroupSeq(5),
            wall_ms: -1,
            bytes: 4096,
            runs: 2,
            payload_bytes: 300,
            meta_bytes: 12,
            directory_crc: 1,
            meta_crc: 2,
            prev_crc: 3,
        }
    }

    fn anchor() -> Anchor {
        Anchor {
            ring_id: [9; 16],
            kind: AnchorKind::Foot,
            boot: Boot(4),
            seq: SegmentSeq(11),
            file: FileIndex(5),
            alignment: 4096,
            segment_bytes: 1 << 24,
            name: RingName::of("telemetry"),
            segments: 16,
            groups_at: 8192,
            end: 1 << 23,
            group_next: GroupSeq(77),
            prev_crc: 0xdead_beef,
            body_at: 123,
            list: Piece { bytes: 1, crc: 2 },
            snapshot: Piece { bytes: 3, crc: 4 },
            index: Piece { bytes: 5, crc: 6 },
            wall_ms: 1_700_000_000_000,
        }
    }

    #[test]
    fn a_header_comes_back_and_any_flipped_bit_is_noticed() {
        let mut bytes = [0u8; GROUP_HEADER_BYTES];
        let crc = header().encode(&mut bytes);
        assert_eq!(GroupHeader::decode(&bytes), Some((header(), crc)));
        for bit in 0..GROUP_HEADER_BYTES * 8 {
            let mut flipped = bytes;
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(GroupHeader::decode(&flipped), None, "bit {bit}");
        }
    }

    #[test]
    fn a_header_whose_parts_exceed_its_length_is_not_believed() {
        let mut bytes = [0u8; GROUP_HEADER_BYTES];
        GroupHeader { payload_bytes: 4096, ..header() }.encode(&mut bytes);
        assert_eq!(GroupHeader::decode(&bytes), None);
    }

    #[test]
    fn an_anchor_comes_back_and_a_newer_or_broken_or_blank_one_is_told_apart() {
        let mut page = [0u8; PAGE_BYTES];
        assert_eq!(Anchor::decode(&page), AnchorPage::Blank);
        anchor().encode(&mut page);
        assert_eq!(Anchor::decode(&page), AnchorPage::Valid(Box::new(anchor())));
        let mut broken = page;
        broken[100] ^= 1;
        assert_eq!(Anchor::decode(&broken), AnchorPage::Invalid);
        let mut newer = page;
        newer[8] = VERSION as u8 + 1;
        assert_eq!(Anchor::decode(&newer), AnchorPage::Newer(VERSION + 1));
    }

    #[test]
    fn runs_and_list_entries_come_back() {
        let run = Run {
            handle: PartitionHandle(1),
            records: 2,
            offset: Offset(3),
            bytes: 4,
            timestamp_max_ms: -1,
            kept: 5,
        };
        let mut bytes = [0u8; RUN_BYTES * 2];
        run.encode(&mut bytes);
        run.encode(&mut bytes[RUN_BYTES..]);
        assert_eq!(Run::decode_all(&bytes).collect::<Vec<_>>(), vec![run, run]);
        let entry = ListEntry {
            seq: SegmentSeq(1),
            end: 2,
            group_last: GroupSeq(3),
            file: FileIndex(4),
            given_up: true,
            dirty: 5,
        };
        let mut bytes = [0u8; LIST_ENTRY_BYTES];
        entry.encode(&mut bytes);
        assert_eq!(ListEntry::decode_all(&bytes).collect::<Vec<_>>(), vec![entry]);
    }
}
