//! Opening the log: files, the newest snapshot, the groups behind it, the copies, the boot group.

use std::fmt;
use std::sync::Arc;

use crate::clock::Now;
use crate::codec::batch::{self, BatchHeader};
use crate::error::DiskError;
use crate::limits::PAGE_BYTES;
use crate::log::anchor;
use crate::log::format::{
    Anchor, AnchorKind, AnchorPage, FLAG_COPY, FLAG_SEAL, LIST_ENTRY_BYTES, ListEntry, Piece, Run,
};
use crate::log::index::{self, Index};
use crate::log::record::{MetaRecord, Records};
use crate::log::recovery::{self, Finding, Proof, Slot, Start, Verdict, Walked};
use crate::log::ring::{Ring, Segment};
use crate::log::scan::{self, Expect, Reader};
use crate::log::state::{State, TableFull};
use crate::log::{Log, LogConfig};
use crate::storage::Storage;
use crate::types::{
    Boot, FileIndex, FileRef, GroupSeq, Offset, PartitionHandle, RingIndex, SegmentSeq,
};

/// What opening needs from outside.
pub struct Opening<'a> {
    /// The moment, which stamps the boot group.
    pub now: Now,
    /// Fills its argument with random bytes.
    pub entropy: &'a mut dyn FnMut(&mut [u8]),
    /// Told while files are made: ring, file, bytes of it filled, bytes of it in all.
    pub progress: &'a mut dyn FnMut(FileRef, u64, u64),
}

/// Why the log cannot be opened. Damage is never a reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OpenError {
    /// A newer release made the ring: to treat what it wrote as damage would overwrite it.
    Newer {
        /// The format found.
        version: u32,
    },
    /// The configuration does not fit what is on flash.
    Config {
        /// The key.
        key: &'static str,
        /// What the ring has or needs.
        found: String,
    },
    /// The disk failed before there was anything to serve.
    Disk(DiskError),
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            OpenError::Newer { version } => write!(
                f,
                "the ring was written by a newer release (format {version}); this one reads up to {}",
                crate::log::format::VERSION
            ),
            OpenError::Config { key, found } => write!(f, "{key} does not fit the ring: {found}"),
            OpenError::Disk(error) => write!(f, "{error}"),
        }
    }
}

impl std::error::Error for OpenError {}

impl From<DiskError> for OpenError {
    fn from(error: DiskError) -> OpenError {
        OpenError::Disk(error)
    }
}

impl From<TableFull> for OpenError {
    fn from(full: TableFull) -> OpenError {
        let found = format!("it holds more than {}", full.max);
        OpenError::Config {
            key: full.key,
            found,
        }
    }
}

/// What was found damaged or dropped while the log was opened.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Damage {
    /// Acknowledged groups of which something is broken.
    pub groups: u64,
    /// Batches in them whose CRC does not hold.
    pub batches: u64,
    /// Records that are gone with them, as far as offsets tell.
    pub records: u64,
    /// Segments of which nothing can be read.
    pub segments: u64,
    /// Groups that were cut short and had never been acknowledged.
    pub torn: u64,
    /// Groups copied forward.
    pub copied: u64,
}

impl Log {
    /// Opens the rings, or makes them; recovers what a power cut left, and writes the boot group, so
    /// that everything from here on can be told from what was before.
    pub fn open(
        config: &LogConfig,
        storage: Arc<dyn Storage>,
        opening: &mut Opening<'_>,
    ) -> Result<Log, OpenError> {
        let mut log = Log {
            state: State::new(config.state),
            rings: Vec::new(),
            indexes: Vec::new(),
            storage: Arc::clone(&storage),
            metadata_linger_ms: config.metadata_linger_ms,
            damage: Damage::default(),
        };
        let mut tails = Vec::new();
        for place in 0..config.rings.len() {
            let ring = RingIndex(place as u8);
            create_files(config, &*storage, ring, opening)?;
            let recovered = RingRecovery::new(config, ring, &*storage).run(&mut log.state)?;
            log.damage.add(&recovered.damage);
            log.rings.push(recovered.ring);
            log.indexes.push(recovered.index);
            tails.push((recovered.tail, recovered.gaps));
        }
        let boot = log
            .rings
            .iter()
            .map(|ring| ring.boot)
            .max()
            .unwrap_or_default();
        log.state.boot = Boot(boot.0 + 1);
        for (place, (tail, gaps)) in tails.into_iter().enumerate() {
            log.begin(place, tail, &gaps, opening);
            log.log_starts_move(RingIndex(place as u8));
        }
        Ok(log)
    }

