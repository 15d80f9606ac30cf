//! What the broker shows of itself: gathered here, in the forms of `status`, of Prometheus and of the page.

mod json;
mod prometheus;

pub use json::JsonText;

use crate::api;
use crate::broker::Broker;
use crate::clock::Now;
use crate::codec::ErrorCode;
use crate::limits;
use crate::log::hold::Hold;
use crate::metrics::render::{
    Form, HoldStatus, HolderStatus, OldestStatus, RingStatus, Status, StorageStatus, render,
};
use crate::metrics::{
    DamageMetrics, HoldMetrics, HolderMetrics, MemoryMetrics, Overview, RingMetrics, TableMetrics,
};
use crate::plan::Plan;
use crate::storage::medium::Medium;
use crate::types::RingIndex;

/// What is shown piece by piece, since it may be long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Report {
    /// Everything, for Prometheus.
    Metrics,
    /// Topics, as JSON.
    Topics,
    /// Consumer groups, as JSON.
    Groups,
}

/// How much of a report was sent.
#[derive(Debug, Clone, Copy, Default)]
pub struct Sent {
    parts: u32,
    shape: u64,
}

/// Writes the next piece of a report into `buf`, as much as there is room for, and gives its length; 0: that
/// was all. `sent` is kept between the pieces of one report. None: what it is about changed so much that the
/// pieces before do not fit the rest. [`PIECE_BYTES_MIN`] bytes are always enough.
pub fn piece(
    broker: &Broker,
    now: Now,
    what: Report,
    sent: &mut Sent,
    buf: &mut [u8],
) -> Option<usize> {
    match what {
        Report::Metrics => Some(prometheus::piece(broker, now, sent, buf)),
        Report::Topics => json::topics(broker, sent, buf),
        Report::Groups => json::groups(broker, sent, buf),
    }
}

/// Room for the longest line or element: the names of a topic and of a group, and some words.
pub const PIECE_BYTES_MIN: usize = 2048;

/// What is known of the rings, in their order.
struct Rings<'a> {
    names: RingVec<&'a str>,
    metrics: RingVec<RingMetrics>,
    largest: RingVec<heapless::Vec<(&'a str, u64), LARGEST_TOPICS>>,
    holds: RingVec<Option<HoldStatus<'a>>>,
    watches: RingVec<heapless::Vec<HolderStatus<'a>, { limits::HOLDERS_MAX }>>,
}

type RingVec<T> = heapless::Vec<T, { limits::RINGS_MAX }>;

impl<'a> Rings<'a> {
    fn of(broker: &'a Broker, now: Now) -> Rings<'a> {
        let rings = || broker.log.rings();
        let metrics = ring_metrics(broker, now);
        let holds = rings().zip(&metrics);
        Rings {
            names: rings().map(|ring| broker.log.ring_config(ring).name.as_str()).collect(),
            largest: rings().map(|ring| largest_topics(broker, ring)).collect(),
            holds: holds.map(|(ring, metrics)| hold_status(broker, ring, metrics, now)).collect(),
            watches: rings().map(|ring| watch_status(broker, ring)).collect(),
            metrics,
        }
    }
}

/// Writes what `status` shows; none where `buf` is too small.
pub fn status(broker: &Broker, now: Now, form: Form, buf: &mut [u8]) -> Option<usize> {
    let rings = Rings::of(broker, now);
    let shown = (0..rings.names.len()).map(|at| RingStatus {
        name: rings.names[at],
        metrics: &rings.metrics[at],
        largest: &rings.largest[at],
        hold: rings.holds[at].as_ref(),
        watch: &rings.watches[at],
    });
    let shown: RingVec<RingStatus<'_>> = shown.collect();
    let status = Status {
        overview: overview(broker, now),
        listen: &broker.config.listen,
        metrics: &broker.metrics,
        rings: &shown,
        storage: broker.log.storage().medium().map(storage_status),
        damage: damage(broker),
        groups: broker.groups.counts,
        tables: &tables(broker),
        memory: memory(broker),
        api_name,
        error_name,
    };
    render(&status, form, buf)
}

fn overview(broker: &Broker, now: Now) -> Overview {
    Overview {
        uptime_us: now.mono.0,
        starts: u64::from(broker.log.state().boot.0),
        clock_right: broker.clock_right(now),
    }
}

fn memory(broker: &Broker) -> MemoryMetrics {
    MemoryMetrics::now(Plan::of(&broker.config).memory_bytes())
}

fn api_name(key: i16) -> Option<&'static str> {
    api::api_of(key).map(|api| api.name)
}

fn error_name(code: i16) -> Option<&'static str> {
    ErrorCode(code).name()
}

fn storage_status(medium: &Medium) -> StorageStatus<'_> {
    StorageStatus {
        file_system: &medium.file_system,
        has_journal: medium.journal,
        write_cache: &medium.write_cache,
        synced_by: medium.sync.name(),
    }
}

