//! How a start finds out what is on flash, in this order:
//!
//! 1. [`anchors`]: the head and foot of every file; [`rings`]: which ring of the configuration it is.
//! 2. the base: the newest whole snapshot.
//! 3. [`files`]: what each file is to the ring, one value for each.
//! 4. [`walk`] and [`verdict`]: the groups behind the base, what proves each, what becomes of it;
//!    [`replay`] takes them into the state. Whole groups that nothing proves are synced first.
//! 5. [`begin`]: the boot group, so that everything from here on can be told from what was before.
//!
//! Nothing is written before all of it was read. What cannot be read is not taken for damaged at once:
//! the start fails, so that it can be tried again (see [`OpenError::Unreadable`]).

mod anchors;
mod begin;
mod files;
mod found;
pub mod groups;
mod replay;
mod rings;
pub mod verdict;
pub mod walk;

use std::fmt;
use std::sync::Arc;

use crate::clock::Now;
use crate::codec::compression::{Decompressor, Shared};
use crate::error::DiskError;
use crate::limits::{DECOMPRESSION_WINDOW_BYTES, PAGE_BYTES};
use crate::log::carry::Carry;
use crate::log::format::{Anchor, AnchorKind, ListEntry, Piece, RingId, RingName};
use crate::log::index::Index;
use crate::log::record::{MetaRecord, Records};
use crate::log::ring::{Found, Newest, Ring, Segment, Shape};
use crate::log::state::{State, TableFull};
use crate::log::{Log, LogConfig};
use crate::storage::Storage;
use crate::types::{
    Boot, FileIndex, FileRef, GroupSeq, Offset, PartitionHandle, RingIndex, RingNumber, SegmentSeq,
};
use anchors::{FoundFile, Page};
use files::FileState;
use found::FoundRings;
use groups::{Expect, Reader, Unreadable};
use verdict::Proof;
use walk::{End, Start};

/// What opening needs from outside.
pub struct Opening<'a> {
    /// The moment, which stamps the boot group.
    pub now: Now,
    /// Fills its argument with random bytes.
    pub entropy: &'a mut dyn FnMut(&mut [u8]),
    /// Told while files are made: bytes filled, of so many.
    pub progress: &'a mut dyn FnMut(u64, u64),
    /// Set once retries did not help: groups and snapshots that cannot be read count as damaged, and
    /// what they held as lost. Else the start fails with [`OpenError::Unreadable`].
    pub unreadable_is_damaged: bool,
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
    /// The rings on flash are not those of the configuration.
    Rings(String),
    /// The disk failed before there was anything to serve.
    Disk(DiskError),
    /// The disk could not read what the start needs. Nothing was written, so it can be tried again.
    Unreadable(Unreadable),
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
            OpenError::Rings(why) => write!(f, "{why}"),
            OpenError::Disk(error) => write!(f, "{error}"),
            OpenError::Unreadable(Unreadable { file, at, error }) => write!(
                f,
                "{}/segment-{:04} cannot be read at {at}: {error}; nothing was written",
                RingNumber(file.ring.0),
                file.file.0
            ),
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
        let found = format!("it holds more than {}, or did since its last snapshot", full.max);
        OpenError::Config { key: full.key, found }
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
    /// Whole groups that nothing proved: they were synced, and are part of the log.
    pub unproven: u64,
}