    /// What was found while the log was opened.
    pub fn damage(&self) -> Damage {
        self.damage
    }

    /// Writes the boot group, and with it the copy of an unproven one. A disk that fails here is not a
    /// reason not to serve what can be read: the ring tries again, as after any failure.
    fn begin(&mut self, place: usize, tail: Option<Slot>, gaps: &[Gap], opening: &mut Opening<'_>) {
        let now = opening.now;
        let boot = self.state.boot;
        let fresh = self.rings[place].live.is_empty();
        let ring = &mut self.rings[place];
        ring.boot = boot;
        if ring.id == [0; 16] {
            (opening.entropy)(&mut ring.id);
        }
        if let Some(slot) = tail {
            ring.flags = FLAG_COPY;
            ring.supersedes = slot.seq;
            self.copy_forward(place, &slot, now);
        }
        self.stage_driving(place, &MetaRecord::Boot { boot }, now);
        for (handle, next) in gaps {
            let (handle, next) = (*handle, *next);
            let record = MetaRecord::Partition {
                handle,
                log_start: Offset(0),
                next,
                epochs: heapless::Vec::new(),
            };
            self.stage_driving(place, &record, now);
        }
        self.drive(RingIndex(place as u8), now);
        let ring = &mut self.rings[place];
        ring.flags = 0;
        ring.supersedes = GroupSeq(0);
        if fresh {
            self.twin_write(place);
        }
    }

    /// Stages a record, committing what is staged if there is no room for it.
    fn stage_driving(&mut self, place: usize, record: &MetaRecord<'_>, now: Now) {
        if self.rings[place]
            .stage(true, None)
            .push_meta(record)
            .is_err()
        {
            self.drive(RingIndex(place as u8), now);
            let again = self.rings[place].stage(true, None).push_meta(record);
            assert!(
                again.is_ok() || self.rings[place].is_failing(),
                "an empty group takes a record"
            );
        }
    }

    /// Carries out what the ring wants, here and now.
    fn drive(&mut self, ring: RingIndex, now: Now) {
        while let Some(job) = self.next_io(ring, now) {
            let result = job.run(&*self.storage);
            self.io_done(ring, job, result, now);
        }
    }

    /// Stages a whole but unproven group once more.
    fn copy_forward(&mut self, place: usize, slot: &Slot, now: Now) {
        let ring = &self.rings[place];
        let Some(group) = slot.group else { return };
        let Some(segment) = ring.segment_of(group.header.segment) else {
            return;
        };
        let file = FileRef {
            ring: ring.index,
            file: segment.file,
        };
        let storage = Arc::clone(&self.storage);
        let mut reader = Reader::new(&*storage, file, ring.config.segment_bytes, true);
        let contents = scan::contents(&mut reader, &group.header);
        let (Some(runs), Some(meta)) = (contents.runs, contents.meta) else {
            return;
        };
        let mut at = group.header.position + group.header.payload_at();
        for run in &runs {
            let batches = reader.vec(at, run.bytes as usize);
            at += u64::from(run.bytes);
            self.copy_run(place, run, group.header.boot, &batches, now);
        }
        if self.rings[place]
            .stage(true, None)
            .push_meta_bytes(&meta)
            .is_err()
        {
            log::error!(
                "metadata of a group that may not have reached the flash stays where it is"
            );
        }
        self.damage.copied += 1;
    }

