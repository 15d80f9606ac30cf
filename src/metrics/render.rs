//! What `status` shows, as text or JSON: the numbers of [`super::fields`], each with its place.

use std::fmt::{self, Write};

use super::fields::{self, Section};
use super::{
    CloseReason, DamageMetrics, GroupMetrics, HoldMetrics, HolderMetrics, MemoryMetrics, Metrics,
    Overview, PoolKind, RingMetrics, TableMetrics, TopicMetrics,
};
use crate::bytes::TextBuf;
use crate::limits;

/// What is shown.
pub struct Status<'a> {
    /// The broker as a whole.
    pub overview: Overview,
    /// Where clients connect.
    pub listen: &'a dyn fmt::Display,
    /// What sockets and handlers counted.
    pub metrics: &'a Metrics,
    /// The rings, in their order.
    pub rings: &'a [RingStatus<'a>],
    /// What they lie on, as far as that is known.
    pub storage: Option<StorageStatus<'a>>,
    /// What was found broken.
    pub damage: DamageMetrics,
    /// Consumer groups.
    pub groups: GroupMetrics,
    /// How full the bounded tables are, by their names.
    pub tables: &'a [(&'static str, TableMetrics)],
    /// Memory.
    pub memory: MemoryMetrics,
    /// The name of an API key.
    pub api_name: fn(i16) -> Option<&'static str>,
    /// The name of an error code.
    pub error_name: fn(i16) -> Option<&'static str>,
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
    /// What its log counted.
    pub metrics: &'a RingMetrics,
    /// The topics that take most of it, with their bytes.
    pub largest: &'a [(&'a str, u64)],
    /// Set where it is held for somebody.
    pub hold: Option<&'a HoldStatus<'a>>,
    /// For whom it is watched.
    pub watch: &'a [HolderStatus<'a>],
}

/// A ring's hold.
pub struct HoldStatus<'a> {
    /// How full it is of what is held.
    pub metrics: HoldMetrics,
    /// For whom it is held.
    pub holders: heapless::Vec<HolderStatus<'a>, { limits::HOLDERS_MAX }>,
}

/// One for whom a ring is held or watched.
pub struct HolderStatus<'a> {
    /// As the configuration names it.
    pub name: &'a dyn fmt::Display,
    /// What it has not had, or missed.
    pub metrics: HolderMetrics,
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
    /// What it has.
    pub metrics: TopicMetrics,
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
    let mut out = Out { text: TextBuf::new(buf), form, depth: 0, first: true };
    walk(status, &mut out).ok()?;
    Some(out.text.len())
}

fn walk(status: &Status<'_>, out: &mut Out<'_>) -> fmt::Result {
    let m = status.metrics;
    out.begin(None)?;
    out.text("version", &env!("CARGO_PKG_VERSION"))?;
    out.text("listen", status.listen)?;
    out.section(&fields::OVERVIEW, &status.overview)?;
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
        walk_ring(ring, out)?;
        out.end()?;
    }
    out.end()?;
    out.section(&fields::DAMAGE, &status.damage)?;
    out.begin(Some(fields::CONNECTIONS.name))?;
    out.fields(&fields::CONNECTIONS, &m.connections)?;
    out.begin(Some("closed_total"))?;
    for why in CloseReason::ALL {
        out.int(why.name(), m.connections.closed_for(why))?;
    }
    out.end()?;
    out.end()?;
    out.section(&fields::TRAFFIC, m)?;
    out.section(&fields::WAITING, m)?;
    for (name, histogram) in [("sync_us", &m.sync_us), ("produce_us", &m.produce_us)] {
        out.named(&name, &fields::DURATION, histogram)?;
    }
    out.section(&fields::READS, m)?;
    walk_counts("requests_total", &mut m.requests_seen(), status.api_name, out)?;
    walk_counts("errors_total", &mut m.errors_seen(), status.error_name, out)?;
    out.section(&fields::GROUPS, &status.groups)?;
    out.begin(Some("tables"))?;
    for (name, table) in status.tables {
        out.named(name, &fields::TABLE, table)?;
    }
    out.end()?;
    out.begin(Some(fields::MEMORY.name))?;
    out.fields(&fields::MEMORY, &status.memory)?;
    out.begin(Some("pools"))?;
    for kind in PoolKind::ALL {
        out.named(&kind.name(), &fields::POOL, &m.pools[kind as usize])?;
    }
    out.end()?;
    out.end()?;
    out.end()
}

