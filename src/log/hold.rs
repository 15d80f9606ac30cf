//! What a ring's holders have had, and so which of its segments may go.
//!
//! A holder keeps the records of the topics that it is there for: a mirror those that MirrorMaker
//! replicates unless it is told otherwise, a group all but those that Kafka's own programs keep for
//! themselves. A segment has been had when each holder has come past the last record in it of each
//! of these partitions. It is free when it has nothing of them at all: then it may go before its
//! turn, for its metadata is in every snapshot behind it.

use crate::config::Holder;
use crate::log::index::Index;
use crate::log::state::{Partition, State};
use crate::types::{FileIndex, GroupSlot, Offset, PartitionSlot};

/// A ring's holders, and where to look.
#[derive(Clone, Copy)]
pub struct Hold<'a> {
    /// Who they are.
    pub holders: &'a [Holder],
    /// Where they stand.
    pub state: &'a State,
    /// What the ring has.
    pub index: &'a Index,
}

/// What a holder has not had.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Lag {
    /// Records, as far as offsets tell.
    pub records: u64,
    /// Partitions with records of which it never reported anything.
    pub unreported: u64,
    /// Partitions with records that it has not had.
    pub partitions: u64,
    /// One of these, and the first offset of it that the holder has not had.
    pub first: Option<(PartitionSlot, Offset)>,
}

/// Whether a topic is kept for any of them.
pub fn keeps(holders: &[Holder], topic: &str) -> bool {
    holders.iter().any(|holder| keeps_for(holder, topic))
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
    /// Whether all have had what the file's segment holds.
    pub fn has_been_had(&self, file: FileIndex) -> bool {
        let mut kept = self.kept_in(file);
        kept.all(|(slot, partition, end)| {
            let topic = self.topic(partition);
            let mut holders = self.holders.iter().filter(|holder| keeps_for(holder, topic));
            holders.all(|holder| self.position(holder, slot, partition).is_some_and(|at| at >= end))
        })
    }

    /// Whether the file's segment holds nothing that is kept for anybody.
    pub fn is_free(&self, file: FileIndex) -> bool {
        self.kept_in(file).next().is_none()
    }

    /// The offset below which all have had a partition's records; none: it is not kept for anybody.
    pub fn floor(&self, slot: PartitionSlot, partition: &Partition) -> Option<Offset> {
        let topic = self.topic(partition);
        let holders = self.holders.iter().filter(|holder| keeps_for(holder, topic));
        let positions = holders.map(|holder| self.position(holder, slot, partition));
        positions.map(|at| at.unwrap_or(partition.log_start)).min()
    }

    /// What one of them has not had in this ring.
    pub fn lag(&self, holder: &Holder, partitions: impl Iterator<Item = PartitionSlot>) -> Lag {
        let mut lag = Lag::default();
        for slot in partitions {
            let Some(partition) = self.state.partition(slot) else { continue };
            if !keeps_for(holder, self.topic(partition)) {
                continue;
            }
            let position = self.position(holder, slot, partition);
            let from = position.unwrap_or(partition.log_start).max(partition.log_start);
            if from < partition.high_watermark {
                lag.records += partition.high_watermark.0.abs_diff(from.0);
                lag.unreported += u64::from(position.is_none());
                lag.partitions += 1;
                lag.first.get_or_insert((slot, from));
            }
        }
        lag
    }

    /// Records of the file's segment that one of them has not had. Of compacted topics none are counted:
    /// what lives of them is carried.
    pub fn not_had(&self, holder: &Holder, file: FileIndex) -> u64 {
        let kept = self.kept_in(file).filter(|(_, partition, _)| !partition.compacted);
        kept.map(|(slot, partition, end)| {
            let first = self.index.in_segment(file, slot).map_or(end, |there| there.first);
            let had = self.position(holder, slot, partition).unwrap_or_default();
            end.0.saturating_sub(first.max(partition.log_start).max(had).0).max(0).unsigned_abs()
        })
        .fold(0, u64::saturating_add)
    }

    /// Whether a holder ever said anything of what is still there.
    pub fn has_reported(&self, holder: &Holder) -> bool {
        match holder {
            Holder::Group(name) => {
                let group = self.state.group_named(name);
                group.is_some_and(|group| !self.state.offsets_of(group).is_empty())
            }
            Holder::Mirror(alias) => self.state.mirrors.has_reported(alias),
        }
    }

    /// The partitions in a segment that are kept, each with the offset behind its last record there.
    fn kept_in(
        &self,
        file: FileIndex,
    ) -> impl Iterator<Item = (PartitionSlot, &'a Partition, Offset)> + use<'a> {
        let hold = *self;
        let slots =
            (0..hold.state.limits().partitions_max).map(|place| PartitionSlot(place as u16));
        slots.filter_map(move |slot| {
            let first = hold.index.in_segment(file, slot)?.first;
            let partition = hold.state.partition(slot)?;
            let end = hold.index.end_in(file, slot, first).unwrap_or(partition.written);
            let kept = end > partition.log_start && keeps(hold.holders, hold.topic(partition));
            kept.then_some((slot, partition, end))
        })
    }

    /// The first offset that a holder may not have had, if it ever said.
    fn position(
        &self,
        holder: &Holder,
        slot: PartitionSlot,
        partition: &Partition,
    ) -> Option<Offset> {
        match holder {
            Holder::Group(name) => {
                let group: GroupSlot = self.state.group_named(name)?;
                Some(self.state.offset_of(group, partition.handle)?.offset)
            }
            Holder::Mirror(alias) => self.state.mirrors.position(alias, slot),
        }
    }

    fn topic(&self, partition: &Partition) -> &'a str {
        self.state.topic(partition.topic).map_or("", |topic| &topic.name)
    }
}

/// What MirrorMaker calls the topic in which it shows that it lives.
const HEARTBEATS: &str = "heartbeats";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topics_that_a_mirror_does_not_take_are_not_kept_for_it() {
        let mirror = Holder::Mirror("up".to_string());
        let group = Holder::Group("g".to_string());
        for topic in ["sensors", "up", "upper.x", "x.up", "internal", "edge.sensors", "my-replica"]
        {
            assert!(keeps_for(&mirror, topic) && keeps_for(&group, topic), "{topic}");
        }
        for topic in [
            "__consumer_offsets",
            ".hidden",
            "mm2-offset-syncs.up.internal",
            "connect-internal",
            "heartbeats",
            "edge.heartbeats",
        ] {
            assert!(!keeps_for(&mirror, topic) && !keeps_for(&group, topic), "{topic}");
        }
        for topic in ["up.sensors", "other.up.sensors", "sensors.replica"] {
            assert!(!keeps_for(&mirror, topic) && keeps_for(&group, topic), "{topic}");
        }
    }
}
