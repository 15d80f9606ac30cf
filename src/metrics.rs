//! Counters and gauges: plain numbers that their owners add to, and `status` shows.
//!
//! The broker thread owns them all, so they need no atomics. [`Metrics`] is what sockets and
//! handlers count; a [`RingMetrics`] is gathered from each ring's log. [`render`] shows both.

pub mod fields;
pub mod render;

use crate::clock::Mono;
use crate::limits::RINGS_MAX;

/// What sockets and handlers count.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Metrics {
    /// Connections.
    pub connections: Connections,
    /// Requests by API key; the last place counts all keys beyond.
    requests: [u64; API_KEYS],
    /// Error codes in answers; the last place counts all codes beyond.
    errors: [u64; ERROR_CODES],
    /// Bytes that came in over sockets.
    pub bytes_in: u64,
    /// Bytes that went out over sockets.
    pub bytes_out: u64,
    /// Produce requests that wait now because the ring has no room for them.
    pub producers_held: u64,
    /// Those of them that wait for a ring that is full and held, by ring.
    pub producers_held_by_ring: [u64; RINGS_MAX],
    /// Produce requests that ever had to wait for that reason.
    pub producers_held_total: u64,
    /// Fetch requests that wait for records now.
    pub fetches_waiting: u64,
    /// How long syncs took.
    pub sync_us: Histogram,
    /// How long produce answers waited from the whole request's arrival.
    pub produce_us: Histogram,
    /// Reads that found their bytes in the page cache, and those that asked the read thread.
    pub reads_cached: u64,
    /// Reads that had to wait for the medium.
    pub reads_cold: u64,
    /// The pools of buffers, by [`PoolKind`].
    pub pools: [PoolMetrics; PoolKind::COUNT],
}

/// What is counted of connections.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Connections {
    /// Open now.
    pub open: u64,
    /// The most that were ever open.
    pub open_max: u64,
    /// How many there may be.
    pub places: u64,
    /// Ever accepted.
    pub accepted: u64,
    /// Accepted and closed at once: all slots taken, or too many of one address.
    pub refused: u64,
    /// Closed, by reason.
    closed: [u64; CloseReason::COUNT],
}

/// Why a connection was closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CloseReason {
    /// The client closed it.
    Client,
    /// Nothing came for `connections_max_idle_ms`.
    Idle,
    /// It was the longest idle one when another needed its slot.
    Displaced,
    /// It waited for room in a ring that is held when another needed its slot; nothing of its request
    /// was taken.
    Held,
    /// It sent what is not Kafka's protocol.
    Protocol,
    /// A frame longer than `socket_request_max_bytes`, or than any buffer for its API.
    TooLarge,
    /// It held a buffer that others waited for, and sent or read too slowly.
    Stalled,
    /// What it was reading was overwritten or damaged on the way.
    Overtaken,
    /// The network failed.
    Network,
    /// brooklet stopped.
    Stopping,
}

/// The pools of buffers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PoolKind {
    /// Produce requests up to 64 KiB.
    ProduceSmall,
    /// The records of one partition of a longer one, and other requests of more than 64 KiB.
    Large,
    /// What came of the partitions of a produce request, if they are many.
    ProduceLong,
    /// Other requests and their answers.
    Control,
    /// Records on their way out.
    Fetch,
    /// Answers that wait for a sync.
    Reply,
}

/// What is counted of a pool.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PoolMetrics {
    /// Lent now.
    pub lent: u64,
    /// The most that were ever lent.
    pub lent_max: u64,
    /// How often someone had to wait for one.
    pub waits: u64,
}