fn walk_ring(ring: &RingStatus<'_>, out: &mut Out<'_>) -> fmt::Result {
    let m = ring.metrics;
    out.fields(&fields::RING, m)?;
    out.begin(Some("largest_topics"))?;
    for (name, bytes) in ring.largest {
        if out.text.room() > NAMES_LEAVE {
            out.int(name, *bytes)?;
        }
    }
    out.end()?;
    if let Some(hold) = ring.hold {
        walk_hold(hold, out)?;
    }
    if !ring.watch.is_empty() {
        out.begin(Some("watch"))?;
        for watched in ring.watch {
            out.name(watched.name)?;
            out.open()?;
            out.fields(&fields::HOLDER, &watched.metrics)?;
            out.fields(&fields::WATCHED, &watched.metrics)?;
            out.end()?;
        }
        out.end()?;
    }
    for section in [&fields::WEAR, &fields::COMPACTION, &fields::FAILURES] {
        out.section(section, m)?;
    }
    Ok(())
}

fn walk_hold(hold: &HoldStatus<'_>, out: &mut Out<'_>) -> fmt::Result {
    out.begin(Some(fields::HOLD.name))?;
    out.fields(&fields::HOLD, &hold.metrics)?;
    out.begin(Some("for"))?;
    for holder in &hold.holders {
        out.name(holder.name)?;
        out.open()?;
        out.fields(&fields::HOLDER, &holder.metrics)?;
        walk_oldest(holder, out)?;
        out.end()?;
    }
    out.end()?;
    out.end()
}

/// The topics that hold a holder's oldest segment; as many as leave room for the rest of the answer.
fn walk_oldest(holder: &HolderStatus<'_>, out: &mut Out<'_>) -> fmt::Result {
    let mut metrics = holder.metrics;
    out.begin(Some("oldest_segment_topics"))?;
    for topic in holder.oldest.topics.iter().flatten() {
        if out.text.room() < NAMES_LEAVE {
            metrics.oldest_more += 1;
            continue;
        }
        out.named(&topic.name, &fields::OLDEST, &topic.metrics)?;
    }
    out.end()?;
    out.fields(&fields::HELD, &metrics)
}

/// Bytes that are left to what comes behind the names of topics.
const NAMES_LEAVE: usize = 16 << 10;

/// Counters by the names of what they count.
fn walk_counts(
    section: &str,
    counts: &mut dyn Iterator<Item = (i16, u64)>,
    name_of: fn(i16) -> Option<&'static str>,
    out: &mut Out<'_>,
) -> fmt::Result {
    out.begin(Some(section))?;
    for (number, count) in counts {
        match name_of(number) {
            Some(name) => out.int(name, count)?,
            None => out.field(&number, &count, false)?,
        }
    }
    out.end()
}