impl Log {
    /// Opens the rings, or makes them; recovers what a power cut left, and writes the boot group, so
    /// that everything from here on can be told from what was before.
    pub fn open(
        config: &LogConfig,
        storage: Arc<dyn Storage>,
        opening: &mut Opening<'_>,
    ) -> Result<Log, OpenError> {
        let on_flash = rings::look(&*storage)?;
        let config = &rings::with_metadata_as_made(config, &on_flash)?;
        let mut found = FoundRings::find(config, &on_flash, &storage, opening)?;
        let mut log = Log {
            state: found.state,
            rings: Vec::new(),
            indexes: Vec::new(),
            storage: found.storage,
            metadata_linger_ms: config.metadata_linger_ms,
            damage: Damage::default(),
            decompressor: Arc::new(Shared::new(Decompressor::new(DECOMPRESSION_WINDOW_BYTES))),
        };
        let mut gaps = Vec::new();
        for recovered in found.rings.drain(..) {
            log.damage.add(&recovered.damage);
            log.rings.push(recovered.ring);
            log.indexes.push(recovered.index);
            gaps.push(recovered.gaps);
        }
        let boot = log.rings.iter().map(|ring| ring.boot).max().unwrap_or_default();
        log.state.boot = Boot(boot.0 + 1);
        log.recompacted();
        for ring in log.rings.iter_mut().filter(|ring| ring.id == [0; 16]) {
            (opening.entropy)(&mut ring.id);
        }
        // The metadata ring, the last, comes first.
        for (place, gaps) in gaps.into_iter().enumerate().rev() {
            let ring = RingIndex(place as u8);
            // What the start itself has to evict is gone only once a head says so.
            log.log_starts_move(ring);
            log.begin(place, &gaps, opening);
            if found.moves && ring == log.shared() {
                log.check_moved()?;
            }
            let (_, keys_max) = config.tables_of(ring);
            let carry = Carry::new(keys_max, Arc::clone(&log.decompressor));
            log.rings[place].carry_set(carry);
        }
        if !log.is_failing(log.shared()) {
            let retiring = &log.state.numbers().retiring;
            let retiring = on_flash.iter().filter(|ring| retiring.contains(&ring.number));
            retiring.for_each(|ring| rings::retire(&*storage, ring));
        }
        Ok(log)
    }

    /// Before format 5 the first ring held the shared metadata. Its next head no longer does, so the
    /// metadata ring has to be on flash before anything else is written.
    fn check_moved(&self) -> Result<(), OpenError> {
        if self.is_failing(self.shared()) {
            return Err(OpenError::Disk(DiskError { doing: "write the metadata ring", os: EIO }));
        }
        log::info!("topics and committed offsets were moved to the metadata ring");
        Ok(())
    }

    /// What was found while the log was opened.
    pub fn damage(&self) -> Damage {
        self.damage
    }
}

impl Damage {
    fn add(&mut self, other: &Damage) {
        self.groups += other.groups;
        self.batches += other.batches;
        self.records += other.records;
        self.segments += other.segments;
        self.torn += other.torn;
        self.unproven += other.unproven;
    }
}

/// The rings of records on flash that something was stored in, by number, with their names; empty for one
/// from before format 5.
pub fn names(storage: &dyn Storage) -> Result<Vec<(RingNumber, String)>, OpenError> {
    let is_of_records = |ring: &rings::OnFlash| ring.number != RingNumber::METADATA;
    let made = |ring: &rings::OnFlash| ring.id.is_some() && is_of_records(ring);
    let rings = rings::look(storage)?.into_iter().filter(made);
    Ok(rings.map(|ring| (ring.number, ring.name.as_str().to_string())).collect())
}

impl OpenError {
    /// Files of a ring are named by its number.
    fn with_number(self, number: RingNumber) -> OpenError {
        match self {
            OpenError::Unreadable(mut unreadable) => {
                unreadable.file.ring = RingIndex(number.0);
                OpenError::Unreadable(unreadable)
            }
            other => other,
        }
    }
}

/// A partition whose offsets below this one are not given again.
type Gap = (PartitionHandle, Offset);

/// A ring as it was found.
struct Recovered {
    ring: Ring,
    index: Index,
    gaps: Vec<Gap>,
    damage: Damage,
}

/// A ring's files. All is read past the page cache: after a failed sync and a restart of the process
/// the cache holds heads and groups that are not on flash. If the start accepted them, a power cut could
/// lose them and with them all that was written behind them.
struct RingFiles<'a> {
    storage: &'a dyn Storage,
    ring: RingIndex,
    segment_bytes: u64,
}

