//! A ring as its files tell: the newest snapshot, the segments that live, their indexes. What stands
//! behind the snapshot is replayed in [`replay`].

mod replay;

use crate::limits::PAGE_BYTES;
use crate::log::LogConfig;
use crate::log::format::{Anchor, AnchorKind, AnchorPage, LIST_ENTRY_BYTES, ListEntry, Piece};
use crate::log::index::Index;
use crate::log::open::{Damage, OpenError};
use crate::log::record::Records;
use crate::log::recovery::{self, End, Proof, Slot, Start};
use crate::log::ring::{Ring, Segment};
use crate::log::scan::{self, Expect, Reader};
use crate::log::state::{State, TableFull};
use crate::storage::Storage;
use crate::types::{
    Boot, FileIndex, FileRef, GroupSeq, Offset, PartitionHandle, RingIndex, SegmentSeq,
};

/// A ring as it was found.
pub(super) struct Recovered {
    pub(super) ring: Ring,
    pub(super) index: Index,
    pub(super) tail: Option<Slot>,
    pub(super) gaps: Vec<Gap>,
    pub(super) damage: Damage,
}

/// A partition whose offsets below this one were taken by a group that was cut short.
pub(super) type Gap = (PartitionHandle, Offset);

/// A file's two anchors.
struct FoundFile {
    file: FileIndex,
    head: AnchorPage,
    foot: AnchorPage,
}

pub(super) struct RingRecovery<'a> {
    storage: &'a dyn Storage,
    ring: Ring,
    index: Index,
    damage: Damage,
    tail: Vec<Slot>,
    gaps: Vec<Gap>,
    evicted: Option<SegmentSeq>,
    /// Whether a group was lost whole: gaps in offsets are damage from there on.
    lost: bool,
    full: Option<TableFull>,
}

impl<'a> RingRecovery<'a> {
    pub(super) fn new(config: &'a LogConfig, ring: RingIndex, storage: &'a dyn Storage) -> Self {
        let ring_config = config.rings[usize::from(ring.0)].clone();
        let files = crate::limits::SEGMENTS_MAX
            .min(usize::from(ring_config.segments) + usize::from(ring_config.spares));
        let highest = storage.files(ring).ok().and_then(|files| files.last().copied());
        let files = files.max(highest.map_or(0, |(file, _)| usize::from(file.0) + 1));
        let index = Index::new(files, ring_config.segment_bytes, config.state.partitions_max);
        let anchor_bytes = config.anchor_bytes_max(&ring_config);
        let group_bytes = config.group_bytes_max;
        let ring = Ring::new(
            ring,
            ring_config,
            group_bytes,
            config.commit_alignment,
            config.seal_after_ms,
            anchor_bytes,
        );
        RingRecovery {
            storage,
            ring,
            index,
            damage: Damage::default(),
            tail: Vec::new(),
            gaps: Vec::new(),
            evicted: None,
            lost: false,
            full: None,
        }
    }

    pub(super) fn run(mut self, state: &mut State) -> Result<Recovered, OpenError> {
        let mut files = self.read_anchors()?;
        self.choose_ring(&mut files);
        self.check_sizes(&files)?;
        let base = self.restore_newest(&files, state)?;
        let mut live = self.live_segments(base.as_ref(), &files);
        self.note_highest(&files);
        self.replay(base.as_ref(), &mut live, state);
        if let Some(evicted) = self.evicted {
            live.retain(|segment| segment.seq > evicted);
        }
        self.index_closed(base.as_ref(), &live, &files, state);
        self.ring.free = (files.iter().map(|found| found.file))
            .filter(|file| !live.iter().any(|segment| segment.file == *file))
            .collect();
        self.retire_surplus();
        self.ring.live.extend(live);
        match self.full {
            Some(full) => Err(full.into()),
            None => Ok(Recovered {
                ring: self.ring,
                index: self.index,
                tail: self.tail.pop(),
                gaps: self.gaps,
                damage: self.damage,
            }),
        }
    }

    fn file(&self, file: FileIndex) -> FileRef {
        FileRef { ring: self.ring.index, file }
    }

