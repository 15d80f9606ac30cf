//! What Prometheus scrapes: its text format, version 0.0.4.
//!
//! Topics and consumer groups go by the names that kafka_exporter gives them, so that what was made for
//! those shows brooklet as well; everything else is `brooklet_` and the name in [`crate::metrics::fields`],
//! with the section that it is in.

use std::fmt::{self, Display, Write};

use super::{RingVec, Rings, Sent, api_name, damage, error_name, memory, overview, tables};
use crate::broker::Broker;
use crate::bytes::TextBuf;
use crate::clock::Now;
use crate::log::state::{CommittedOffset, Partition, Topic};
use crate::metrics::fields::{self, Field, Section};
use crate::metrics::{CloseReason, Histogram, PoolKind};
use crate::types::PartitionSlot;

/// The next piece, whole lines.
pub(super) fn piece(broker: &Broker, now: Now, sent: &mut Sent, buf: &mut [u8]) -> usize {
    let text = TextBuf::new(buf);
    let mut out = Out { text, skip: sent.parts, seen: 0, family: Family::default() };
    // It ends where the buffer is full.
    let _ = walk(broker, now, &mut out);
    sent.parts = out.seen.max(sent.parts);
    out.text.len()
}

fn walk(broker: &Broker, now: Now, out: &mut Out<'_>) -> fmt::Result {
    walk_broker(broker, now, out)?;
    walk_rings(&Rings::of(broker, now), out)?;
    walk_topics(broker, out)?;
    walk_groups(broker, out)
}

fn walk_broker(broker: &Broker, now: Now, out: &mut Out<'_>) -> fmt::Result {
    let metrics = &broker.metrics;
    let version = env!("CARGO_PKG_VERSION");
    out.family("brooklet_build_info", "Its version.");
    out.sample(&[("version", &version)], &1)?;
    out.section("", &fields::OVERVIEW, &overview(broker, now))?;
    out.section("damage_", &fields::DAMAGE, &damage(broker))?;
    out.section("connections_", &fields::CONNECTIONS, &metrics.connections)?;
    out.family("brooklet_connections_closed_total", "Connections that ended, by why.");
    for why in CloseReason::ALL {
        out.sample(&[("reason", &why.name())], &metrics.connections.closed_for(why))?;
    }
    out.section("traffic_", &fields::TRAFFIC, metrics)?;
    out.section("waiting_", &fields::WAITING, metrics)?;
    out.section("reads_", &fields::READS, metrics)?;
    out.section("consumer_groups_", &fields::GROUPS, &broker.groups.counts)?;
    out.section("memory_", &fields::MEMORY, &memory(broker))?;
    let tables = tables(broker);
    out.sections("table_", &fields::TABLE, &mut |out, field| {
        tables.iter().try_for_each(|(name, table)| out.field(field, &[("table", name)], table))
    })?;
    out.sections("pool_", &fields::POOL, &mut |out, field| {
        PoolKind::ALL.iter().try_for_each(|kind| {
            out.field(field, &[("pool", &kind.name())], &metrics.pools[*kind as usize])
        })
    })?;
    out.family("brooklet_requests_total", "Requests, by their API.");
    for (key, count) in metrics.requests_seen() {
        out.counted("api", key, api_name(key), count)?;
    }
    out.family("brooklet_errors_total", "Answers, by the error codes in them.");
    for (code, count) in metrics.errors_seen() {
        out.counted("error", code, error_name(code), count)?;
    }
    let help = "How long syncs took.";
    out.histogram("brooklet_sync_seconds", help, &metrics.sync_us)?;
    let help = "How long produce requests took from being read to being answered.";
    out.histogram("brooklet_produce_seconds", help, &metrics.produce_us)
}