    fn copy_run(&mut self, place: usize, run: &Run, epoch: Boot, batches: &[u8], now: Now) {
        let Some(slot) = self.state.partition_with_handle(run.handle) else {
            return;
        };
        if self.damage.groups > 0 {
            self.damage.records += self.state.gap_before(slot, run.offset);
        }
        let Some(partition) = self.state.partition_mut(slot) else {
            return;
        };
        if run.end() <= partition.next {
            return;
        }
        partition.next = run.end();
        let mut epoch = epoch;
        for batch in batch::batches(batches) {
            epoch = epoch.min(epoch_of(&batch.header, epoch));
            self.state.producer_replay(slot, &batch.header);
        }
        if !self.rings[place].open().has_room(batches.len(), 1) {
            self.drive(RingIndex(place as u8), now);
        }
        if self.rings[place].open().has_room(batches.len(), 1) {
            self.rings[place]
                .stage(true, None)
                .push(slot, epoch, *run, batches);
        } else {
            log::error!(
                "commit_group_max_bytes is too small for a group of {} bytes that may not have \
                 reached the flash; it stays where it is",
                batches.len()
            );
        }
    }

    /// A new ring's head once more, at the other end of its segment: nothing else says yet that this
    /// is a ring.
    fn twin_write(&mut self, place: usize) {
        let ring = &self.rings[place];
        let Some(current) = ring.current().copied() else {
            return;
        };
        let file = FileRef {
            ring: ring.index,
            file: current.file,
        };
        let mut head = vec![0; current.groups_at as usize];
        let bytes = ring.config.segment_bytes;
        if self.storage.read(file, 0, &mut head).is_err() {
            return;
        }
        let AnchorPage::Valid(anchor) = Anchor::decode(&head) else {
            return;
        };
        let body = head.split_off(PAGE_BYTES);
        let at = bytes - PAGE_BYTES as u64 - body.len() as u64;
        let twin = Anchor {
            kind: AnchorKind::Twin,
            body_at: at,
            ..*anchor
        };
        let mut page = vec![0; PAGE_BYTES];
        twin.encode(&mut page);
        let parts = [std::io::IoSlice::new(&body), std::io::IoSlice::new(&page)];
        let written = self.storage.write(file, at, &parts);
        if let Err(error) = written.and_then(|()| self.storage.sync(file)) {
            log::warn!("the ring's first head has no twin: {error}");
        }
    }
}

impl Damage {
    fn add(&mut self, other: &Damage) {
        self.groups += other.groups;
        self.batches += other.batches;
        self.records += other.records;
        self.segments += other.segments;
        self.torn += other.torn;
        self.copied += other.copied;
    }
}

fn create_files(
    config: &LogConfig,
    storage: &dyn Storage,
    ring: RingIndex,
    opening: &mut Opening<'_>,
) -> Result<(), OpenError> {
    let ring_config = &config.rings[usize::from(ring.0)];
    let bytes = ring_config.segment_bytes;
    let existing = storage.files(ring)?;
    for file in 0..ring_config.segments + ring_config.spares {
        if !existing.iter().any(|(other, _)| other.0 == file) {
            let file = FileRef {
                ring,
                file: FileIndex(file),
            };
            storage.create(file, bytes, &mut |filled| {
                (opening.progress)(file, filled, bytes)
            })?;
        }
    }
    Ok(())
}

/// A ring as it was found.
struct Recovered {
    ring: Ring,
    index: Index,
    tail: Option<Slot>,
    gaps: Vec<Gap>,
    damage: Damage,
}

/// A partition whose offsets below this one were taken by a group that was cut short.
type Gap = (PartitionHandle, Offset);

/// A file's two anchors.
struct FoundFile {
    file: FileIndex,
    head: AnchorPage,
    foot: AnchorPage,
}