/// What is known of a ring, gathered from its log when it is shown.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RingMetrics {
    /// Bytes for data: all its segments, without spares.
    pub data_bytes: u64,
    /// Segments with data now.
    pub segments_live: u64,
    /// Bytes of them that are taken.
    pub bytes_live: u64,
    /// Times that the ring came round since it was made.
    pub laps: u64,
    /// Bytes of record batches that were committed since the start.
    pub payload_bytes: u64,
    /// Bytes that were written for them, and for everything else.
    pub written_bytes: u64,
    /// Commit groups.
    pub groups: u64,
    /// Groups without contents, after a silence.
    pub seals: u64,
    /// Syncs that succeeded.
    pub syncs: u64,
    /// Writes or syncs that failed.
    pub failures: u64,
    /// Segments that were given up after a failure.
    pub segments_given_up: u64,
    /// Whether producers get KAFKA_STORAGE_ERROR (56) now.
    pub failing: bool,
    /// Segments overwritten since the start.
    pub segments_evicted: u64,
    /// Segments that were free before their turn since then.
    pub segments_freed: u64,
    /// Records overwritten with them, as far as offsets tell; of compacted topics none.
    pub records_overwritten: u64,
    /// How fast space is taken; none: that is not known yet.
    pub bytes_per_second: Option<u64>,
    /// Whether nothing is overwritten unless somebody had it.
    pub held: bool,
    /// The newest timestamp in the oldest segment; below 0: none has one.
    pub oldest_ms: i64,
    /// How often the medium can be written; 0: that is not known.
    pub endurance_cycles: u32,
    /// Of compacted topics: keys that were carried, each once, at the most.
    pub carried_keys: u64,
    /// Bytes of their records, which live or did when they were carried.
    pub carried_live_bytes: u64,
    /// From so many on compacted topics take deletions only.
    pub carried_live_bytes_max: u64,
    /// Bytes of compacted topics of which it was not looked yet what lives.
    pub dirty_bytes: u64,
    /// Records that were carried since the start, with each time that they were.
    pub carried_records: u64,
    /// Bytes that were written for that: a part of the wear.
    pub carried_bytes: u64,
    /// Batches that could not be read when they were to be carried.
    pub carry_damaged: u64,
    /// Segments that failures had overwritten before all that lived of them was carried.
    pub carry_lost: u64,
}

impl RingMetrics {
    /// How long so many laps take at the present rate; none: that is not known, or nothing is written.
    fn laps_seconds(&self, laps: u64) -> Option<u64> {
        self.data_bytes.saturating_mul(laps).checked_div(self.bytes_per_second?)
    }

    /// How long records last.
    pub(crate) fn lasts_seconds(&self) -> Option<u64> {
        self.laps_seconds(1).filter(|_| !self.held)
    }

    /// Until the medium was written as often as it can be.
    pub(crate) fn wears_out_seconds(&self) -> Option<u64> {
        let cycles = Some(u64::from(self.endurance_cycles)).filter(|cycles| *cycles > 0)?;
        self.laps_seconds(cycles.saturating_sub(self.laps))
    }
}

/// The broker as a whole.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Overview {
    /// Since the start.
    pub uptime_us: u64,
    /// The number of this start.
    pub starts: u64,
    /// Whether the clock is trusted.
    pub clock_right: bool,
}

/// How full a ring is of what may not be overwritten.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct HoldMetrics {
    /// [`RingMetrics::data_bytes`].
    pub data_bytes: u64,
    /// [`RingMetrics::bytes_per_second`].
    pub bytes_per_second: Option<u64>,
    /// Bytes of segments that may not be overwritten.
    pub held_bytes: u64,
    /// For how long the ring has been full; none: it is not.
    pub waiting_us: Option<u64>,
    /// Produce requests that wait for room in it.
    pub producers: u64,
}

/// What one for whom a ring is held or watched has not had.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct HolderMetrics {
    /// Records, as far as offsets tell.
    pub records: u64,
    /// Records that are there for it, had or not.
    pub present: u64,
    /// Partitions that these are of.
    pub partitions: u64,
    /// Those of them of which it never said anything.
    pub unreported: u64,
    /// Where the ring is watched: records that were overwritten before it had them, ever since.
    pub overwritten: u64,
    /// Where it is held: topics of its oldest segment beside those that are named.
    pub oldest_more: u64,
}