fn walk_rings(rings: &Rings<'_>, out: &mut Out<'_>) -> fmt::Result {
    let named = || rings.names.iter().zip(&rings.metrics);
    for (prefix, section) in [
        ("ring_", &fields::RING),
        ("ring_wear_", &fields::WEAR),
        ("ring_compaction_", &fields::COMPACTION),
        ("ring_failures_", &fields::FAILURES),
    ] {
        out.sections(prefix, section, &mut |out, field| {
            named().try_for_each(|(name, metrics)| out.field(field, &[("ring", name)], metrics))
        })?;
    }
    let holds = || rings.names.iter().zip(rings.holds.iter().map(Option::as_ref));
    let holds = || holds().filter_map(|(name, hold)| Some((name, hold?)));
    out.sections("ring_hold_", &fields::HOLD, &mut |out, field| {
        holds().try_for_each(|(name, hold)| out.field(field, &[("ring", name)], &hold.metrics))
    })?;
    out.sections("hold_", &fields::HOLDER, &mut |out, field| {
        holds().try_for_each(|(ring, hold)| {
            hold.holders.iter().try_for_each(|holder| {
                out.field(field, &[("ring", ring), ("holder", holder.name)], &holder.metrics)
            })
        })
    })?;
    let watches = || {
        let rings = rings.names.iter().zip(&rings.watches);
        rings.flat_map(|(ring, watches)| watches.iter().map(move |watched| (ring, watched)))
    };
    for section in [&fields::HOLDER, &fields::WATCHED] {
        out.sections("watch_", section, &mut |out, field| {
            watches().try_for_each(|(ring, watched)| {
                out.field(field, &[("ring", ring), ("holder", watched.name)], &watched.metrics)
            })
        })?;
    }
    Ok(())
}

fn walk_topics(broker: &Broker, out: &mut Out<'_>) -> fmt::Result {
    let state = broker.log.state();
    out.family("kafka_brokers", "Brokers in the cluster.");
    out.sample(&[], &1)?;
    out.family("kafka_topic_partitions", "Partitions of a topic.");
    for (_, topic) in state.topics() {
        out.sample(&[("topic", &topic.name)], &topic.partitions)?;
    }
    out.family("brooklet_topic_ring", "1: the ring that a topic is in.");
    for (_, topic) in state.topics() {
        let ring = &broker.log.ring_config(topic.ring).name;
        out.sample(&[("ring", ring), ("topic", &topic.name)], &1)?;
    }
    let mut of_partitions = |name, help, get: &dyn Fn(PartitionSlot, &Partition) -> i64| {
        out.family(name, help);
        state.topics().try_for_each(|(slot, topic)| {
            state.partitions_of(slot).try_for_each(|(slot, partition)| {
                out.of_partition(None, (topic, partition), get(slot, partition))
            })
        })
    };
    of_partitions("kafka_topic_partition_current_offset", "The next record's offset.", &|_, p| {
        p.high_watermark.0
    })?;
    of_partitions(
        "kafka_topic_partition_oldest_offset",
        "The oldest record's offset.",
        &|_, p| p.log_start.0,
    )?;
    let sizes: RingVec<_> = broker.log.rings().map(|ring| broker.log.sizes(ring)).collect();
    let help = "Bytes of its records, an estimate.";
    of_partitions("brooklet_topic_partition_bytes", help, &|slot, p| {
        sizes.get(usize::from(p.ring.0)).map_or(0, |sizes| sizes.of(slot)).cast_signed()
    })
}

fn walk_groups(broker: &Broker, out: &mut Out<'_>) -> fmt::Result {
    let state = broker.log.state();
    out.family("kafka_consumergroup_members", "Members of a consumer group.");
    for group in broker.groups.shown() {
        let members = group.members().count();
        out.sample(&[("consumergroup", &Label(group.name()))], &members)?;
    }
    let mut of_offsets = |name, help, get: fn(&CommittedOffset, &Partition) -> i64| {
        out.family(name, help);
        state.groups().try_for_each(|(slot, group)| {
            state.offsets_of(slot).iter().try_for_each(|committed| {
                let partition = state.partition_with_handle(committed.handle);
                let Some(partition) = partition.and_then(|slot| state.partition(slot)) else {
                    return Ok(());
                };
                let Some(topic) = state.topic(partition.topic) else { return Ok(()) };
                let value = get(committed, partition);
                out.of_partition(Some(&group.name), (topic, partition), value)
            })
        })
    };
    let help = "The offset that a consumer group wants next.";
    of_offsets("kafka_consumergroup_current_offset", help, |committed, _| committed.offset.0)?;
    let help = "Records that a consumer group has not committed.";
    of_offsets("kafka_consumergroup_lag", help, |committed, partition| {
        let had = committed.offset.max(partition.log_start);
        (partition.high_watermark.0 - had.0).max(0)
    })
}