impl<'a> RingFiles<'a> {
    /// Its files, in ascending order.
    fn indexes(&self) -> Result<Vec<FileIndex>, OpenError> {
        Ok(self.storage.files(self.ring)?.into_iter().map(|(file, _)| file).collect())
    }

    fn file(&self, file: FileIndex) -> FileRef {
        FileRef { ring: self.ring, file }
    }

    fn reader(&self, file: FileIndex) -> Reader<'a> {
        self.reader_to(file, self.segment_bytes)
    }

    /// One that reads no further than needed for what is below `end`.
    fn reader_to(&self, file: FileIndex, end: u64) -> Reader<'a> {
        let end = end.next_multiple_of(PAGE_BYTES as u64).min(self.segment_bytes);
        Reader::new(self.storage, self.file(file), end, true)
    }
}

/// The newest whole snapshot's anchor.
struct Base {
    anchor: Anchor,
    file: FileIndex,
    list: Vec<ListEntry>,
}

impl Base {
    /// Whether the segment's groups are behind the snapshot.
    fn is_before(&self, segment: &Segment) -> bool {
        match self.anchor.kind {
            AnchorKind::Foot => segment.seq > self.anchor.seq,
            _ => segment.seq >= self.anchor.seq,
        }
    }
}

/// The recovery of one ring.
struct RingRecovery<'a> {
    files: RingFiles<'a>,
    shape: Shape,
    found: Found,
    index: Index,
    damage: Damage,
    gaps: Vec<Gap>,
    evicted: Option<SegmentSeq>,
    /// Segments behind the base whose heads are lost.
    headless: Vec<SegmentSeq>,
    /// What was lost whole behind the base, if anything was.
    lost: Option<replay::Lost>,
    full: Option<TableFull>,
    /// The first page that had to be read and could not be.
    unreadable: Option<Unreadable>,
    unreadable_is_damaged: bool,
    /// The shared metadata in this ring does not count: the metadata ring has it.
    skips_shared: bool,
}

impl<'a> RingRecovery<'a> {
    fn new(
        config: &'a LogConfig,
        ring: RingIndex,
        storage: &'a dyn Storage,
        opening: &Opening<'_>,
    ) -> Self {
        let ring_config = config.rings[usize::from(ring.0)].clone();
        let files = RingFiles { storage, ring, segment_bytes: ring_config.segment_bytes };
        let count = crate::limits::SEGMENTS_MAX
            .min(usize::from(ring_config.segments) + usize::from(ring_config.spares));
        let highest = storage.files(ring).ok().and_then(|files| files.last().copied());
        let count = count.max(highest.map_or(0, |(file, _)| usize::from(file.0) + 1));
        let (partitions_max, keys_max) = config.tables_of(ring);
        let index = Index::new(count, ring_config.segment_bytes, partitions_max, keys_max);
        let shape = Shape {
            index: ring,
            groups: config.groups_of(ring),
            alignment: config.commit_alignment,
            seal_after_ms: config.seal_after_ms,
            anchor_bytes_max: config.anchor_bytes_max_with(ring, count),
            config: ring_config,
        };
        let found =
            Found { segment_next: SegmentSeq(1), group_next: GroupSeq(1), ..Found::default() };
        RingRecovery {
            files,
            shape,
            found,
            index,
            damage: Damage::default(),
            gaps: Vec::new(),
            evicted: None,
            headless: Vec::new(),
            lost: None,
            full: None,
            unreadable: None,
            unreadable_is_damaged: opening.unreadable_is_damaged,
            skips_shared: false,
        }
    }

