//! `brooklet groups`.

use super::args::Groups;
use super::when::{moment, number};
use super::{Table, action, usage};
use crate::cli::{Failure, complain, print};
use crate::client::{Client, Committed, EARLIEST, LATEST, Member, Trouble};
use crate::clock;

/// Does what is said.
pub fn run(client: &mut Client, command: &Groups) -> Result<(), Failure> {
    let (action, name) = action(&command.what, "groups")?;
    let is_reset = command.topic.is_some() || command.to.is_some() || command.execute;
    if is_reset && action != "reset" {
        return Err(usage(format!("groups {action} takes no --topic, --to or --execute")));
    }
    match action {
        "list" => client.retry(&mut list)?,
        "describe" => client.retry(&mut |client| describe(client, name))?,
        "reset" => {
            let (Some(topic), Some(to)) = (&command.topic, &command.to) else {
                return Err(usage("groups reset wants --topic and --to"));
            };
            let to = To::parse(to, clock::wall_ms()).ok_or_else(|| {
                usage(format!(
                    "--to {to} is not allowed: it takes earliest, latest, an offset, or a time: a span \
                     like -15m, @MS, or 2026-02-28T12:00:59Z"
                ))
            })?;
            // Names of topics have no colon.
            let (topic, partition) = match topic.split_once(':') {
                Some((topic, partition)) => (topic, Some(partition)),
                None => (topic.as_str(), None),
            };
            let partition = partition.map(str::parse).transpose().map_err(|_| {
                usage("--topic is not allowed so: it takes a topic, or topic:partition")
            })?;
            let execute = command.execute;
            client.retry(&mut |client| reset(client, name, topic, partition, to, execute))?;
        }
        "delete" => {
            client.retry(&mut |client| {
                let coordinator = client.coordinator(name)?;
                client.delete_group(coordinator, name)
            })?;
            print(&format!("{name} is deleted\n"));
        }
        other => {
            return Err(usage(format!(
                "groups {other} is not there; list, describe, reset and delete are"
            )));
        }
    }
    Ok(())
}

fn list(client: &mut Client) -> Result<(), Trouble> {
    let mut table = Table::new(&["GROUP", "TYPE"]);
    for (name, protocol_type) in client.groups()? {
        table.row(&[&name, &protocol_type]);
    }
    print(&table.text());
    Ok(())
}

fn describe(client: &mut Client, name: &str) -> Result<(), Trouble> {
    let coordinator = client.coordinator(name)?;
    let group = client.group(coordinator, name)?;
    let mut rows: Vec<Committed> = Vec::new();
    for row in client.committed(coordinator, name)? {
        insert(&mut rows, row);
    }
    if rows.is_empty() && !client.groups()?.iter().any(|(other, _)| other == name) {
        return Err(Trouble::new(format!(
            "group {name} is not there; brooklet groups lists those that are"
        )));
    }
    // What was assigned and not committed yet is shown as well.
    for (topic, partition) in group.members.iter().flat_map(|member| &member.partitions) {
        if !rows.iter().any(|row| row.topic == *topic && row.partition == *partition) {
            let (topic, partition) = (topic.clone(), *partition);
            insert(&mut rows, Committed { topic, partition, offset: -1 });
        }
    }
    let ends = ends(client, &rows)?;
    let number = |number: Option<i64>| number.map_or("-".to_string(), |n| n.to_string());
    let mut table =
        Table::new(&["TOPIC", "PARTITION", "COMMITTED", "END", "LAG", "CLIENT", "HOST"]);
    for (row, end) in rows.iter().zip(ends) {
        let committed = (row.offset >= 0).then_some(row.offset);
        let lag = committed.zip(end).map(|(committed, end)| (end - committed).max(0));
        let owner = group.members.iter().find(|member| member.has(&row.topic, row.partition));
        let (client_id, host) = owner.map_or(("-", "-"), |o| (&o.client_id, &o.host));
        table.row(&[
            &row.topic,
            &row.partition.to_string(),
            &number(committed),
            &number(end),
            &number(lag),
            client_id,
            host,
        ]);
    }
    for member in group.members.iter().filter(|member| member.partitions.is_empty()) {
        table.row(&["-", "-", "-", "-", "-", &member.client_id, &member.host]);
    }
    let mut about = String::new();
    // A group that the broker assigns to is Dead for who asks in the older way.
    if group.state != "Dead" {
        about = format!("{}, members: {}", group.state, group.members.len());
        if !group.protocol.is_empty() {
            about += &format!(", assigned by {}", group.protocol);
        }
        about += "\n";
    }
    print(&(about + &table.text()));
    Ok(())
}

