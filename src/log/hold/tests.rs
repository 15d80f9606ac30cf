//! Which topics are kept for whom, and what a walk over the segments finds.

use super::*;
use crate::log::index::Run;
use crate::log::record::MetaRecord;
use crate::log::state::{RingNumbers, StateLimits};
use crate::types::{PartitionHandle, SegmentSeq, TopicId};
use crate::visits::visits;

const RING: RingIndex = RingIndex(0);

/// A ring with holders and topics of one partition each, and segments with records of some of them.
struct Filled {
    config: RingConfig,
    state: State,
    index: Index,
}

impl Filled {
    fn new(topics: usize, segments: u16, rng: &mut impl FnMut(u64) -> u64) -> Filled {
        let mut config = crate::config::Config::default().rings.remove(0);
        config.hold_for = ["group:g", "mirror:up"].map(|t| Holder::from_text(t).unwrap()).to_vec();
        config.hold_topics = vec!["*1".to_string(), "*2".to_string(), "up.*".to_string()];
        let limits = StateLimits {
            topics_max: topics,
            partitions_max: topics,
            groups_max: 4,
            offsets_max: topics,
            offset_metadata_bytes: 0,
            producers_max: 1,
        };
        let rings = std::slice::from_ref(&config);
        let state = State::of(limits, rings, RingNumbers::in_order(limits::DATA_RINGS_MAX));
        let index = Index::new(segments.into(), 4 << 20, topics, 8);
        let mut filled = Filled { config, state, index };
        for topic in 0..topics {
            let name = format!("{}t{topic}", ["", "up."][topic % 7 / 6]);
            filled.apply(&MetaRecord::TopicCreate {
                id: TopicId([topic as u8 + 1; 16]),
                name: &name,
                ring: 0,
                handle_first: PartitionHandle(topic as u32 + 1),
                partitions: 1,
                configs: &[],
            });
        }
        filled.fill(segments, rng);
        filled
    }

    fn fill(&mut self, segments: u16, rng: &mut impl FnMut(u64) -> u64) {
        let slots: Vec<_> = self.state.partitions().map(|(slot, p)| (slot, p.handle)).collect();
        let mut next = vec![0; slots.len()];
        for segment in 0..segments {
            let file = FileIndex(segment);
            self.index.segment_opened(file, SegmentSeq(u64::from(segment) + 1));
            for (at, (slot, handle)) in slots.iter().copied().enumerate() {
                if rng(3) == 0 {
                    continue;
                }
                // Now and then a copy of what is older.
                let base_offset = Offset(if rng(9) == 0 { 0 } else { next[at] });
                next[at] = next[at].max(base_offset.0 + 10);
                let (bytes, newest_ms, kept) = (100, 0, 0);
                let run = Run { slot, handle, base_offset, records: 10, bytes, newest_ms, kept };
                self.index.group_synced(file, 4096, [run].into_iter());
            }
        }
        for (at, (slot, handle)) in slots.iter().copied().enumerate() {
            self.state.partition_mut(slot).unwrap().written = Offset(next[at]);
            let mut some = |_| Offset(rng(next[at] as u64 + 11) as i64);
            let (offset, had, start) = (some(0), some(1), some(2));
            self.apply(&MetaRecord::OffsetCommit {
                group: ["g", "other"][at % 5 / 4],
                handle,
                offset,
                leader_epoch: -1,
                metadata: "",
                timestamp_ms: 0,
            });
            if at % 4 > 0 {
                self.apply(&MetaRecord::Mirrored { mirror: "up", handle, offset: had });
            }
            if at % 3 == 0 {
                self.apply(&MetaRecord::LogStart { handle, offset: start });
            }
        }
    }

    fn apply(&mut self, record: &MetaRecord<'_>) {
        self.state.apply(RING, record, &mut |_| {}).unwrap();
    }

    fn hold(&self) -> Hold<'_> {
        Hold::held(&self.config, RING, &self.state, &self.index)
    }

    /// The same as [`Hold::look`], each segment by itself.
    fn look_one_by_one(&self) -> Look {
        let (hold, mut look) = (self.hold(), Look::default());
        let segments = self.index.segments();
        for (at, (_, file)) in segments.iter().enumerate() {
            for (slot, partition) in self.state.partitions() {
                let Some(there) = self.index.in_segment(*file, slot) else { continue };
                let later = segments[at + 1..].iter();
                let later = later.filter_map(|(_, file)| self.index.in_segment(*file, slot));
                let end = later.map(|there| there.first).find(|first| *first > there.first);
                let end = end.unwrap_or(partition.written);
                if end <= partition.log_start {
                    continue;
                }
                look.any.add(*file);
                let name = &self.state.topic(partition.topic).unwrap().name;
                for (at, holder) in self.config.hold_for.iter().enumerate() {
                    if self.config.holds(name) && keeps_for(holder, name) {
                        look.kept.add(*file);
                        let had = hold.position(at, slot, partition);
                        if had.is_none_or(|had| had < end) {
                            look.owed.add(*file);
                        }
                    }
                }
            }
        }
        look
    }
}

fn random(seed: u64) -> impl FnMut(u64) -> u64 {
    let mut state = seed;
    move |below| {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % below
    }
}

#[test]
fn one_walk_finds_what_looking_at_each_segment_by_itself_does() {
    for seed in 0..300 {
        let mut rng = random(seed);
        let (topics, segments) = (1 + rng(20) as usize, 1 + rng(70) as u16);
        let filled = Filled::new(topics, segments, &mut rng);
        assert_eq!(filled.hold().look(), filled.look_one_by_one(), "seed {seed}");
    }
}

#[test]
fn a_walk_looks_once_at_each_partition_in_each_segment() {
    let (topics, segments) = (200, 64);
    let filled = Filled::new(topics, segments, &mut random(1));
    let looks = visits(&mut || _ = filled.hold().look());
    // And at each partition and its topic a few times before that.
    let before = looks - topics * usize::from(segments);
    assert!(before <= 4 * topics, "{before}");
}

#[test]
fn topics_that_a_mirror_does_not_take_are_not_kept_for_it() {
    let mirror = Holder::Mirror("up".to_string());
    let group = Holder::Group("g".to_string());
    for topic in ["sensors", "up", "upper.x", "x.up", "internal", "edge.sensors", "my-replica"] {
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

#[test]
fn topics_that_the_ring_is_not_held_for_are_kept_for_nobody() {
    let mut config = crate::config::Config::default().rings.remove(0);
    config.hold_for = ["group:g", "mirror:up"].map(|t| Holder::from_text(t).unwrap()).to_vec();
    config.watch_for = vec![Holder::from_text("mirror:other").unwrap()];
    assert_eq!(kept_for(&config, "alarms.fire"), 0b1_0011);
    assert_eq!(kept_for(&config, "up.alarms"), 0b1_0001);
    config.hold_topics = vec!["alarms.*".to_string(), "t?p".to_string()];
    for (topic, bits) in [("alarms.fire", 0b1_0011), ("tap", 0b1_0011), ("alarm.fire", 0b1_0000)] {
        assert_eq!(kept_for(&config, topic), bits, "{topic}");
    }
}
