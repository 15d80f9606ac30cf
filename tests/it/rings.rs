//! Several rings, and configurations that change: a ring is found by its name, what fits nowhere is
//! refused, and nothing that was acknowledged goes without a word.

use std::sync::Arc;

use kafka_protocol::messages::create_topics_request::CreatableTopic;
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::{
    ApiKey, CreateTopicsRequest, CreateTopicsResponse, MetadataRequest, MetadataResponse,
    ProduceResponse,
};

use crate::host::{Host, NOON_MS, PLAIN, batch, config_small};
use crate::offsets::{codes, commit, committed};
use crate::produce::{create_topic, produce, topic_name};
use brooklet::clock::{Mono, Now};
use brooklet::config::{Config, RingConfig};
use brooklet::log::recovery::OpenError;
use brooklet::storage::Storage as _;
use brooklet::storage::sim::{Cut, SimStorage};
use brooklet::types::{FileIndex, FileRef, RingIndex, RingNumber};

const NOW: Now = Now { mono: Mono(0), wall_ms: NOON_MS, wall_synchronised: true };

/// The rings of these names: each takes the topics that begin with its name, `main` takes all.
fn with_rings(names: &[&str]) -> Config {
    let mut config = config_small(3, 1 << 20);
    config.partitions_max = 16;
    let like = config.rings.remove(0);
    config.rings.extend(names.iter().map(|name| {
        let topics = if *name == "main" { "*".to_string() } else { format!("{name}*") };
        RingConfig { name: (*name).to_string(), topics: vec![topics], ..like.clone() }
    }));
    config
}

fn open(disk: &Arc<SimStorage>, config: Config) -> Result<Host, OpenError> {
    Host::open(Arc::clone(disk), config, NOW)
}

fn put(host: &mut Host, topic: &str, value: &[u8]) {
    let values = batch(PLAIN, NOON_MS, &[value]);
    let request = produce(-1, topic, &[(0, Some(values))]);
    let answer: ProduceResponse = host.ask(ApiKey::Produce, 9, &request);
    assert_eq!(answer.responses[0].partition_responses[0].error_code, 0, "{topic}");
}

/// Two rings, `alarms` first; a topic in each, and one that was committed of.
fn two_rings() -> Arc<SimStorage> {
    let disk = Arc::new(SimStorage::new(1));
    let mut host = open(&disk, with_rings(&["alarms", "main"])).unwrap();
    create_topic(&mut host, "t", 2, &[]);
    create_topic(&mut host, "alarms.fire", 1, &[]);
    for at in 0..5_u8 {
        put(&mut host, "t", &[at; 100]);
        put(&mut host, "alarms.fire", &[0xa0 + at; 100]);
    }
    assert_eq!(codes(&mut host, 7, &commit("g", &[(0, 3, "here")])), [0]);
    host.close();
    disk
}

fn check_t(host: &mut Host) {
    let all = host.fetch("t", 0, 0);
    assert!((0..5_u8).all(|at| all.windows(100).any(|w| w == [at; 100])), "all of t is there");
    let found = committed(host, "g");
    assert_eq!(found, [("t".to_string(), 0, 3, "here".to_string())]);
}

fn check_alarms(host: &mut Host) {
    let all = host.fetch("alarms.fire", 0, 0);
    assert!((0xa0..0xa5_u8).all(|at| all.windows(100).any(|w| w == [at; 100])));
}

/// The folder of a topic's ring.
fn number_of(host: &Host, topic: &str) -> u8 {
    let (_, topic) = host.broker.log.state().topic_named(topic).unwrap();
    host.broker.log.number_of(topic.ring).0
}

