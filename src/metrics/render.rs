//! What `status` shows, as text or JSON. One walk names every value once and feeds either form.

use std::fmt::{self, Write};

use super::{CloseReason, DamageMetrics, GroupMetrics, Metrics, PoolKind, RingMetrics};
use crate::clock::Mono;
use crate::limits;

/// What is shown.
pub struct Status<'a> {
    /// Now; timers start with the program.
    pub now: Mono,
    /// Where clients connect.
    pub listen: &'a dyn fmt::Display,
    /// The number of this start.
    pub boot: u32,
    /// What sockets and handlers counted.
    pub metrics: &'a Metrics,
    /// The rings, in their order.
    pub rings: &'a [RingStatus<'a>],
    /// What they lie on, as far as that is known.
    pub storage: Option<StorageStatus<'a>>,
    /// What was broken at the start.
    pub damage: DamageMetrics,
    /// Consumer groups.
    pub groups: GroupMetrics,
    /// How full the bounded tables are.
    pub tables: &'a [TableStatus],
    /// Bytes that the plan allows.
    pub memory_planned: u64,
    /// The name of an API key.
    pub api_name: fn(i16) -> Option<&'static str>,
}

/// What the data directory lies on.
pub struct StorageStatus<'a> {
    /// The file system.
    pub file_system: &'a str,
    /// Whether it has a journal; none: it is of a kind that is not asked, or cannot be.
    pub has_journal: Option<bool>,
    /// What the device does with writes.
    pub write_cache: &'a str,
    /// The system calls that make writes durable.
    pub synced_by: &'a str,
}

/// One ring.
pub struct RingStatus<'a> {
    /// Its name.
    pub name: &'a str,
    /// Bytes for data: all its segments, without spares.
    pub data_bytes: u64,
    /// What its log counted.
    pub metrics: &'a RingMetrics,
    /// Set where it is held for somebody.
    pub hold: Option<&'a HoldStatus<'a>>,
    /// For whom it is watched.
    pub watch: &'a [WatchStatus<'a>],
}

/// A ring's hold.
pub struct HoldStatus<'a> {
    /// Bytes of segments that may not be overwritten.
    pub held_bytes: u64,
    /// For how long the ring has been full; none: it is not.
    pub waiting_us: Option<u64>,
    /// Produce requests that wait for room in it.
    pub producers: u64,
    /// For whom it is held.
    pub holders: heapless::Vec<HolderStatus<'a>, { limits::HOLDERS_MAX }>,
}

/// One for whom a ring is watched.
pub struct WatchStatus<'a> {
    /// Who, and how far.
    pub holder: HolderStatus<'a>,
    /// Records that were overwritten before it had them, ever since it is watched for.
    pub overwritten: u64,
}

/// One for whom a ring is held or watched.
pub struct HolderStatus<'a> {
    /// As the configuration names it.
    pub name: &'a dyn fmt::Display,
    /// Records that it has not had, as far as offsets tell.
    pub records: u64,
    /// Partitions that these are of.
    pub partitions: u64,
    /// Those of them of which it never said anything.
    pub unreported: u64,
    /// Of one for whom the ring is held: what holds the oldest segment that it has not had.
    pub oldest: OldestStatus<'a>,
}

/// The topics that hold a segment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct OldestStatus<'a> {
    /// Some of them.
    pub topics: [Option<TopicStatus<'a>>; limits::HOLD_TOPICS_SHOWN],
    /// How many there are beside those.
    pub more: u64,
}

/// What a topic has in a segment that a holder has not had.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TopicStatus<'a> {
    /// Its name.
    pub name: &'a str,
    /// So many records, as far as offsets tell.
    pub records: u64,
    /// The newest timestamp that any record of it in the segment has; below 0: none has one.
    pub newest_ms: i64,
    /// The holder never said anything of the topic.
    pub never_reported: bool,
}

impl TopicStatus<'_> {
    /// That of a topic without records.
    pub fn new(name: &str) -> TopicStatus<'_> {
        TopicStatus { name, records: 0, newest_ms: -1, never_reported: false }
    }

    /// The newest timestamp in seconds since 1970; 0: there is none.
    pub fn newest_seconds(&self) -> u64 {
        self.newest_ms.max(0).unsigned_abs() / 1000
    }
}