/// Samples that are told apart by their labels. Its name is in three parts.
#[derive(Default)]
struct Family {
    name: [&'static str; 3],
    help: &'static str,
    kind: &'static str,
    begun: bool,
}

/// Where the lines go, without those that were sent before.
struct Out<'a> {
    text: TextBuf<'a>,
    /// Samples that were sent before.
    skip: u32,
    /// Samples up to here.
    seen: u32,
    family: Family,
}

type Labels<'a> = &'a [(&'static str, &'a dyn Display)];

/// Writes the samples of one number of a section.
type Samples<'a, T> = &'a mut dyn FnMut(&mut Out<'_>, &Field<T>) -> fmt::Result;

impl Out<'_> {
    /// Begins a family; a counter's name ends in `_total`.
    fn family(&mut self, name: &'static str, help: &'static str) {
        self.family_of(["", "", name], help);
    }

    fn family_of(&mut self, name: [&'static str; 3], help: &'static str) {
        let kind = if name[2].ends_with("_total") { "counter" } else { "gauge" };
        self.family = Family { name, help, kind, begun: false };
    }

    /// All numbers of a section, of which there is one.
    fn section<T>(&mut self, prefix: &'static str, section: &Section<T>, of: &T) -> fmt::Result {
        self.sections(prefix, section, &mut |out, field| out.field(field, &[], of))
    }

    /// All numbers of a section, of which there are several.
    fn sections<T>(
        &mut self,
        prefix: &'static str,
        section: &Section<T>,
        samples: Samples<'_, T>,
    ) -> fmt::Result {
        section.fields.iter().try_for_each(|field| {
            self.family_of(["brooklet_", prefix, field.name], field.help);
            samples(self, field)
        })
    }

    /// A number, if it is known.
    fn field<T>(&mut self, field: &Field<T>, labels: Labels<'_>, of: &T) -> fmt::Result {
        match (field.get)(of) {
            Some(value) => self.sample(labels, &value),
            None => Ok(()),
        }
    }

    /// A number that has a name, or else goes by itself.
    fn counted(
        &mut self,
        label: &'static str,
        number: i16,
        name: Option<&'static str>,
        count: u64,
    ) -> fmt::Result {
        match name {
            Some(name) => self.sample(&[(label, &name)], &count),
            None => self.sample(&[(label, &number)], &count),
        }
    }

    /// A number of a partition, or of what a group has of it.
    fn of_partition(
        &mut self,
        group: Option<&str>,
        (topic, partition): (&Topic, &Partition),
        value: i64,
    ) -> fmt::Result {
        let (topic, index): (&dyn Display, &dyn Display) = (&topic.name, &partition.index);
        match group {
            Some(group) => {
                let group = Label(group);
                let labels =
                    [("consumergroup", &group as _), ("partition", index), ("topic", topic)];
                self.sample(&labels, &value)
            }
            None => self.sample(&[("partition", index), ("topic", topic)], &value),
        }
    }

    /// Durations, in buckets from 64 µs to 16 s, each twice as wide as the one before.
    fn histogram(
        &mut self,
        name: &'static str,
        help: &'static str,
        durations: &Histogram,
    ) -> fmt::Result {
        self.family = Family { name: ["", "", name], help, kind: "histogram", begun: false };
        for power in 6..=24 {
            let (le_us, count) = (1_u64 << power, durations.count_below(1 << power));
            self.sample_of("_bucket", &[("le", &Seconds(le_us))], &count)?;
        }
        self.sample_of("_bucket", &[("le", &"+Inf")], &durations.count())?;
        self.sample_of("_sum", &[], &Seconds(durations.sum_us()))?;
        self.sample_of("_count", &[], &durations.count())
    }

    /// One sample of the family.
    fn sample(&mut self, labels: Labels<'_>, value: &dyn Display) -> fmt::Result {
        self.sample_of("", labels, value)
    }

    #[inline(never)]
    fn sample_of(&mut self, suffix: &str, labels: Labels<'_>, value: &dyn Display) -> fmt::Result {
        let begins = !std::mem::replace(&mut self.family.begun, true);
        if self.seen >= self.skip {
            let family = &self.family;
            self.text.whole(|text| family.write(text, begins, suffix, labels, value))?;
        }
        self.seen += 1;
        Ok(())
    }
}

impl Family {
    /// Writes a sample, and before the first one what all of them are.
    fn write(
        &self,
        text: &mut TextBuf<'_>,
        begins: bool,
        suffix: &str,
        labels: Labels<'_>,
        value: &dyn Display,
    ) -> fmt::Result {
        let Family { name: [of, prefix, name], help, kind, .. } = self;
        if begins {
            writeln!(text, "# HELP {of}{prefix}{name} {help}")?;
            writeln!(text, "# TYPE {of}{prefix}{name} {kind}")?;
        }
        write!(text, "{of}{prefix}{name}{suffix}")?;
        for (at, (label, value)) in labels.iter().enumerate() {
            write!(text, "{}{label}=\"{value}\"", if at == 0 { '{' } else { ',' })?;
        }
        writeln!(text, "{} {value}", if labels.is_empty() { "" } else { "}" })
    }
}

/// A name that is a client's own, as the value of a label.
struct Label<'a>(&'a str);

