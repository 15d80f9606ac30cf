//! Creating, growing, changing and deleting topics: what is checked, and what is staged.
//!
//! A request is checked as a whole against the synced state. If a change of one of its topics is on its
//! way, it waits, so that nothing is decided on what may still fail.

use super::Broker;
use super::refusal::Refusal;
use crate::clock::Now;
use crate::codec::ErrorCode;
use crate::limits;
use crate::log::StageError;
use crate::log::record::MetaRecord;
use crate::log::state::{Partition, TableFull, TopicConfigs, TopicName};
use crate::types::{RingIndex, Settle, Ticket, TopicId, TopicSlot, Until};

/// Why a change cannot be staged now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Busy {
    /// Ask again once this is settled.
    Wait(Until),
    /// The disk fails: KAFKA_STORAGE_ERROR (56).
    Storage,
    /// It is too much for one request: POLICY_VIOLATION (44).
    TooMuch,
}

/// A topic that was checked and may be created.
#[derive(Debug, Clone)]
pub struct NewTopic {
    /// Its name.
    pub name: TopicName,
    /// How many partitions.
    pub partitions: u32,
    /// Its own settings.
    pub configs: TopicConfigs,
}

/// What one request is about to create, and what is on its way already.
#[derive(Debug, Clone, Copy, Default)]
pub struct Growth {
    /// Topics.
    pub topics: usize,
    /// Partitions, those of the topics included.
    pub partitions: usize,
}

/// A change of a topic that is on its way.
struct Staged<'a> {
    ticket: Ticket,
    name: &'a str,
    topics: usize,
    partitions: usize,
}

impl NewTopic {
    /// The most that its creation takes in the ring.
    pub fn meta_bytes(&self) -> usize {
        self.name.len() + self.configs.len() + RECORD_BYTES
    }
}

impl Busy {
    /// What the client is told, unless it waits.
    pub fn refusal(self) -> Result<Refusal, Until> {
        match self {
            Busy::Wait(until) => Err(until),
            Busy::Storage => {
                let why = format_args!("The broker's storage is failing.");
                Ok(Refusal::new(ErrorCode::KAFKA_STORAGE_ERROR, why))
            }
            Busy::TooMuch => {
                let why = format_args!("That is too much for one request.");
                Ok(Refusal::new(ErrorCode::POLICY_VIOLATION, why))
            }
        }
    }
}

impl Broker {
    /// Whether no change is on its way of a topic for which `concerns` is true. Metadata that is being
    /// written cannot be read, so it is waited for whatever it is about.
    pub fn topics_settled(&self, concerns: impl Fn(&str) -> bool) -> Result<(), Busy> {
        let out = self.log.staged_out(self.log.shared());
        let mut until = out.map(|ticket| Until::synced(self.log.shared(), ticket));
        for staged in self.topics_staged().filter(|staged| concerns(staged.name)) {
            let wait = until.get_or_insert_default();
            wait.add(self.log.shared(), staged.ticket);
        }
        self.busy_until(until)
    }

    /// Waits for `until`, if it is given, but not while the disk fails. What is staged then is stored once
    /// the disk works again, and whoever waited for it would find the change made already.
    pub(super) fn busy_until(&self, until: Option<Until>) -> Result<(), Busy> {
        let fails = self.log.is_failing(self.log.shared());
        match until {
            Some(until) if fails || self.log.settled(&until) == Settle::Failed => {
                Err(Busy::Storage)
            }
            Some(until) => Err(Busy::Wait(until)),
            None => Ok(()),
        }
    }

    /// Whether this many bytes of metadata can be staged in `ring` now.
    pub fn meta_room(&self, ring: RingIndex, bytes: usize) -> Result<(), Busy> {
        self.log.room_meta(ring, bytes).map_err(|error| match error {
            StageError::Full(ticket) => Busy::Wait(Until::written(ring, ticket)),
            StageError::Storage => Busy::Storage,
            StageError::TooLarge | StageError::Held => Busy::TooMuch,
        })
    }

    /// What is on its way already.
    pub fn growth_staged(&self) -> Growth {
        let mut growth = Growth::default();
        for staged in self.topics_staged() {
            growth.topics += staged.topics;
            growth.partitions += staged.partitions;
        }
        growth
    }

