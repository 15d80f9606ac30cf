//! The configuration: every key once, with unit, bounds, default and reason.
//!
//! The two `keys!` tables below are the only list of keys. They make the plain structs that the
//! rest of the program reads ([`Config`], [`RingConfig`]), and they drive the file's parser,
//! `--set`, the environment, the refusals, and the test that `config/brooklet.toml` documents each
//! key.
//! [`source`] reads values from where they are set; [`value`] has their kinds and checks.

mod field;
pub mod file;
mod glob;
mod holder;
mod network;
mod resolve;
pub mod source;
pub mod value;

use std::net::SocketAddr;
use std::path::PathBuf;

use crate::limits;
use crate::metrics::PoolKind;
use crate::types::RingIndex;
use field::{Field, keys};
pub use holder::{Holder, mirrors};
pub use network::Network;
pub use value::{Key, Kind, Refusal};

keys! {
    /// The whole configuration: owned, checked, and never changed while the program runs.
    pub struct Config
    +
    /// The rings, at least one.
    rings: Vec<RingConfig>,
    +
    /// The names of those that are dropped (`retire`).
    retired: Vec<String>,
    pub static KEYS;

    // ---- who and where ----

    /// This broker's id, which clients see and Kafka's tools print. Two brokers that are mirrored
    /// into one place are easier to tell apart with two ids.
    node_id: i32 = Kind::int("", 0, 2_147_483_647, 1);

    /// The cluster's id, which clients see. Empty: one that follows from the first ring's random id, and
    /// stays.
    cluster_id: String = Kind::text("at most 64 letters, digits, - and _", value::is_id, "");

    /// The address that clients connect to; the default stands for all, of IPv6 and IPv4. Anyone who
    /// reaches it may read and write everything: there are no passwords. A socket that systemd made
    /// (LISTEN_FDS) is taken instead.
    listen: SocketAddr =
        Kind::text("ADDRESS:PORT with a numeric address", value::is_address, "[::]:9092");

    /// The address that clients are told to come back to, as HOST:PORT or PLAINTEXT://HOST:PORT.
    /// Empty: the one that they reached, which is right unless something translates addresses.
    advertised_listeners: Advertised = Kind::text("HOST:PORT or empty", value::is_advertised, "");

    /// Where a browser, Prometheus and probes may ask, over HTTP: a page at /, /metrics, /health,
    /// /v1/status, /v1/topics and /v1/groups. It changes nothing, but whoever reaches it sees names and numbers of
    /// topics and groups. Empty: nowhere. If another process has the port, the start says so and goes on.
    http_listen: HttpListen = Kind::text(
        "ADDRESS:PORT with a numeric address, or empty",
        value::is_address_or_empty,
        "127.0.0.1:8092"
    );

    // ---- where the data is ----

    /// The directory that holds the ring, its lock and the status socket.
    data_dir: PathBuf = Kind::text("a path", value::is_path, "./brooklet-data");

    /// What to do without a ring in `data_dir`: `auto` makes one; `never` refuses to start, so that
    /// a card that was not mounted is not mistaken for an empty one.
    create: Create = Kind::choice(&["auto", "never"], "auto");

    // ---- what clients may ask for ----

    /// The largest record batch, as it is stored, and the longest request without records. Kafka's
    /// default; one staging buffer per ring and each large buffer must hold it. With a smaller one producers
    /// must be told (librdkafka and kcat: batch.size), for a larger batch is MESSAGE_TOO_LARGE (10).
    message_max_bytes: usize = Kind::bytes(1024, 64 << 20, 1, 1_048_588);

    /// The longest request; a longer one closes the connection. Kafka's default; it costs no memory,
    /// since produce requests are read partition by partition. Others may be as long as one batch.
    socket_request_max_bytes: usize = Kind::bytes(2048, 1 << 30, 1, 100 << 20);

    /// The most record bytes in one fetch answer, whatever the client asks for. Kafka's default; it
    /// costs no memory, since large answers are streamed.
    fetch_max_bytes: usize = Kind::bytes(1024, 1 << 30, 1, 57_671_680);

    /// Whether producing to an unknown topic, or asking for its metadata, creates it.
    auto_create_topics_enable: bool = Kind::bool(true);

    /// Which topics are created that way, by name; * stands for anything, ? for one character. Others have
    /// to be created by somebody who may, so that a misspelt name makes no topic.
    auto_create_topics: Vec<String> =
        Kind::list("topic names with * and ?", value::are_globs, &["*"]);

    /// Whether topics can be deleted; otherwise that is TOPIC_DELETION_DISABLED (73). Kafka's default.
    delete_topic_enable: bool = Kind::bool(true);

    /// From where topics, records, groups and committed offsets may be deleted, and topics created, altered
    /// and given partitions; to others that is TOPIC_AUTHORIZATION_FAILED (29) or
    /// GROUP_AUTHORIZATION_FAILED (30). Topics that are created by being used are not meant, nor what
    /// consumers commit. It keeps mistakes away, and no one who can take another address.
    admin_from: Vec<Network> = Kind::list(
        "any, addresses, and networks such as 192.168.1.0/24",
        network::are_networks,
        &["any"],
    );

    /// Partitions of a topic whose creator does not say. One broker gains nothing from more;
    /// mirrors and consumer groups may want them.
    num_partitions: u32 = Kind::int("", 1, 1024, 1);

    /// Whether a replication factor other than 1 or -1 is taken as 1 instead of being refused.
    allow_replication_factor_any: bool = Kind::bool(false);

    /// How the records that a client produces are checked: `all` reads them, also compressed ones, and
    /// refuses what no consumer could read; `crc` only checks each batch's header and CRC.
    check_records: CheckRecords = Kind::choice(&["all", "crc"], "all");

    /// Which time a record keeps, its producer's or its arrival's, unless its topic says otherwise.
    log_message_timestamp_type: TimestampType =
        Kind::choice(&["CreateTime", "LogAppendTime"], "CreateTime");

    /// How far a producer's time may lie ahead of ours, unless its topic says otherwise. Ignored
    /// while our clock is not known to be right.
    log_message_timestamp_after_max_ms: i64 = Kind::int("ms", 0, i64::MAX, 3_600_000);

    /// How far a producer's time may lie behind ours, unless its topic says otherwise. Kafka's
    /// default: any distance.
    log_message_timestamp_before_max_ms: i64 = Kind::int("ms", 0, i64::MAX, i64::MAX);

    /// How old records may get before they are hidden, unless their topic says otherwise; -1: any
    /// age. The ring reclaims space by itself, and a clock may be wrong.
    log_retention_ms: i64 = Kind::int("ms", -1, i64::MAX, -1);

    /// The longest metadata string that may go with a committed offset, counted as Kafka does, in
    /// UTF-16; a longer one is refused with OFFSET_METADATA_TOO_LARGE (12). Kafka's default.
    offset_metadata_max_bytes: usize =
        Kind::bytes(0, OFFSET_METADATA_LENGTH_MAX, 1, OFFSET_METADATA_LENGTH_MAX);

    /// While this file is there, the system's clock is taken for right whatever was written before,
    /// also if it was ahead then. systemd-timesyncd makes the default one; have another time daemon
    /// make one in /run once it has set the clock (chrony: after `chronyc waitsync`; busybox's ntpd:
    /// in its script). Without it, a clock before the newest data is taken for wrong.
    clock_synchronised_file: PathBuf =
        Kind::text("a path or empty", value::is_path_or_empty, "/run/systemd/timesync/synchronized");

    /// How often each byte of the flash can be written, as its maker says, for `seconds_to_wear_out`
    /// in `status`. 0: that is not known.
    flash_endurance_cycles: u32 = Kind::int("", 0, 10_000_000, 0);

    // ---- tables ----

    /// Topics; beyond it their creation is refused with POLICY_VIOLATION (44), or, where one is created
    /// by being used, with INVALID_TOPIC_EXCEPTION (17). The last eighth is for addresses for which not
    /// as many were created yet.
    topics_max: usize = Kind::int("", 1, limits::TOPICS_MAX as i64, 128);

    /// Partitions of all topics together; beyond it as with `topics_max`.
    partitions_max: usize = Kind::int("", 1, limits::PARTITIONS_MAX as i64, 512);

    /// Idempotent producers, counted per partition; beyond it the one that wrote longest ago is
    /// forgotten, and accepted again with any sequence number.
    producers_max: usize = Kind::int("", 1, 65_536, 512);

    /// Consumer groups with members or committed offsets; beyond it the one that was unused for longest is
    /// deleted with its offsets, if that is eight days and no ring's `hold_for` or `watch_for` names it.
    /// Else new ones get COORDINATOR_NOT_AVAILABLE (15), and try again.
    groups_max: usize = Kind::int("", 1, 4096, 64);

    /// Committed offsets of all groups together; beyond it as with `groups_max`.
    offsets_max: usize = Kind::int("", 1, 65_536, 2048);

    /// Bytes for the metadata strings of all committed offsets together; a commit with more than is
    /// left is refused with OFFSET_METADATA_TOO_LARGE (12).
    offset_metadata_bytes: usize = Kind::bytes(0, 64 << 20, 1, 64 << 10);

    /// Keys of compacted topics that are compared at a time, and stretches of their carried records that
    /// are remembered, in each ring. Fewer make compaction read more often; with seven eighths as many
    /// stretches compacted topics accept tombstones only (else POLICY_VIOLATION, 44).
    compaction_keys_max: usize = Kind::int("", 64, 32_768, 256);

    /// Members of all groups together; beyond it who joins gets COORDINATOR_NOT_AVAILABLE (15), and
    /// tries again.
    group_members_max: usize = Kind::int("", 1, 4096, 128);

    /// Bytes for the names, subscriptions and assignments of all groups and members together; beyond
    /// it as with `group_members_max`. One group that wants more gets GROUP_MAX_SIZE_REACHED (81).
    group_members_bytes: usize = Kind::bytes(4096, 64 << 20, 1, 96 << 10);

    // ---- consumer groups ----

    /// How long a group's first member waits for more of them, so that they are not assigned
    /// partitions one after the other. Kafka's default; 0 lets a lone consumer start at once.
    group_initial_rebalance_delay_ms: u64 = Kind::int("ms", 0, 2_147_483_647, 3000);

    /// The shortest session that a member may ask for. Kafka's default.
    group_min_session_timeout_ms: u32 = Kind::int("ms", 1, 2_147_483_647, 6000);

    /// The longest session that a member may ask for: if it dies, its partitions are not consumed for
    /// that long. Kafka's default.
    group_max_session_timeout_ms: u32 = Kind::int("ms", 1, 2_147_483_647, 1_800_000);

    /// Members of one group; beyond it who joins gets GROUP_MAX_SIZE_REACHED (81), and gives up.
    /// Kafka's default: as many as there may be at all.
    group_max_size: u32 = Kind::int("", 1, 2_147_483_647, 2_147_483_647);

    /// How long a member of a group that the broker assigns to (`group.protocol=consumer`) may be
    /// silent before its partitions are given to others. Kafka's default.
    group_consumer_session_timeout_ms: u32 = Kind::int("ms", 1000, 2_147_483_647, 45_000);

    /// How often such a member shows that it is alive, and learns what it shall have. Kafka's
    /// default; it must be shorter than the session.
    group_consumer_heartbeat_interval_ms: u32 = Kind::int("ms", 100, 2_147_483_647, 5000);

    // ---- connections ----

    /// Connections at a time; beyond it the longest idle one is closed for the new one.
    max_connections: usize = Kind::int("", 1, 4096, 512);

    /// Connections of one address at a time; beyond it its own longest idle one is closed for the
    /// new one. 0: half of `max_connections`, so that no one can take them all.
    max_connections_per_ip: usize = Kind::int("", 0, 2_147_483_647, 0);

    /// A connection that was silent for this long is closed. Kafka's default.
    connections_max_idle_ms: u64 = Kind::int("ms", 1000, 2_147_483_647, 600_000);

    /// The slowest sender that may keep a buffer while others wait for one; slower ones are closed.
    lease_bytes_per_second_min: u64 = Kind::int("bytes/s", 0, 1 << 30, 4096);

    /// Requests of one connection that may be waiting for their answer; then it is not read from.
    /// librdkafka keeps many in flight.
    requests_in_flight_max: usize = Kind::int("", 1, 1024, 64);

    // ---- buffers ----

    /// Buffers for produce requests up to 64 KiB, and for as many bytes of records of longer ones.
    produce_leases_small: usize = Kind::int("", 1, 4096, 6);

    /// Buffers of `message_max_bytes` for the records of one partition in longer produce requests, and
    /// for other requests of more than 64 KiB. One is enough to be correct; a second lets a large batch
    /// arrive while another is being stored.
    produce_leases_large: usize = Kind::int("", 1, 64, 1);

    /// Buffers of 64 KiB for all other requests, and their answers.
    control_leases: usize = Kind::int("", 1, 1024, 4);

    /// Buffers of 64 KiB through which fetched records pass.
    fetch_leases: usize = Kind::int("", 1, 1024, 6);

    /// Buffers for answers to produce requests that wait for a sync: one for each connection that
    /// waits; others wait their turn. 0: half as many as `max_connections`, at most 96.
    reply_leases: usize = Kind::int("", 0, 4096, 0);

    /// Bytes of each; an answer takes about 60 and the topic's name. What does not fit waits for the
    /// next sync: a connection may have three, which hold 64 short ones, as many as librdkafka has in
    /// flight.
    reply_lease_bytes: usize = Kind::bytes(1024, 1 << 20, 256, 2048);

    /// Partitions of fetch requests, all connections together, a quarter of them for new requests; when
    /// more are waited for, the fetch that has waited longest is answered early.
    fetch_waits_max: usize = Kind::int("", 16, 65_000, 3072);

    /// The plan of all memory must fit into this, or the program does not start. 0: whatever the plan
    /// takes, which `brooklet plan` shows.
    memory_max: u64 = Kind::bytes(0, 1 << 40, 1, 0);

    // ---- committing ----

    /// The most bytes that one commit group holds. 0: as many as the largest batch.
    commit_group_max_bytes: usize = Kind::bytes(0, 128 << 20, 1, 0);

    /// The same of the smaller one of a ring's two groups, one of which fills while the other is stored. A
    /// batch that is longer waits for the large one. 0: a quarter of that, at least 64 KiB.
    commit_group_small_bytes: usize = Kind::bytes(0, 128 << 20, 1, 0);

    /// Where commit groups start. 4096: an acknowledged page is never written again. 512 saves wear
    /// with small groups, on media that never lose a neighbouring sector of the one they write.
    commit_alignment: usize = Kind::one_of(&[512, 4096], 4096);

    /// How long a change of metadata alone (a committed offset, a new topic) waits for others before it
    /// takes a page of its own.
    metadata_linger_ms: u64 = Kind::int("ms", 0, 10_000, 10);

    /// While a sync takes less than this on average, it runs on the main thread; beyond it, on a
    /// thread of its own. 0: always on its own.
    sync_inline_us_max: u64 = Kind::int("us", 0, 1_000_000, 250);

    /// After this long without a write the last group is sealed, so that damage to it can be told from a
    /// torn write.
    seal_after_ms: u64 = Kind::int("ms", 10, 3_600_000, 1000);
}