    fn run(
        mut self,
        id: Option<RingId>,
        found: &[FoundFile],
        state: &mut State,
    ) -> Result<Recovered, OpenError> {
        let Some(id) = id else {
            self.found.free = found.iter().map(|found| found.file).collect();
            return Ok(self.recovered());
        };
        self.found.id = id;
        let base = self.restore_newest(found, state)?;
        self.note_highest(found);
        let mut live = self.take_files(base.as_ref(), found);
        self.replay(base.as_ref(), &mut live, found, state)?;
        if let Some(evicted) = self.evicted {
            let gone = live.iter().filter(|segment| segment.seq <= evicted);
            self.found.free.extend(gone.map(|segment| segment.file));
            live.retain(|segment| segment.seq > evicted);
        }
        self.index_closed(base.as_ref(), &live, found, state);
        self.index.carried_settle();
        self.found.live.extend(live);
        let newest = found.iter().flat_map(FoundFile::anchors).max_by_key(|anchor| anchor.seq);
        let is_named = newest.is_none_or(|anchor| anchor.name != RingName::default());
        let is_full = self.found.live.len() >= usize::from(self.shape.config.segments);
        if !is_named && !is_full && self.found.newest == Newest::Open {
            // The head of another segment names the ring, and keeps older releases off it. A full ring is
            // named when its next segment is due, so that nothing is evicted for this.
            self.found.newest = Newest::GivenUp;
        }
        self.found.free.sort_unstable();
        self.check()?;
        self.check_shrinks(base.as_ref())?;
        self.retire_surplus();
        Ok(self.recovered())
    }

    /// Whether the ring can be served as it was found.
    fn check(&self) -> Result<(), OpenError> {
        if let Some(full) = self.full {
            return Err(full.into());
        }
        if let Some(unreadable) = self.unreadable.filter(|_| !self.unreadable_is_damaged) {
            return Err(OpenError::Unreadable(unreadable));
        }
        if self.found.live.is_empty() && self.found.free.is_empty() {
            let found = "none of its segment files is of this ring and can be read".to_string();
            return Err(OpenError::Config { key: "data_dir", found });
        }
        Ok(())
    }

    /// Refuses a ring that is to have fewer segments than hold records, unless `shrink` allows it.
    fn check_shrinks(&self, base: Option<&Base>) -> Result<(), OpenError> {
        let config = &self.shape.config;
        let (wanted, live) = (usize::from(config.segments), self.found.live.len());
        let files = self.found.free.len() + live;
        let before = match base.map_or(0, |base| base.anchor.segments) {
            // Before format 5 nothing but the files tells.
            0 => files.saturating_sub(usize::from(config.spares)),
            segments => usize::from(segments),
        };
        if config.shrink || live <= wanted || before <= wanted {
            return Ok(());
        }
        Err(OpenError::Config {
            key: "ring.segments",
            found: format!(
                "ring {} has {live} segments that hold records, and with segments = {wanted} the \
                 oldest {} would be overwritten; `shrink = true` in its table allows it",
                config.name,
                live - wanted
            ),
        })
    }

    fn recovered(self) -> Recovered {
        let RingRecovery { shape, found, index, gaps, damage, .. } = self;
        Recovered { ring: Ring::new(shape, &found), index, gaps, damage }
    }

    /// The name in the configuration, for the log.
    fn name(&self) -> &str {
        &self.shape.config.name
    }

    /// Takes the newest snapshot that is whole into the state; gives its anchor and its list.
    fn restore_newest(
        &mut self,
        found: &[FoundFile],
        state: &mut State,
    ) -> Result<Option<Base>, OpenError> {
        let mut anchors: Vec<(FileIndex, &Anchor)> = Vec::new();
        for found in found {
            anchors.extend(found.anchors().map(|anchor| (found.file, anchor)));
        }
        anchors.sort_by_key(|(_, anchor)| (anchor.seq, anchor.kind == AnchorKind::Foot));
        for (file, anchor) in anchors.into_iter().rev() {
            let list = self.body(file, anchor.body_at, anchor.list);
            let snapshot_at = anchor.body_at.saturating_add(u64::from(anchor.list.bytes));
            let snapshot = self.body(file, snapshot_at, anchor.snapshot);
            let (Some(list), Some(snapshot)) = (list, snapshot) else {
                log::warn!(
                    "ring {}: the snapshot of segment {} is damaged; an older one is used",
                    self.name(),
                    anchor.seq.0
                );
                continue;
            };
            let records = Records::new(&snapshot).filter(|record| self.counts(record));
            state.restore(self.files.ring, records)?;
            let list = ListEntry::decode_all(&list).collect();
            return Ok(Some(Base { anchor: anchor.clone(), file, list }));
        }
        Ok(None)
    }