#[test]
fn rings_are_found_by_name_wherever_their_tables_stand() {
    let orders: [&[&str]; 8] = [
        &["alarms", "main"],
        &["main", "alarms"],
        &["new", "alarms", "main"],
        &["alarms", "new", "main"],
        &["main", "alarms", "new"],
        &["new", "main", "alarms"],
        &["alarms", "new", "other", "main"],
        &["main", "other", "new", "alarms"],
    ];
    for names in orders {
        let disk = two_rings();
        for _ in 0..3 {
            let mut host = open(&disk, with_rings(names)).unwrap();
            check_t(&mut host);
            check_alarms(&mut host);
            assert_eq!((number_of(&host, "alarms.fire"), number_of(&host, "t")), (0, 1));
            put(&mut host, "t", b"more");
            put(&mut host, "alarms.fire", b"more");
            if names.contains(&"new") {
                if host.broker.log.state().topic_named("new-topic").is_none() {
                    create_topic(&mut host, "new-topic", 1, &[]);
                }
                put(&mut host, "new-topic", b"first");
                // While a ring that takes all stands before it, it gets nothing.
                let shadowed = names.iter().position(|n| *n == "main")
                    < names.iter().position(|n| *n == "new");
                let number = number_of(&host, "new-topic");
                assert_eq!(number == 1, shadowed, "{names:?}: in ring-{number}");
            }
            host.close();
        }
        // What was added stays found in any other order, too.
        let mut names = names.to_vec();
        names.reverse();
        let mut host = open(&disk, with_rings(&names)).unwrap();
        check_t(&mut host);
        if names.contains(&"new") {
            assert!(!host.fetch("new-topic", 0, 0).is_empty());
        }
    }
}

#[test]
fn rings_that_no_table_names_are_refused_and_left_as_they_are() {
    let others: [(&[&str], &str); 5] = [
        (&["main"], "\"alarms\" (in ring-0)"),
        (&["alarms"], "\"main\" (in ring-1)"),
        (&["alarms", "mian"], "\"main\" (in ring-1)"),
        (&["telemetry"], "\"alarms\" (in ring-0) or \"main\" (in ring-1)"),
        (&["new", "main"], "\"alarms\" (in ring-0)"),
    ];
    let disk = two_rings();
    let writes = disk.counts().writes;
    for (names, said) in others {
        let error = open(&disk, with_rings(names)).err().unwrap();
        assert!(matches!(error, OpenError::Rings(_)));
        assert!(error.to_string().contains(said), "{error}");
    }
    assert_eq!(disk.counts().writes, writes);
    let mut host = open(&disk, with_rings(&["alarms", "main"])).unwrap();
    check_t(&mut host);
    check_alarms(&mut host);
}

#[test]
fn a_copy_of_a_ring_is_refused() {
    let disk = two_rings();
    for (file, bytes) in disk.files(RingIndex(1)).unwrap() {
        let mut copy = vec![0; bytes as usize];
        disk.read_durable(FileRef { ring: RingIndex(1), file }, 0, &mut copy);
        let to = FileRef { ring: RingIndex(5), file };
        disk.create(to, bytes, &mut |_| {}).unwrap();
        disk.write(to, 0, &[std::io::IoSlice::new(&copy)]).unwrap();
        disk.sync(to).unwrap();
    }
    let error = open(&disk, with_rings(&["alarms", "main"])).err().unwrap().to_string();
    assert!(error.contains("ring-1 and ring-5 both hold ring \"main\""), "{error}");
}

/// A third ring, `old`, is dropped: with two topics, one that grew, and a commit of it.
fn with_an_old_ring() -> Arc<SimStorage> {
    let disk = two_rings();
    let mut host = open(&disk, with_rings(&["alarms", "old", "main"])).unwrap();
    create_topic(&mut host, "old-1", 1, &[]);
    create_topic(&mut host, "old-2", 2, &[]);
    put(&mut host, "old-1", b"gone");
    put(&mut host, "old-2", b"gone");
    host.close();
    disk
}

fn retiring() -> Config {
    let mut config = with_rings(&["alarms", "main"]);
    config.retired.push("old".to_string());
    config
}

fn check_old_is_gone(disk: &Arc<SimStorage>, host: &mut Host) {
    check_t(host);
    check_alarms(host);
    let state = host.broker.log.state();
    assert!(state.topics().all(|(_, topic)| !topic.name.starts_with("old")));
    assert!(state.partitions().count() == 3 && state.topics_len() == 2);
    assert_eq!(disk.files(RingIndex(2)).unwrap(), []);
    // Handles are not given again: t has two partitions, the alarms one, and the old ring had three.
    create_topic(host, "t2", 1, &[]);
    let (slot, _) = host.broker.log.state().topic_named("t2").unwrap();
    let (_, partition) = host.broker.log.state().partitions_of(slot).next().unwrap();
    assert!(partition.handle.0 > 6, "{:?}", partition.handle);
}