keys! {
    /// One ring: a fixed space on flash that the topics matched by its globs share.
    pub struct RingConfig,
    pub static RING_KEYS;

    /// What `--set ring.NAME.key=value`, the log and `status` call it. It is on flash: the ring is
    /// found by it, wherever its table stands.
    name: String = Kind::text("1 to 32 letters, digits, - and _", value::is_name, "main");

    /// Which topics it holds, by name; * stands for anything, ? for one character. The first ring
    /// that matches takes the topic when it is created, for ever; the last ring of all takes what no
    /// ring matches.
    topics: Vec<String> =
        Kind::list("topic names with * and ?", value::are_globs, &["*"]);

    /// Segments that hold data; the oldest is overwritten when all are full.
    segments: u16 = Kind::int("", 3, limits::SEGMENTS_MAX as i64 - 64, 16);

    /// Bytes of a segment: the multiple is the allocation unit of common cards. Start-up after a
    /// power cut reads about one segment. Fixed when the ring is made. A ring of many gibibytes is
    /// best made of few large segments, for each takes memory.
    segment_bytes: u64 = Kind::bytes(4 << 20, 1 << 30, 4 << 20, 16 << 20);

    /// Segments beside those, for failures and for metadata while the ring is full.
    spares: u16 = Kind::int("", 1, 64, 2);

    /// For whom records are kept: `group:NAME` until this consumer group has committed past them,
    /// `mirror:ALIAS` until MirrorMaker 2 has reported that they are in the cluster that it calls
    /// ALIAS. When the ring is full of what one of them has not consumed, producers wait. Three segments
    /// are kept free of such records: with `spares` below 3, that many fewer of `segments` hold data.
    hold_for: Vec<Holder> =
        Kind::list("at most 4 of group:NAME and mirror:ALIAS", holder::are_holders, &[]);

    /// Which topics' records are held, by name; * stands for anything, ? for one character. Records of
    /// other topics are overwritten before held ones, and nobody waits for them: while the ring is full of
    /// held records, they last until the segment that they are in is full.
    hold_topics: Vec<String> =
        Kind::list("topic names with * and ?", value::are_globs, &["*"]);

    /// For whom records are counted that are overwritten unconsumed, named as in `hold_for`. Nobody waits
    /// for them. `brooklet status` has the counts, under `watch`, without those of compacted topics.
    watch_for: Vec<Holder> =
        Kind::list("at most 4 of group:NAME and mirror:ALIAS", holder::are_holders, &[]);

    /// Whether `segments` may become fewer than hold records: the oldest are overwritten then. Without
    /// it such a configuration is refused.
    shrink: bool = Kind::bool(false);

    /// Whether the ring is dropped at the next start, with all its topics and their records. Without
    /// it a ring on flash that has no table is refused. Once it is gone, the table has no effect.
    retire: bool = Kind::bool(false);
}