    /// Whether a topic of this name may be created at all.
    pub fn topic_name_free(&self, name: &str) -> Result<TopicName, Refusal> {
        let good = name_check(name)?;
        if self.log.state().topic_named(name).is_some() {
            let why = format_args!("Topic '{name}' already exists.");
            return Err(Refusal::new(ErrorCode::TOPIC_ALREADY_EXISTS, why));
        }
        if name.contains(['.', '_']) {
            let mut topics = self.log.state().topics();
            if let Some((_, other)) =
                topics.find(|(_, other)| metric_names_equal(name, &other.name))
            {
                let other = &other.name;
                let why = format_args!("Topic '{name}' collides with existing topic: {other}");
                return Err(Refusal::new(ErrorCode::INVALID_TOPIC_EXCEPTION, why));
            }
        }
        Ok(good)
    }

    /// Counts a new topic, if the tables have room for it.
    pub fn topic_grow(&self, new: &NewTopic, growth: &mut Growth) -> Result<(), Refusal> {
        let partitions = new.partitions as usize;
        let state = self.log.state();
        state.room_for_topic(partitions, growth.topics, growth.partitions).map_err(refused_full)?;
        growth.topics += 1;
        growth.partitions += partitions;
        Ok(())
    }

    /// Refuses a topic whose ring has no head on flash, as it could never be written to: the next start would
    /// take the ring for lost, and its topics with it.
    pub fn topic_ring_begun(&self, name: &str) -> Result<(), Refusal> {
        let ring = self.config.ring_of(name);
        if self.log.segments(ring).next().is_some() {
            return Ok(());
        }
        let name = &self.config.rings[usize::from(ring.0)].name;
        let why = format_args!("Ring {name} is not on flash yet: the broker's storage is failing.");
        Err(Refusal::new(ErrorCode::KAFKA_STORAGE_ERROR, why))
    }

    /// Counts `more` new partitions, if the table has room for them.
    pub fn partitions_grow(&self, more: u32, growth: &mut Growth) -> Result<(), Refusal> {
        let more = more as usize;
        let state = self.log.state();
        state.room_for_partitions(more, growth.partitions).map_err(refused_full)?;
        growth.partitions += more;
        Ok(())
    }

    /// Stages a topic's creation.
    pub fn topic_create(
        &mut self,
        new: &NewTopic,
        now: Now,
    ) -> Result<(TopicId, Ticket), StageError> {
        let id = topic_id_random();
        let record = MetaRecord::TopicCreate {
            id,
            name: &new.name,
            ring: self.log.number_of(self.config.ring_of(&new.name)).0,
            handle_first: self.log.handles_take(new.partitions),
            partitions: new.partitions,
            configs: &new.configs,
        };
        let ticket = self.log.stage(self.log.shared(), &record, true, now)?;
        Ok((id, ticket))
    }

    /// Stages `more` partitions of a topic.
    pub fn partitions_add(
        &mut self,
        id: TopicId,
        more: u32,
        now: Now,
    ) -> Result<Ticket, StageError> {
        let record = MetaRecord::PartitionsAdd {
            id,
            handle_first: self.log.handles_take(more),
            partitions: more,
        };
        self.log.stage(self.log.shared(), &record, true, now)
    }

    /// Stages a topic's deletion.
    pub fn topic_delete(&mut self, id: TopicId, now: Now) -> Result<Ticket, StageError> {
        let record = MetaRecord::TopicDelete { id };
        let ticket = self.log.stage(self.log.shared(), &record, true, now)?;
        let state = self.log.state();
        if let Some((slot, topic)) = state.topic_with_id(id) {
            let partitions = state.partitions_of(slot);
            let partitions = partitions.map(|(slot, each)| (slot, each.handle, each.index));
            self.reads.topic_leaves(topic, partitions);
        }
        self.held_topic_deleted(id);
        Ok(ticket)
    }

    /// Stages a topic's own settings.
    pub fn topic_configs_set(
        &mut self,
        id: TopicId,
        configs: &TopicConfigs,
        now: Now,
    ) -> Result<Ticket, StageError> {
        let record = MetaRecord::TopicConfigs { id, configs };
        self.log.stage(self.log.shared(), &record, true, now)
    }

