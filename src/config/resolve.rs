//! Computes the values that are left to the program, and checks keys against each other.

use super::value::{Bytes, Refusal};
use super::{Config, METADATA_NAME, RING_KEYS, RingConfig, glob};
use crate::limits;

/// Fills in and checks a configuration that has every source's values.
pub fn resolve(mut config: Config) -> Result<Config, Refusal> {
    if config.rings.is_empty() {
        config.rings.push(RingConfig::unresolved());
    }
    resolve_sizes(&mut config)?;
    resolve_names(&config)?;
    let retired = config.rings.extract_if(.., |ring| ring.retire).map(|ring| ring.name);
    config.retired.extend(retired);
    resolve_rings(&config)?;
    Ok(config)
}

/// Warnings about `topics` that have no effect, or another one than may be expected.
pub fn remarks(config: &Config) -> Vec<String> {
    let mut remarks = Vec::new();
    for (place, ring) in config.rings.iter().enumerate() {
        for glob in &ring.topics {
            let mut before = config.rings[..place].iter().flat_map(|other| {
                other.topics.iter().map(move |covering| (covering, other.name.as_str()))
            });
            if let Some((covering, other)) = before.find(|(g, _)| glob::covers(g, glob)) {
                remarks.push(format!(
                    "ring.{}.topics: {glob:?} takes no topic, since ring {other} stands before it and \
                     takes {covering:?}; its table belongs above that one",
                    ring.name
                ));
            }
        }
    }
    let all = config.rings.iter().flat_map(|ring| &ring.topics);
    if let (Some(last), false) = (config.rings.last(), all.into_iter().any(|glob| glob == "*")) {
        remarks.push(format!("topics that no [[ring]] names go to ring {}, the last", last.name));
    }
    remarks
}

fn resolve_sizes(config: &mut Config) -> Result<(), Refusal> {
    if config.max_connections_per_ip == 0 {
        config.max_connections_per_ip = config.max_connections.div_ceil(2);
    }
    if config.reply_leases == 0 {
        config.reply_leases = config.max_connections.div_ceil(2).min(REPLY_LEASES_USUAL);
    }
    if config.socket_request_max_bytes < config.message_max_bytes + 1024 {
        return Err(Refusal::new(format!(
            "socket_request_max_bytes = {} is not allowed: it takes message_max_bytes ({}) and at \
             least 1 KiB",
            config.socket_request_max_bytes, config.message_max_bytes
        )));
    }
    let group_least = config.message_max_bytes.max(limits::LEASE_BYTES);
    if config.commit_group_max_bytes == 0 {
        config.commit_group_max_bytes = group_least.next_multiple_of(limits::PAGE_BYTES);
    }
    if config.commit_group_max_bytes < group_least {
        return Err(Refusal::new(format!(
            "commit_group_max_bytes = {} is not allowed: it takes message_max_bytes ({}) and at least \
             64 KiB, or 0",
            config.commit_group_max_bytes, config.message_max_bytes
        )));
    }
    if config.commit_group_small_bytes == 0 {
        let quarter = config.commit_group_max_bytes / 4;
        let quarter = quarter.next_multiple_of(limits::PAGE_BYTES);
        config.commit_group_small_bytes = quarter.max(limits::LEASE_BYTES);
    }
    if config.commit_group_small_bytes < limits::LEASE_BYTES {
        return Err(Refusal::new(format!(
            "commit_group_small_bytes = {} is not allowed: it takes at least 64 KiB, or 0",
            config.commit_group_small_bytes
        )));
    }
    if config.group_min_session_timeout_ms > config.group_max_session_timeout_ms {
        return Err(Refusal::new(format!(
            "group_min_session_timeout_ms = {} is not allowed: it takes at most \
             group_max_session_timeout_ms ({})",
            config.group_min_session_timeout_ms, config.group_max_session_timeout_ms
        )));
    }
    if config.group_consumer_heartbeat_interval_ms >= config.group_consumer_session_timeout_ms {
        return Err(Refusal::new(format!(
            "group_consumer_heartbeat_interval_ms = {} is not allowed: it takes less than \
             group_consumer_session_timeout_ms ({})",
            config.group_consumer_heartbeat_interval_ms, config.group_consumer_session_timeout_ms
        )));
    }
    if config.topics_max > config.partitions_max {
        return Err(Refusal::new(format!(
            "topics_max = {} is not allowed: it takes at most partitions_max ({})",
            config.topics_max, config.partitions_max
        )));
    }
    Ok(())
}

