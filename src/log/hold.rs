//! What a ring's holders have consumed, and so which of its segments may be evicted.
//!
//! A ring is held for the topics that concern a holder: a mirror's are those that MirrorMaker
//! replicates by default, a group's all but those that Kafka's own programs create for themselves.
//! A segment is consumed when each holder's position is past the last record of each such partition in
//! it. A segment without held records may be evicted before its turn, as its metadata is in every
//! later snapshot.

use crate::config::{Holder, RingConfig};
use crate::limits;
use crate::log::index::{InSegment, Index};
use crate::log::state::{Partition, State};
use crate::metrics::TopicMetrics;
use crate::metrics::render::{OldestStatus, TopicStatus};
use crate::types::{FileIndex, GroupSlot, Offset, PartitionSlot, RingIndex};

/// The holders that a ring is held or watched for, and what tells their positions.
#[derive(Clone, Copy)]
pub struct Hold<'a> {
    /// Who they are.
    pub holders: &'a [Holder],
    /// The bit of the first of them in [`crate::log::state::Topic::kept_for`].
    bit: usize,
    /// By holder: the group, if it is one that has committed anything.
    groups: [Option<GroupSlot>; limits::HOLDERS_MAX],
    ring: RingIndex,
    state: &'a State,
    index: &'a Index,
}

/// What a holder has not consumed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Lag {
    /// Records, as far as offsets tell.
    pub records: u64,
    /// Records that are there for it, had or not.
    pub present: u64,
    /// Partitions with records of which it never reported anything.
    pub unreported: u64,
    /// Partitions with records that it has not consumed.
    pub partitions: u64,
    /// One of these, and its first offset that the holder has not consumed.
    pub first: Option<(PartitionSlot, Offset)>,
}

/// A set of a ring's files.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Files([u64; limits::SEGMENTS_MAX / 64]);

/// What a ring's segments hold, by their files.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Look {
    /// Those with any records that can be read, carried ones left out.
    pub any: Files,
    /// Those with records that are kept for a holder.
    pub kept: Files,
    /// Those with records that a holder they are kept for has not consumed.
    pub owed: Files,
}

impl Files {
    /// Whether the file is among them.
    pub fn has(&self, file: FileIndex) -> bool {
        let (word, bit) = (usize::from(file.0) / 64, file.0 % 64);
        self.0.get(word).is_some_and(|word| word >> bit & 1 == 1)
    }

    fn add(&mut self, file: FileIndex) {
        if let Some(word) = self.0.get_mut(usize::from(file.0) / 64) {
            *word |= 1 << (file.0 % 64);
        }
    }
}

/// For whom a topic is kept: a bit for each of the ring's holders, and behind those one for each of those
/// that it is watched for.
pub fn kept_for(ring: &RingConfig, topic: &str) -> u8 {
    let mut bits = 0;
    let held = ring.holds(topic);
    for (at, holder) in ring.hold_for.iter().enumerate().filter(|_| held) {
        bits |= u8::from(keeps_for(holder, topic)) << at;
    }
    for (at, holder) in ring.watch_for.iter().enumerate() {
        bits |= u8::from(keeps_for(holder, topic)) << (WATCH_BIT + at);
    }
    bits
}

/// Whether a topic is kept for this one.
fn keeps_for(holder: &Holder, topic: &str) -> bool {
    let own = topic.starts_with("__")
        || topic.starts_with('.')
        || topic.ends_with(".internal")
        || topic.ends_with("-internal")
        || topic == HEARTBEATS
        || topic.strip_suffix(HEARTBEATS).is_some_and(|before| before.ends_with('.'));
    match holder {
        _ if own => false,
        Holder::Group(_) => true,
        Holder::Mirror(alias) => !topic.ends_with(".replica") && !came_from(alias, topic),
    }
}

/// Whether the mirror brought the topic here itself, from the cluster that it mirrors to:
/// `ALIAS.topic`, or `other.ALIAS.topic`. It does not take those back.
fn came_from(alias: &str, topic: &str) -> bool {
    let mut rest = topic;
    loop {
        if rest.strip_prefix(alias).is_some_and(|behind| behind.starts_with('.')) {
            return true;
        }
        match rest.split_once('.') {
            Some((_, behind)) => rest = behind,
            None => return false,
        }
    }
}

