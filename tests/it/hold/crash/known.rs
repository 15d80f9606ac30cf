//! What clients of a held ring know, and how it is compared with what is there.

use std::collections::BTreeMap;

use brooklet::config::Config;

use super::super::rig::{Rig, config};
use crate::host::Host;
use crate::model::{first_behind_oldest, first_readable};

/// Whose ring it is, and what is beside it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// One ring, held by a mirror.
    Mirror,
    /// One ring, held by a group; its groups start on sectors.
    Group,
    /// One that is held by a group, and before it one that is not held, which has the metadata too.
    Beside,
}

/// Topic and index of each partition. Only the last one is not held, and only `Kind::Beside` has it.
pub const PARTITIONS: [(&str, i32); 4] = [("t", 0), ("t", 1), (RELAXED, 0), ("plain", 0)];

/// How many of them are held: the first ones.
pub const HELD: usize = PARTITIONS.len() - 1;

/// The topic that is acknowledged when written.
pub const RELAXED: &str = "relaxed";

/// Groups that commit for the first partition, and hold nothing.
pub const GROUPS: [&str; 2] = ["a", "b"];

/// The group that holds.
pub const HOLDER: &str = "g";

impl Kind {
    pub const ALL: [Kind; 3] = [Kind::Mirror, Kind::Group, Kind::Beside];

    /// Six files of 128 KiB in each ring, of which three hold kept records.
    pub fn config(self) -> Config {
        let mut config = match self {
            Kind::Mirror => config(&["mirror:up"]),
            Kind::Group | Kind::Beside => config(&["group:g"]),
        };
        config.rings[0].segment_bytes = 128 << 10;
        config.commit_group_max_bytes = 32 << 10;
        if self == Kind::Group {
            config.commit_alignment = 512;
        }
        if self == Kind::Beside {
            config.commit_group_small_bytes = 8 << 10;
            let mut plain = config.rings[0].clone();
            (plain.name, plain.topics) = ("plain".into(), vec!["plain".into()]);
            plain.hold_for.clear();
            config.rings.insert(0, plain);
        }
        config
    }

    /// Which of `PARTITIONS` there are.
    pub fn partitions(self) -> &'static [(&'static str, i32)] {
        if self == Kind::Beside { &PARTITIONS } else { &PARTITIONS[..HELD] }
    }
}

/// What clients know.
#[derive(Debug, Clone)]
pub struct Known {
    pub kind: Kind,
    /// Of each partition which record was acknowledged or could be read, by offset: its number.
    pub shown: [BTreeMap<i64, u64>; PARTITIONS.len()],
    /// How far each partition could be read.
    ends: [i64; PARTITIONS.len()],
    /// How far the holder said that it is, at least and at most.
    pub reported: [(i64, i64); PARTITIONS.len()],
    /// And the other groups.
    pub committed: [(i64, i64); GROUPS.len()],
    /// What is below in the partition that is not held had to make room, or may have to.
    start_max: i64,
}

impl Known {
    pub fn new(kind: Kind) -> Known {
        Known {
            kind,
            shown: Default::default(),
            ends: Default::default(),
            reported: Default::default(),
            committed: Default::default(),
            start_max: 0,
        }
    }

    /// A record was acknowledged. What is acknowledged before its sync is not promised.
    pub fn acknowledged(&mut self, partition: usize, offset: i64, number: u64) {
        if PARTITIONS[partition].0 != RELAXED {
            let before = self.shown[partition].insert(offset, number);
            assert!(before.is_none_or(|before| before == number), "two records at {offset}");
        }
    }

    /// Consumers read what is new.
    pub fn look(&mut self, rig: &mut Rig) {
        for (place, (topic, index)) in self.kind.partitions().iter().copied().enumerate() {
            let (_, end) = rig.bounds(topic, index);
            let from = self.ends[place].max(first_readable(&mut rig.host, topic, index));
            if topic == RELAXED && from < end {
                let new = records(rig, place, from, end);
                self.shown[place].extend(new);
            }
            self.ends[place] = self.ends[place].max(end);
        }
        self.check_start(&rig.host);
    }

