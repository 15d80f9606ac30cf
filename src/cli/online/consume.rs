//! `brooklet consume`.

use std::io::{ErrorKind, Write};

use super::args::Consume;
use super::render::Form;
use super::stop::{Stop, is_unread};
use super::usage;
use super::when::{moment, number};
use crate::cli::{Failure, complain};
use crate::client::{Client, EARLIEST, LATEST, Partition, Position, Trouble, Unpack, leaders};
use crate::clock;
use crate::codec::ErrorCode;

/// Does what is said.
pub fn run(client: &mut Client, command: &Consume) -> Result<(), Failure> {
    let form = match (&command.format, command.json) {
        (Some(_), true) => return Err(usage("--json and --format exclude each other")),
        (Some(format), false) => Form::parse(format).map_err(usage)?,
        (None, true) => Form::Json,
        (None, false) => Form::Text("%s\n".to_string()),
    };
    let from = From::parse(&command.from, clock::wall_ms()).ok_or_else(|| {
        usage(format!(
            "--from {} is not allowed: it takes start, end, an offset, -N, or a time: a span like \
             -15m, @MS, or 2026-02-28T12:00:59Z",
            command.from
        ))
    })?;
    let mut session = Session {
        command,
        form,
        coordinator: 0,
        positions: Vec::new(),
        committed: Vec::new(),
        unpack: Unpack::default(),
        left: command.count.unwrap_or(u64::MAX),
        text: Vec::new(),
        output: None,
    };
    let _stop = Stop::at_signals(client.stop())?;
    client.retry(&mut |client| session.begin(client, from))?;
    let mut is_again = false;
    while session.wants_more() && !client.is_stopped() {
        if is_unread() {
            return Ok(());
        }
        let round = client.retry(&mut |client| {
            if is_again {
                session.find_leaders(client)?;
            }
            is_again = true;
            session.round(client)
        });
        is_again = false;
        match (round, session.output.take()) {
            (Ok(()), _) => {}
            // Nobody reads any more.
            (Err(_), Some(error)) if error.kind() == ErrorKind::BrokenPipe => return Ok(()),
            (Err(_), Some(error)) => {
                return Err(Failure::Failed(format!("what was read cannot be written: {error}")));
            }
            // What was printed is committed below.
            (Err(_), None) if client.is_stopped() => break,
            (Err(trouble), None) => return Err(trouble.into()),
        }
    }
    client.retry(&mut |client| session.commit(client))?;
    Ok(())
}

/// Where to begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum From {
    Start,
    End,
    Offset(i64),
    Last(i64),
    Time(i64),
}

impl From {
    fn parse(text: &str, now_ms: i64) -> Option<From> {
        match text {
            "start" => return Some(From::Start),
            "end" => return Some(From::End),
            _ => {}
        }
        if let Some(offset) = number(text) {
            return Some(From::Offset(offset));
        }
        match text.strip_prefix('-').and_then(number) {
            Some(count) => Some(From::Last(count)),
            None => moment(text, now_ms).map(From::Time),
        }
    }
}

struct Session<'a> {
    command: &'a Consume,
    form: Form,
    /// Of the group, if there is one.
    coordinator: i32,
    positions: Vec<Position>,
    /// What was committed last, for each of them.
    committed: Vec<i64>,
    unpack: Unpack,
    /// Records that may be printed.
    left: u64,
    /// What is to be printed.
    text: Vec<u8>,
    /// Why it could not be.
    output: Option<std::io::Error>,
}