    /// Past the page cache: after a failed sync and a restart of the process it holds heads and groups
    /// that are not on flash, and that a later cut would take from under all that followed them.
    fn reader(&self, file: FileIndex) -> Reader<'a> {
        Reader::new(self.storage, self.file(file), self.ring.config.segment_bytes, true)
    }

    fn read_anchors(&self) -> Result<Vec<FoundFile>, OpenError> {
        let mut found = Vec::new();
        let bytes = self.ring.config.segment_bytes;
        for (file, _) in self.storage.files(self.ring.index)? {
            let mut page = vec![0; PAGE_BYTES];
            let mut read = |at| match self.storage.read_medium(self.file(file), at, &mut page) {
                Ok(()) => Anchor::decode(&page),
                Err(_) => AnchorPage::Invalid,
            };
            let (head, foot) = (read(0), read(bytes - PAGE_BYTES as u64));
            for page in [&head, &foot] {
                if let AnchorPage::Newer(version) = page {
                    return Err(OpenError::Newer { version: *version });
                }
            }
            found.push(FoundFile { file, head, foot });
        }
        Ok(found)
    }

    /// The ring is the one that most files belong to; anchors of others are not believed.
    fn choose_ring(&mut self, files: &mut [FoundFile]) {
        let ids = files.iter().flat_map(FoundFile::anchors).map(|anchor| anchor.ring_id);
        let ids: Vec<_> = ids.collect();
        let count = |id| ids.iter().filter(|other| **other == id).count();
        let Some(id) = ids.iter().copied().max_by_key(|id| count(*id)) else {
            return;
        };
        self.ring.id = id;
        for found in files {
            for page in [&mut found.head, &mut found.foot] {
                if matches!(page, AnchorPage::Valid(anchor) if anchor.ring_id != id) {
                    log::warn!(
                        "ring {}: segment file {} is of another ring and is not believed",
                        self.ring.config.name,
                        found.file.0
                    );
                    *page = AnchorPage::Invalid;
                }
            }
        }
    }

    fn check_sizes(&self, files: &[FoundFile]) -> Result<(), OpenError> {
        let bytes = self.ring.config.segment_bytes;
        let other = files.iter().flat_map(FoundFile::anchors).map(|a| a.segment_bytes);
        match other.into_iter().find(|other| *other != bytes) {
            Some(other) => Err(OpenError::Config {
                key: "ring.segment_bytes",
                found: format!("its segments are of {other} bytes, not {bytes}"),
            }),
            None => Ok(()),
        }
    }

    /// Takes the newest snapshot that is whole into the state; gives its anchor and its list.
    fn restore_newest(
        &mut self,
        files: &[FoundFile],
        state: &mut State,
    ) -> Result<Option<Base>, OpenError> {
        let mut anchors: Vec<(FileIndex, &Anchor)> = Vec::new();
        for found in files {
            anchors.extend(found.anchors().map(|anchor| (found.file, anchor)));
        }
        anchors.sort_by_key(|(_, anchor)| (anchor.seq, anchor.kind == AnchorKind::Foot));
        for (file, anchor) in anchors.into_iter().rev() {
            let body = self.body(file, anchor);
            let list = anchor.list.bytes as usize;
            let end = list + anchor.snapshot.bytes as usize;
            let whole = body.len() >= end
                && anchor.list.holds(&body[..list])
                && anchor.snapshot.holds(&body[list..end]);
            if !whole {
                log::warn!(
                    "ring {}: the snapshot of segment {} is damaged; an older one is used",
                    self.ring.config.name,
                    anchor.seq.0
                );
                continue;
            }
            for record in Records::new(&body[list..end]) {
                state.apply(self.ring.index, &record, &mut |_| {})?;
            }
            let list = ListEntry::decode_all(&body[..list]).collect();
            return Ok(Some(Base { anchor: anchor.clone(), file, list }));
        }
        Ok(None)
    }

    fn body(&self, file: FileIndex, anchor: &Anchor) -> Vec<u8> {
        let bytes = anchor.body_bytes();
        let end = anchor.body_at.checked_add(bytes);
        if end.is_none_or(|end| end > self.ring.config.segment_bytes) {
            return Vec::new();
        }
        self.reader(file).vec(anchor.body_at, bytes as usize)
    }

    /// The segments that live, oldest first: those of the base's list, the base's own, and later ones.
    fn live_segments(&self, base: Option<&Base>, files: &[FoundFile]) -> Vec<Segment> {
        let mut live: Vec<Segment> = Vec::new();
        let base_seq = base.map(|base| base.anchor.seq);
        for entry in base.iter().flat_map(|base| &base.list) {
            let found = files.iter().find(|found| found.file == entry.file);
            // The base may be the foot behind which this file was taken for a segment whose head is
            // broken now.
            let reused = found.is_none_or(|found| {
                found.holds_other(entry.seq) || self.later(found, base_seq, &[]).is_some()
            });
            if !reused {
                live.push(entry.segment(self.groups_at(entry.file, entry.seq, files)));
            }
        }
        if let Some(base) = base.filter(|base| base.anchor.kind != AnchorKind::Foot) {
            live.push(Segment {
                seq: base.anchor.seq,
                file: base.file,
                groups_at: base.anchor.groups_at,
                end: base.anchor.groups_at,
                group_last: GroupSeq(base.anchor.group_next.0 - 1),
                given_up: false,
            });
        }
        for found in files {
            live.extend(self.later(found, base_seq, &live));
        }
        live.sort_by_key(|segment| segment.seq);
        live.dedup_by_key(|segment| segment.seq);
        live
    }

    fn groups_at(&self, file: FileIndex, seq: SegmentSeq, files: &[FoundFile]) -> u64 {
        let found = files.iter().find(|found| found.file == file);
        let anchor = found.and_then(|f| f.anchors().find(|anchor| anchor.seq == seq));
        anchor.map_or(PAGE_BYTES as u64, |anchor| anchor.groups_at)
    }

    /// A segment behind the base, as found: where its groups start, and which one comes before them.
    /// Its snapshot is broken, or it would be the base; so it is believed only if it has a group.
    /// Without one its head was cut short or given up, and nothing was ever written behind it.
    fn later(
        &self,
        found: &FoundFile,
        base: Option<SegmentSeq>,
        live: &[Segment],
    ) -> Option<Segment> {
        if live.iter().any(|segment| segment.file == found.file) {
            return None;
        }
        let head = match &found.head {
            AnchorPage::Valid(head) if base.is_some_and(|base| head.seq <= base) => return None,
            AnchorPage::Blank if base.is_some() => return None,
            AnchorPage::Valid(head) => Some(head),
            _ => None,
        };
        let mut reader = self.reader(found.file);
        let above = head.map(|head| SegmentSeq(head.seq.0.saturating_sub(1))).or(base);
        let limit = self.ring.config.segment_bytes;
        let group = scan::first_group(&mut reader, self.ring.id, above, limit)?;
        if head.is_some_and(|head| head.seq != group.header.segment) {
            return None;
        }
        let groups_at = head.map_or(group.header.position, |head| head.groups_at);
        let group_next = head.map_or(group.header.seq, |head| head.group_next);
        Some(Segment {
            seq: group.header.segment,
            file: found.file,
            groups_at,
            end: groups_at,
            group_last: GroupSeq(group_next.0.saturating_sub(1)),
            given_up: false,
        })
    }

    fn note_highest(&mut self, files: &[FoundFile]) {
        for anchor in files.iter().flat_map(FoundFile::anchors) {
            self.ring.boot = self.ring.boot.max(anchor.boot);
            self.ring.stamp_newest_ms = self.ring.stamp_newest_ms.max(anchor.wall_ms);
            let next = SegmentSeq(anchor.seq.0 + 1);
            self.ring.segment_next = self.ring.segment_next.max(next);
        }
    }

    /// The index of segments that need no replay comes from their feet, or from a walk.
    fn index_closed(
        &mut self,
        base: Option<&Base>,
        live: &[Segment],
        files: &[FoundFile],
        state: &mut State,
    ) {
        let Some(base) = base else { return };
        for segment in live {
            let replayed = segment.seq > base.anchor.seq
                || (segment.seq == base.anchor.seq && base.anchor.kind != AnchorKind::Foot);
            if replayed {
                continue;
            }
            self.index.segment_opened(segment.file, segment.seq);
            let found = files.iter().find(|found| found.file == segment.file);
            let foot = found.and_then(|found| match &found.foot {
                AnchorPage::Valid(foot) if foot.kind == AnchorKind::Foot => Some(&**foot),
                _ => None,
            });
            let foot = foot.filter(|foot| foot.seq == segment.seq);
            if !foot.is_some_and(|foot| self.index_from_foot(segment, foot, state)) {
                self.index_by_walk(segment, state);
            }
        }
    }

    fn index_from_foot(&mut self, segment: &Segment, foot: &Anchor, state: &State) -> bool {
        let body = self.body(segment.file, foot);
        let from = (foot.list.bytes + foot.snapshot.bytes) as usize;
        let Some(bytes) = body.get(from..) else {
            return false;
        };
        let slot_of = |handle| state.partition_with_handle(handle);
        Piece::of(bytes) == foot.index
            && self.index.index_read(segment.file, bytes, &slot_of).is_ok()
    }

    fn index_by_walk(&mut self, segment: &Segment, state: &State) {
        let start = Start {
            at: segment.groups_at,
            limit: segment.end.max(segment.groups_at),
            end: End::Limit,
            crc: 0,
        };
        let expect = Expect {
            ring_id: self.ring.id,
            segment: segment.seq,
            alignment: self.ring.alignment.min(512),
            seq_min: GroupSeq(1),
            boot_min: Boot(0),
        };
        let mut reader = self.reader(segment.file);
        let mut found = Vec::new();
        recovery::walk(&mut reader, start, expect, &mut |reader, slot, proof| {
            let contents = slot.group.map(|group| scan::contents(reader, &group.header));
            match contents.and_then(|contents| contents.runs) {
                Some(runs) if proof == Proof::Acknowledged => found.push((slot.at, runs)),
                _ if proof == Proof::Acknowledged => self.damage.groups += 1,
                _ => {}
            }
        });
        if found.is_empty() && segment.end > segment.groups_at {
            self.damage.segments += 1;
            log::error!(
                "ring {}: segment {} in file {} cannot be read; what it held is lost",
                self.ring.config.name,
                segment.seq.0,
                segment.file.0
            );
        }
        for (at, runs) in found {
            self.index_group(segment.file, at, &runs, state);
        }
    }

    /// Files beyond the configured number are deleted once they hold nothing that lives.
    fn retire_surplus(&mut self) {
        let config = &self.ring.config;
        let kept = self.ring.files_configured();
        for file in self.ring.free.iter().filter(|file| file.0 >= kept) {
            let file = FileRef { ring: self.ring.index, file: *file };
            match self.storage.remove(file) {
                Ok(()) => {
                    log::info!("ring {}: segment file {} is retired", config.name, file.file.0)
                }
                Err(error) => log::warn!("ring {}: {error}", config.name),
            }
        }
        self.ring.free.retain(|file| file.0 < kept);
    }
}

/// The newest whole snapshot's anchor.
struct Base {
    anchor: Anchor,
    file: FileIndex,
    list: Vec<ListEntry>,
}

impl FoundFile {
    fn anchors(&self) -> impl Iterator<Item = &Anchor> {
        [&self.head, &self.foot].into_iter().filter_map(|page| match page {
            AnchorPage::Valid(anchor) => Some(&**anchor),
            _ => None,
        })
    }

    /// Whether the file's head says that it holds another segment than this one.
    fn holds_other(&self, seq: SegmentSeq) -> bool {
        matches!(&self.head, AnchorPage::Valid(head) if head.seq != seq)
    }
}

impl ListEntry {
    fn segment(&self, groups_at: u64) -> Segment {
        Segment {
            seq: self.seq,
            file: self.file,
            groups_at,
            end: self.end,
            group_last: self.group_last,
            given_up: self.given_up,
        }
    }
}

const _: () = assert!(LIST_ENTRY_BYTES == 32, "as FORMAT.md says");