fn ring_metrics(broker: &Broker, now: Now) -> heapless::Vec<RingMetrics, { limits::RINGS_MAX }> {
    let rings = broker.log.rings().map(|ring| {
        let stats = broker.log.stats(ring);
        let taken = broker.log.segments(ring).map(|segment| segment.end);
        let newest = broker.log.segments(ring).next_back();
        let config = broker.log.ring_config(ring);
        // The first segment is number 1, and begins the first lap.
        let begun_before = newest.map_or(0, |newest| newest.seq.0.saturating_sub(1));
        let carried = broker.log.carried(ring);
        RingMetrics {
            segments_live: broker.log.segments(ring).count() as u64,
            bytes_live: taken.sum(),
            laps: begun_before / u64::from(config.segments),
            data_bytes: u64::from(config.data_segments()) * config.segment_bytes,
            seals: stats.seals,
            failing: broker.log.is_failing(ring),
            bytes_per_second: stats.rate.per_second(now.mono),
            held: !config.hold_for.is_empty(),
            oldest_ms: oldest_ms(broker, ring),
            endurance_cycles: broker.config.flash_endurance_cycles,
            payload_bytes: stats.payload_bytes,
            written_bytes: stats.written_bytes,
            groups: stats.groups,
            syncs: stats.syncs,
            failures: stats.failures,
            segments_given_up: stats.given_up,
            segments_evicted: stats.evicted,
            segments_freed: stats.freed,
            records_overwritten: stats.records_overwritten,
            carried_keys: carried.keys,
            carried_live_bytes: carried.bytes,
            carried_live_bytes_max: carried.bytes_max,
            dirty_bytes: carried.dirty_bytes,
            carried_records: stats.carried_records,
            carried_bytes: stats.carried_bytes,
            carry_damaged: stats.carry_damaged,
            carry_lost: stats.carry_lost,
        }
    });
    rings.collect()
}

/// The newest timestamp in a ring's oldest segment; below 0: none has one.
fn oldest_ms(broker: &Broker, ring: RingIndex) -> i64 {
    let (state, index) = (broker.log.state(), broker.log.index(ring));
    let there = index.segments().iter().next().map(|(_, file)| {
        let partitions = state.partitions().filter(|(_, partition)| partition.ring == ring);
        partitions
            .filter_map(|(slot, _)| index.in_segment(*file, slot))
            .map(|there| there.newest_ms)
    });
    there.and_then(Iterator::max).unwrap_or(-1)
}

/// The topics that take most of a ring, with the bytes of their records.
fn largest_topics(broker: &Broker, ring: RingIndex) -> heapless::Vec<(&str, u64), LARGEST_TOPICS> {
    let (state, sizes) = (broker.log.state(), broker.log.sizes(ring));
    let mut largest: heapless::Vec<(&str, u64), LARGEST_TOPICS> = heapless::Vec::new();
    for (slot, topic) in state.topics().filter(|(_, topic)| topic.ring == ring) {
        let bytes: u64 = state.partitions_of(slot).map(|(slot, _)| sizes.of(slot)).sum();
        if bytes == 0 {
            continue;
        }
        if largest.is_full() && largest.last().is_some_and(|(_, least)| *least < bytes) {
            largest.pop();
        }
        let _ = largest.push((&topic.name, bytes));
        largest.sort_unstable_by_key(|(_, bytes)| std::cmp::Reverse(*bytes));
    }
    largest
}

/// So many of a ring's topics are named.
const LARGEST_TOPICS: usize = 3;

/// What a ring that is held looks like now.
fn hold_status<'a>(
    broker: &'a Broker,
    ring: RingIndex,
    metrics: &RingMetrics,
    now: Now,
) -> Option<HoldStatus<'a>> {
    let hold = broker.log.hold(ring);
    let holders = hold.holders;
    if holders.is_empty() {
        return None;
    }
    let full = broker.hold_now(ring, now.mono);
    Some(HoldStatus {
        metrics: HoldMetrics {
            data_bytes: metrics.data_bytes,
            bytes_per_second: metrics.bytes_per_second,
            held_bytes: full.held_bytes,
            waiting_us: full.waiting_us,
            producers: broker.metrics.producers_held_by_ring[usize::from(ring.0)],
        },
        holders: (0..holders.len())
            .map(|at| holder_status(&hold, at, hold.oldest(at), 0))
            .collect(),
    })
}

/// What those had and missed for whom a ring is watched.
fn watch_status(
    broker: &Broker,
    ring: RingIndex,
) -> heapless::Vec<HolderStatus<'_>, { limits::HOLDERS_MAX }> {
    let watch = broker.log.watch(ring);
    let status = |(at, holder)| {
        let overwritten = broker.log.state().missed.records(ring, holder);
        holder_status(&watch, at, OldestStatus::default(), overwritten)
    };
    watch.holders.iter().enumerate().map(status).collect()
}

fn holder_status<'a>(
    hold: &Hold<'a>,
    at: usize,
    oldest: OldestStatus<'a>,
    overwritten: u64,
) -> HolderStatus<'a> {
    let lag = hold.lag(at);
    let metrics = HolderMetrics {
        records: lag.records,
        present: lag.present,
        partitions: lag.partitions,
        unreported: lag.unreported,
        overwritten,
        oldest_more: oldest.more,
    };
    HolderStatus { name: &hold.holders[at], metrics, oldest }
}

fn damage(broker: &Broker) -> DamageMetrics {
    let found = broker.log.damage();
    DamageMetrics {
        segments: found.segments,
        groups: found.groups,
        batches: found.batches,
        records: found.records,
        torn: found.torn,
        unproven: found.unproven,
        read: broker.reads.damaged(),
    }
}

fn tables(broker: &Broker) -> [(&'static str, TableMetrics); 6] {
    let (state, config) = (broker.log.state(), &broker.config);
    let table = |name, used, max| (name, TableMetrics { used, max });
    [
        table("topics", state.topics_len(), config.topics_max),
        table("partitions", state.partitions_len(), config.partitions_max),
        table("groups", broker.groups_len(""), config.groups_max),
        table("offsets", state.offsets_len(), config.offsets_max),
        table("group_members", broker.groups.members_len(), config.group_members_max),
        table("group_bytes", broker.groups.bytes_used(), config.group_members_bytes),
    ]
}