impl Session<'_> {
    fn wants_more(&self) -> bool {
        self.left > 0 && self.positions.iter().any(|at| !at.is_done())
    }

    /// Finds out where each partition begins and ends.
    fn begin(&mut self, client: &mut Client, from: From) -> Result<(), Trouble> {
        let name = &self.command.topic;
        let mut topic = client.topic(name, false)?;
        if let Some(index) = self.command.partition {
            let place = topic.place(index)?;
            topic.partitions = topic.partitions.get(place).copied().into_iter().collect();
        }
        let partitions = &topic.partitions;
        let starts = client.offsets(name, partitions, EARLIEST)?;
        let ends = client.offsets(name, partitions, LATEST)?;
        let at_time = match from {
            From::Time(ms) => client.offsets(name, partitions, ms)?,
            _ => vec![-1; partitions.len()],
        };
        let committed = match &self.command.group {
            Some(group) => {
                self.coordinator = client.coordinator(group)?;
                client.committed(self.coordinator, group)?
            }
            None => Vec::new(),
        };
        self.positions.clear();
        let places = partitions.iter().zip(starts).zip(ends).zip(at_time);
        for (((partition, start), end), at_time) in places {
            let own = committed.iter().find(|c| c.topic == *name && c.partition == partition.index);
            let own = own.map(|committed| committed.offset).filter(|offset| *offset <= end);
            let next = match (own, from) {
                (Some(own), _) => self.passed(*partition, own, start),
                (None, From::Start) => start,
                (None, From::End) => end,
                (None, From::Last(count)) => end.saturating_sub(count).max(start),
                (None, From::Time(_)) if at_time < 0 => end,
                (None, From::Time(_)) => at_time,
                (None, From::Offset(offset)) if (start..=end).contains(&offset) => offset,
                (None, From::Offset(offset)) => {
                    let index = partition.index;
                    let why = if offset < start { "is gone" } else { "is not there yet" };
                    return Err(Trouble::new(format!(
                        "topic {name} partition {index}: offset {offset} {why}: it starts at {start} \
                         and ends at {end}; --from start begins where it starts"
                    )));
                }
            };
            let end = if self.command.follow { i64::MAX } else { end };
            self.positions.push(Position { partition: *partition, next, end });
        }
        self.committed = self.positions.iter().map(|at| at.next).collect();
        Ok(())
    }

    /// After an error others may lead.
    fn find_leaders(&mut self, client: &mut Client) -> Result<(), Trouble> {
        let topic = client.topic(&self.command.topic, false)?;
        for at in &mut self.positions {
            let place = topic.place(at.partition.index)?;
            at.partition = topic.partitions.get(place).copied().unwrap_or(at.partition);
        }
        if let Some(group) = &self.command.group {
            self.coordinator = client.coordinator(group)?;
        }
        Ok(())
    }

    /// Asks each leader once, prints what it has, and commits it.
    fn round(&mut self, client: &mut Client) -> Result<(), Trouble> {
        // What could not be committed before.
        self.commit(client)?;
        let wanted = self.positions.iter().filter(|at| !at.is_done());
        let leaders = leaders(wanted.map(|at| at.partition.leader));
        for leader in leaders {
            let Session { command, form, positions, unpack, left, text, output, .. } = self;
            if *left == 0 {
                break;
            }
            let topic = command.topic.as_str();
            let fetched =
                client.fetch(topic, leader, positions, unpack, &mut |partition, record| {
                    form.render(text, topic, partition, record);
                    *left -= 1;
                    if text.len() >= OUTPUT_BYTES {
                        *output = written(text).err();
                    }
                    *left > 0 && output.is_none()
                });
            // Also what came before an error was read.
            if output.is_none() {
                *output = written(text).err();
            }
            if output.is_some() {
                return Err(Trouble::new("the output is closed"));
            }
            self.commit(client)?;
            match fetched {
                Err(trouble) if trouble.code == ErrorCode::OFFSET_OUT_OF_RANGE => {
                    self.pass_gone(client, trouble)?;
                }
                fetched => fetched?,
            }
        }
        Ok(())
    }

    fn commit(&mut self, client: &mut Client) -> Result<(), Trouble> {
        let Some(group) = &self.command.group else {
            return Ok(());
        };
        let changed = self.positions.iter().zip(&self.committed);
        let changed = changed.filter(|(at, committed)| at.next != **committed);
        let offsets: Vec<_> = changed.map(|(at, _)| (at.partition.index, at.next)).collect();
        if !offsets.is_empty() {
            client.commit(self.coordinator, group, &self.command.topic, &offsets)?;
            self.committed = self.positions.iter().map(|at| at.next).collect();
        }
        Ok(())
    }

    /// Goes on where partitions start now, if that is what keeps from reading.
    fn pass_gone(&mut self, client: &mut Client, trouble: Trouble) -> Result<(), Trouble> {
        let partitions: Vec<Partition> = self.positions.iter().map(|at| at.partition).collect();
        let starts = client.offsets(&self.command.topic, &partitions, EARLIEST)?;
        let mut is_passed = false;
        let places: Vec<_> = self.positions.iter().map(|at| at.next).zip(starts).collect();
        for (at, (next, start)) in places.into_iter().enumerate() {
            let passed = self.passed(partitions[at], next, start);
            is_passed |= passed != next;
            self.positions[at].next = passed;
        }
        if is_passed { Ok(()) } else { Err(trouble) }
    }

    /// Where to read on; what was overwritten before is said.
    fn passed(&self, partition: Partition, next: i64, start: i64) -> i64 {
        if next < start {
            complain(&format!(
                "topic {} partition {}: the records from {next} to {} are gone; reading from {start}",
                self.command.topic,
                partition.index,
                start - 1
            ));
        }
        next.max(start)
    }
}

/// Writes it, and empties it.
fn written(text: &mut Vec<u8>) -> std::io::Result<()> {
    let mut output = std::io::stdout().lock();
    output.write_all(text)?;
    text.clear();
    output.flush()
}

/// What is rendered before it is written.
const OUTPUT_BYTES: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_to_begin_are_offsets_and_times() {
        let now = 1_000_000_000;
        for (text, from) in [
            ("start", Some(From::Start)),
            ("end", Some(From::End)),
            ("0", Some(From::Offset(0))),
            ("17", Some(From::Offset(17))),
            ("-5", Some(From::Last(5))),
            ("@1700000000000", Some(From::Time(1_700_000_000_000))),
            ("-30s", Some(From::Time(now - 30_000))),
            ("2000-02-29T00:00:00Z", Some(From::Time(951_782_400_000))),
            ("", None),
            ("-", None),
            ("-m", None),
            ("--5", None),
            ("@-5", None),
            ("5m", None),
            ("beginning", None),
            ("-5ü", None),
        ] {
            assert_eq!(From::parse(text, now), from, "{text}");
        }
    }
}