#[test]
fn a_ring_that_is_retired_goes_with_its_topics_and_its_name_is_free() {
    let disk = with_an_old_ring();
    for _ in 0..2 {
        let mut host = open(&disk, retiring()).unwrap();
        check_t(&mut host);
        host.close();
    }
    let mut host = open(&disk, retiring()).unwrap();
    check_old_is_gone(&disk, &mut host);
    host.close();
    let mut host = open(&disk, with_rings(&["alarms", "old", "main"])).unwrap();
    create_topic(&mut host, "old-1", 1, &[]);
    assert!(host.fetch("old-1", 0, 0).is_empty());
    put(&mut host, "old-1", b"new");
    check_t(&mut host);
}

#[test]
fn any_ring_may_be_retired() {
    let disk = two_rings();
    let mut config = with_rings(&["main"]);
    config.retired.push("alarms".to_string());
    let mut host = open(&disk, config).unwrap();
    check_t(&mut host);
    assert!(host.broker.log.state().topic_named("alarms.fire").is_none());
    assert_eq!(disk.files(RingIndex(0)).unwrap(), []);
    host.close();
    let mut host = open(&disk, with_rings(&["main"])).unwrap();
    check_t(&mut host);
    assert_eq!(number_of(&host, "t"), 1);
}

#[test]
fn a_power_cut_while_a_ring_is_dropped_drops_it_at_the_next_start_or_not_at_all() {
    let disk = with_an_old_ring();
    disk.record_forks(true);
    open(&disk, retiring()).unwrap();
    disk.record_forks(false);
    let forks = disk.forks_take();
    assert!(forks.len() > 5);
    for (write, fork) in &forks {
        for cut in Cut::ALL {
            let fork = Arc::new(fork.fork(*write));
            fork.power_cut(cut);
            // Who changes his mind finds the ring, with its topics or without.
            let kept = Arc::new(fork.fork(1));
            let mut host = open(&kept, with_rings(&["alarms", "old", "main"])).unwrap();
            check_t(&mut host);
            let mut host = open(&fork, retiring()).unwrap();
            check_old_is_gone(&fork, &mut host);
        }
    }
}

#[test]
fn a_ring_that_would_shrink_below_what_it_holds_is_refused_until_that_is_confirmed() {
    let disk = Arc::new(SimStorage::new(1));
    let sized = |segments, spares, shrink| {
        let mut config = config_small(segments, 1 << 20);
        config.rings[0].spares = spares;
        config.rings[0].shrink = shrink;
        config
    };
    let mut host = open(&disk, sized(6, 2, false)).unwrap();
    create_topic(&mut host, "t", 1, &[]);
    let live = |host: &Host| host.broker.log.segments(RingIndex(0)).count();
    let mut at = 0_u32;
    while live(&host) < 5 {
        put(&mut host, "t", &at.to_be_bytes().repeat(5000));
        at += 1;
    }
    let all = host.fetch("t", 0, 0);
    host.close();
    let error = open(&disk, sized(4, 2, false)).err().unwrap().to_string();
    assert!(
        error.contains("5 segments that hold records") && error.contains("oldest 1"),
        "{error}"
    );
    // More spares are no segments.
    assert!(open(&disk, sized(3, 5, false)).is_err());
    for segments in [5, 7, 5] {
        let mut host = open(&disk, sized(segments, 2, false)).unwrap();
        assert_eq!(host.fetch("t", 0, 0), all, "{segments} segments");
        host.close();
    }
    let mut host = open(&disk, sized(3, 2, true)).unwrap();
    assert_eq!(host.fetch("t", 0, 0), all, "nothing goes before its turn");
    let before = host.broker.log.segments(RingIndex(0)).next_back().unwrap().seq;
    while host.broker.log.segments(RingIndex(0)).next_back().unwrap().seq == before {
        put(&mut host, "t", &[1; 20_000]);
    }
    host.close();
    // It is a ring of three now, and was always meant to be.
    assert_eq!(live(&open(&disk, sized(3, 2, false)).unwrap()), 3);
}

