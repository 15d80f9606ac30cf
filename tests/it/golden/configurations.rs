//! The newest image, of two rings, under every other configuration: it opens with all that was in it,
//! or is refused with a reason and left as it was.

use std::collections::BTreeSet;
use std::sync::Arc;

use brooklet::config::{Config, Holder, RingConfig};
use brooklet::log::recovery::OpenError;
use brooklet::storage::sim::SimStorage;
use brooklet::types::RingIndex;
use kafka_protocol::messages::{ApiKey, ProduceResponse};

use super::{IMAGES, SEGMENT_BYTES, Unpacked, found, now};
use crate::host::{Host, NOON_MS, PLAIN, batch};
use crate::produce::produce;

/// The image's rings, each with the topics that are in it.
const RINGS: [(&str, &[&str]); 2] =
    [("main", &["one", "three", "late", "state"]), ("alarms", &["alarm"])];

/// The image on a disk, and what is in it.
struct Image {
    disk: SimStorage,
    lines: BTreeSet<String>,
}

/// How a start with a configuration ends.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Outcome {
    /// Everything is there, but for what is in rings that are dropped.
    Opens,
    /// It is refused, and these words are in the reason.
    Refused(Vec<String>),
}

impl Image {
    fn new(name: &str) -> Image {
        let (image, expected) = IMAGES[IMAGES.len() - 1];
        let disk = Unpacked::new(name, image).on_a_disk();
        Image { disk, lines: expected.lines().map(str::to_string).collect() }
    }

    /// What is in it beside the topics of rings that are dropped.
    fn lines_without(&self, retired: &[String]) -> BTreeSet<String> {
        let dropped = RINGS.iter().filter(|(ring, _)| retired.iter().any(|name| name == ring));
        let dropped: Vec<&str> = dropped.flat_map(|(_, topics)| topics.iter().copied()).collect();
        let topic = |line: &str| match line.split(' ').collect::<Vec<_>>()[..] {
            ["offset", _, topic, ..] | [_, topic, ..] => topic.to_string(),
            _ => panic!("{line}"),
        };
        self.lines.iter().filter(|line| !dropped.contains(&&*topic(line))).cloned().collect()
    }

    /// Starts a copy with the configuration, twice if it opens, and again with the one that the image
    /// was made with; `outcome` must be how the first start ends.
    fn start(&self, config: &Config, outcome: &Outcome) {
        let shown = shown(config);
        let disk = Arc::new(self.disk.fork(1));
        let writes = disk.counts().writes;
        let first = Host::open(Arc::clone(&disk), config.clone(), now());
        match (first, outcome) {
            (Err(error), Outcome::Refused(words)) => {
                assert!(matches!(error, OpenError::Rings(_) | OpenError::Config { .. }), "{shown}");
                let said = error.to_string();
                let lacks = words.iter().find(|word| !said.contains(*word));
                assert!(lacks.is_none(), "{shown}: {lacks:?} is not in {said:?}");
                assert_eq!(disk.counts().writes, writes, "{shown}: it is left as it is");
            }
            (Ok(host), Outcome::Opens) => self.goes_on(host, config, &shown),
            (first, outcome) => panic!("{shown}: {:?}, not {outcome:?}", first.err()),
        }
        let after = self.config_after(config, outcome);
        let host = Host::open(disk, after.clone(), now());
        let host = host.unwrap_or_else(|error| panic!("{shown}: and then as it was: {error}"));
        match outcome {
            Outcome::Opens => self.check_newest(&host, &after, &shown),
            Outcome::Refused(_) => self.check_all(&host, &after, &shown),
        }
    }

