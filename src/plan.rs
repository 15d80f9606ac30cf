//! The plan: what memory and flash a configuration takes, before any of it is taken.
//!
//! Everything that is allocated before the first connection stands here once, counted by the types
//! that allocate it. Afterwards the heap does not grow, so the sum is a bound and not a forecast.

use std::fmt;

use crate::broker::reads::Reads;
use crate::codec::compression::Decompressor;
use crate::config::Config;
use crate::config::value::{Bytes, Refusal};
use crate::group::Groups;
use crate::limits;
use crate::log::LogConfig;
use crate::log::carry::Carry;
use crate::log::index::Index;
use crate::log::staging::Staging;
use crate::log::state::{self, mirror_positions::Mirrors, missed::Missed};
use crate::metrics::PoolKind;
use crate::types::RingIndex;

/// What a configuration takes.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Memory.
    pub memory: Vec<Item>,
    /// Files of the rings, spares included.
    pub flash: Vec<Item>,
}

/// A line of the plan.
#[derive(Debug, Clone)]
pub struct Item {
    /// What it is for.
    pub name: String,
    /// How many.
    pub count: u64,
    /// Bytes of each.
    pub bytes_each: u64,
}

impl Plan {
    /// The plan of a configuration.
    pub fn of(config: &Config) -> Plan {
        let mut memory = vec![
            item("program and its static data", 1, limits::PROGRAM_BYTES),
            item("stacks of threads", limits::THREADS, limits::STACK_BYTES),
        ];
        let log = LogConfig::of(config);
        for ring in (0..log.rings.len()).map(|place| RingIndex(place as u8)) {
            plan_ring(&mut memory, &log, ring);
        }
        plan_tables(&mut memory, config);
        plan_connections(&mut memory, config);
        let subtotal: u64 = memory.iter().map(Item::bytes).sum();
        memory.push(item("the allocator's own", 1, (subtotal / 64) as usize));
        let flash = log.rings.iter().map(|ring| Item {
            name: format!(
                "ring {}: {} segments and {} spares",
                ring.name, ring.segments, ring.spares
            ),
            count: u64::from(ring.segments + ring.spares),
            bytes_each: ring.segment_bytes,
        });
        Plan { memory, flash: flash.collect() }
    }

    /// All of the memory.
    pub fn memory_bytes(&self) -> u64 {
        self.memory.iter().map(Item::bytes).sum()
    }

    /// What of the memory is on the heap: all but the program and its stacks.
    pub fn heap_bytes(&self) -> u64 {
        let others = limits::PROGRAM_BYTES + limits::THREADS * limits::STACK_BYTES;
        self.memory_bytes() - others as u64
    }

    /// All of the flash.
    pub fn flash_bytes(&self) -> u64 {
        self.flash.iter().map(Item::bytes).sum()
    }

    /// Refuses a plan that does not fit `memory_max`, if that is set, naming what takes most, and rings whose
    /// segments are too small for what must fit one.
    pub fn check(&self, config: &Config) -> Result<(), Refusal> {
        check_segments(config)?;
        if config.memory_max == 0 || self.memory_bytes() <= config.memory_max {
            return Ok(());
        }
        let mut largest: Vec<&Item> = self.memory.iter().collect();
        largest.sort_unstable_by_key(|item| std::cmp::Reverse(item.bytes()));
        let largest: Vec<String> = largest.iter().take(4).map(|item| item.to_string()).collect();
        Err(Refusal::new(format!(
            "memory_max = {} is not enough: the plan takes {}, most of it for {}; memory_max = \
             \"{} MiB\" holds it, and 0 sets no bound (brooklet plan shows all of it)",
            Bytes(config.memory_max.cast_signed()),
            Mib(self.memory_bytes()),
            largest.join("; "),
            self.memory_bytes().div_ceil(1 << 20)
        )))
    }
}

