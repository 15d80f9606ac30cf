//! docs/status.md says what each number of `brooklet status` is, and `brooklet status` shows no other.

use brooklet::metrics::fields::{self, Section};
use serde_json::Value;

use crate::docs::assert_table;
use crate::process::Process;

const FILE: &str = "docs/status.md";

#[test]
fn every_number_is_documented_in_its_place() {
    documented("## The broker as a whole", &fields::OVERVIEW);
    documented("## `rings.NAME`: a ring", &fields::RING);
    documented("## `rings.NAME.wear`: what it cost the medium since the start", &fields::WEAR);
    documented("## `rings.NAME.compaction`: its compacted topics", &fields::COMPACTION);
    documented(
        "## `rings.NAME.failures`: its writes and syncs that failed since the start",
        &fields::FAILURES,
    );
    documented("## `rings.NAME.hold`: a ring with `hold_for`", &fields::HOLD);
    documented(
        "## `rings.NAME.hold.for.HOLDER`, `rings.NAME.watch.HOLDER`: a group or mirror of `hold_for` or \
         `watch_for`",
        &fields::HOLDER,
    );
    documented("## `rings.NAME.hold.for.HOLDER`: of `hold_for` only", &fields::HELD);
    documented(
        "## `rings.NAME.hold.for.HOLDER.oldest_segment_topics.TOPIC`: what keeps its oldest segment",
        &fields::OLDEST,
    );
    documented("## `rings.NAME.watch.HOLDER`: of `watch_for` only", &fields::WATCHED);
    documented("## `damage`: what was found broken", &fields::DAMAGE);
    documented("## `connections`: connections of clients", &fields::CONNECTIONS);
    documented("## `traffic`: bytes over all connections", &fields::TRAFFIC);
    documented("## `waiting`: requests that wait", &fields::WAITING);
    documented(
        "## `sync_us`, `produce_us`: how long syncs took, and produce requests from being read to being \
         answered",
        &fields::DURATION,
    );
    documented("## `reads`: reads for fetches and look-ups", &fields::READS);
    documented("## `consumer_groups`: consumer groups", &fields::GROUPS);
    documented("## `tables.TABLE`: tables of fixed size", &fields::TABLE);
    documented("## `memory`: bytes", &fields::MEMORY);
    documented("## `memory.pools.POOL`: buffers of one kind", &fields::POOL);
}

#[test]
fn nothing_is_shown_that_is_not_documented() {
    let text = std::fs::read_to_string(FILE).unwrap();
    let settings = ["ring.segments=6", "ring.segment_bytes=4MiB", "ring.hold_for=group:g"];
    let held = Process::start_with("status-held", &settings);
    let settings = ["ring.segments=3", "ring.segment_bytes=4MiB", "ring.watch_for=mirror:up"];
    let watched = Process::start_with("status-watched", &settings);
    for status in [held.status(), watched.status()] {
        assert_eq!(status["starts_total"], 1);
        // Its names are those of users, of topics, of requests and of errors.
        let named = ["largest_topics", "requests_total", "errors_total", "rings", "for", "watch"];
        each_name(&status, &mut |parents, name| {
            if !parents.last().is_some_and(|parent| named.contains(parent)) {
                assert!(text.contains(name), "{parents:?} {name} is not in {FILE}");
            }
        });
    }
    assert!(held.status()["rings"]["main"]["hold"]["for"]["group:g"]["lag_records"].is_u64());
    let watch = &watched.status()["rings"]["main"]["watch"];
    assert!(watch["mirror:up"]["overwritten_records_total"].is_u64());
}

fn documented<T>(heading: &str, section: &Section<T>) {
    let mut expected = vec!["| name | what it is |".to_string(), "| --- | --- |".to_string()];
    let rows = section.fields.iter().map(|field| format!("| `{}` | {} |", field.name, field.help));
    expected.extend(rows);
    assert_table(FILE, heading, &expected);
}

/// Hands over each name in an object, with those of the objects that it is in.
fn each_name(value: &Value, take: &mut dyn FnMut(&[&str], &str)) {
    fn walk<'a>(value: &'a Value, parents: &mut Vec<&'a str>, take: &mut dyn FnMut(&[&str], &str)) {
        for (name, value) in value.as_object().into_iter().flatten() {
            take(parents, name);
            parents.push(name);
            walk(value, parents, take);
            parents.pop();
        }
    }
    walk(value, &mut Vec::new(), take);
}