/// How full a bounded table is.
pub struct TableStatus {
    /// Its name.
    pub name: &'static str,
    /// Entries in it.
    pub used: usize,
    /// Entries that it can hold.
    pub max: usize,
}

/// In which form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// For people: one value per line, sections indented.
    Text,
    /// One JSON object.
    Json,
}

/// Renders into `buf`; gives the length, or none where `buf` is too small. With
/// [`crate::limits::RINGS_MAX`] rings it takes less than 32 KiB.
pub fn render(status: &Status<'_>, form: Form, buf: &mut [u8]) -> Option<usize> {
    let mut out = Out { buf, len: 0, form, depth: 0, first: true };
    walk(status, &mut out).ok()?;
    Some(out.len)
}

fn walk(status: &Status<'_>, out: &mut Out<'_>) -> fmt::Result {
    out.begin(None)?;
    out.text("version", &env!("CARGO_PKG_VERSION"))?;
    out.int("uptime_seconds", status.now.0 / 1_000_000)?;
    out.text("listen", status.listen)?;
    out.int("boot", u64::from(status.boot))?;
    if let Some(storage) = &status.storage {
        out.begin(Some("storage"))?;
        out.text("file_system", &storage.file_system)?;
        out.maybe("has_journal", storage.has_journal.map(u64::from))?;
        out.text("write_cache", &storage.write_cache)?;
        out.text("synced_by", &storage.synced_by)?;
        out.end()?;
    }
    out.begin(Some("rings"))?;
    for ring in status.rings {
        out.begin(Some(ring.name))?;
        walk_ring(ring, status.now, out)?;
        out.end()?;
    }
    out.end()?;
    walk_damage(&status.damage, out)?;
    walk_metrics(status.metrics, out)?;
    walk_counts(status, out)?;
    out.begin(Some("groups"))?;
    out.int("waiting", status.groups.waiting)?;
    out.int("rebalances", status.groups.rebalances)?;
    out.int("members_expired", status.groups.expired)?;
    out.int("displaced", status.groups.displaced)?;
    out.end()?;
    out.begin(Some("tables"))?;
    for table in status.tables {
        out.begin(Some(table.name))?;
        out.int("used", table.used as u64)?;
        out.int("max", table.max as u64)?;
        out.end()?;
    }
    out.end()?;
    out.begin(Some("memory"))?;
    out.int("planned_bytes", status.memory_planned)?;
    let (resident, peak) = resident_bytes();
    out.int("resident_bytes", resident)?;
    out.int("resident_peak_bytes", peak)?;
    walk_pools(status.metrics, out)?;
    out.end()?;
    out.end()
}

fn walk_ring(ring: &RingStatus<'_>, now: Mono, out: &mut Out<'_>) -> fmt::Result {
    let m = ring.metrics;
    out.int("data_bytes", ring.data_bytes)?;
    out.int("live_bytes", m.bytes_live)?;
    out.int("live_segments", m.segments_live)?;
    out.milli("laps", m.laps_milli)?;
    let rate = m.rate.per_second(now).filter(|rate| *rate > 0);
    out.int("bytes_per_second", rate.unwrap_or(0))?;
    out.maybe("seconds_to_overwrite", rate.map(|rate| ring.data_bytes / rate))?;
    if let Some(hold) = ring.hold {
        walk_hold(hold, ring.data_bytes, rate, out)?;
    }
    if !ring.watch.is_empty() {
        out.begin(Some("watch"))?;
        for watch in ring.watch {
            walk_holder(&watch.holder, out)?;
            out.int("overwritten_records", watch.overwritten)?;
            out.end()?;
        }
        out.end()?;
    }
    out.begin(Some("wear"))?;
    out.int("payload_bytes", m.payload_bytes)?;
    out.int("written_bytes", m.written_bytes)?;
    out.int("groups", m.groups)?;
    out.int("seals", m.seals)?;
    out.int("syncs", m.syncs)?;
    out.int("segments_overwritten", m.segments_evicted)?;
    out.int("segments_freed", m.segments_freed)?;
    out.end()?;
    out.begin(Some("compaction"))?;
    out.int("keys", m.carried_keys)?;
    out.int("live_bytes", m.carried_live_bytes)?;
    out.int("live_bytes_max", m.carried_live_bytes_max)?;
    out.int("unseen_bytes", m.dirty_bytes)?;
    out.int("carried_records", m.carried_records)?;
    out.int("carried_bytes", m.carried_bytes)?;
    out.int("damaged_batches", m.carry_damaged)?;
    out.int("segments_lost", m.carry_lost)?;
    out.end()?;
    out.begin(Some("failures"))?;
    out.int("now", u64::from(m.failing))?;
    out.int("writes_and_syncs", m.failures)?;
    out.int("segments_given_up", m.segments_given_up)?;
    out.end()
}