fn check_segments(config: &Config) -> Result<(), Refusal> {
    let log = LogConfig::of(config);
    for (ring, place) in config.rings.iter().zip(0..) {
        let least = log.segment_bytes_least(RingIndex(place));
        if least > ring.segment_bytes {
            return Err(Refusal::new(format!(
                "ring.{}.segment_bytes = {} is not allowed: with these tables and messages it \
                 takes at least {}",
                ring.name,
                Mib(ring.segment_bytes),
                Mib(least)
            )));
        }
    }
    Ok(())
}

impl Item {
    /// All of them.
    pub fn bytes(&self) -> u64 {
        self.count * self.bytes_each
    }
}

fn item(name: &str, count: usize, bytes_each: usize) -> Item {
    Item { name: name.to_string(), count: count as u64, bytes_each: bytes_each as u64 }
}

fn plan_ring(memory: &mut Vec<Item>, log: &LogConfig, ring: RingIndex) {
    let config = &log.rings[usize::from(ring.0)];
    let files = usize::from(config.segments + config.spares);
    let of = |what: &str| format!("ring {}: {what}", config.name);
    let [large, small] = log.groups_of(ring).map(Staging::memory_bytes);
    memory.push(item(&of("commit group"), 1, large));
    memory.push(item(&of("smaller commit group"), 1, small));
    memory.push(item(&of("heads and feet of segments"), 1, log.anchor_bytes_max(ring)));
    let (partitions_max, keys_max) = log.tables_of(ring);
    let index = Index::memory_bytes(files, config.segment_bytes, partitions_max, keys_max);
    memory.push(item(&of("index"), 1, index));
    memory.push(item(&of("compaction"), 1, Carry::memory_bytes(keys_max)));
}

fn plan_tables(memory: &mut Vec<Item>, config: &Config) {
    // With their places in the tables that are in order of name, of id, of handle, and of topic.
    memory.push(item("topics", config.topics_max, size_of::<Option<state::Topic>>() + 2 + 2));
    let partition = size_of::<Option<state::Partition>>() + 8 + 8 + 2;
    memory.push(item("partitions", config.partitions_max, partition));
    memory.push(item("groups", config.groups_max, size_of::<Option<state::CommitGroup>>() + 2));
    memory.push(item("members of groups", 1, Groups::memory_bytes(config)));
    memory.push(item("what members say", 1, config.group_members_bytes));
    memory.push(item("committed offsets", config.offsets_max, size_of::<state::CommittedOffset>()));
    memory.push(item("what goes with them", 1, config.offset_metadata_bytes));
    memory.push(item("producers", config.producers_max, limits::PRODUCER_BYTES));
    let mirrors = crate::config::mirrors(&config.rings).len();
    if mirrors > 0 {
        let each = Mirrors::memory_bytes(1, config.partitions_max);
        memory.push(item("positions of mirrors", mirrors, each));
    }
    let watchers = Missed::memory_bytes(&config.rings);
    if watchers > 0 {
        memory.push(item("what watchers missed", 1, watchers));
    }
}

fn plan_connections(memory: &mut Vec<Item>, config: &Config) {
    memory.push(item("connections", config.max_connections, limits::CONNECTION_BYTES));
    memory.push(item("long requests", config.reply_leases, limits::LONG_REQUEST_BYTES));
    memory.push(item("buffer: answers", 1, limits::ANSWER_WINDOW_BYTES));
    let decompressor = Decompressor::memory_bytes(limits::DECOMPRESSION_WINDOW_BYTES);
    memory.push(item("buffer: decompression", 1, decompressor));
    memory.push(item("buffer: status", 1, limits::STATUS_BYTES_MAX));
    if config.http_listen.0.is_some() {
        let each = limits::HTTP_HEAD_BYTES_MAX + limits::HTTP_TASK_BYTES;
        memory.push(item("HTTP connections", limits::HTTP_CONNECTIONS_MAX, each));
    }
    memory.push(item("reads", 1, Reads::memory_bytes(config)));
    for (kind, (count, bytes)) in PoolKind::ALL.iter().zip(config.pools()) {
        memory.push(item(&format!("buffers: {}", kind.name()), count, bytes));
    }
}