#[test]
fn smaller_tables_are_refused_by_the_name_of_their_key_or_hold_all_there_is() {
    let disk = two_rings();
    let writes = disk.counts().writes;
    let config = || with_rings(&["alarms", "main"]);
    type Change = fn(&mut Config, usize);
    // What the disk holds of each: with as many it opens, with one less it says which key.
    let tables: [(&str, usize, Change); 3] = [
        ("topics_max", 2, |config, max| config.topics_max = max),
        ("partitions_max", 3, |config, max| config.partitions_max = max),
        ("offset_metadata_bytes", 4, |config, max| config.offset_metadata_bytes = max),
    ];
    for (key, held, change) in tables {
        let mut less = config();
        change(&mut less, held - 1);
        let error = open(&disk, less).err().unwrap().to_string();
        assert!(error.contains(key), "{key}: {error}");
        assert_eq!(disk.counts().writes, writes, "{key}: nothing is written");
        let mut just = config();
        change(&mut just, held);
        let fork = Arc::new(disk.fork(1));
        let mut host = open(&fork, just).unwrap();
        check_t(&mut host);
        check_alarms(&mut host);
    }
    for (producers, groups, offsets) in [(1, 1, 1), (8, 1, 6), (1, 3, 1)] {
        let mut small = config();
        (small.producers_max, small.groups_max, small.offsets_max) = (producers, groups, offsets);
        small.commit_group_max_bytes = 64 << 10;
        small.commit_alignment = 512;
        let mut host = open(&Arc::new(disk.fork(1)), small).unwrap();
        check_t(&mut host);
        put(&mut host, "t", b"more");
    }
}

#[test]
fn files_of_another_size_are_refused_unless_nothing_was_ever_stored_in_them() {
    let disk = two_rings();
    let mut config = with_rings(&["alarms", "main"]);
    config.rings[1].segment_bytes = 2 << 20;
    let error = open(&disk, config).err().unwrap().to_string();
    assert!(error.contains("ring \"main\" was made with segments of 1 MiB, not 2 MiB"), "{error}");
    // A start that was cut short before the ring was begun left some of its files.
    let disk = Arc::new(SimStorage::new(1));
    for file in 0..2 {
        let file = FileRef { ring: RingIndex(0), file: FileIndex(file) };
        disk.create(file, 2 << 20, &mut |_| {}).unwrap();
    }
    let mut host = open(&disk, with_rings(&["main"])).unwrap();
    create_topic(&mut host, "t", 1, &[]);
    put(&mut host, "t", b"x");
    let lengths = disk.files(RingIndex(0)).unwrap();
    assert!(lengths.iter().all(|(_, bytes)| *bytes == 1 << 20), "{lengths:?}");
}

#[test]
fn a_ring_whose_folder_is_gone_is_wanted_back_or_given_up() {
    let disk = two_rings();
    for (file, _) in disk.files(RingIndex(1)).unwrap() {
        disk.remove(FileRef { ring: RingIndex(1), file }).unwrap();
    }
    let writes = disk.counts().writes;
    for names in [&["alarms"][..], &["alarms", "main"], &["new", "main", "alarms"]] {
        let error = open(&disk, with_rings(names)).err().unwrap().to_string();
        assert!(error.contains("ring-1 is not there, and topic \"t\" is in it"), "{error}");
        for number in 1..RingNumber::METADATA.0 {
            assert_eq!(disk.files(RingIndex(number)).unwrap(), [], "nothing is made");
        }
    }
    assert_eq!(disk.counts().writes, writes);
    let mut config = with_rings(&["alarms"]);
    config.retired.push("main".to_string());
    let mut host = open(&disk, config).unwrap();
    check_alarms(&mut host);
    host.close();
    // Not even what was committed of it comes back.
    let mut host = open(&disk, with_rings(&["alarms", "main"])).unwrap();
    check_alarms(&mut host);
    assert_eq!(committed(&mut host, "g"), []);
    create_topic(&mut host, "t", 1, &[]);
    put(&mut host, "t", b"again");
}

#[test]
fn a_lost_metadata_ring_costs_names_and_no_records() {
    for retired in [false, true] {
        let disk = two_rings();
        let mut names = vec!["alarms", "main"];
        if retired {
            names.remove(0);
            let mut config = with_rings(&names);
            config.retired.push("alarms".to_string());
            open(&disk, config).unwrap().close();
        }
        let metadata = RingIndex(RingNumber::METADATA.0);
        for (file, _) in disk.files(metadata).unwrap() {
            disk.remove(FileRef { ring: metadata, file }).unwrap();
        }
        for _ in 0..2 {
            let mut host = open(&disk, with_rings(&names)).unwrap();
            let lost: Vec<String> = {
                let topics = host.broker.log.state().topics();
                topics.map(|(_, topic)| topic.name.to_string()).collect()
            };
            assert!(lost.iter().all(|name| name.starts_with("lost-")), "{lost:?}");
            let all = host.fetch("lost-1", 0, 0);
            assert!((0..5_u8).all(|at| all.windows(100).any(|w| w == [at; 100])));
            host.close();
        }
    }
}

