//! What clients do to held records beside consuming them: they delete them, or move or delete a holder's
//! committed offsets. That is logged, since nobody else may notice.

use super::Broker;
use super::allowed::Caller;
use crate::clock::{Mono, Now};
use crate::codec::crc;
use crate::config::Holder;
use crate::log::state::Topic;
use crate::types::{Offset, PartitionHandle, PartitionSlot, TopicId};

/// What has become of held records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Effect {
    /// They are deleted.
    Deleted,
    /// A commit moved past them that was not a group member's.
    Passed,
    /// A commit moved back before them.
    Back,
    /// The offset that was behind them is deleted.
    Forgotten,
}

/// What requests did, and what of that was logged.
#[derive(Debug, Default)]
pub struct Released {
    /// By [`Effect`].
    tallies: [Tally; 4],
    /// The last clients that were logged for committing for a holder without being members.
    committers: [u32; COMMITTERS],
}

#[derive(Debug, Default)]
struct Tally {
    records: u64,
    partitions: u64,
    /// One of these; none: there is nothing to log.
    last: Option<PartitionSlot>,
    /// When it was last logged.
    told: Option<Mono>,
}

impl Broker {
    /// A topic's deletion is staged.
    pub(super) fn held_topic_deleted(&mut self, id: TopicId) {
        let state = self.log.state();
        let Some((topic, Topic { ring, .. })) = state.topic_with_id(id) else { return };
        let (hold, mut tally) = (self.log.hold(*ring), Tally::default());
        for (slot, partition) in state.partitions_of(topic) {
            if let Some(from) = hold.floor(slot, partition) {
                tally.add(slot, from, partition.records_end());
            }
        }
        self.released.add(Effect::Deleted, &tally);
    }

    /// The deletion of a partition's records below an offset is staged.
    pub fn held_records_deleted(&mut self, handle: PartitionHandle, to: Offset) {
        let mut tally = Tally::default();
        let state = self.log.state();
        if let Some(slot) = state.partition_with_handle(handle)
            && let Some(partition) = state.partition(slot)
            && let Some(from) = self.log.hold(partition.ring).floor(slot, partition)
        {
            tally.add(slot, from, to.min(partition.records_end()));
        }
        self.released.add(Effect::Deleted, &tally);
    }

    /// A group's commit is staged. `by_member`: by a member of the group, as is usual.
    pub fn held_committed(
        &mut self,
        group: &str,
        handle: PartitionHandle,
        to: Offset,
        by_member: bool,
    ) {
        let Some((slot, had, start)) = self.had_of(group, handle) else { return };
        let mut tally = Tally::default();
        let from = had.unwrap_or_default();
        let effect = if to < from { Effect::Back } else { Effect::Passed };
        if effect == Effect::Back || !by_member {
            tally.add(slot, from.min(to).max(start.0), from.max(to).min(start.1));
            self.released.add(effect, &tally);
        }
    }

    /// The deletion of a group's committed offsets is staged: of one partition, or of all.
    pub(super) fn held_forgotten(&mut self, group: &str, handle: Option<PartitionHandle>) {
        let state = self.log.state();
        let Some(slot) = state.group_named(group) else { return };
        let mut tally = Tally::default();
        for offset in state.offsets_of(slot) {
            if handle.is_none_or(|handle| handle == offset.handle)
                && let Some((slot, Some(had), start)) = self.had_of(group, offset.handle)
            {
                tally.add(slot, start.0, had.min(start.1));
                tally.last = Some(slot);
            }
        }
        self.released.add(Effect::Forgotten, &tally);
    }

    /// The position in a partition of a group that is a holder, and where the partition begins and ends.
    fn had_of(
        &self,
        group: &str,
        handle: PartitionHandle,
    ) -> Option<(PartitionSlot, Option<Offset>, (Offset, Offset))> {
        let state = self.log.state();
        let slot = state.partition_with_handle(handle)?;
        let partition = state.partition(slot)?;
        let is = |holder: &Holder| matches!(holder, Holder::Group(name) if name == group);
        let at = self.log.ring_config(partition.ring).hold_for.iter().position(is)?;
        let hold = self.log.hold(partition.ring);
        let bounds = (partition.log_start, partition.records_end());
        hold.keeps(at, partition).then(|| (slot, hold.position(at, slot, partition), bounds))
    }

    /// Logs what a request has done to held records, if anything.
    pub fn held_tell(&mut self, caller: &Caller<'_>, now: Now) {
        for (place, (level, what)) in EFFECTS.into_iter().enumerate() {
            let tally = &mut self.released.tallies[place];
            let Some(slot) = tally.last else { continue };
            let is_passed = place == Effect::Passed as usize;
            let digest = crc::crc32c(caller.client.as_bytes());
            let committers = &mut self.released.committers;
            if is_passed && committers.contains(&digest) {
                // This client always commits so, and was logged for it.
                *tally = Tally { told: tally.told, ..Tally::default() };
                continue;
            }
            if tally.told.is_some_and(|told| now.mono.since_us(told) < TELL_US) {
                // It is added to the next line, which names the partition of the request that it is for.
                tally.last = None;
                continue;
            }
            if is_passed {
                committers.rotate_right(1);
                committers[0] = digest;
            }
            let Tally { records, partitions, .. } =
                std::mem::replace(tally, Tally { told: Some(now.mono), ..Tally::default() });
            let (ring, name) = self.names_of(slot);
            log::log!(
                level,
                "ring {ring}: {caller}: {records} records of {partitions} partitions {what}, {name} \
                 among them"
            );
        }
    }

    fn names_of(
        &self,
        slot: PartitionSlot,
    ) -> (&str, heapless::String<{ super::full_ring::TEXT_BYTES }>) {
        let partition = self.log.state().partition(slot);
        let ring = partition.map_or("", |found| &self.log.ring_config(found.ring).name);
        (ring, self.partition_name(slot))
    }
}

impl Released {
    fn add(&mut self, effect: Effect, more: &Tally) {
        let tally = &mut self.tallies[effect as usize];
        tally.records += more.records;
        tally.partitions += more.partitions;
        tally.last = more.last.or(tally.last);
    }
}

impl Tally {
    fn add(&mut self, slot: PartitionSlot, from: Offset, to: Offset) {
        if from < to {
            self.records += to.0.abs_diff(from.0);
            self.partitions += 1;
            self.last = Some(slot);
        }
    }
}

/// By [`Effect`]: the level, and what is logged.
const EFFECTS: [(log::Level, &str); 4] = [
    (log::Level::Warn, "that were held are deleted"),
    (log::Level::Info, "are held no longer, by a commit from outside the group"),
    (log::Level::Warn, "are held again, by a commit that goes back"),
    (log::Level::Warn, "are held again, since the offsets committed for them are deleted"),
];

/// How many clients are remembered.
const COMMITTERS: usize = 4;

/// Logged again no sooner; what comes meanwhile is added.
const TELL_US: u64 = 10_000_000;