/// The metadata ring's name, on flash and in messages.
pub const METADATA_NAME: &str = "metadata";

const OFFSET_METADATA_LENGTH_MAX: i64 = limits::OFFSET_METADATA_LENGTH_MAX as i64;

/// What to do without a ring in the data directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Create {
    /// Make one.
    Auto,
    /// Refuse to start.
    Never,
}

/// How the records that a client produces are checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CheckRecords {
    /// All of them are read.
    All,
    /// Only their batch's header and CRC are checked.
    Crc,
}

/// Which time a record keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TimestampType {
    /// Its producer's.
    CreateTime,
    /// Its arrival's.
    LogAppendTime,
}

/// Where HTTP is served; none: nowhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct HttpListen(pub Option<SocketAddr>);

/// Where clients are told to come back to; none: the address that they reached.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Advertised(pub Option<(String, u16)>);

impl Config {
    /// The ring that takes a new topic of this name: the first that matches, or else the last.
    pub fn ring_of(&self, topic: &str) -> RingIndex {
        let matches = |ring: &RingConfig| ring.topics.iter().any(|g| glob::matches(g, topic));
        let index = self.rings.iter().position(matches).unwrap_or(self.rings.len() - 1);
        RingIndex(u8::try_from(index).expect("limits::DATA_RINGS_MAX fits a byte"))
    }