impl<'a> Hold<'a> {
    /// For those that a ring is held for.
    pub fn held(
        config: &'a RingConfig,
        ring: RingIndex,
        state: &'a State,
        index: &'a Index,
    ) -> Hold<'a> {
        Hold::new(&config.hold_for, 0, ring, state, index)
    }

    /// For those that it is watched for.
    pub fn watched(
        config: &'a RingConfig,
        ring: RingIndex,
        state: &'a State,
        index: &'a Index,
    ) -> Hold<'a> {
        Hold::new(&config.watch_for, WATCH_BIT, ring, state, index)
    }

    fn new(
        holders: &'a [Holder],
        bit: usize,
        ring: RingIndex,
        state: &'a State,
        index: &'a Index,
    ) -> Hold<'a> {
        let mut groups = [None; limits::HOLDERS_MAX];
        for (group, holder) in groups.iter_mut().zip(holders) {
            if let Holder::Group(name) = holder {
                *group = state.group_named(name);
            }
        }
        Hold { holders, bit, groups, ring, state, index }
    }

    /// What all live segments hold: one walk over each partition's.
    pub fn look(&self) -> Look {
        let mut look = Look::default();
        for (slot, partition) in self.partitions() {
            let had = self.had(slot, partition);
            self.each_segment(slot, partition, &mut |file, _, end| {
                if end > partition.log_start {
                    look.any.add(file);
                    if let Some(had) = had {
                        look.kept.add(file);
                        if had < end {
                            look.owed.add(file);
                        }
                    }
                }
            });
        }
        look
    }

    /// The offset below which all have consumed a partition's records; none: it is not kept for anybody.
    pub fn floor(&self, slot: PartitionSlot, partition: &Partition) -> Option<Offset> {
        self.had(slot, partition).map(|had| had.max(partition.log_start))
    }

    /// What one of them has not consumed in this ring.
    pub fn lag(&self, at: usize) -> Lag {
        let mut lag = Lag::default();
        for (slot, partition) in self.partitions().filter(|(_, found)| self.keeps(at, found)) {
            let position = self.position(at, slot, partition);
            let from = position.unwrap_or_default().max(partition.log_start);
            // A hole at the end can never be consumed.
            let end = partition.records_end();
            lag.present += end.0.saturating_sub(partition.log_start.0).max(0).cast_unsigned();
            if from < end {
                lag.records += end.0.abs_diff(from.0);
                lag.unreported += u64::from(position.is_none());
                lag.partitions += 1;
                lag.first.get_or_insert((slot, from));
            }
        }
        lag
    }

    /// Records of the file's segment that one of them has not consumed. Those of compacted topics are not
    /// counted: the live ones are carried.
    pub fn not_had(&self, at: usize, file: FileIndex) -> u64 {
        let mut records = 0;
        for (slot, partition) in self.partitions().filter(|(_, found)| !found.compacted) {
            records += self.not_had_of(at, file, slot, partition).map_or(0, |(_, records)| records);
        }
        records
    }

    /// What a partition has in the file's segment, and how many records of it one of them has not consumed.
    fn not_had_of(
        &self,
        at: usize,
        file: FileIndex,
        slot: PartitionSlot,
        partition: &Partition,
    ) -> Option<(InSegment, u64)> {
        if !self.keeps(at, partition) {
            return None;
        }
        let (there, end) = self.index.span_in(file, slot, partition.records_end_written())?;
        let had = self.position(at, slot, partition).unwrap_or_default();
        let from = there.first.max(partition.log_start).max(had);
        (from < end).then(|| (there, end.0.abs_diff(from.0)))
    }

    /// The topics for which the oldest segment is held that one of them has not consumed.
    pub fn oldest(&self, at: usize) -> OldestStatus<'a> {
        let mut oldest = OldestStatus::default();
        let alone = Hold {
            holders: self.holders.get(at..=at).unwrap_or_default(),
            bit: self.bit + at,
            groups: [self.groups[at]; limits::HOLDERS_MAX],
            ..*self
        };
        let owed = alone.look().owed;
        let mut segments = self.index.segments().iter();
        let Some((_, file)) = segments.find(|(_, file)| owed.has(*file)) else {
            return oldest;
        };
        // Topics of which nothing was ever reported come first: maybe nobody consumes them.
        for never_reported in [true, false] {
            for (slot, topic) in self.state.topics().filter(|(_, topic)| topic.ring == self.ring) {
                let mut metrics = TopicMetrics { records: 0, newest_ms: -1, never_reported };
                let mut never = true;
                for (slot, partition) in self.state.partitions_of(slot) {
                    never &= alone.position(0, slot, partition).is_none();
                    if let Some((there, records)) = alone.not_had_of(0, *file, slot, partition) {
                        metrics.records += records;
                        metrics.newest_ms = metrics.newest_ms.max(there.newest_ms);
                    }
                }
                if metrics.records > 0 && never == never_reported {
                    let stands = TopicStatus { name: &topic.name, metrics };
                    match oldest.topics.iter_mut().find(|place| place.is_none()) {
                        Some(place) => *place = Some(stands),
                        None => oldest.more += 1,
                    }
                }
            }
        }
        oldest
    }

    /// Whether a holder has a position in any partition that still exists.
    pub fn has_reported(&self, at: usize) -> bool {
        match self.holders.get(at) {
            Some(Holder::Group(_)) => {
                self.groups[at].is_some_and(|group| !self.state.offsets_of(group).is_empty())
            }
            Some(Holder::Mirror(alias)) => self.state.mirrors.has_reported(alias),
            None => false,
        }
    }

    /// The ring's partitions.
    fn partitions(&self) -> impl Iterator<Item = (PartitionSlot, &'a Partition)> + use<'a> {
        let ring = self.ring;
        self.state.partitions().filter(move |(_, partition)| partition.ring == ring)
    }

    /// Calls `take` for each segment that has anything of a partition, the newest first: with the file, what
    /// is known of the partition in it, and the offset after its last record in it.
    fn each_segment(
        &self,
        slot: PartitionSlot,
        partition: &Partition,
        take: &mut dyn FnMut(FileIndex, InSegment, Offset),
    ) {
        let mut later = None;
        let records_end = partition.records_end_written();
        for (_, file) in self.index.segments().iter().rev() {
            #[cfg(test)]
            crate::visits::visit();
            let Some(there) = self.index.in_segment(*file, slot) else { continue };
            let end = match later {
                Some(later) if later <= there.first => self.index.end_in(*file, slot, there.first),
                later => later,
            };
            later = Some(there.first);
            take(*file, there, end.map_or(records_end, |end| end.min(records_end)));
        }
    }

    /// Whether a partition is kept for this one.
    pub fn keeps(&self, at: usize, partition: &Partition) -> bool {
        let topic = self.state.topic(partition.topic);
        topic.is_some_and(|topic| topic.kept_for >> (self.bit + at) & 1 == 1)
    }

    /// The lowest position in a partition, 0 where a holder never reported one; none: it is not kept for
    /// anybody.
    fn had(&self, slot: PartitionSlot, partition: &Partition) -> Option<Offset> {
        let holders = (0..self.holders.len()).filter(|at| self.keeps(*at, partition));
        holders.map(|at| self.position(at, slot, partition).unwrap_or_default()).min()
    }

    /// The first offset that a holder may not have consumed, if it ever reported one.
    pub fn position(
        &self,
        at: usize,
        slot: PartitionSlot,
        partition: &Partition,
    ) -> Option<Offset> {
        match self.holders.get(at)? {
            Holder::Group(_) => {
                Some(self.state.offset_of(self.groups[at]?, partition.handle)?.offset)
            }
            Holder::Mirror(alias) => self.state.mirrors.position(alias, slot),
        }
    }
}

/// The bit of the first one that a ring is watched for.
const WATCH_BIT: usize = limits::HOLDERS_MAX;

/// The bits of those that it is held for.
pub const HELD_BITS: u8 = (1 << WATCH_BIT) - 1;

const _: () = assert!(2 * limits::HOLDERS_MAX <= u8::BITS as usize);

/// MirrorMaker's topic of heartbeats.
const HEARTBEATS: &str = "heartbeats";

#[cfg(test)]
mod tests;