#[test]
fn a_folder_that_nobody_needs_and_nobody_can_read_stops_nothing() {
    let disk = with_an_old_ring();
    open(&disk, retiring()).unwrap().close();
    let file = FileRef { ring: RingIndex(7), file: FileIndex(0) };
    disk.create(file, 1 << 20, &mut |_| {}).unwrap();
    disk.fail_reads_at(file, 0, 1 << 20);
    let mut host = open(&disk, with_rings(&["alarms", "main"])).unwrap();
    check_t(&mut host);
    host.close();
    // It may be the ring that is missing.
    let error = open(&disk, with_rings(&["alarms", "main", "new"])).err().unwrap();
    assert!(matches!(error, OpenError::Unreadable(_)), "{error}");
}

#[test]
fn what_was_committed_of_a_retired_ring_does_not_come_back() {
    let disk = with_an_old_ring();
    let mut host = open(&disk, with_rings(&["alarms", "old", "main"])).unwrap();
    let mut request = commit("g", &[(0, 1, "old")]);
    request.topics[0].name = crate::produce::topic_name("old-1");
    assert_eq!(codes(&mut host, 7, &request), [0]);
    host.close();
    for _ in 0..3 {
        let mut host = open(&disk, retiring()).unwrap();
        check_t(&mut host);
        assert_eq!(host.broker.log.state().offsets_len(), 1);
        host.close();
    }
}

#[test]
fn larger_tables_fit_the_metadata_ring_that_was_made_for_smaller_ones_or_are_refused() {
    let disk = two_rings();
    let mut larger = with_rings(&["alarms", "main"]);
    (larger.offsets_max, larger.topics_max, larger.partitions_max) = (8_000, 400, 900);
    let fork = Arc::new(disk.fork(1));
    for _ in 0..2 {
        let mut host = open(&fork, larger.clone()).unwrap();
        check_t(&mut host);
        check_alarms(&mut host);
        host.close();
    }
    // And back.
    check_t(&mut open(&fork, with_rings(&["alarms", "main"])).unwrap());
    let writes = disk.counts().writes;
    larger.offsets_max = 65_536;
    larger.offset_metadata_bytes = 8 << 20;
    let error = open(&disk, larger).err().unwrap().to_string();
    assert!(error.starts_with("the metadata ring was made for smaller tables"), "{error}");
    assert_eq!(disk.counts().writes, writes);
}

#[test]
fn a_topic_waits_until_its_ring_is_on_flash() {
    let disk = two_rings();
    let with_new = || with_rings(&["alarms", "new", "main"]);
    disk.fail_writes_of(Some(RingIndex(2)));
    let mut host = open(&disk, with_new()).unwrap();
    let mut topic = CreatableTopic::default();
    topic.name = topic_name("new-topic");
    (topic.num_partitions, topic.replication_factor) = (1, 1);
    let request = CreateTopicsRequest::default().with_topics(vec![topic]);
    let answer: CreateTopicsResponse = host.ask(ApiKey::CreateTopics, 7, &request);
    assert_eq!(answer.topics[0].error_code, 56);
    assert_eq!(unknown_of(&mut host, "new-topic"), 3, "clients ask again");
    create_topic(&mut host, "t2", 1, &[]);
    put(&mut host, "t2", b"x");
    // It is not taken for a ring that is lost with its topics.
    host.close();
    disk.fail_writes_of(None);
    let mut host = open(&disk, with_new()).unwrap();
    create_topic(&mut host, "new-topic", 1, &[]);
    put(&mut host, "new-topic", b"x");
    check_t(&mut host);
}

/// What Metadata says of a topic that it may create.
fn unknown_of(host: &mut Host, name: &str) -> i16 {
    let topic = MetadataRequestTopic::default().with_name(Some(topic_name(name)));
    let request = MetadataRequest::default().with_topics(Some(vec![topic]));
    let request = request.with_allow_auto_topic_creation(true);
    let answer: MetadataResponse = host.ask(ApiKey::Metadata, 9, &request);
    answer.topics[0].error_code
}