/// Where the walk goes: counts how deep it is, and whether a comma is due.
struct Out<'a> {
    text: TextBuf<'a>,
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
            self.text.write_char('{')?;
        }
        self.depth += 1;
        self.first = true;
        Ok(())
    }

    /// Begins what the name before it is of.
    fn open(&mut self) -> fmt::Result {
        self.text.write_char(if self.form == Form::Json { '{' } else { '\n' })?;
        self.depth += 1;
        self.first = true;
        Ok(())
    }

    fn end(&mut self) -> fmt::Result {
        self.depth -= 1;
        self.first = false;
        match (self.form, self.depth) {
            (Form::Json, 0) => self.text.write_str("}\n"),
            (Form::Json, _) => self.text.write_char('}'),
            (Form::Text, _) => Ok(()),
        }
    }

    /// Everything before a value: comma or indent, and the name. Ring names and ours need no
    /// escapes.
    fn name(&mut self, name: &dyn fmt::Display) -> fmt::Result {
        let comma = if self.first { "" } else { "," };
        self.first = false;
        match self.form {
            Form::Json => write!(self.text, "{comma}\"{name}\":"),
            Form::Text => {
                let indent = 2 * (self.depth - 1);
                write!(self.text, "{:indent$}{name}:", "")
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
            Form::Json if quoted => write!(self.text, "\"{value}\""),
            Form::Json => write!(self.text, "{value}"),
            Form::Text => writeln!(self.text, " {value}"),
        }
    }

    /// All numbers of a section, below its name if it has one.
    fn section<T>(&mut self, section: &Section<T>, of: &T) -> fmt::Result {
        if section.name.is_empty() {
            return self.fields(section, of);
        }
        self.named(&section.name, section, of)
    }

    /// The same below this name.
    fn named<T>(&mut self, name: &dyn fmt::Display, section: &Section<T>, of: &T) -> fmt::Result {
        self.name(name)?;
        self.open()?;
        self.fields(section, of)?;
        self.end()
    }

    fn fields<T>(&mut self, section: &Section<T>, of: &T) -> fmt::Result {
        section.fields.iter().try_for_each(|field| self.maybe(field.name, (field.get)(of)))
    }

    fn int(&mut self, name: &str, value: u64) -> fmt::Result {
        self.field(&name, &value, false)
    }

    fn text(&mut self, name: &str, value: &dyn fmt::Display) -> fmt::Result {
        self.field(&name, value, true)
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
        let ring = RingMetrics {
            laps: 7,
            data_bytes: 256 << 20,
            bytes_per_second: Some(4096),
            ..RingMetrics::default()
        };
        let name = &"mirror:up";
        let lag = HolderMetrics { records: 9, partitions: 3, unreported: 1, ..Default::default() };
        let metrics_of =
            TopicMetrics { records: 3, newest_ms: 1_700_000_000_999, never_reported: true };
        let topic = TopicStatus { name: "tpyo", metrics: metrics_of };
        let oldest = OldestStatus { topics: [Some(topic); limits::HOLD_TOPICS_SHOWN], more: 5 };
        let mut hold = HoldStatus {
            metrics: HoldMetrics {
                data_bytes: ring.data_bytes,
                bytes_per_second: ring.bytes_per_second,
                held_bytes: 64 << 20,
                waiting_us: Some(5_000_000),
                producers: 2,
            },
            holders: heapless::Vec::new(),
        };
        let metrics_of = HolderMetrics { oldest_more: 5, ..lag };
        assert!(hold.holders.push(HolderStatus { name, metrics: metrics_of, oldest }).is_ok());
        let metrics_of = HolderMetrics { overwritten: 44, ..lag };
        let watched = HolderStatus { name, metrics: metrics_of, oldest: OldestStatus::default() };
        let status = Status {
            overview: Overview { uptime_us: 3_600_000_000, starts: 7, clock_right: true },
            listen: &"0.0.0.0:9092",
            metrics: &metrics,
            rings: &[
                RingStatus {
                    name: "main",
                    metrics: &ring,
                    largest: &[("temps", 4711)],
                    hold: Some(&hold),
                    watch: &[],
                },
                RingStatus {
                    name: "alarms",
                    metrics: &RingMetrics::default(),
                    largest: &[],
                    hold: None,
                    watch: &[watched],
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
            tables: &[("topics", TableMetrics { used: 1, max: 128 })],
            memory: MemoryMetrics::default(),
            api_name: |key| (key == 0).then_some("Produce"),
            error_name: |code| (code == 3).then_some("UNKNOWN_TOPIC_OR_PARTITION"),
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
            "    laps: 7",
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
            "        overwritten_records_total: 44",
            "  Produce: 1",
            "  77: 1",
            "  -1: 1",
            "  p99: 120",
            "  rebalances_total: 9",
            "      temps: 4711",
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
        assert!(json.contains("\"errors_total\":{\"-1\":1,\"UNKNOWN_TOPIC_OR_PARTITION\":1}"));
    }
}
