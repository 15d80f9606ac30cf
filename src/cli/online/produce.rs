//! `brooklet produce`.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::os::fd::AsFd;
use std::time::Duration;

use super::args::Produce;
use super::stop::Stop;
use super::{pair, usage};
use crate::cli::{Failure, complain};
use crate::client::{Client, Producer, Trouble};
use crate::clock::{self, Clock, Mono};
use crate::limits;

/// Does what is said.
pub fn run(client: &mut Client, command: &Produce) -> Result<(), Failure> {
    let headers = command.header.iter().map(|header| pair("--header", header));
    let headers = headers.collect::<Result<Vec<_>, _>>()?;
    let separator = command.key_separator.as_deref().map(str::as_bytes);
    if separator.is_some_and(<[u8]>::is_empty) {
        return Err(usage("--key-separator is not allowed to be empty"));
    }
    if separator.is_some() && !command.file.is_empty() {
        return Err(usage("--key-separator is of lines, and --file has none"));
    }
    if command.rate == Some(0) {
        return Err(usage("--rate 0 is not allowed: it takes a whole number from 1 on"));
    }
    // Before the broker is asked: a topic is not made for a file that is not there.
    for name in &command.file {
        open(name)?;
    }
    let stop = Stop::at_signals(client.stop())?;
    let mut topic = None;
    client.retry_for(CREATION_MS_MAX, &mut |client| {
        topic = Some(client.topic(&command.topic, true)?);
        Ok(())
    })?;
    let topic = topic.ok_or_else(|| Trouble::new("the topic is not there"))?;
    let producer = Producer::new(topic, command.partition)?;
    let pace = Pace { clock: Clock::start(), rate: command.rate, from: Mono(0), count: 0 };
    let mut sender = Sender { client, producer, stop, pace, headers };
    let sent = match &command.file[..] {
        [] => sender.lines(separator),
        files => sender.files(files),
    };
    complain(&format!("{} records acknowledged", sender.producer.acknowledged));
    sent
}

fn open(name: &str) -> Result<File, Failure> {
    File::open(name).map_err(|error| unreadable(name, &error))
}

fn unreadable(name: &str, error: &std::io::Error) -> Failure {
    Failure::Failed(format!("--file {name} cannot be read: {error}"))
}

struct Sender<'a> {
    client: &'a mut Client,
    producer: Producer,
    stop: Stop,
    pace: Pace,
    headers: Vec<(String, String)>,
}

impl Sender<'_> {
    /// Sends each file as a record.
    fn files(&mut self, files: &[String]) -> Result<(), Failure> {
        for name in files {
            let mut bytes = Vec::new();
            let mut file = open(name)?.take(limits::CLIENT_RECORD_BYTES_MAX as u64 + 1);
            file.read_to_end(&mut bytes).map_err(|error| unreadable(name, &error))?;
            if bytes.len() > limits::CLIENT_RECORD_BYTES_MAX {
                return Err(too_long());
            }
            if !self.record(None, &bytes)? {
                break;
            }
        }
        Ok(self.producer.send(self.client)?)
    }

    /// Sends what each read brings at once, but for the line that has no end yet.
    fn lines(&mut self, separator: Option<&[u8]>) -> Result<(), Failure> {
        let mut input = std::io::stdin().lock();
        let mut pending = Vec::new();
        let mut chunk = vec![0; limits::CLIENT_BATCH_BYTES];
        loop {
            self.stop.wait_for(input.as_fd());
            if self.client.is_stopped() {
                return Ok(());
            }
            let bytes = match input.read(&mut chunk) {
                Ok(bytes) => bytes,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => {
                    return Err(Failure::Failed(format!("the input cannot be read: {error}")));
                }
            };
            let is_end = bytes == 0;
            let read = chunk.get(..bytes).unwrap_or_default();
            // Only what is new can have an end of a line.
            let ends = read.iter().rposition(|byte| *byte == b'\n');
            let ends = ends.map(|at| pending.len() + at + 1);
            pending.extend(read);
            let ends = if is_end { pending.len() } else { ends.unwrap_or(0) };
            let lines = pending.get(..ends).unwrap_or_default();
            for line in lines.split_inclusive(|byte| *byte == b'\n') {
                let line = line.strip_suffix(b"\n").unwrap_or(line);
                let (key, value) = split(line, separator);
                if !self.record(key, value)? {
                    break;
                }
            }
            if ends > 0 {
                self.producer.send(self.client)?;
                pending.drain(..ends);
            }
            if pending.len() > limits::CLIENT_RECORD_BYTES_MAX {
                return Err(too_long());
            }
            if is_end {
                return Ok(());
            }
        }
    }

    /// Takes a record once it is its turn; what was taken before is sent meanwhile. False: it was not
    /// taken, because the work is to end.
    fn record(&mut self, key: Option<&[u8]>, value: &[u8]) -> Result<bool, Failure> {
        if let Some(time) = self.pace.wait() {
            self.producer.send(self.client)?;
            self.stop.pause(time);
        }
        if self.client.is_stopped() {
            return Ok(false);
        }
        self.producer.push(self.client, clock::wall_ms(), key, value, &self.headers)?;
        Ok(true)
    }
}

