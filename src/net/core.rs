//! What `net` needs of the broker, so that its own tests can stand in for it.

use std::sync::Arc;

use crate::api::produce::{Front, Long, Next, Staged};
use crate::api::{self, Pool, Step, Window};
use crate::broker::{Broker, ConnId, JobNext, Peer};
use crate::clock::{Mono, Now};
use crate::codec::ErrorCode;
use crate::error::DiskError;
use crate::limits;
use crate::log::hold::Hold;
use crate::metrics::render::{
    Form, HoldStatus, HolderStatus, OldestStatus, RingStatus, Status, StorageStatus, render,
};
use crate::metrics::{
    DamageMetrics, HoldMetrics, HolderMetrics, MemoryMetrics, Metrics, Overview, RingMetrics,
    TableMetrics,
};
use crate::plan::Plan;
use crate::storage::medium::Medium;
use crate::storage::{Storage, WriteJob};
use crate::types::{HeldBack, RingIndex, Settle, Until};

/// The synchronous broker behind the sockets. The methods are those of [`Broker`], [`api`] and
/// [`crate::log::Log`], where they are explained.
pub trait Core: 'static {
    /// See [`Long`].
    type Long: Default;
    /// See [`api::dispatch`].
    fn dispatch(&mut self, peer: &Peer, frame: &[u8], out: Window<'_>, now: Now) -> Step;
    /// See [`api::fail`].
    fn fail(&self, key: i16, version: i16, answer: &mut [u8]);
    /// See [`Long::next`]; an error closes the connection.
    fn long_next(
        &mut self,
        long: &mut Self::Long,
        peer: &Peer,
        front: Front<'_>,
        list: &mut [u8],
        now: Now,
    ) -> Result<(usize, Next), &'static str>;
    /// See [`Long::stage`].
    fn long_stage(
        &mut self,
        long: &mut Self::Long,
        peer: &Peer,
        records: &[u8],
        list: &mut [u8],
        now: Now,
    ) -> Staged;
    /// See [`Long::widen`].
    fn long_widen(&self, long: &Self::Long, from: &[u8], to: &mut [u8]);
    /// See [`Long::until`]; with the request's version.
    fn long_until(&self, long: &Self::Long) -> Option<(Until, i16)>;
    /// See [`Long::settle`].
    fn long_settle(&self, long: &Self::Long, list: &mut [u8]) -> Option<Until>;
    /// See [`Long::answer`].
    fn long_answer(&self, long: &Self::Long, list: &[u8], out: Window<'_>) -> usize;
    /// See [`api::refuse`].
    fn refuse(&self, begun: &[u8; 8], out: Window<'_>) -> Option<(usize, ErrorCode)>;
    /// See [`api::pool_of`].
    fn pool_of(&self, key: i16) -> Pool;
    /// See [`crate::log::Log::settled`].
    fn settled(&self, until: &Until) -> Settle;
    /// See [`crate::log::Log::next_io`].
    fn next_io(&mut self, ring: RingIndex, now: Now) -> Option<WriteJob>;
    /// See [`crate::log::Log::io_done`].
    fn io_done(&mut self, ring: RingIndex, job: WriteJob, result: Result<(), DiskError>, now: Now);
    /// See [`crate::log::Log::deadline`].
    fn deadline(&self, ring: RingIndex) -> Option<Mono>;
    /// See [`crate::log::Log::close`].
    fn close(&mut self);
    /// See [`crate::log::Log::is_closed`].
    fn is_closed(&self) -> bool;
    /// See [`crate::log::Log::storage`].
    fn storage(&self) -> &Arc<dyn Storage>;
    /// See [`Broker::job_step`].
    fn job_step(
        &mut self,
        conn: ConnId,
        buf: &mut [u8],
        read: Option<Result<(), DiskError>>,
        now: Now,
    ) -> JobNext;
    /// See [`Broker::job_cancel`].
    fn job_cancel(&mut self, conn: ConnId);
    /// Bytes that were decompressed since this was last asked, and what takes as long as so many.
    fn unpacked(&mut self) -> u32;
    /// See [`Broker::woken`].
    fn woken(&mut self) -> Option<ConnId>;
    /// See [`Broker::tick`].
    fn tick(&mut self, now: Now);
    /// See [`Broker::due`].
    fn due(&self) -> Mono;
    /// See [`Broker::is_holding`].
    fn is_holding(&self) -> bool;
    /// See [`api::produce::held_back`].
    fn held_back(&mut self, frame: &[u8], frame_bytes: usize, now: Now) -> Option<HeldBack>;
    /// See [`Broker::hold_ends`].
    fn hold_ends(&mut self, now: Now) -> bool;
    /// See [`Broker::metrics`].
    fn metrics(&mut self) -> &mut Metrics;
    /// Writes what `status` shows; none where `buf` is too small.
    fn status(&self, now: Now, json: bool, buf: &mut [u8]) -> Option<usize>;
}

impl Core for Broker {
    type Long = Long;

    fn long_next(
        &mut self,
        long: &mut Long,
        peer: &Peer,
        front: Front<'_>,
        list: &mut [u8],
        now: Now,
    ) -> Result<(usize, Next), &'static str> {
        long.next(self, peer, front, list, now).map_err(|malformed| malformed.0)
    }

    fn long_stage(
        &mut self,
        long: &mut Long,
        peer: &Peer,
        records: &[u8],
        list: &mut [u8],
        now: Now,
    ) -> Staged {
        long.stage(self, peer, records, list, now)
    }

    fn long_widen(&self, long: &Long, from: &[u8], to: &mut [u8]) {
        long.widen(from, to);
    }

    fn long_until(&self, long: &Long) -> Option<(Until, i16)> {
        Some((long.until()?, long.version()))
    }

    fn long_settle(&self, long: &Long, list: &mut [u8]) -> Option<Until> {
        long.settle(self, list)
    }

    fn long_answer(&self, long: &Long, list: &[u8], out: Window<'_>) -> usize {
        long.answer(list, out)
    }

    fn dispatch(&mut self, peer: &Peer, frame: &[u8], out: Window<'_>, now: Now) -> Step {
        api::dispatch(self, peer, frame, out, now)
    }

    fn fail(&self, key: i16, version: i16, answer: &mut [u8]) {
        api::fail(key, version, answer);
    }

    fn refuse(&self, begun: &[u8; 8], out: Window<'_>) -> Option<(usize, ErrorCode)> {
        api::refuse(begun, out)
    }

    fn pool_of(&self, key: i16) -> Pool {
        api::pool_of(key)
    }

    fn settled(&self, until: &Until) -> Settle {
        self.log.settled(until)
    }

    fn next_io(&mut self, ring: RingIndex, now: Now) -> Option<WriteJob> {
        self.log.next_io(ring, now)
    }

    fn io_done(&mut self, ring: RingIndex, job: WriteJob, result: Result<(), DiskError>, now: Now) {
        self.log.io_done(ring, job, result, now);
        self.hold_warn_as_it_fills(ring);
    }

    fn deadline(&self, ring: RingIndex) -> Option<Mono> {
        self.log.deadline(ring)
    }

    fn close(&mut self) {
        self.log.close();
    }

    fn is_closed(&self) -> bool {
        self.log.is_closed()
    }

    fn storage(&self) -> &Arc<dyn Storage> {
        self.log.storage()
    }

    fn job_step(
        &mut self,
        conn: ConnId,
        buf: &mut [u8],
        read: Option<Result<(), DiskError>>,
        now: Now,
    ) -> JobNext {
        Broker::job_step(self, conn, buf, read, now)
    }

    fn job_cancel(&mut self, conn: ConnId) {
        Broker::job_cancel(self, conn);
    }

    fn unpacked(&mut self) -> u32 {
        self.unpacker.work()
    }

    fn woken(&mut self) -> Option<ConnId> {
        Broker::woken(self)
    }

    fn tick(&mut self, now: Now) {
        Broker::tick(self, now);
    }

    fn due(&self) -> Mono {
        Broker::due(self)
    }

    fn is_holding(&self) -> bool {
        Broker::is_holding(self)
    }

    fn held_back(&mut self, frame: &[u8], frame_bytes: usize, now: Now) -> Option<HeldBack> {
        api::produce::held_back(self, frame, frame_bytes, now)
    }

    fn hold_ends(&mut self, now: Now) -> bool {
        Broker::hold_ends(self, now)
    }

    fn metrics(&mut self) -> &mut Metrics {
        &mut self.metrics
    }

    fn status(&self, now: Now, json: bool, buf: &mut [u8]) -> Option<usize> {
        let form = if json { Form::Json } else { Form::Text };
        let rings = ring_metrics(self, now);
        let largest: heapless::Vec<_, { limits::RINGS_MAX }> =
            self.log.rings().map(|ring| largest_topics(self, ring)).collect();
        let holds: heapless::Vec<_, { limits::RINGS_MAX }> = (self.log.rings().zip(&rings))
            .map(|(ring, metrics)| hold_status(self, ring, metrics, now))
            .collect();
        let watches: heapless::Vec<_, { limits::RINGS_MAX }> =
            self.log.rings().map(|ring| watch_status(self, ring)).collect();
        let parts = rings.iter().zip(&largest).zip(holds.iter().zip(&watches));
        let shown = self.log.rings().zip(parts);
        let shown = shown.map(|(ring, ((metrics, largest), (hold, watch)))| RingStatus {
            name: &self.log.ring_config(ring).name,
            metrics,
            largest,
            hold: hold.as_ref(),
            watch,
        });
        let shown: heapless::Vec<RingStatus<'_>, { limits::RINGS_MAX }> = shown.collect();
        let status = Status {
            overview: Overview {
                uptime_us: now.mono.0,
                starts: u64::from(self.log.state().boot.0),
                clock_right: self.clock_right(now),
            },
            listen: &self.config.listen,
            metrics: &self.metrics,
            rings: &shown,
            storage: self.log.storage().medium().map(storage_status),
            damage: damage(self),
            groups: self.groups.counts,
            tables: &tables(self),
            memory: MemoryMetrics::now(Plan::of(&self.config).memory_bytes()),
            api_name: |key| api::api_of(key).map(|api| api.name),
            error_name: |code| ErrorCode(code).name(),
        };
        render(&status, form, buf)
    }
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
            payload_bytes: stats.payload_bytes,
            written_bytes: stats.written_bytes,
            groups: stats.groups,
            syncs: stats.syncs,
            failures: stats.failures,
            segments_given_up: stats.given_up,
            segments_evicted: stats.evicted,
            segments_freed: stats.freed,
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

/// The topics that take most of a ring, with the bytes of their records.
fn largest_topics(broker: &Broker, ring: RingIndex) -> heapless::Vec<(&str, u64), LARGEST_TOPICS> {
    let state = broker.log.state();
    let mut largest: heapless::Vec<(&str, u64), LARGEST_TOPICS> = heapless::Vec::new();
    for (slot, topic) in state.topics().filter(|(_, topic)| topic.ring == ring) {
        let bytes: u64 = state.partitions_of(slot).map(|(_, partition)| partition.bytes).sum();
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
