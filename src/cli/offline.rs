//! The rings without a broker: opened, read, and left as they are. What `check`, `dump` and
//! `export` share.

use std::sync::Arc;

use super::Failure;
use super::data_dir::{self, Lock};
use super::overlay::Overlay;
use crate::clock::Clock;
use crate::config::value::Refusal;
use crate::config::{Config, RingConfig};
use crate::log::format::Run;
use crate::log::recovery::groups::{self, Expect, FoundBatch, Group, Reader};
use crate::log::recovery::verdict::Proof;
use crate::log::recovery::walk::{self, End, Start};
use crate::log::recovery::{self, OpenError, Opening};
use crate::log::{Log, LogConfig, SegmentView};
use crate::storage::{FileStorage, Storage};
use crate::types::{Offset, PartitionHandle, RingIndex};

/// The opened rings.
pub struct Offline {
    /// As a broker would find them.
    pub log: Log,
    /// The rings' names and sizes, as they are on flash.
    pub rings: Vec<RingConfig>,
    _lock: Lock,
}

/// What a walk over a ring comes across, in the order in which it was written.
pub enum Found<'a> {
    /// A segment.
    Segment(SegmentView),
    /// Where a group should be, nothing can be believed.
    Unreadable {
        /// Its position in the segment.
        at: u64,
    },
    /// A group.
    Group(&'a Group),
    /// A group that a later start declared void.
    Void(&'a Group),
    /// The group's metadata records; none: their CRC does not hold.
    Meta(Option<&'a [u8]>),
    /// The group's directory does not hold, so nothing of its batches can be told.
    NoDirectory,
    /// A run of the group.
    Run(&'a Run),
    /// A batch of the run, with its bytes, or what is damaged of it.
    Batch(&'a Run, &'a FoundBatch, &'a [u8]),
}

/// Opens what is in the data directory.
pub fn open(config: &Config) -> Result<Offline, Failure> {
    let lock = data_dir::open_offline(config)?;
    let mut config = config.clone();
    let files = FileStorage::open_to_read(&config.data_dir);
    let files = files.map_err(|error| Failure::Failed(error.to_string()))?;
    config.rings = rings_found(&config, &files)?;
    config.retired.clear();
    let mut opening = Opening {
        now: Clock::start().now(),
        // Only a ring that is made needs a name, and none is made here.
        entropy: &mut |bytes| bytes.fill(0),
        progress: &mut |_, _| {},
        unreadable_is_damaged: true,
    };
    let storage = Arc::new(Overlay::new(files));
    let log = Log::open(&LogConfig::of(&config), storage, &mut opening);
    let log = log.map_err(failed)?;
    let rings = log.rings().map(|ring| log.ring_config(ring).clone()).collect();
    Ok(Offline { log, rings, _lock: lock })
}

fn failed(error: OpenError) -> Failure {
    match error {
        OpenError::Config { .. } | OpenError::Rings(_) => {
            Failure::Usage(Refusal::new(error.to_string()))
        }
        _ => Failure::Failed(error.to_string()),
    }
}

/// The rings as they are on flash: what the configuration says of names and sizes does not matter here.
fn rings_found(config: &Config, files: &FileStorage) -> Result<Vec<RingConfig>, Failure> {
    let mut rings = Vec::new();
    for (number, name) in recovery::names(files).map_err(failed)? {
        let place = config.rings.get(usize::from(number.0));
        let unnamed = || place.map_or_else(|| number.to_string(), |ring| ring.name.clone());
        let name = if name.is_empty() { unnamed() } else { name };
        let lengths = files.files(RingIndex(number.0)).unwrap_or_default();
        let segment_bytes = lengths.iter().map(|(_, bytes)| *bytes).max().unwrap_or(0);
        let count = lengths.len() as u16;
        let configured = config.rings.iter().find(|ring| ring.name == name);
        let spares = configured.map_or(0, |ring| ring.spares).min(count.saturating_sub(1));
        let like = configured.or(config.rings.first()).cloned();
        let like = like.unwrap_or_else(|| Config::default().rings.remove(0));
        let segments = count - spares;
        rings.push(RingConfig { name, segments, segment_bytes, spares, shrink: true, ..like });
    }
    match rings.len() {
        0 => Err(Failure::Failed(format!("there is no ring in {}", config.data_dir.display()))),
        _ => Ok(rings),
    }
}

impl Offline {
    /// A partition's name for people.
    pub fn name_of(&self, handle: PartitionHandle) -> String {
        let state = self.log.state();
        let partition = state.partition_with_handle(handle).and_then(|slot| state.partition(slot));
        let topic = partition.and_then(|partition| state.topic(partition.topic));
        match (topic, partition) {
            (Some(topic), Some(partition)) => format!("{}-{}", topic.name, partition.index),
            _ => format!("deleted partition {}", handle.0),
        }
    }

    /// Whether a consumer is shown a batch that begins there, of a group at that position of a segment,
    /// which was carried or not: of what was carried, the newest version alone.
    pub fn is_shown(
        &self,
        ring: RingIndex,
        run: &Run,
        first: i64,
        (segment, group_at): (&SegmentView, u64),
    ) -> bool {
        let Some(slot) = self.log.state().partition_with_handle(run.handle) else {
            return false;
        };
        let at = (segment.file.file, group_at, run.is_carried());
        self.log.index(ring).carried().shows(slot, Offset(first), at)
    }

    /// All rings.
    pub fn rings(&self) -> impl Iterator<Item = RingIndex> {
        (0..self.rings.len()).map(|place| RingIndex(place as u8))
    }

    /// Walks over all that lives in a ring.
    pub fn walk(&self, ring: RingIndex, each: &mut dyn FnMut(Found<'_>)) {
        let segment_bytes = self.rings[usize::from(ring.0)].segment_bytes;
        let storage: &dyn Storage = &**self.log.storage();
        for segment in self.log.segments(ring) {
            each(Found::Segment(segment));
            let start =
                Start { at: segment.groups_at, limit: segment.end, end: End::Limit, crc: 0 };
            let expect = Expect::any(self.log.ring_id(ring), segment.seq);
            let mut reader = Reader::new(storage, segment.file, segment_bytes, false);
            walk::walk(&mut reader, start, expect, &mut |reader, slot, proof| match (
                &slot.group,
                proof,
            ) {
                (Some(group), Proof::Superseded) => each(Found::Void(group)),
                (None, Proof::Superseded) => {}
                (Some(group), _) => walk_group(reader, group, each),
                (None, _) => each(Found::Unreadable { at: slot.at }),
            });
        }
    }
}

fn walk_group(reader: &mut Reader<'_>, group: &Group, each: &mut dyn FnMut(Found<'_>)) {
    each(Found::Group(group));
    let contents = groups::contents(reader, &group.header);
    if group.header.meta_bytes > 0 {
        each(Found::Meta(contents.meta.as_deref()));
    }
    let Some(runs) = &contents.runs else {
        each(Found::NoDirectory);
        return;
    };
    let mut at = group.header.position + group.header.payload_at();
    for run in runs {
        each(Found::Run(run));
        let mut found = Vec::new();
        groups::batches(reader, at, run, &mut |batch| found.push(*batch));
        for batch in &found {
            let bytes = reader.vec(batch.at, batch.bytes as usize);
            each(Found::Batch(run, batch, &bytes));
        }
        at += u64::from(run.bytes);
    }
}