    /// The configuration that the image was made with; behind another one that opened it, with the rings
    /// that were made and without those that were dropped, and with room for what was stored.
    fn config_after(&self, other: &Config, outcome: &Outcome) -> Config {
        let mut config = self::config(&RINGS.map(|(name, _)| name));
        if *outcome == Outcome::Opens {
            config.rings.retain(|ring| !other.retired.contains(&ring.name));
            config.retired.clone_from(&other.retired);
            let is_new = |ring: &&RingConfig| RINGS.iter().all(|(name, _)| ring.name != *name);
            config.rings.extend(other.rings.iter().filter(is_new).cloned());
            for ring in &mut config.rings {
                let same = other.rings.iter().find(|other| other.name == ring.name).unwrap();
                ring.clone_from(same);
            }
        }
        config
    }

    /// The broker that opened it shows all, takes records for each ring, and goes on with what there is.
    fn goes_on(&self, mut host: Host, config: &Config, shown: &str) {
        self.check_all(&host, config, shown);
        for _ in 0..2 {
            for (_, topics) in
                RINGS.iter().filter(|(ring, _)| !config.retired.iter().any(|r| r == ring))
            {
                let values = batch(PLAIN, NOON_MS, &[b"more"]);
                let request = produce(-1, topics[0], &[(0, Some(values))]);
                let answer: ProduceResponse = host.ask(ApiKey::Produce, 9, &request);
                let code = answer.responses[0].partition_responses[0].error_code;
                assert_eq!(code, 0, "{shown}: a record for {}", topics[0]);
            }
            host.close();
            let disk = Arc::clone(&host.storage);
            let again = Host::open(disk, config.clone(), now());
            host = again.unwrap_or_else(|error| panic!("{shown}: a second time: {error}"));
            self.check_newest(&host, config, shown);
        }
    }

    /// All that was in it is there, and nothing else.
    fn check_all(&self, host: &Host, config: &Config, shown: &str) {
        let (found, expected) = (found(&host.broker.log), self.lines_without(&config.retired));
        let differ: Vec<_> = found.symmetric_difference(&expected).collect();
        assert!(differ.is_empty(), "{shown}: {differ:?}");
    }

    /// Only records are missing, of rings that are full, and never a partition's newest.
    fn check_newest(&self, host: &Host, config: &Config, shown: &str) {
        let (found, expected) = (found(&host.broker.log), self.lines_without(&config.retired));
        let place = |line: &str| line.rsplitn(4, ' ').nth(3).unwrap().to_string();
        let offset = |line: &str| line.rsplit(' ').nth(2).unwrap().parse::<u64>().unwrap();
        for line in expected.difference(&found) {
            assert!(line.starts_with("batch"), "{shown}: {line}");
            let topic = line.split(' ').nth(1).unwrap();
            let (ring, _) = RINGS.iter().find(|(_, topics)| topics.contains(&topic)).unwrap();
            let index =
                config.rings.iter().position(|configured| configured.name == *ring).unwrap();
            let live = host.broker.log.segments(RingIndex(index as u8)).count();
            assert!(
                live >= usize::from(config.rings[index].segments),
                "{shown}: {line} is not there"
            );
            let newer =
                |other: &&String| place(other) == place(line) && offset(other) > offset(line);
            assert!(found.iter().any(|other| newer(&other)), "{shown}: {line} was the newest");
        }
    }
}

/// Rings of these names, sized as the image's.
fn config(names: &[&str]) -> Config {
    let ring = |name: &&str| RingConfig {
        name: (*name).to_string(),
        segments: 3,
        spares: 2,
        segment_bytes: SEGMENT_BYTES,
        hold_for: match *name {
            "alarms" => vec![Holder::Group("readers".to_string())],
            _ => Vec::new(),
        },
        ..Config::default().rings[0].clone()
    };
    Config {
        rings: names.iter().map(ring).collect(),
        producers_max: 16,
        seal_after_ms: 0,
        ..Config::default()
    }
}

fn shown(config: &Config) -> String {
    let ring = |ring: &RingConfig| {
        let (segments, spares, shrink) = (ring.segments, ring.spares, ring.shrink);
        format!("{} ({segments} + {spares} of {}, shrink {shrink})", ring.name, ring.segment_bytes)
    };
    let rings: Vec<_> = config.rings.iter().map(ring).collect();
    format!("[{}], retired {:?}", rings.join(", "), config.retired)
}