fn walk_hold(
    hold: &HoldStatus<'_>,
    data_bytes: u64,
    rate: Option<u64>,
    out: &mut Out<'_>,
) -> fmt::Result {
    let free_bytes = data_bytes.saturating_sub(hold.held_bytes);
    out.begin(Some("hold"))?;
    out.int("held_bytes", hold.held_bytes)?;
    out.int("full_percent", hold.held_bytes * 100 / data_bytes.max(1))?;
    out.maybe("seconds_to_full", rate.map(|rate| free_bytes / rate))?;
    out.int("is_full", u64::from(hold.waiting_us.is_some()))?;
    out.int("full_seconds", hold.waiting_us.unwrap_or(0) / 1_000_000)?;
    out.int("producers_waiting", hold.producers)?;
    out.begin(Some("for"))?;
    for holder in &hold.holders {
        walk_holder(holder, out)?;
        walk_oldest(holder, out)?;
        out.end()?;
    }
    out.end()?;
    out.end()
}

/// Begins what there is to be said of one, and does not end it.
fn walk_holder(holder: &HolderStatus<'_>, out: &mut Out<'_>) -> fmt::Result {
    out.name(holder.name)?;
    out.open()?;
    out.int("lag_records", holder.records)?;
    out.int("lag_partitions", holder.partitions)?;
    out.int("never_reported_partitions", holder.unreported)
}

/// The topics that hold a holder's oldest segment; as many as leave room for the rest of the answer.
fn walk_oldest(holder: &HolderStatus<'_>, out: &mut Out<'_>) -> fmt::Result {
    let mut more = holder.oldest.more;
    out.begin(Some("oldest_segment_topics"))?;
    for topic in holder.oldest.topics.iter().flatten() {
        if out.buf.len() - out.len < OLDEST_LEAVES {
            more += 1;
            continue;
        }
        out.begin(Some(topic.name))?;
        out.int("records", topic.records)?;
        out.int("newest_timestamp_seconds", topic.newest_seconds())?;
        out.int("never_reported", u64::from(topic.never_reported))?;
        out.end()?;
    }
    out.end()?;
    out.int("oldest_segment_more_topics", more)
}

/// Bytes that are left to what comes behind the names of topics.
const OLDEST_LEAVES: usize = 16 << 10;

fn walk_damage(damage: &DamageMetrics, out: &mut Out<'_>) -> fmt::Result {
    out.begin(Some("damage"))?;
    out.int("segments", damage.segments)?;
    out.int("groups", damage.groups)?;
    out.int("batches", damage.batches)?;
    out.int("records", damage.records)?;
    out.int("torn_groups", damage.torn)?;
    out.int("unproven_groups", damage.unproven)?;
    out.int("found_reading", damage.read)?;
    out.end()
}

fn walk_metrics(m: &Metrics, out: &mut Out<'_>) -> fmt::Result {
    out.begin(Some("connections"))?;
    out.int("open", m.connections.open)?;
    out.int("open_max", m.connections.open_max)?;
    out.int("accepted", m.connections.accepted)?;
    out.int("refused", m.connections.refused)?;
    out.begin(Some("closed"))?;
    for why in CloseReason::ALL {
        out.int(why.name(), m.connections.closed_for(why))?;
    }
    out.end()?;
    out.int("bytes_in", m.bytes_in)?;
    out.int("bytes_out", m.bytes_out)?;
    out.end()?;
    out.begin(Some("held_back"))?;
    out.int("producers", m.producers_held)?;
    out.int("producers_total", m.producers_held_total)?;
    out.int("fetches_waiting", m.fetches_waiting)?;
    out.end()?;
    for (name, histogram) in [("sync_us", &m.sync_us), ("produce_us", &m.produce_us)] {
        out.begin(Some(name))?;
        out.int("count", histogram.count())?;
        out.int("mean", histogram.mean_us())?;
        out.int("recent_mean", histogram.recent_us())?;
        out.int("p50", histogram.percentile_us(50))?;
        out.int("p99", histogram.percentile_us(99))?;
        out.int("max", histogram.max_us())?;
        out.end()?;
    }
    out.begin(Some("reads"))?;
    out.int("cached", m.reads_cached)?;
    out.int("cold", m.reads_cold)?;
    out.end()
}