/// Where committed offsets are put.
#[derive(Clone, Copy)]
enum To {
    Earliest,
    Latest,
    Offset(i64),
    Time(i64),
}

impl To {
    fn parse(text: &str, now_ms: i64) -> Option<To> {
        match text {
            "earliest" => Some(To::Earliest),
            "latest" => Some(To::Latest),
            _ => match number(text) {
                Some(offset) => Some(To::Offset(offset)),
                None => moment(text, now_ms).map(To::Time),
            },
        }
    }
}

/// Shows from where to where each offset goes, and commits it if it is to.
fn reset(
    client: &mut Client,
    name: &str,
    topic: &str,
    partition: Option<i32>,
    to: To,
    execute: bool,
) -> Result<(), Trouble> {
    let mut found = client.topic(topic, false)?;
    if let Some(index) = partition {
        let place = found.place(index)?;
        found.partitions = found.partitions.get(place).copied().into_iter().collect();
    }
    let starts = client.offsets(topic, &found.partitions, EARLIEST)?;
    let ends = client.offsets(topic, &found.partitions, LATEST)?;
    let at_time = match to {
        To::Time(ms) => client.offsets(topic, &found.partitions, ms)?,
        _ => ends.clone(),
    };
    let coordinator = client.coordinator(name)?;
    let committed = client.committed(coordinator, name)?;
    let mut table = Table::new(&["TOPIC", "PARTITION", "COMMITTED", "NEW"]);
    let mut offsets = Vec::new();
    let places = found.partitions.iter().zip(starts).zip(ends).zip(at_time);
    for (((partition, start), end), at_time) in places {
        let index = partition.index;
        let new = match to {
            To::Earliest => start,
            To::Latest => end,
            // No record is as new.
            To::Time(_) if at_time < 0 => end,
            To::Time(_) => at_time,
            To::Offset(offset) if (start..=end).contains(&offset) => offset,
            To::Offset(offset) => {
                return Err(Trouble::new(format!(
                    "topic {topic} partition {index} has no offset {offset}: it starts at {start} and \
                     ends at {end}"
                )));
            }
        };
        let old = committed.iter().find(|row| row.topic == topic && row.partition == index);
        let old = old.map_or("-".to_string(), |row| row.offset.to_string());
        table.row(&[topic, &index.to_string(), &old, &new.to_string()]);
        offsets.push((index, new));
    }
    if execute {
        client.commit(coordinator, name, topic, &offsets)?;
    }
    print(&table.text());
    if !execute {
        complain("nothing is changed yet; --execute does it");
    }
    Ok(())
}

/// In the order of topics and partitions.
fn insert(rows: &mut Vec<Committed>, row: Committed) {
    let is_before = |r: &Committed| (&r.topic, r.partition) < (&row.topic, row.partition);
    rows.insert(rows.partition_point(is_before), row);
}

/// The end offset of each; none, if the partition is not there any more.
fn ends(client: &mut Client, rows: &[Committed]) -> Result<Vec<Option<i64>>, Trouble> {
    let topics = client.topics()?;
    let mut ends = vec![None; rows.len()];
    for topic in &topics {
        let mut places = Vec::new();
        let mut partitions = Vec::new();
        for partition in &topic.partitions {
            let is_it =
                |row: &Committed| row.topic == topic.name && row.partition == partition.index;
            if let Some(at) = rows.iter().position(is_it) {
                places.push(at);
                partitions.push(*partition);
            }
        }
        let offsets = client.offsets(&topic.name, &partitions, LATEST)?;
        for (at, offset) in places.into_iter().zip(offsets) {
            ends[at] = Some(offset);
        }
    }
    Ok(ends)
}

impl Member {
    fn has(&self, topic: &str, partition: i32) -> bool {
        self.partitions.iter().any(|(t, p)| t == topic && *p == partition)
    }
}