/// With this many requests that wait for one sync, the next one can begin without a pause.
const REPLY_LEASES_USUAL: usize = 96;

fn resolve_names(config: &Config) -> Result<(), Refusal> {
    for (index, ring) in config.rings.iter().enumerate() {
        let name = &ring.name;
        if let Some(other) = config.rings[..index].iter().position(|other| other.name == *name) {
            let (other, this) = (other + 1, index + 1);
            return Err(Refusal::new(format!(
                "ring.{name}.name = {name:?} is not allowed twice: [[ring]] tables {other} and {this} \
                 have it, and each takes a name of its own"
            )));
        }
        if name == METADATA_NAME || RING_KEYS.iter().any(|key| key.name == name.as_str()) {
            return Err(Refusal::new(format!(
                "ring.{name}.name = {name:?} is not allowed: it takes a name that is neither a key's nor \
                 {METADATA_NAME:?}, which is the ring of topics and offsets"
            )));
        }
    }
    Ok(())
}

fn hold_topics_check(ring: &RingConfig, config: &Config) -> Result<(), Refusal> {
    let refused = |glob: &str, takes: &str| {
        let name = &ring.name;
        Err(Refusal::new(format!(
            "ring.{name}.hold_topics = [{glob:?}] is not allowed: it takes {takes}"
        )))
    };
    let set = ring.hold_topics.iter().find(|glob| *glob != "*");
    if let (Some(glob), true) = (set, ring.hold_for.is_empty()) {
        return refused(glob, "a hold_for beside it, for whom these topics are held");
    }
    // The last ring takes what no ring matches.
    let takes_all = config.rings.last().is_some_and(|last| last.name == ring.name);
    let meets = |glob: &String| ring.topics.iter().any(|topics| glob::meet(glob, topics));
    match ring.hold_topics.iter().find(|glob| !takes_all && !meets(glob)) {
        Some(glob) => refused(glob, "names of topics that the ring's topics match"),
        None => Ok(()),
    }
}

fn resolve_rings(config: &Config) -> Result<(), Refusal> {
    if config.rings.len() > limits::DATA_RINGS_MAX {
        return Err(Refusal::new(format!(
            "{} tables [[ring]] are not allowed: there may be {}",
            config.rings.len(),
            limits::DATA_RINGS_MAX
        )));
    }
    if config.rings.is_empty() {
        return Err(Refusal::new(
            "retire = true is not allowed for all rings: it takes another [[ring]] that stays"
                .to_string(),
        ));
    }
    for ring in &config.rings {
        let name = &ring.name;
        if !ring.hold_for.is_empty() && ring.data_segments() < 2 {
            return Err(Refusal::new(format!(
                "ring.{name}.spares = {} is not allowed: with hold_for, segments and spares take at \
                 least {} together",
                ring.spares,
                limits::HOLD_SPARES + 2
            )));
        }
        hold_topics_check(ring, config)?;
        // Whether head and foot fit beside the groups is checked with the plan.
        if config.commit_group_max_bytes as u64 > ring.segment_bytes / 2 {
            return Err(Refusal::new(format!(
                "ring.{name}.segment_bytes = {} is not allowed: it takes at least twice \
                 commit_group_max_bytes ({})",
                Bytes(ring.segment_bytes as i64),
                Bytes(config.commit_group_max_bytes as i64)
            )));
        }
    }
    Ok(())
}