/// What a topic has in a segment that a holder has not had.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TopicMetrics {
    /// So many records, as far as offsets tell.
    pub records: u64,
    /// The newest timestamp that any record of it in the segment has; below 0: none has one.
    pub newest_ms: i64,
    /// The holder never said anything of the topic.
    pub never_reported: bool,
}

impl TopicMetrics {
    /// The newest timestamp in seconds since 1970; 0: there is none.
    pub fn newest_seconds(&self) -> u64 {
        self.newest_ms.max(0).unsigned_abs() / 1000
    }
}

/// How full a table of fixed size is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TableMetrics {
    /// Entries in it.
    pub used: usize,
    /// Entries that it can hold.
    pub max: usize,
}

/// Memory, in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct MemoryMetrics {
    /// What the plan allows.
    pub planned: u64,
    /// What is resident, as the kernel counts it; 0 where it does not say.
    pub resident: u64,
    /// The most that ever was.
    pub resident_peak: u64,
}

impl MemoryMetrics {
    /// What the kernel says now.
    pub fn now(planned: u64) -> MemoryMetrics {
        let (resident, resident_peak) = resident_bytes();
        MemoryMetrics { planned, resident, resident_peak }
    }
}

/// What was found broken when the rings were opened.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DamageMetrics {
    /// Segments of which nothing can be read.
    pub segments: u64,
    /// Acknowledged groups of which something is broken.
    pub groups: u64,
    /// Batches lost to that.
    pub batches: u64,
    /// Records lost to that, as far as offsets tell.
    pub records: u64,
    /// Groups that were cut short and had never been acknowledged: no loss.
    pub torn: u64,
    /// Whole groups that nothing proved to be on flash, and that the start synced: no loss.
    pub unproven: u64,
    /// Places that readers found broken since then, and go round.
    pub read: u64,
}

/// What is counted of consumer groups.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct GroupMetrics {
    /// Requests that wait for other members now.
    pub waiting: u64,
    /// Generations that got their assignments.
    pub rebalances: u64,
    /// Members that were removed because nothing was heard of them in time.
    pub expired: u64,
    /// Groups that were deleted because others wanted their places.
    pub displaced: u64,
}

/// Bytes per second over the last 10 to 20 minutes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Rate {
    window_from: Mono,
    window_bytes: u64,
    before_us: u64,
    before_bytes: u64,
}

/// Durations in microseconds, in buckets that are a fifth wider than each other; a fixed 800 bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Histogram {
    counts: [u64; HISTOGRAM_BUCKETS],
    count: u64,
    sum_us: u64,
    max_us: u64,
    recent_us_x16: u64,
}

impl Metrics {
    /// Counts a request of this key.
    pub fn request(&mut self, api_key: i16) {
        count(&mut self.requests, usize::try_from(api_key));
    }

    /// Counts an error code in an answer; 0 is none.
    pub fn error(&mut self, code: i16) {
        if code != 0 {
            // Kafka's least is −1, unknown server error.
            count(&mut self.errors, usize::try_from(i32::from(code) + 1));
        }
    }

    /// Answers with this error so far.
    pub fn errors(&self, code: i16) -> u64 {
        let place = usize::try_from(i32::from(code) + 1).ok();
        place.and_then(|place| self.errors.get(place)).copied().unwrap_or(0)
    }

    /// Requests of this key so far.
    pub fn requests(&self, api_key: i16) -> u64 {
        usize::try_from(api_key).map_or(0, |key| self.requests.get(key).copied().unwrap_or(0))
    }

    /// The keys that were asked, with how often.
    pub fn requests_seen(&self) -> impl Iterator<Item = (i16, u64)> {
        (0..).zip(self.requests).filter(|(_, count)| *count > 0)
    }

