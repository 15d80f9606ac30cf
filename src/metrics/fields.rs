//! Every number that is shown, once: its name, what it means, and where it comes from. `status` shows them
//! by what they are about, docs/status.md in the order of these tables.

use super::{
    Connections, DamageMetrics, GroupMetrics, Histogram, HoldMetrics, HolderMetrics, MemoryMetrics,
    Metrics, Overview, PoolMetrics, RingMetrics, TableMetrics, TopicMetrics,
};

/// A number. Names end in `_total` where it only grows while the broker runs.
pub struct Field<T> {
    /// Its name.
    pub name: &'static str,
    /// What it means, in one line.
    pub help: &'static str,
    /// Where it is; none: it is not known now.
    pub get: fn(&T) -> Option<u64>,
}

/// Numbers that are shown together.
pub struct Section<T: 'static> {
    /// What they are of, behind what the sections around it are of; "": the same.
    pub name: &'static str,
    /// The numbers.
    pub fields: &'static [Field<T>],
}

/// Declares a section: for each number its name, the path to it, and what it means.
macro_rules! section {
    ($(#[$doc:meta])* $table:ident: $of:ty, $name:literal {
        $($field:literal = |$of_it:ident| $get:expr, $help:literal;)*
    }) => {
        $(#[$doc])*
        pub static $table: Section<$of> = Section {
            name: $name,
            fields: &[$(Field {
                name: $field,
                help: $help,
                get: |$of_it: &$of| Option::<u64>::from($get),
            },)*],
        };
    };
}

section! {
    /// Of the broker as a whole.
    OVERVIEW: Overview, "" {
        "uptime_seconds" = |o| o.uptime_us / 1_000_000, "Since this start.";
        "starts_total" = |o| o.starts, "Starts of brokers in the data directory, with this one; the leader epoch.";
        "clock_trusted" = |o| u64::from(o.clock_right), "1: the system's clock is synchronised, or not behind what is stored; 0: retention.ms waits.";
    }
}

section! {
    /// Of a ring: how full it is, and how long it lasts.
    RING: RingMetrics, "" {
        "data_bytes" = |r| r.data_bytes, "Bytes for data: all segments without spares.";
        "live_bytes" = |r| r.bytes_live, "Bytes of them that are taken.";
        "live_segments" = |r| r.segments_live, "Segments with data.";
        "laps" = |r| r.laps, "How often the ring came round since it was made.";
        "bytes_per_second" = |r| r.bytes_per_second, "How fast space is taken, over the last 10 to 20 minutes; not known in the first one.";
        "seconds_to_overwrite" = |r| r.lasts_seconds(), "How long records last at that rate; not of a ring that is held.";
        "oldest_segment_timestamp_seconds" = |r| u64::try_from(r.oldest_ms).ok().map(|ms| ms / 1000), "The newest timestamp in the oldest segment, in seconds since 1970: what is newer is all there.";
    }
}

section! {
    /// What a ring cost the medium since the start.
    WEAR: RingMetrics, "wear" {
        "payload_bytes_total" = |r| r.payload_bytes, "Bytes of record batches that were stored.";
        "written_bytes_total" = |r| r.written_bytes, "Bytes that were written for them, and for everything else.";
        "commit_groups_total" = |r| r.groups, "Commit groups: one write and one sync each.";
        "seals_total" = |r| r.seals, "Commit groups without contents, after a silence.";
        "syncs_total" = |r| r.syncs, "Syncs that succeeded.";
        "segments_overwritten_total" = |r| r.segments_evicted, "Segments that were given to newer records.";
        "segments_freed_total" = |r| r.segments_freed, "Segments that were free before their turn: nobody waits for what is in them.";
        "records_overwritten_total" = |r| r.records_overwritten, "Records that were overwritten with them, as far as offsets tell; of compacted topics none.";
        "seconds_to_wear_out" = |r| r.wears_out_seconds(), "Until each byte of the ring was written flash_endurance_cycles times, at the present rate.";
    }
}

section! {
    /// Compacted topics of a ring.
    COMPACTION: RingMetrics, "compaction" {
        "keys" = |r| r.carried_keys, "Keys whose newest record was carried, each once, at the most.";
        "live_bytes" = |r| r.carried_live_bytes, "Bytes of their records, which live or did when they were carried.";
        "live_bytes_max" = |r| r.carried_live_bytes_max, "From so many on compacted topics take deletions only.";
        "unseen_bytes" = |r| r.dirty_bytes, "Bytes of compacted topics of which it was not looked yet what lives.";
        "carried_records_total" = |r| r.carried_records, "Records that were carried, with each time that they were.";
        "carried_bytes_total" = |r| r.carried_bytes, "Bytes that were written for that: a part of written_bytes_total.";
        "damaged_batches_total" = |r| r.carry_damaged, "Batches that could not be read when they were to be carried.";
        "segments_lost_total" = |r| r.carry_lost, "Segments that failures had overwritten before all that lived of them was carried.";
    }
}

section! {
    /// Writes and syncs of a ring that failed since the start.
    FAILURES: RingMetrics, "failures" {
        "is_failing" = |r| u64::from(r.failing), "1: producers get KAFKA_STORAGE_ERROR (56) now.";
        "writes_and_syncs_total" = |r| r.failures, "Writes or syncs that failed.";
        "segments_given_up_total" = |r| r.segments_given_up, "Segments that were closed after a failure; they are read, and overwritten in their turn.";
    }
}

section! {
    /// A ring that is held (`hold_for`).
    HOLD: HoldMetrics, "hold" {
        "held_bytes" = |h| h.held_bytes, "Bytes of segments that may not be overwritten.";
        "full_percent" = |h| h.held_bytes * 100 / h.data_bytes.max(1), "How much of the ring that is.";
        "seconds_to_full" = |h| h.bytes_per_second.filter(|rate| *rate > 0).map(|rate| h.data_bytes.saturating_sub(h.held_bytes) / rate), "Until the ring is full at the present rate, if nobody consumes.";
        "is_full" = |h| u64::from(h.waiting_us.is_some()), "1: producers wait for room.";
        "full_seconds" = |h| h.waiting_us.unwrap_or(0) / 1_000_000, "How long they have been waiting.";
        "producers_waiting" = |h| h.producers, "Produce requests that wait.";
    }
}

section! {
    /// One for whom a ring is held or watched.
    HOLDER: HolderMetrics, "" {
        "lag_records" = |h| h.records, "Records that it has not had, as far as offsets tell.";
        "lag_percent" = |h| (h.records * 100).checked_div(h.present), "How much that is of the records that there are for it.";
        "lag_partitions" = |h| h.partitions, "Partitions that these are of.";
        "never_reported_partitions" = |h| h.unreported, "Those of them of which it never committed or reported anything.";
    }
}

section! {
    /// One for whom a ring is watched (`watch_for`).
    WATCHED: HolderMetrics, "" {
        "overwritten_records_total" = |h| h.overwritten, "Records that were overwritten before it had them, ever since it is watched for.";
    }
}

section! {
    /// One for whom a ring is held (`hold_for`).
    HELD: HolderMetrics, "" {
        "oldest_segment_more_topics" = |h| h.oldest_more, "Topics in the oldest segment that it has not had, beside those that are named.";
    }
}

section! {
    /// A topic that keeps a holder's oldest segment.
    OLDEST: TopicMetrics, "" {
        "records" = |t| t.records, "Records of the topic there that the holder has not had.";
        "newest_timestamp_seconds" = |t| t.newest_seconds(), "The newest timestamp of them, in seconds since 1970.";
        "never_reported" = |t| u64::from(t.never_reported), "1: the holder never committed or reported anything of the topic.";
    }
}

section! {
    /// What was found broken.
    DAMAGE: DamageMetrics, "damage" {
        "segments" = |d| d.segments, "At the start: segments of which nothing can be read.";
        "commit_groups" = |d| d.groups, "At the start: acknowledged commit groups of which something is broken.";
        "batches" = |d| d.batches, "At the start: batches lost to that.";
        "records" = |d| d.records, "At the start: records lost to that, as far as offsets tell.";
        "torn_commit_groups" = |d| d.torn, "At the start: commit groups that a power cut tore and that had never been acknowledged: no loss.";
        "unproven_commit_groups" = |d| d.unproven, "At the start: whole commit groups that nothing proved to be on flash, and that were synced: no loss.";
        "found_reading_total" = |d| d.read, "Places that readers found broken since then, and go round.";
    }
}

section! {
    /// Connections of clients.
    CONNECTIONS: Connections, "connections" {
        "open" = |c| c.open, "Open now.";
        "open_max" = |c| c.open_max, "The most that were ever open.";
        "places" = |c| c.places, "How many there may be: max_connections.";
        "accepted_total" = |c| c.accepted, "Ever accepted.";
        "refused_total" = |c| c.refused, "Closed at once: all places were taken, or too many by one address.";
    }
}

section! {
    /// Bytes over all connections.
    TRAFFIC: Metrics, "traffic" {
        "bytes_in_total" = |m| m.bytes_in, "Bytes that came in.";
        "bytes_out_total" = |m| m.bytes_out, "Bytes that went out.";
    }
}

section! {
    /// Requests that wait.
    WAITING: Metrics, "waiting" {
        "producers" = |m| m.producers_held, "Produce requests that wait for room in a ring.";
        "producers_total" = |m| m.producers_held_total, "Produce requests that ever had to wait for that.";
        "fetches" = |m| m.fetches_waiting, "Fetch requests that wait for records.";
    }
}

section! {
    /// How long something took.
    DURATION: Histogram, "" {
        "count" = |h| h.count(), "How many there were.";
        "mean" = |h| h.mean_us(), "Their mean, in microseconds.";
        "recent_mean" = |h| h.recent_us(), "The mean of about the last 16.";
        "p50" = |h| h.percentile_us(50), "Half took no longer.";
        "p99" = |h| h.percentile_us(99), "99 of 100 took no longer.";
        "max" = |h| h.max_us(), "The longest.";
    }
}

section! {
    /// Reads for fetches and look-ups.
    READS: Metrics, "reads" {
        "cached_total" = |m| m.reads_cached, "Reads that found their bytes in the page cache.";
        "cold_total" = |m| m.reads_cold, "Reads that waited for the medium.";
    }
}

section! {
    /// Consumer groups.
    GROUPS: GroupMetrics, "consumer_groups" {
        "requests_waiting" = |g| g.waiting, "Requests that wait for other members.";
        "rebalances_total" = |g| g.rebalances, "Generations that got their assignments.";
        "members_expired_total" = |g| g.expired, "Members that were removed because nothing was heard of them in time.";
        "displaced_total" = |g| g.displaced, "Unused groups that were deleted because others wanted their places.";
    }
}

section! {
    /// A table of fixed size.
    TABLE: TableMetrics, "" {
        "used" = |t| t.used as u64, "Entries in it.";
        "max" = |t| t.max as u64, "Entries that it can hold.";
    }
}

section! {
    /// Memory.
    MEMORY: MemoryMetrics, "memory" {
        "planned_bytes" = |m| m.planned, "What the plan allows.";
        "resident_bytes" = |m| m.resident, "What the process has, as the kernel counts it.";
        "resident_peak_bytes" = |m| m.resident_peak, "The most that it ever had.";
    }
}

section! {
    /// Buffers of one kind.
    POOL: PoolMetrics, "" {
        "lent" = |p| p.lent, "In use now.";
        "lent_max" = |p| p.lent_max, "The most that ever were.";
        "waits_total" = |p| p.waits, "How often somebody had to wait for one.";
    }
}