    fn counts(&self, record: &MetaRecord<'_>) -> bool {
        !(self.skips_shared && record.is_shared())
    }

    /// A part of an anchor's body that holds its CRC. One that cannot be read may have held it.
    fn body(&mut self, file: FileIndex, at: u64, piece: Piece) -> Option<Vec<u8>> {
        let end = at.checked_add(u64::from(piece.bytes))?;
        if end > self.files.segment_bytes {
            return None;
        }
        let mut reader = self.files.reader_to(file, end);
        let bytes = reader.vec(at, piece.bytes as usize);
        self.unreadable = self.unreadable.or(reader.unreadable());
        piece.holds(&bytes).then_some(bytes)
    }

    fn note_highest(&mut self, found: &[FoundFile]) {
        for anchor in found.iter().flat_map(FoundFile::anchors) {
            self.found.boot = self.found.boot.max(anchor.boot);
            self.found.stamp_newest_ms = self.found.stamp_newest_ms.max(Some(anchor.wall_ms));
            self.segment_seen(anchor.seq);
        }
    }

    /// No later segment gets this sequence again.
    fn segment_seen(&mut self, seq: SegmentSeq) {
        self.found.segment_next = self.found.segment_next.max(SegmentSeq(seq.0.saturating_add(1)));
    }

    /// Decides what each file is. Gives the live segments, oldest first, and notes the free files.
    fn take_files(&mut self, base: Option<&Base>, found: &[FoundFile]) -> Vec<Segment> {
        let mut live: Vec<Segment> = Vec::new();
        for found in found {
            let (state, unreadable) = files::state_of(&self.files, self.found.id, base, found);
            self.unreadable = self.unreadable.or(unreadable);
            if let Some(head) = found.head.unreadable() {
                // It may be the newest head, and would count again if it can be read one day: so no
                // later segment may get its sequence, whichever that is.
                self.unreadable = self.unreadable.or(Some(head));
                let next = self.found.segment_next.0.saturating_add(SEGMENT_TRIES_MAX);
                self.found.segment_next = SegmentSeq(next);
            }
            match state {
                FileState::Live(segment) => live.push(segment),
                FileState::Later(later) => {
                    self.segment_seen(later.segment.seq);
                    live.push(later.segment);
                    if !later.head {
                        self.headless.push(later.segment.seq);
                    }
                }
                FileState::Free => self.found.free.push(found.file),
                FileState::Damaged(seq) => {
                    self.segment_lost(seq, found.file);
                    self.found.free.push(found.file);
                }
                FileState::Unreadable => self.file_unreadable(found, unreadable.is_some()),
                FileState::Alien => log::error!(
                    "ring {}: segment file {} is of another ring or a copy of another file; it is not \
                     read and not written to",
                    self.name(),
                    found.file.0
                ),
            }
        }
        live.sort_unstable_by_key(|segment| segment.seq);
        live.dedup_by_key(|segment| segment.seq);
        live
    }

    /// A file that is not used. `hides`: it may hold a segment behind the base with all its groups; else
    /// at most the head of one.
    fn file_unreadable(&mut self, found: &FoundFile, hides: bool) {
        log::error!(
            "ring {}: segment file {} cannot be read; it is not written to; move it away if its \
             medium is broken for good",
            self.name(),
            found.file.0
        );
        if hides {
            self.damage.segments += 1;
            self.lose(self.files.segment_bytes);
        }
    }

    fn segment_lost(&mut self, seq: SegmentSeq, file: FileIndex) {
        self.damage.segments += 1;
        log::error!(
            "ring {}: segment {} in file {} cannot be read; what it held is lost",
            self.name(),
            seq.0,
            file.0
        );
    }