    /// The topic of a request that names it by name, or else by id.
    pub fn topic_asked(&self, name: Option<&str>, id: TopicId) -> Option<TopicSlot> {
        let state = self.log.state();
        let found = match name {
            Some(name) => state.topic_named(name),
            None => state.topic_with_id(id),
        };
        found.map(|(slot, _)| slot)
    }

    /// The partition of a request that names it by its topic and number.
    pub fn partition_asked(&self, topic: &str, index: i32) -> Option<&Partition> {
        let state = self.log.state();
        let (slot, _) = state.topic_named(topic)?;
        let slot = state.partition_of(slot, u32::try_from(index).ok()?)?;
        state.partition(slot)
    }

    fn topics_staged(&self) -> impl Iterator<Item = Staged<'_>> {
        let state = self.log.state();
        let name_of = move |id| state.topic_with_id(id).map_or("", |(_, topic)| &topic.name);
        self.log.staged(self.log.shared()).filter_map(move |(ticket, record)| {
            let (name, topics, partitions) = match record {
                MetaRecord::TopicCreate { name, partitions, .. } => (name, 1, partitions),
                MetaRecord::PartitionsAdd { id, partitions, .. } => (name_of(id), 0, partitions),
                MetaRecord::TopicDelete { id } | MetaRecord::TopicConfigs { id, .. } => {
                    (name_of(id), 0, 0)
                }
                _ => return None,
            };
            Some(Staged { ticket, name, topics, partitions: partitions as usize })
        })
    }
}

/// Whether a topic may have this name: Kafka's rules.
pub fn name_check(name: &str) -> Result<TopicName, Refusal> {
    let bad = |why: std::fmt::Arguments<'_>| {
        let why = format_args!("Topic name is invalid: {why}");
        Err(Refusal::new(ErrorCode::INVALID_TOPIC_EXCEPTION, why))
    };
    let known = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    match name {
        "" => bad(format_args!("the empty string is not allowed")),
        "." | ".." => bad(format_args!("'{name}' is not allowed")),
        _ if name.len() > limits::TOPIC_NAME_BYTES_MAX => bad(format_args!(
            "its {} characters are more than {}: '{name}'",
            name.chars().count(),
            limits::TOPIC_NAME_BYTES_MAX
        )),
        _ if !name.bytes().all(known) => bad(format_args!(
            "'{name}' contains a character other than ASCII letters, digits, '.', '_' and '-'"
        )),
        _ => Ok(TopicName::try_from(name).expect("its length was looked at")),
    }
}

/// Whether this is one of Kafka's internal topics.
pub fn is_internal(name: &str) -> bool {
    matches!(name, "__consumer_offsets" | "__transaction_state")
}

/// A table of the configuration's size is full.
fn refused_full(full: TableFull) -> Refusal {
    let TableFull { key, max } = full;
    let why = format_args!("There is no room: {key} is {max} in the broker's configuration.");
    Refusal::new(ErrorCode::POLICY_VIOLATION, why)
}

/// In Kafka's names of metrics '.' and '_' are the same, so topics may not differ in that alone.
fn metric_names_equal(a: &str, b: &str) -> bool {
    let plain = |byte: u8| if byte == b'.' { b'_' } else { byte };
    a.len() == b.len() && a.bytes().map(plain).eq(b.bytes().map(plain))
}

/// Random, and none of those that Kafka reserves.
fn topic_id_random() -> TopicId {
    let mut id = [0; 16];
    loop {
        let got = rustix::rand::getrandom(&mut id, rustix::rand::GetRandomFlags::empty());
        if got == Ok(id.len()) && id[..8] != [0; 8] {
            return TopicId(id);
        }
    }
}