/// Requests by API and errors by code, those that occurred.
fn walk_counts(status: &Status<'_>, out: &mut Out<'_>) -> fmt::Result {
    out.begin(Some("requests"))?;
    for (key, count) in status.metrics.requests.iter().enumerate().filter(|(_, n)| **n > 0) {
        match i16::try_from(key).ok().and_then(status.api_name) {
            Some(name) => out.int(name, *count)?,
            None => out.field(&format_args!("key_{key}"), count, false)?,
        }
    }
    out.end()?;
    out.begin(Some("errors"))?;
    for (place, count) in status.metrics.errors.iter().enumerate().filter(|(_, n)| **n > 0) {
        let code = i64::try_from(place).map_or(0, |place| place - 1);
        out.field(&format_args!("{code}"), count, false)?;
    }
    out.end()
}

fn walk_pools(m: &Metrics, out: &mut Out<'_>) -> fmt::Result {
    out.begin(Some("pools"))?;
    for kind in PoolKind::ALL {
        let pool = &m.pools[kind as usize];
        out.begin(Some(kind.name()))?;
        out.int("lent", pool.lent)?;
        out.int("lent_max", pool.lent_max)?;
        out.int("waits", pool.waits)?;
        out.end()?;
    }
    out.end()
}

/// Where the walk goes: counts how deep it is, and whether a comma is due.
struct Out<'a> {
    buf: &'a mut [u8],
    len: usize,
    form: Form,
    depth: usize,
    first: bool,
}

impl Out<'_> {
    fn begin(&mut self, name: Option<&str>) -> fmt::Result {
        if let Some(name) = name {
            self.name(&name)?;
            return self.open();
        }
        if self.form == Form::Json {
            self.write_char('{')?;
        }
        self.depth += 1;
        self.first = true;
        Ok(())
    }

    /// Begins what the name before it is of.
    fn open(&mut self) -> fmt::Result {
        self.write_char(if self.form == Form::Json { '{' } else { '\n' })?;
        self.depth += 1;
        self.first = true;
        Ok(())
    }

    fn end(&mut self) -> fmt::Result {
        self.depth -= 1;
        self.first = false;
        match (self.form, self.depth) {
            (Form::Json, 0) => self.write_str("}\n"),
            (Form::Json, _) => self.write_char('}'),
            (Form::Text, _) => Ok(()),
        }
    }

    /// Everything before a value: comma or indent, and the name. Ring names and ours need no
    /// escapes.
    fn name(&mut self, name: &dyn fmt::Display) -> fmt::Result {
        let comma = if self.first { "" } else { "," };
        self.first = false;
        match self.form {
            Form::Json => write!(self, "{comma}\"{name}\":"),
            Form::Text => {
                let indent = 2 * (self.depth - 1);
                write!(self, "{:indent$}{name}:", "")
            }
        }
    }

    fn field(
        &mut self,
        name: &dyn fmt::Display,
        value: &dyn fmt::Display,
        quoted: bool,
    ) -> fmt::Result {
        self.name(name)?;
        match self.form {
            Form::Json if quoted => write!(self, "\"{value}\""),
            Form::Json => write!(self, "{value}"),
            Form::Text => writeln!(self, " {value}"),
        }
    }

    fn int(&mut self, name: &str, value: u64) -> fmt::Result {
        self.field(&name, &value, false)
    }

    fn text(&mut self, name: &str, value: &dyn fmt::Display) -> fmt::Result {
        self.field(&name, value, true)
    }

    fn milli(&mut self, name: &str, value: u64) -> fmt::Result {
        self.field(&name, &format_args!("{}.{:03}", value / 1000, value % 1000), false)
    }

    /// A number that may be unknown.
    fn maybe(&mut self, name: &str, value: Option<u64>) -> fmt::Result {
        match (value, self.form) {
            (Some(value), _) => self.int(name, value),
            (None, Form::Json) => self.field(&name, &"null", false),
            (None, Form::Text) => self.field(&name, &"unknown", false),
        }
    }
}