    /// The errors that were answered, with how often.
    pub fn errors_seen(&self) -> impl Iterator<Item = (i16, u64)> {
        (-1..).zip(self.errors).filter(|(_, count)| *count > 0)
    }

    /// Counters of one pool.
    pub fn pool(&mut self, kind: PoolKind) -> &mut PoolMetrics {
        &mut self.pools[kind as usize]
    }
}

impl Default for Metrics {
    fn default() -> Metrics {
        Metrics {
            connections: Connections::default(),
            requests: [0; API_KEYS],
            errors: [0; ERROR_CODES],
            bytes_in: 0,
            bytes_out: 0,
            producers_held: 0,
            producers_held_by_ring: [0; RINGS_MAX],
            producers_held_total: 0,
            fetches_waiting: 0,
            sync_us: Histogram::default(),
            produce_us: Histogram::default(),
            reads_cached: 0,
            reads_cold: 0,
            pools: [PoolMetrics::default(); PoolKind::COUNT],
        }
    }
}

impl Connections {
    /// None yet, of so many.
    pub fn of(places: usize) -> Connections {
        Connections { places: places as u64, ..Connections::default() }
    }

    /// Counts one that was accepted and got a slot.
    pub fn opened(&mut self) {
        self.accepted += 1;
        self.open += 1;
        self.open_max = self.open_max.max(self.open);
    }

    /// Counts one that had a slot and is gone.
    pub fn closed(&mut self, why: CloseReason) {
        self.open = self.open.saturating_sub(1);
        self.closed[why as usize] += 1;
    }

    /// How many were closed for this reason.
    pub fn closed_for(&self, why: CloseReason) -> u64 {
        self.closed[why as usize]
    }
}

impl CloseReason {
    /// How many reasons there are.
    pub const COUNT: usize = CloseReason::ALL.len();

    /// All, in their order.
    pub const ALL: [CloseReason; 10] = [
        CloseReason::Client,
        CloseReason::Idle,
        CloseReason::Displaced,
        CloseReason::Held,
        CloseReason::Protocol,
        CloseReason::TooLarge,
        CloseReason::Stalled,
        CloseReason::Overtaken,
        CloseReason::Network,
        CloseReason::Stopping,
    ];

    /// As `status` calls it.
    pub fn name(self) -> &'static str {
        match self {
            CloseReason::Client => "client",
            CloseReason::Idle => "idle",
            CloseReason::Displaced => "displaced",
            CloseReason::Held => "held",
            CloseReason::Protocol => "protocol",
            CloseReason::TooLarge => "too_large",
            CloseReason::Stalled => "stalled",
            CloseReason::Overtaken => "overtaken",
            CloseReason::Network => "network",
            CloseReason::Stopping => "stopping",
        }
    }
}

impl PoolKind {
    /// How many pools there are.
    pub const COUNT: usize = PoolKind::ALL.len();

    /// All, in their order.
    pub const ALL: [PoolKind; 6] = [
        PoolKind::ProduceSmall,
        PoolKind::Large,
        PoolKind::ProduceLong,
        PoolKind::Control,
        PoolKind::Fetch,
        PoolKind::Reply,
    ];

    /// As `status` calls it.
    pub fn name(self) -> &'static str {
        match self {
            PoolKind::ProduceSmall => "produce_small",
            PoolKind::Large => "large",
            PoolKind::ProduceLong => "produce_long",
            PoolKind::Control => "control",
            PoolKind::Fetch => "fetch",
            PoolKind::Reply => "reply",
        }
    }
}

impl PoolMetrics {
    /// Counts a buffer that was lent.
    pub fn taken(&mut self) {
        self.lent += 1;
        self.lent_max = self.lent_max.max(self.lent);
    }

    /// Counts a buffer that came back.
    pub fn returned(&mut self) {
        self.lent = self.lent.saturating_sub(1);
    }
}