    /// The log start of what is not held moves only over the oldest segment of a full ring.
    fn check_start(&mut self, host: &Host) {
        if self.kind != Kind::Beside {
            return;
        }
        let ((topic, index), shown) = (PARTITIONS[HELD], &self.shown[HELD]);
        let start = host.broker.partition_asked(topic, index).unwrap().log_start.0;
        let gone: Vec<_> = shown.range(self.start_max..start.max(self.start_max)).collect();
        assert!(gone.is_empty(), "{topic} begins at {start}: {gone:?} did not have to go");
        self.start_max = self.start_max.max(first_behind_oldest(host, topic, index));
    }

    /// Compares with what is there after a start, and takes that over.
    pub fn check(&mut self, rig: &mut Rig) {
        for (place, (topic, index)) in self.kind.partitions().iter().copied().enumerate() {
            let (_, end) = rig.bounds(topic, index);
            let start = first_readable(&mut rig.host, topic, index);
            let (least, most) = self.reported[place];
            let position = position(rig, self.kind, place);
            let there = records(rig, place, start, end);
            let shown = &self.shown[place];
            // Behind what was reported, where it is followed by offsets that no record ever had.
            let skips =
                |records: &BTreeMap<i64, u64>| records.range(most..position).next().is_none();
            let further = position > most && skips(&there) && skips(shown);
            assert!(
                further || (least..=most).contains(&position),
                "{position}, reported {least} to {most}"
            );
            let lost: Vec<_> =
                shown.range(start..).filter(|(o, n)| there.get(o) != Some(n)).collect();
            let kept = shown.range(most..start.max(most));
            let gone: Vec<_> = kept.filter(|_| place < HELD).collect();
            assert!(
                lost.is_empty() && gone.is_empty() && end >= self.ends[place],
                "{topic}-{index} from {start} to {end}, {} before: lost {lost:?}, evicted {gone:?}",
                self.ends[place]
            );
            self.shown[place] = there;
            self.ends[place] = end;
            self.reported[place] = (position, position);
        }
        self.check_start(&rig.host);
        for (name, (least, most)) in GROUPS.iter().zip(&mut self.committed) {
            let offset = committed(rig, name, 0);
            assert!((*least..=*most).contains(&offset), "{name}: {offset}, {least} to {most}");
            (*least, *most) = (offset, offset);
        }
    }
}

/// How far the holder is.
fn position(rig: &Rig, kind: Kind, place: usize) -> i64 {
    let (topic, index) = PARTITIONS[place];
    match kind {
        Kind::Mirror => rig.position(topic, index).map_or(0, |position| position.0),
        Kind::Group | Kind::Beside => committed(rig, HOLDER, place),
    }
}

/// What a group has committed; 0: nothing.
fn committed(rig: &Rig, group: &str, place: usize) -> i64 {
    let (topic, index) = PARTITIONS[place];
    let state = rig.host.broker.log.state();
    let handle = rig.host.broker.partition_asked(topic, index).unwrap().handle;
    let group = state.group_named(group);
    let found = group.and_then(|group| state.offset_of(group, handle));
    found.map_or(0, |found| found.offset.0)
}

/// Which records can be fetched, and their numbers; what a cut took leaves a gap.
fn records(rig: &mut Rig, place: usize, start: i64, end: i64) -> BTreeMap<i64, u64> {
    let (topic, index) = PARTITIONS[place];
    let mut found = BTreeMap::new();
    let mut next = start;
    while next < end {
        let bytes = rig.host.fetch(topic, index, next);
        let before = next;
        for batch in brooklet::codec::batch::batches(&bytes) {
            assert!(batch.crc_holds());
            // One that stands for offsets without records shows none.
            let records = batch.records().unwrap().filter(|_| !batch.header.is_control());
            for record in records {
                let record = record.unwrap();
                let value = record.value.unwrap();
                assert_eq!(value[..8], record.offset.to_be_bytes());
                let number = u64::from_be_bytes(value[8..16].try_into().unwrap());
                let twice = found.insert(record.offset, number);
                assert!(twice.is_none(), "{} is there twice", record.offset);
            }
            next = batch.header.last_offset() + 1;
        }
        assert!(next > before, "a reader comes no further than {before} of {end}");
    }
    found
}