impl Display for Label<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.chars().try_for_each(|letter| match letter {
            '\\' => f.write_str("\\\\"),
            '"' => f.write_str("\\\""),
            '\n' => f.write_str("\\n"),
            _ => f.write_char(letter),
        })
    }
}

/// Microseconds, in seconds.
struct Seconds(u64);

impl Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:06}", self.0 / 1_000_000, self.0 % 1_000_000)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::testing::Bench;
    use crate::config::Holder;

    fn pieces(bench: &Bench, bytes: usize) -> Vec<String> {
        let (mut sent, mut buf) = (Sent::default(), vec![0; bytes]);
        let mut pieces = Vec::new();
        loop {
            let len = piece(&bench.broker, bench.now, &mut sent, &mut buf);
            if len == 0 {
                return pieces;
            }
            pieces.push(String::from_utf8(buf[..len].to_vec()).unwrap());
        }
    }

    #[test]
    fn pieces_of_any_length_are_the_same_together() {
        let bench = Bench::with(|config| {
            config.rings[0].hold_for = vec![Holder::from_text("group:g").unwrap()]
        });
        let whole = pieces(&bench, 1 << 20);
        assert_eq!(whole.len(), 1);
        // But for what memory takes, which moves.
        let still = |text: &str| {
            let lines = text.lines().filter(|line| !line.contains("memory_resident"));
            lines.map(str::to_string).collect::<Vec<_>>()
        };
        for bytes in [super::super::PIECE_BYTES_MIN, 5000, 33_333] {
            let parts = pieces(&bench, bytes);
            assert_eq!(parts.len() > 1, bytes < whole[0].len());
            assert!(parts.iter().all(|part| part.ends_with('\n')));
            assert_eq!(still(&parts.concat()), still(&whole[0]), "in pieces of {bytes}");
        }
    }

    #[test]
    fn each_family_is_there_once_with_its_help_and_its_type() {
        let mut bench = Bench::new();
        bench.broker.metrics.request(0);
        bench.broker.metrics.error(3);
        bench.broker.metrics.sync_us.add(100);
        let text = pieces(&bench, 1 << 20).concat();
        let (mut families, mut family) = (std::collections::BTreeSet::new(), "");
        for line in text.lines() {
            if let Some(help) = line.strip_prefix("# HELP ") {
                family = help.split(' ').next().unwrap();
                assert!(families.insert(family), "{family} twice");
            } else if let Some(kind) = line.strip_prefix("# TYPE ") {
                let counts = family.ends_with("_total");
                assert!(kind.ends_with("counter") == counts, "{kind}");
            } else {
                assert!(line.starts_with(family), "{line} in {family}");
            }
        }
        for line in [
            "brooklet_requests_total{api=\"Produce\"} 1",
            "brooklet_errors_total{error=\"UNKNOWN_TOPIC_OR_PARTITION\"} 1",
            "brooklet_sync_seconds_bucket{le=\"0.000064\"} 0",
            "brooklet_sync_seconds_bucket{le=\"0.000128\"} 1",
            "brooklet_sync_seconds_sum 0.000100",
            "brooklet_table_max{table=\"topics\"} 128",
            "kafka_brokers 1",
        ] {
            assert!(text.lines().any(|have| have == line), "no {line} in\n{text}");
        }
    }

    #[test]
    fn names_are_escaped() {
        assert_eq!(Label("a\"b\\c\nd").to_string(), r#"a\"b\\c\nd"#);
    }
}