    /// Whether a topic of this name is created by being used.
    pub fn auto_creates(&self, topic: &str) -> bool {
        let globs = &self.auto_create_topics;
        self.auto_create_topics_enable && globs.iter().any(|glob| glob::matches(glob, topic))
    }

    /// The payloads of the two commit groups of each ring, the large one first.
    pub fn commit_groups(&self) -> [usize; 2] {
        let large = self.commit_group_max_bytes;
        [large, self.commit_group_small_bytes.min(large)]
    }

    /// How many buffers of how many bytes each pool has, by [`PoolKind`].
    pub fn pools(&self) -> [(usize, usize); PoolKind::COUNT] {
        PoolKind::ALL.map(|kind| match kind {
            PoolKind::ProduceSmall => (self.produce_leases_small, limits::LEASE_BYTES),
            PoolKind::Large => (self.produce_leases_large, self.message_max_bytes),
            PoolKind::ProduceLong => (self.produce_leases_large + 1, self.outcomes_bytes()),
            PoolKind::Control => (self.control_leases, limits::LEASE_BYTES),
            PoolKind::Fetch => (self.fetch_leases, limits::LEASE_BYTES),
            PoolKind::Reply => (self.reply_leases, self.reply_lease_bytes),
        })
    }

    /// Bytes for the outcomes of as many partitions as there may be, with topics' names of usual length.
    fn outcomes_bytes(&self) -> usize {
        let partitions = self.partitions_max * limits::PRODUCE_OUTCOME_BYTES;
        partitions + self.topics_max * limits::PRODUCE_TOPIC_BYTES
    }
}