/// The most that a metadata record takes beside its name and settings: 16 bytes of id, and numbers.
pub const RECORD_BYTES: usize = 48;

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering;

    use super::*;
    use crate::broker::testing::Bench;

    #[test]
    fn what_the_disk_has_in_hand_is_waited_for() {
        let mut bench = Bench::new();
        let new = NewTopic {
            name: name_check("t").unwrap(),
            partitions: 2,
            configs: TopicConfigs::new(),
        };
        let (_, ticket) = bench.broker.topic_create(&new, bench.now).unwrap();
        assert_eq!(bench.broker.topics_settled(|name| name == "u"), Ok(()));
        assert_eq!(bench.broker.growth_staged().partitions, 2);

        bench.now.mono = bench.now.mono.plus_ms(100);
        let shared = bench.broker.log.shared();
        let mut job = bench.broker.log.next_io(shared, bench.now).unwrap();
        // Which topics it is about cannot be seen now.
        let wait = Err(Busy::Wait(Until::synced(shared, ticket)));
        assert_eq!(bench.broker.topics_settled(|name| name == "u"), wait);
        assert_eq!(bench.broker.meta_room(shared, 100), Ok(()));
        let done = job.run(&**bench.broker.log.storage());
        bench.broker.log.io_done(shared, job, done, bench.now);
        assert_eq!(bench.broker.topics_settled(|_| true), Ok(()));
    }

    #[test]
    fn who_was_failed_does_not_wait_for_what_it_has_staged_itself() {
        let mut bench = Bench::new();
        let topic = |name| {
            let name = name_check(name).unwrap();
            NewTopic { name, partitions: 1, configs: TopicConfigs::new() }
        };
        bench.broker.topic_create(&topic("t"), bench.now).unwrap();
        bench.drive();
        bench.disk.fails.store(true, Ordering::Relaxed);
        let shared = bench.broker.log.shared();
        bench.broker.topic_create(&topic("u"), bench.now).unwrap();
        bench.now.mono = bench.now.mono.plus_ms(100);
        let mut job = bench.broker.log.next_io(shared, bench.now).unwrap();
        // The next group's first, while this one is on its way.
        let (_, ticket) = bench.broker.topic_create(&topic("v"), bench.now).unwrap();
        let done = job.run(&**bench.broker.log.storage());
        bench.broker.log.io_done(shared, job, done, bench.now);
        bench.drive();
        assert_eq!(bench.broker.log.settled(&Until::synced(shared, ticket)), Settle::Failed);
        for name in ["u", "v"] {
            assert_eq!(bench.broker.topics_settled(|staged| staged == name), Err(Busy::Storage));
        }
        bench.disk.fails.store(false, Ordering::Relaxed);
        bench.now.mono = bench.now.mono.plus_ms(1000);
        bench.drive();
        bench.drive();
        assert_eq!(bench.broker.topics_settled(|_| true), Ok(()));
        assert!(["t", "u", "v"].iter().all(|t| bench.broker.log.state().topic_named(t).is_some()));
    }

    #[test]
    fn topic_names_are_kafkas() {
        for name in ["a", "A-z_0.9", "__consumer_offsets", &"x".repeat(249)] {
            assert!(name_check(name).is_ok(), "{name}");
        }
        for name in ["", ".", "..", "a b", "a/b", "\u{e9}", &"x".repeat(250)] {
            let refusal = name_check(name).unwrap_err();
            assert_eq!(refusal.code, ErrorCode::INVALID_TOPIC_EXCEPTION, "{name}");
        }
    }

    #[test]
    fn names_that_differ_in_dots_and_underscores_alone_collide() {
        assert!(metric_names_equal("a.b_c", "a_b.c"));
        assert!(!metric_names_equal("a.b", "a-b"));
        assert!(!metric_names_equal("a.b", "a.bc"));
    }

    #[test]
    fn a_record_takes_no_more_than_was_counted() {
        let name = "x".repeat(limits::TOPIC_NAME_BYTES_MAX);
        let configs = [7; limits::TOPIC_CONFIG_BYTES_MAX];
        let record = MetaRecord::TopicCreate {
            id: TopicId([0xff; 16]),
            name: &name,
            ring: 3,
            handle_first: crate::types::PartitionHandle(u32::MAX),
            partitions: u32::MAX,
            configs: &configs,
        };
        let mut buf = [0; 1024];
        let mut appender = crate::log::record::Appender::default();
        appender.push(&record, &mut buf).unwrap();
        assert!(appender.end() <= name.len() + configs.len() + RECORD_BYTES);
    }
}