struct RingRecovery<'a> {
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
    fn new(config: &'a LogConfig, ring: RingIndex, storage: &'a dyn Storage) -> Self {
        let ring_config = config.rings[usize::from(ring.0)].clone();
        let files = crate::limits::SEGMENTS_MAX
            .min(usize::from(ring_config.segments) + usize::from(ring_config.spares));
        let highest = storage
            .files(ring)
            .ok()
            .and_then(|files| files.last().copied());
        let files = files.max(highest.map_or(0, |(file, _)| usize::from(file.0) + 1));
        let index = Index::new(
            files,
            ring_config.segment_bytes,
            config.state.partitions_max,
        );
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

    fn run(mut self, state: &mut State) -> Result<Recovered, OpenError> {
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
        FileRef {
            ring: self.ring.index,
            file,
        }
    }

    fn reader(&self, file: FileIndex) -> Reader<'a> {
        Reader::new(
            self.storage,
            self.file(file),
            self.ring.config.segment_bytes,
            false,
        )
    }

    fn read_anchors(&self) -> Result<Vec<FoundFile>, OpenError> {
        let mut found = Vec::new();
        let bytes = self.ring.config.segment_bytes;
        for (file, _) in self.storage.files(self.ring.index)? {
            let mut page = vec![0; PAGE_BYTES];
            let mut read = |at| match self.storage.read(self.file(file), at, &mut page) {
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
        let ids = files
            .iter()
            .flat_map(FoundFile::anchors)
            .map(|anchor| anchor.ring_id);
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
        let other = files
            .iter()
            .flat_map(FoundFile::anchors)
            .map(|a| a.segment_bytes);
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
            return Ok(Some(Base {
                anchor: anchor.clone(),
                file,
                list,
            }));
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
            let reused = found.is_none_or(|found| found.holds_other(entry.seq));
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
            if let Some((seq, groups_at)) = self.later(found, base_seq, &live) {
                live.push(Segment {
                    seq,
                    file: found.file,
                    groups_at,
                    end: groups_at,
                    group_last: GroupSeq(0),
                    given_up: false,
                });
            }
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

    /// A segment behind the base, by its head, or by a group if its head is broken.
    fn later(
        &self,
        found: &FoundFile,
        base: Option<SegmentSeq>,
        live: &[Segment],
    ) -> Option<(SegmentSeq, u64)> {
        if live.iter().any(|segment| segment.file == found.file) {
            return None;
        }
        let newer = |seq: SegmentSeq| base.is_none_or(|base| seq > base);
        match &found.head {
            AnchorPage::Valid(head) => newer(head.seq).then_some((head.seq, head.groups_at)),
            AnchorPage::Blank if base.is_some() => None,
            _ => {
                let limit = self.ring.config.segment_bytes;
                let mut reader = self.reader(found.file);
                let group = scan::first_group(&mut reader, self.ring.id, base, limit)?;
                Some((group.header.segment, group.header.position))
            }
        }
    }

    fn note_highest(&mut self, files: &[FoundFile]) {
        for anchor in files.iter().flat_map(FoundFile::anchors) {
            self.ring.boot = self.ring.boot.max(anchor.boot);
            self.ring.stamp_newest_ms = self.ring.stamp_newest_ms.max(anchor.wall_ms);
            let next = SegmentSeq(anchor.seq.0 + 1);
            self.ring.segment_next = self.ring.segment_next.max(next);
        }
    }

    /// Replays the groups behind the base; leaves in `self.tail` what nothing proves.
    fn replay(&mut self, base: Option<&Base>, live: &mut [Segment], state: &mut State) {
        let mut next = base.map_or(GroupSeq(1), |base| base.anchor.group_next);
        let mut crc = base.map_or(0, |base| base.anchor.prev_crc);
        let boot = base.map_or(Boot(0), |base| base.anchor.boot);
        self.ring.group_synced = GroupSeq(next.0.saturating_sub(1));
        let replayed = |segment: &Segment| {
            base.is_none_or(|base| match base.anchor.kind {
                AnchorKind::Foot => segment.seq > base.anchor.seq,
                _ => segment.seq >= base.anchor.seq,
            })
        };
        let from = live.iter().position(replayed).unwrap_or(live.len());
        for place in from..live.len() {
            let segment = live[place];
            self.ring.segment_next = self.ring.segment_next.max(SegmentSeq(segment.seq.0 + 1));
            self.index.segment_opened(segment.file, segment.seq);
            let start = Start {
                at: segment.groups_at,
                limit: self.ring.config.segment_bytes,
                closed: place + 1 < live.len(),
                limit_known: false,
                crc,
            };
            let expect = Expect {
                ring_id: self.ring.id,
                segment: segment.seq,
                alignment: self.ring.alignment.min(512),
                seq_min: next,
                boot_min: boot,
            };
            let walked = self.replay_segment(&segment, start, expect, state);
            live[place].end = self.tail_of(&walked, segment.file, state);
            live[place].group_last = walked.seq_last;
            next = GroupSeq(walked.seq_last.0 + 1);
            crc = walked.crc;
            self.ring.boot = self.ring.boot.max(walked.boot);
            self.ring.group_synced = walked.proven;
            self.tail_accept(&live[place].clone(), state);
        }
        self.ring.group_next = next;
        self.ring.prev_crc = crc;
        self.ring.closed_by_foot =
            base.is_some_and(|base| base.anchor.kind == AnchorKind::Foot) && from == live.len();
        if self.ring.closed_by_foot
            && let Some((base, last)) = base.zip(live.last_mut())
            && last.seq == base.anchor.seq
        {
            last.end = base.anchor.end;
        }
    }

    fn replay_segment(
        &mut self,
        segment: &Segment,
        start: Start,
        expect: Expect,
        state: &mut State,
    ) -> Walked {
        let mut reader = self.reader(segment.file);
        recovery::walk(&mut reader, start, expect, &mut |reader, slot, proof| {
            self.replay_group(reader, slot, proof, segment.file, state);
        })
    }

    /// One group whose fate is known.
    fn replay_group(
        &mut self,
        reader: &mut Reader<'_>,
        slot: &Slot,
        proof: Proof,
        file: FileIndex,
        state: &mut State,
    ) {
        let contents = slot
            .group
            .map(|group| scan::contents(reader, &group.header));
        let directory = contents
            .as_ref()
            .is_some_and(|c| c.runs.is_some() && c.meta.is_some());
        let stamp = slot.group.map_or(i64::MIN, |group| group.header.wall_ms);
        self.ring.stamp_newest_ms = self.ring.stamp_newest_ms.max(stamp);
        let mut replayed = Replayed::default();
        if proof == Proof::Acknowledged
            && let (Some(group), Some(contents)) = (slot.group, &contents)
            && let (Some(runs), Some(meta)) = (&contents.runs, &contents.meta)
        {
            let payload_at = slot.at + group.header.payload_at();
            replayed = self.replay_runs(reader, runs, payload_at, group.header.boot, state);
            self.index_group(file, slot.at, runs, state);
            self.replay_meta(meta, state);
        }
        let finding = Finding {
            header: slot.group.is_some(),
            directory,
            payload: replayed.bad_batches == 0,
            proof,
        };
        match recovery::verdict(&finding) {
            Verdict::KeepGood => {
                self.damage.groups += 1;
                self.damage.batches += replayed.bad_batches;
                self.damage.records += replayed.bad_records;
            }
            Verdict::Lost => {
                self.damage.groups += 1;
                self.lost = true;
                log::error!(
                    "ring {}: group {} at {} of segment file {} is damaged; what it held is lost",
                    self.ring.config.name,
                    slot.seq.0,
                    slot.at,
                    file.0
                );
                state.producers_forget_sequences(self.ring.index);
            }
            _ => {}
        }
    }

    fn replay_runs(
        &mut self,
        reader: &mut Reader<'_>,
        runs: &[Run],
        mut at: u64,
        boot: Boot,
        state: &mut State,
    ) -> Replayed {
        let mut replayed = Replayed::default();
        for run in runs {
            if let Err(full) = state.partition_restore(self.ring.index, run.handle) {
                self.full = Some(full);
            }
            let slot = state.partition_with_handle(run.handle);
            if let Some(slot) = slot.filter(|_| self.lost) {
                self.damage.records += state.gap_before(slot, run.offset);
            }
            let fresh = slot
                .and_then(|slot| state.partition(slot))
                .is_some_and(|partition| run.end() > partition.next);
            let mut good_bytes = 0;
            let mut epoch = boot;
            let whole = scan::batches(reader, at, run, &mut |batch| {
                good_bytes += if batch.good { batch.bytes } else { 0 };
                epoch = epoch.min(epoch_of(&batch.header, boot));
                if !batch.good {
                    replayed.bad_batches += 1;
                    let records = i64::from(batch.header.last_offset_delta) + 1;
                    replayed.bad_records += records.unsigned_abs();
                    log::error!(
                        "ring {}: offsets {} to {} of partition handle {} are damaged",
                        self.ring.config.name,
                        batch.header.base_offset,
                        batch.header.last_offset(),
                        run.handle.0
                    );
                } else if let Some(slot) = slot.filter(|_| fresh) {
                    state.producer_replay(slot, &batch.header);
                }
            });
            if !whole {
                replayed.bad_batches += 1;
            }
            if let Some(slot) = slot.filter(|_| fresh) {
                state.run_replay(slot, epoch, run);
                if !whole || good_bytes != u64::from(run.bytes) {
                    state.producers.forget_sequences(slot);
                }
            }
            at += u64::from(run.bytes);
        }
        replayed
    }

    fn index_group(&mut self, file: FileIndex, at: u64, runs: &[Run], state: &State) {
        let runs = runs.iter().filter_map(|run| {
            Some(index::Run {
                slot: state.partition_with_handle(run.handle)?,
                handle: run.handle,
                base_offset: run.offset,
                records: run.records,
                bytes: run.bytes,
                newest_ms: run.timestamp_max_ms,
            })
        });
        self.index.group_synced(file, at, runs);
    }

    fn replay_meta(&mut self, meta: &[u8], state: &mut State) {
        let mut records = Records::new(meta);
        for record in records.by_ref() {
            if let MetaRecord::Evict { segment } = record {
                self.evicted = self.evicted.max(Some(segment));
            }
            let index = &mut self.index;
            let mut removed = |slot| index.partition_removed(slot);
            if let Err(full) = state.apply(self.ring.index, &record, &mut removed) {
                self.full = Some(full);
            }
        }
    }

    /// Looks at what nothing proves, on the medium: gives where the next group goes, behind what is
    /// whole, and leaves that in `self.tail`. What was cut short leaves a gap in the offsets that it
    /// would have taken, if they can be told.
    fn tail_of(&mut self, walked: &Walked, file: FileIndex, state: &mut State) -> u64 {
        let segment_bytes = self.ring.config.segment_bytes;
        let mut reader = Reader::new(self.storage, self.file(file), segment_bytes, true);
        let mut end = walked.tail.first().map_or(walked.end, |slot| slot.at);
        let mut cut = false;
        for slot in &walked.tail {
            let contents = slot
                .group
                .map(|group| scan::contents(&mut reader, &group.header));
            let runs = contents
                .as_ref()
                .and_then(|contents| contents.runs.as_ref());
            let meta = contents
                .as_ref()
                .and_then(|contents| contents.meta.as_ref());
            let finding = Finding {
                header: slot.group.is_some(),
                directory: runs.is_some() && meta.is_some(),
                payload: slot.group.zip(runs).is_some_and(|(group, runs)| {
                    payload_holds(&mut reader, slot.at + group.header.payload_at(), runs)
                }),
                proof: Proof::None,
            };
            match (recovery::verdict(&finding), slot.group) {
                (Verdict::CopyForward, Some(group)) if !cut => {
                    end = slot.at + u64::from(group.header.bytes);
                    // Another ring may hold records of a topic that this group made. Once more with
                    // the copy, it changes nothing.
                    if let Some(meta) = meta {
                        self.replay_meta(meta, state);
                    }
                    // A seal holds nothing to copy.
                    if group.header.flags & FLAG_SEAL == 0 {
                        self.tail.push(*slot);
                    }
                }
                _ => {
                    cut = true;
                    self.damage.torn += u64::from(slot.group.is_some());
                    let runs = runs.into_iter().flatten();
                    self.gaps.extend(runs.map(|run| (run.handle, run.end())));
                }
            }
        }
        end
    }

    /// Several unproven groups, or one whose copy does not fit its segment, are not copied: they were
    /// read from the medium, and once their file is synced they are as durable as copies. A snapshot
    /// written between two copies, or before one, would leave the others behind.
    fn tail_accept(&mut self, segment: &Segment, state: &mut State) {
        let bytes: u64 = self
            .tail
            .iter()
            .filter_map(|slot| slot.group)
            .map(|group| u64::from(group.header.bytes))
            .sum();
        let gaps = (self.gaps.len() * GAP_BYTES_MAX) as u64;
        let room = 3 * self.ring.alignment + gaps + anchor::foot_bytes_max(&self.ring, state);
        let fits = segment.end + bytes + room <= self.ring.config.segment_bytes;
        if self.tail.is_empty() || (self.tail.len() == 1 && fits) {
            return;
        }
        if let Err(error) = self.storage.sync(self.file(segment.file)) {
            log::error!("ring {}: {error}", self.ring.config.name);
            self.ring.current_bad = true;
        }
        let mut reader = self.reader(segment.file);
        for slot in std::mem::take(&mut self.tail) {
            self.replay_group(&mut reader, &slot, Proof::Acknowledged, segment.file, state);
            self.ring.group_synced = self.ring.group_synced.max(slot.seq);
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
            closed: true,
            limit_known: true,
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
            let contents = slot
                .group
                .map(|group| scan::contents(reader, &group.header));
            match contents.and_then(|contents| contents.runs) {
                Some(runs) if proof == Proof::Acknowledged => found.push((slot.at, runs)),
                _ if proof == Proof::Acknowledged => self.damage.groups += 1,
                _ => {}
            }
        });
        for (at, runs) in found {
            self.index_group(segment.file, at, &runs, state);
        }
    }

    /// Files beyond the configured number are deleted once they hold nothing that lives.
    fn retire_surplus(&mut self) {
        let config = &self.ring.config;
        let kept = config.segments + config.spares;
        for file in self.ring.free.iter().filter(|file| file.0 >= kept) {
            let file = FileRef {
                ring: self.ring.index,
                file: *file,
            };
            match self.storage.remove(file) {
                Ok(()) => log::info!(
                    "ring {}: segment file {} is retired",
                    config.name,
                    file.file.0
                ),
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

#[derive(Default)]
struct Replayed {
    bad_batches: u64,
    bad_records: u64,
}

impl FoundFile {
    fn anchors(&self) -> impl Iterator<Item = &Anchor> {
        [&self.head, &self.foot]
            .into_iter()
            .filter_map(|page| match page {
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

fn payload_holds(reader: &mut Reader<'_>, mut at: u64, runs: &[Run]) -> bool {
    runs.iter().all(|run| {
        let mut good = true;
        let whole = scan::batches(reader, at, run, &mut |batch| good &= batch.good);
        at += u64::from(run.bytes);
        whole && good
    })
}

/// The longest record of a gap.
const GAP_BYTES_MAX: usize = 1 + 5 + 10 + 10 + 1;

/// The epoch in which a batch was first appended; a copy's is older than its group's.
fn epoch_of(header: &BatchHeader, written: Boot) -> Boot {
    u32::try_from(header.partition_leader_epoch).map_or(written, |epoch| Boot(epoch).min(written))
}

const _: () = assert!(LIST_ENTRY_BYTES == 32, "as FORMAT.md says");

/// The first offset of a partition in no segment.
pub const NO_OFFSET: Offset = Offset(i64::MAX);