/// All orders of all choices of some of these.
fn arrangements<'a>(of: &[&'a str]) -> Vec<Vec<&'a str>> {
    let mut all = vec![Vec::new()];
    for at in 0.. {
        let Some(chosen): Option<Vec<&str>> = all.get(at).cloned() else { break };
        for more in of.iter().filter(|more| !chosen.contains(more)) {
            all.push([&chosen[..], &[more]].concat());
        }
    }
    all
}

#[test]
fn a_ring_that_is_left_out_or_renamed_is_refused_unless_it_is_retired() {
    let image = Image::new("left-out");
    let lists = arrangements(&["main", "alarms", "new", "mian"]);
    let retirements = arrangements(&["main", "alarms"]);
    let mut opened = 0;
    for names in lists.iter().filter(|names| !names.is_empty() && names.len() < 4) {
        for retired in retirements.iter().filter(|retired| retired.is_sorted()) {
            if retired.iter().any(|retired| names.contains(retired)) {
                continue;
            }
            let mut config = config(names);
            config.retired = retired.iter().map(|name| (*name).to_string()).collect();
            let missing = RINGS.iter().map(|(name, _)| *name);
            let missing = missing.filter(|name| !names.contains(name) && !retired.contains(name));
            let words: Vec<_> = missing.map(|name| format!("{name:?} (in ring-")).collect();
            let opens = words.is_empty();
            opened += u64::from(opens);
            image.start(&config, &if opens { Outcome::Opens } else { Outcome::Refused(words) });
        }
    }
    assert!(opened > 20, "{opened} of them open");
}

#[test]
fn a_ring_may_be_of_any_size_that_holds_what_is_in_it() {
    let image = Image::new("sizes");
    for (place, (name, _)) in RINGS.iter().enumerate() {
        for segments in 3..=8 {
            for spares in [1, 2, 3, 5] {
                for shrink in [false, true] {
                    let mut config = config(&["main", "alarms"]);
                    let ring = &mut config.rings[place];
                    (ring.segments, ring.spares, ring.shrink) = (segments, spares, shrink);
                    image.start(&config, &Outcome::Opens);
                }
            }
        }
        for segment_bytes in [2 * SEGMENT_BYTES, 16 * SEGMENT_BYTES] {
            let mut config = config(&["alarms", "main"]);
            config.rings[1 - place].segment_bytes = segment_bytes;
            let words = vec![format!("{name:?} was made with segments of 4 MiB")];
            image.start(&config, &Outcome::Refused(words));
        }
    }
}

#[test]
fn tables_hold_what_is_stored_or_are_refused_by_the_name_of_their_key() {
    let image = Image::new("tables");
    let of = |kind: &str| image.lines.iter().filter(|line| line.starts_with(kind)).count();
    type Change = fn(&mut Config, usize);
    let tables: [(&str, usize, Change); 6] = [
        // One was deleted, and is in the last snapshot.
        ("topics_max", of("topic") + 1, |config, max| config.topics_max = max),
        ("partitions_max", 9, |config, max| config.partitions_max = max),
        ("groups_max", 2, |config, max| config.groups_max = max),
        ("offsets_max", of("offset"), |config, max| config.offsets_max = max),
        ("offset_metadata_bytes", 8, |config, max| config.offset_metadata_bytes = max),
        // The least used go; how many are known is not promised.
        ("producers_max", 1, |config, max| config.producers_max = max),
    ];
    for (key, held, change) in tables {
        for max in 1..=held + 1 {
            let mut config = config(&["main", "alarms"]);
            change(&mut config, max);
            let opens = max >= held;
            let outcome =
                if opens { Outcome::Opens } else { Outcome::Refused(vec![key.to_string()]) };
            image.start(&config, &outcome);
        }
    }
}