impl fmt::Display for Item {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({} x {})", self.name, self.count, Bytes(self.bytes_each as i64))
    }
}

/// The table that `brooklet plan` prints.
impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (title, items, sum) in [
            ("memory", &self.memory, self.memory_bytes()),
            ("flash", &self.flash, self.flash_bytes()),
        ] {
            writeln!(f, "{title:<44}{:>7}{:>14}{:>14}", "count", "bytes each", "bytes")?;
            for item in items {
                let (each, all) = (item.bytes_each, item.bytes());
                writeln!(f, "  {:<42}{:>7}{each:>14}{all:>14}", item.name, item.count)?;
            }
            writeln!(f, "  {:<63}{sum:>14}  {}", "sum", Mib(sum))?;
        }
        Ok(())
    }
}

/// A size for people to compare: MiB with two digits.
pub struct Mib(pub u64);

impl fmt::Display for Mib {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hundredths = (u128::from(self.0) * 100).div_ceil(1 << 20);
        write!(f, "{}.{:02} MiB", hundredths / 100, hundredths % 100)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::source::{Sources, load};

    #[test]
    fn the_default_plan_fits_8_mib_with_512_connections_and_messages_of_1_mib_and_16_gib() {
        let config = Config::default();
        let plan = Plan::of(&config);
        assert!(config.max_connections >= 512 && config.message_max_bytes >= 1 << 20);
        assert!(plan.memory_bytes() <= 8 << 20, "{plan}");
        assert_eq!(plan.check(&config), Ok(()));
        let mut large = config;
        (large.rings[0].segments, large.rings[0].segment_bytes) = (32, 512 << 20);
        let plan = Plan::of(&large);
        assert!(plan.memory_bytes() <= 8 << 20, "a ring of 16 GiB: {plan}");
    }

    #[test]
    fn a_plan_beyond_memory_max_is_refused_with_sum_limit_and_the_largest_items() {
        let config = Config { memory_max: 2 << 20, ..Config::default() };
        let refusal = Plan::of(&config).check(&config).unwrap_err().to_string();
        assert!(refusal.starts_with("memory_max = 2 MiB is not enough"), "{refusal}");
        assert!(refusal.contains("ring main: commit group (1 x"), "{refusal}");
        let enough = refusal.split("memory_max = \"").nth(1).unwrap().split(' ').next().unwrap();
        let config = Config { memory_max: enough.parse::<u64>().unwrap() << 20, ..config };
        assert_eq!(Plan::of(&config).check(&config), Ok(()));
    }

    #[test]
    fn without_a_bound_of_the_user_no_plan_is_refused_for_its_memory() {
        let set = ["max_connections=4096".to_string(), "produce_leases_small=400".to_string()];
        let config = load(Sources { sets: &set, ..Sources::default() }).unwrap().config;
        let plan = Plan::of(&config);
        assert!(plan.memory_bytes() > 30 << 20, "{plan}");
        assert_eq!(plan.check(&config), Ok(()));
    }

    #[test]
    fn segments_that_could_not_hold_the_tables_are_refused() {
        let set = ["ring.segment_bytes=4MiB".to_string(), "partitions_max=16384".to_string()];
        let config = load(Sources { sets: &set, ..Sources::default() }).unwrap().config;
        let refusal = Plan::of(&config).check(&config).unwrap_err().to_string();
        assert!(refusal.starts_with("ring.main.segment_bytes = 4.00 MiB"), "{refusal}");
    }

    #[test]
    fn the_tiny_plan_fits_3_mib_with_messages_of_128_kib() {
        let text = include_str!("../config/tiny.toml");
        let sources = Sources { file: Some(("tiny.toml", text)), ..Sources::default() };
        let config = load(sources).unwrap().config;
        let plan = Plan::of(&config);
        assert_eq!((config.message_max_bytes, config.memory_max), (128 << 10, 3 << 20));
        assert_eq!(plan.check(&config), Ok(()), "{plan}");
        assert_eq!(plan.flash_bytes(), 56 << 20);
    }
}