/// When the next record may be sent, at so many a second.
struct Pace {
    clock: Clock,
    rate: Option<u32>,
    /// When the first of those that are counted could be sent.
    from: Mono,
    count: u64,
}

impl Pace {
    /// How long the next record has to wait, if that is worth it.
    fn wait(&mut self) -> Option<Duration> {
        let now = self.clock.mono();
        self.wait_at(now)
    }

    fn wait_at(&mut self, now: Mono) -> Option<Duration> {
        let rate = u64::from(self.rate?);
        let mut due = Mono(self.from.0 + self.count * 1_000_000 / rate);
        // What was not used while there was nothing to send is not made up for.
        if now.since_us(due) > SLACK_US {
            (self.from, self.count, due) = (now, 0, now);
        }
        self.count += 1;
        let ahead_us = due.since_us(now);
        (ahead_us > SLACK_US).then(|| Duration::from_micros(ahead_us))
    }
}

/// Records that are due within so long make a batch.
const SLACK_US: u64 = 5000;

fn split<'a>(line: &'a [u8], separator: Option<&[u8]>) -> (Option<&'a [u8]>, &'a [u8]) {
    let Some(separator) = separator else {
        return (None, line);
    };
    let Some(at) = line.windows(separator.len()).position(|part| part == separator) else {
        return (None, line);
    };
    (line.get(..at), line.get(at + separator.len()..).unwrap_or_default())
}

fn too_long() -> Failure {
    let mib = limits::CLIENT_RECORD_BYTES_MAX >> 20;
    Failure::Failed(format!("a record is longer than {mib} MiB; larger ones are not sent"))
}

/// For how long a broker may not know a topic that it makes.
const CREATION_MS_MAX: u64 = 3000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_ends_at_the_first_separator() {
        for (line, separator, key, value) in [
            ("a:b:c", Some(":"), Some("a"), "b:c"),
            ("a", Some(":"), None, "a"),
            ("", Some(":"), None, ""),
            (":", Some(":"), Some(""), ""),
            ("a::b", Some("::"), Some("a"), "b"),
            ("a:b", None, None, "a:b"),
        ] {
            let found = split(line.as_bytes(), separator.map(str::as_bytes));
            assert_eq!(found, (key.map(str::as_bytes), value.as_bytes()), "{line}");
        }
    }

    #[test]
    fn a_rate_is_kept_and_never_made_up_for() {
        let mut pace = Pace { clock: Clock::start(), rate: Some(1000), from: Mono(0), count: 0 };
        let mut now = Mono(0);
        let mut sent = 0;
        while now < Mono(1_000_000) {
            let time = pace.wait_at(now).unwrap_or(Duration::from_micros(1));
            now = Mono(now.0 + time.as_micros() as u64);
            sent += 1;
        }
        assert!((1000..=1010).contains(&sent), "{sent}");
        let later = Mono(60_000_000);
        let at_once = (0..100).take_while(|_| pace.wait_at(later).is_none()).count();
        assert!((1..=10).contains(&at_once), "{at_once}");
        let mut free = Pace { clock: Clock::start(), rate: None, from: Mono(0), count: 0 };
        assert!((0..1000).all(|_| free.wait_at(Mono(0)).is_none()));
    }
}