impl Rate {
    /// Adds bytes that were taken now.
    pub fn add(&mut self, bytes: u64, now: Mono) {
        let age_us = now.since_us(self.window_from);
        if age_us >= RATE_WINDOW_US {
            (self.before_us, self.before_bytes) = (age_us, self.window_bytes);
            (self.window_from, self.window_bytes) = (now, 0);
        }
        self.window_bytes += bytes;
    }

    /// Bytes per second; none in the first minute, which says little of the next one.
    pub fn per_second(&self, now: Mono) -> Option<u64> {
        let us = u128::from(self.before_us + now.since_us(self.window_from));
        let bytes = u128::from(self.before_bytes + self.window_bytes);
        let known = us >= RATE_KNOWN_US;
        known.then(|| u64::try_from(bytes * 1_000_000 / us).unwrap_or(u64::MAX))
    }
}

impl Histogram {
    /// Adds one duration.
    pub fn add(&mut self, us: u64) {
        self.counts[bucket_of(us)] += 1;
        self.count += 1;
        self.sum_us = self.sum_us.saturating_add(us);
        self.max_us = self.max_us.max(us);
        if self.count == 1 {
            self.recent_us_x16 = us.saturating_mul(16);
        } else {
            let faded = self.recent_us_x16 - self.recent_us_x16 / 16;
            self.recent_us_x16 = faded.saturating_add(us);
        }
    }

    /// How many there were.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// The sum of all.
    pub fn sum_us(&self) -> u64 {
        self.sum_us
    }

    /// How many were shorter than this, a power of two.
    pub fn count_below(&self, us: u64) -> u64 {
        self.counts.iter().take(bucket_of(us)).sum()
    }

    /// The mean of all; 0 without any.
    pub fn mean_us(&self) -> u64 {
        self.sum_us.checked_div(self.count).unwrap_or(0)
    }

    /// The mean in which each duration weighs a sixteenth less than its successor.
    pub fn recent_us(&self) -> u64 {
        self.recent_us_x16 / 16
    }

    /// The longest.
    pub fn max_us(&self) -> u64 {
        self.max_us
    }

    /// A duration that `percent` of all did not exceed, rounded up to its bucket's end.
    pub fn percentile_us(&self, percent: u64) -> u64 {
        let wanted = (self.count * percent).div_ceil(100);
        let mut seen = 0;
        for (bucket, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= wanted && seen > 0 {
                return bucket_end_us(bucket).min(self.max_us);
            }
        }
        0
    }
}

impl Default for Histogram {
    fn default() -> Histogram {
        Histogram {
            counts: [0; HISTOGRAM_BUCKETS],
            count: 0,
            sum_us: 0,
            max_us: 0,
            recent_us_x16: 0,
        }
    }
}

/// Four buckets to each power of two, from 4 µs on; the first and the last take what is beyond.
fn bucket_of(us: u64) -> usize {
    let us = us.max(4);
    let power = us.ilog2() as usize;
    let quarter = ((us >> (power - 2)) & 3) as usize;
    ((power - 2) * 4 + quarter).min(HISTOGRAM_BUCKETS - 1)
}

/// The longest duration of a bucket.
fn bucket_end_us(bucket: usize) -> u64 {
    let (power, quarter) = (bucket / 4, (bucket % 4) as u64);
    ((5 + quarter) << power) - 1
}

/// Resident memory now and at its peak, as the kernel counts it; 0 where it does not say.
fn resident_bytes() -> (u64, u64) {
    use rustix::fs::{Mode, OFlags};
    let mut buf = [0_u8; 2048];
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let read = rustix::fs::open("/proc/self/status", flags, Mode::empty())
        .and_then(|file| rustix::io::read(&file, &mut buf));
    let text = buf.get(..read.unwrap_or(0)).and_then(|b| std::str::from_utf8(b).ok()).unwrap_or("");
    let line = |name: &str| {
        let value = text.lines().find_map(|line| line.strip_prefix(name))?;
        value.split_whitespace().next()?.parse::<u64>().ok()
    };
    let bytes = |name| line(name).unwrap_or(0) * 1024;
    (bytes("VmRSS:"), bytes("VmHWM:"))
}