impl Write for Out<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let to = self.len + text.len();
        self.buf.get_mut(self.len..to).ok_or(fmt::Error)?.copy_from_slice(text.as_bytes());
        self.len = to;
        Ok(())
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn rendered(form: Form) -> String {
        let mut metrics = Metrics::default();
        metrics.request(0);
        metrics.request(77);
        metrics.error(3);
        metrics.error(-1);
        metrics.connections.opened();
        metrics.sync_us.add(120);
        let mut ring = RingMetrics { laps_milli: 1250, ..RingMetrics::default() };
        ring.rate.add(4096 * 3600, Mono(0));
        let mut hold = HoldStatus {
            held_bytes: 64 << 20,
            waiting_us: Some(5_000_000),
            producers: 2,
            holders: heapless::Vec::new(),
        };
        let name = &"mirror:up";
        let topic = TopicStatus {
            name: "tpyo",
            records: 3,
            newest_ms: 1_700_000_000_999,
            never_reported: true,
        };
        let oldest = OldestStatus { topics: [Some(topic); limits::HOLD_TOPICS_SHOWN], more: 5 };
        let holder = HolderStatus { name, records: 9, partitions: 3, unreported: 1, oldest };
        assert!(hold.holders.push(holder).is_ok());
        let watched = HolderStatus {
            name,
            records: 2,
            partitions: 1,
            unreported: 0,
            oldest: OldestStatus::default(),
        };
        let status = Status {
            now: Mono(3_600_000_000),
            listen: &"0.0.0.0:9092",
            boot: 7,
            metrics: &metrics,
            rings: &[
                RingStatus {
                    name: "main",
                    data_bytes: 256 << 20,
                    metrics: &ring,
                    hold: Some(&hold),
                    watch: &[],
                },
                RingStatus {
                    name: "alarms",
                    data_bytes: 1,
                    metrics: &RingMetrics::default(),
                    hold: None,
                    watch: &[WatchStatus { holder: watched, overwritten: 44 }],
                },
            ],
            storage: Some(StorageStatus {
                file_system: "ext4",
                has_journal: Some(false),
                write_cache: "write back",
                synced_by: "fdatasync, syncfs",
            }),
            damage: DamageMetrics { records: 3, ..DamageMetrics::default() },
            groups: GroupMetrics { rebalances: 9, ..GroupMetrics::default() },
            tables: &[TableStatus { name: "topics", used: 1, max: 128 }],
            memory_planned: 1,
            api_name: |key| (key == 0).then_some("Produce"),
        };
        let mut buf = vec![0; 32 << 10];
        let len = render(&status, form, &mut buf).unwrap();
        assert_eq!(render(&status, form, &mut [0; 300]), None);
        String::from_utf8(buf[..len].to_vec()).unwrap()
    }

    #[test]
    fn text_has_one_value_per_line() {
        let text = rendered(Form::Text);
        for line in [
            "listen: 0.0.0.0:9092",
            "  file_system: ext4",
            "  has_journal: 0",
            "  write_cache: write back",
            "  synced_by: fdatasync, syncfs",
            "  main:",
            "    laps: 1.250",
            "    bytes_per_second: 4096",
            "    seconds_to_overwrite: 65536",
            "    seconds_to_overwrite: unknown",
            "    hold:",
            "      full_percent: 25",
            "      seconds_to_full: 49152",
            "      full_seconds: 5",
            "        mirror:up:",
            "          never_reported_partitions: 1",
            "            tpyo:",
            "              newest_timestamp_seconds: 1700000000",
            "              never_reported: 1",
            "          oldest_segment_more_topics: 5",
            "    watch:",
            "        overwritten_records: 44",
            "  Produce: 1",
            "  key_77: 1",
            "  -1: 1",
            "  p99: 120",
            "  rebalances: 9",
        ] {
            assert!(text.lines().any(|have| have == line), "no line {line:?} in\n{text}");
        }
    }

    #[test]
    fn json_is_balanced_and_has_no_empty_places() {
        let json = rendered(Form::Json);
        assert!(json.starts_with("{\"version\":") && json.ends_with("}\n"), "{json}");
        assert_eq!(json.matches('{').count(), json.matches('}').count());
        for wrong in [",,", "{,", ",}", ":}", ":,", "}\"", "\"\""] {
            assert!(!json.contains(wrong), "{wrong} in {json}");
        }
        assert!(json.contains("\"seconds_to_overwrite\":null"));
        assert!(json.contains("\"errors\":{\"-1\":1,\"3\":1}"));
    }
}