impl Default for Config {
    fn default() -> Config {
        resolve::resolve(Config::unresolved()).expect("the defaults are a valid configuration")
    }
}

impl RingConfig {
    /// How many segments may hold records. A held ring keeps three others: two for metadata and records that
    /// nobody holds, which alternate while it is full, and one for a failure.
    pub fn data_segments(&self) -> u16 {
        if self.hold_for.is_empty() {
            return self.segments;
        }
        self.segments.min((self.segments + self.spares).saturating_sub(limits::HOLD_SPARES))
    }

    /// Whether `hold_topics` matches a topic.
    pub fn holds(&self, topic: &str) -> bool {
        self.hold_topics.iter().any(|glob| glob::matches(glob, topic))
    }

    /// The metadata ring, which has no table of its own.
    pub fn metadata(segment_bytes: u64) -> RingConfig {
        RingConfig {
            name: METADATA_NAME.to_string(),
            topics: Vec::new(),
            segments: limits::METADATA_SEGMENTS,
            spares: 1,
            segment_bytes,
            ..RingConfig::unresolved()
        }
    }

    /// Bytes that the ring's files take, spares included.
    pub fn flash_bytes(&self) -> u64 {
        self.segment_bytes * u64::from(self.segments + self.spares)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fmt::Write;
    use value::Value;

    const REFERENCE: &str = include_str!("../../config/brooklet.toml");

    /// How the file documents a key: its reason, what it takes, and its default.
    fn block<C>(key: &Key<C>) -> String {
        let mut block = String::new();
        for line in key.why {
            writeln!(block, "#{line}").unwrap();
        }
        writeln!(block, "# Takes {}.", key.kind).unwrap();
        let default = match (key.kind, key.kind.default()) {
            (Kind::Bytes { .. }, Value::Int(n)) if n > 0 && n % 1024 == 0 => {
                Value::Text(value::Bytes(n).to_string())
            }
            (_, default) => default,
        };
        writeln!(block, "#{} = {default}", key.name).unwrap();
        block
    }

    fn uncommented() -> String {
        let is_setting = |line: &&str| {
            let key = line.trim_start_matches('#').split(' ').next().unwrap_or("");
            line.starts_with('#') && !line.starts_with("# ") && !key.is_empty()
        };
        let lines = REFERENCE.lines().filter(is_setting);
        lines.map(|line| format!("{}\n", &line[1..])).collect()
    }

    #[test]
    fn the_reference_file_documents_every_key_in_the_order_of_the_table() {
        let blocks = KEYS.iter().map(block).chain(RING_KEYS.iter().map(block));
        let mut from = 0;
        for block in blocks {
            match REFERENCE[from..].find(&block) {
                Some(at) => from += at + block.len(),
                None => panic!("config/brooklet.toml lacks, or has elsewhere:\n\n{block}"),
            }
        }
    }

    #[test]
    fn the_reference_file_holds_the_defaults_and_nothing_else() {
        let text = uncommented();
        assert_eq!(text.lines().count(), KEYS.len() + 1 + RING_KEYS.len(), "{text}");
        for text in [REFERENCE, &text] {
            let sources =
                source::Sources { file: Some(("brooklet.toml", text)), ..Default::default() };
            assert_eq!(source::load(sources).unwrap().config, Config::default());
        }
    }

    #[test]
    fn the_limits_in_the_readme_are_the_defaults() {
        let readme = include_str!("../../README.md");
        let mut rows = 0;
        for key in KEYS {
            let name = format!("| `{}` | ", key.name);
            let Some((_, rest)) = readme.split_once(&name) else {
                continue;
            };
            let shown = rest.lines().next().unwrap().trim_end_matches(" |");
            let default = match (key.kind, key.kind.default()) {
                (Kind::Bytes { .. }, Value::Int(n)) => value::Bytes(n).to_string(),
                (_, default) => default.to_string(),
            };
            assert_eq!(shown, default, "{}", key.name);
            rows += 1;
        }
        assert!(rows >= 7, "the table of limits is gone or has another form");
    }

    #[test]
    fn what_a_configuration_shows_is_what_it_takes() {
        let config = Config::default();
        for key in KEYS {
            assert_eq!(key.kind.check((key.get)(&config)), Ok((key.get)(&config)), "{}", key.name);
        }
    }
}