/// Adds one at `place`, or at the last place where there is no such place.
fn count<E>(places: &mut [u64], place: Result<usize, E>) {
    let last = places.len() - 1;
    places[place.map_or(last, |place| place.min(last))] += 1;
}

/// One more than the highest key of any API that Kafka has, and one for the rest.
const API_KEYS: usize = 96;

/// One more than the highest error code of Kafka, one for −1, and one for the rest.
const ERROR_CODES: usize = 136;

/// Up to 16 s.
const HISTOGRAM_BUCKETS: usize = 90;

const RATE_WINDOW_US: u64 = 600_000_000;

/// What a rate is said of, at the least.
const RATE_KNOWN_US: u128 = 60_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_duration_falls_into_a_bucket_that_ends_less_than_a_quarter_above_it() {
        for us in (4..5000).chain([65_535, 65_536, 1_000_000, 15_000_000]) {
            let end = bucket_end_us(bucket_of(us));
            assert!(end >= us && end <= us + us / 4, "{us} ends at {end}");
        }
        assert_eq!(bucket_of(u64::MAX), HISTOGRAM_BUCKETS - 1);
    }

    #[test]
    fn percentiles_are_those_of_the_samples() {
        let mut histogram = Histogram::default();
        assert_eq!(histogram.percentile_us(99), 0);
        for us in 1..=1000 {
            histogram.add(us);
        }
        assert_eq!(histogram.mean_us(), 500);
        assert!((500..=640).contains(&histogram.percentile_us(50)));
        assert!((990..=1000).contains(&histogram.percentile_us(99)));
        assert_eq!(histogram.max_us(), 1000);
    }

    #[test]
    fn a_rate_forgets_what_is_two_windows_old() {
        let second = |s: u64| Mono(s * 1_000_000);
        let mut rate = Rate::default();
        assert_eq!(rate.per_second(second(59)), None);
        rate.add(6_000_000, second(1));
        assert_eq!(rate.per_second(second(60)), Some(100_000));
        rate.add(0, second(600));
        rate.add(0, second(1200));
        assert_eq!(rate.per_second(second(1200)), Some(0));
    }

    #[test]
    fn a_ring_lasts_as_long_as_its_rate_and_its_medium_say() {
        let ring = RingMetrics {
            data_bytes: 1000,
            bytes_per_second: Some(10),
            laps: 40,
            endurance_cycles: 100,
            ..RingMetrics::default()
        };
        assert_eq!((ring.lasts_seconds(), ring.wears_out_seconds()), (Some(100), Some(6000)));
        let worn = RingMetrics { laps: 200, ..ring };
        assert_eq!(worn.wears_out_seconds(), Some(0));
        let held = RingMetrics { held: true, endurance_cycles: 0, ..ring };
        assert_eq!((held.lasts_seconds(), held.wears_out_seconds()), (None, None));
        for bytes_per_second in [None, Some(0)] {
            let idle = RingMetrics { bytes_per_second, ..ring };
            assert_eq!((idle.lasts_seconds(), idle.wears_out_seconds()), (None, None));
        }
    }

    #[test]
    fn keys_and_codes_beyond_the_tables_are_counted_together() {
        let mut metrics = Metrics::default();
        for key in [0, 0, 3, 5000, -4] {
            metrics.request(key);
        }
        assert_eq!((metrics.requests(0), metrics.requests(3)), (2, 1));
        assert_eq!(metrics.requests[API_KEYS - 1], 2);
        for code in [0, -1, 132, 999] {
            metrics.error(code);
        }
        assert_eq!(metrics.errors.iter().sum::<u64>(), 3);
    }
}