    /// The index of segments that need no replay comes from their feet, or from a walk.
    fn index_closed(
        &mut self,
        base: Option<&Base>,
        live: &[Segment],
        found: &[FoundFile],
        state: &mut State,
    ) {
        let Some(base) = base else { return };
        for segment in live.iter().filter(|segment| !base.is_before(segment)) {
            self.index.segment_opened(segment.file, segment.seq);
            let listed = base.list.iter().find(|entry| entry.seq == segment.seq);
            self.index.dirty_note(segment.file, listed.map_or(0, |entry| entry.dirty));
            let found = found.iter().find(|found| found.file == segment.file);
            let foot = found.and_then(|found| match &found.foot {
                Page::Ours(foot) if foot.kind == AnchorKind::Foot => Some(&**foot),
                _ => None,
            });
            let foot = foot.filter(|foot| foot.seq == segment.seq);
            if !foot.is_some_and(|foot| self.index_from_foot(segment, foot, state)) {
                self.index_by_walk(segment, state);
            }
        }
    }

    fn index_from_foot(&mut self, segment: &Segment, foot: &Anchor, state: &State) -> bool {
        let behind = u64::from(foot.list.bytes) + u64::from(foot.snapshot.bytes);
        let at = foot.body_at.saturating_add(behind);
        let end = at.saturating_add(u64::from(foot.index.bytes));
        if end > self.files.segment_bytes {
            return false;
        }
        let bytes = self.files.reader_to(segment.file, end).vec(at, foot.index.bytes as usize);
        let slot_of = |handle| state.partition_with_handle(handle);
        foot.index.holds(&bytes) && self.index.index_read(segment.file, &bytes, &slot_of).is_ok()
    }

    /// A page that cannot be read here counts as well: log starts would move past what is not indexed.
    fn index_by_walk(&mut self, segment: &Segment, state: &State) {
        let start = Start {
            at: segment.groups_at,
            limit: segment.end.clamp(segment.groups_at, self.files.segment_bytes),
            end: End::Limit,
            crc: 0,
        };
        let expect = Expect {
            seq_max: segment.group_last.max(GroupSeq(1)),
            ..Expect::any(self.found.id, segment.seq)
        };
        let mut reader = self.files.reader(segment.file);
        let mut found = Vec::new();
        walk::walk(&mut reader, start, expect, &mut |reader, slot, proof| {
            let contents = slot.group.map(|group| groups::contents(reader, &group.header));
            match contents.and_then(|contents| contents.runs) {
                Some(runs) if proof == Proof::Acknowledged => found.push((slot.at, runs)),
                _ if proof == Proof::Acknowledged => self.damage.groups += 1,
                _ => {}
            }
        });
        self.unreadable = self.unreadable.or(reader.unreadable());
        if found.is_empty() && segment.end > segment.groups_at {
            self.segment_lost(segment.seq, segment.file);
        }
        for (at, runs) in found {
            self.index_group(segment.file, at, &runs, state);
        }
    }

    /// Files beyond the configured number are deleted once they hold no live segment.
    fn retire_surplus(&mut self) {
        let kept = self.shape.config.segments + self.shape.config.spares;
        let (name, mut removed) = (self.name(), 0);
        for file in self.found.free.iter().filter(|file| file.0 >= kept) {
            match self.files.storage.remove(self.files.file(*file)) {
                Ok(()) => removed += 1,
                Err(error) => log::warn!("ring {name}: {error}"),
            }
        }
        if removed > 0 {
            log::info!(
                "ring {name}: {removed} segment files that are no longer needed are deleted"
            );
        }
        self.found.free.retain(|file| file.0 < kept);
    }
}

const EIO: i32 = rustix::io::Errno::IO.raw_os_error();

/// Each try to begin a segment takes a sequence: this many may have failed before the one whose head
/// cannot be read.
const SEGMENT_TRIES_MAX: u64 = 1 << 16;
