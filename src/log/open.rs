//! Opening the log: files, the newest snapshot, the groups behind it, the copies, the boot group.

use std::fmt;
use std::sync::Arc;

use crate::clock::Now;
use crate::codec::batch::{self, BatchHeader};
use crate::error::DiskError;
use crate::limits::PAGE_BYTES;
use crate::log::format::{Anchor, AnchorKind, AnchorPage, FLAG_COPY, Run};
use crate::log::record::MetaRecord;
use crate::log::recovery::Slot;
use crate::log::restore::{Gap, RingRecovery};
use crate::log::scan::{self, Reader};
use crate::log::state::{State, TableFull};
use crate::log::{Log, LogConfig};
use crate::storage::Storage;
use crate::types::{Boot, FileIndex, FileRef, GroupSeq, Offset, RingIndex};

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
            state: State::with_mirrors(config.state, config.mirrors()),
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
        let boot = log.rings.iter().map(|ring| ring.boot).max().unwrap_or_default();
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
        ring.current_look(&self.state, &self.indexes[place]);
        if fresh {
            self.twin_write(place);
        }
    }

    /// Stages a record, committing what is staged if there is no room for it.
    fn stage_driving(&mut self, place: usize, record: &MetaRecord<'_>, now: Now) {
        if self.rings[place].stage(true, None).push_meta(record).is_err() {
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
        let file = FileRef { ring: ring.index, file: segment.file };
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
        if self.rings[place].stage(true, None).push_meta_bytes(&meta).is_err() {
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
            self.rings[place].stage(true, None).push(slot, epoch, *run, batches);
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
        let file = FileRef { ring: ring.index, file: current.file };
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
        let twin = Anchor { kind: AnchorKind::Twin, body_at: at, ..*anchor };
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
            let file = FileRef { ring, file: FileIndex(file) };
            storage.create(file, bytes, &mut |filled| (opening.progress)(file, filled, bytes))?;
        }
    }
    Ok(())
}

/// The epoch in which a batch was first appended; a copy's is older than its group's.
pub(super) fn epoch_of(header: &BatchHeader, written: Boot) -> Boot {
    u32::try_from(header.partition_leader_epoch).map_or(written, |epoch| Boot(epoch).min(written))
}
