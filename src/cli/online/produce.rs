//! `brooklet produce`.

use std::io::Read;

use super::args::Produce;
use super::{pair, usage};
use crate::cli::{Failure, complain};
use crate::client::{Client, Producer, Trouble};
use crate::{clock, limits};

/// Does what is said.
pub fn run(client: &mut Client, command: &Produce) -> Result<(), Failure> {
    let headers = command.header.iter().map(|header| pair("--header", header));
    let headers = headers.collect::<Result<Vec<_>, _>>()?;
    let separator = command.key_separator.as_deref().map(str::as_bytes);
    if separator.is_some_and(<[u8]>::is_empty) {
        return Err(usage("--key-separator is not allowed to be empty"));
    }
    if separator.is_some() && command.file.is_some() {
        return Err(usage("--key-separator is of lines, and --file has none"));
    }
    // It is read before the broker is asked: a topic is not made for a file that is not there.
    let file = command.file.as_deref().map(read_file).transpose()?;
    let mut topic = None;
    client.retry_for(CREATION_MS_MAX, &mut |client| {
        topic = Some(client.topic(&command.topic, true)?);
        Ok(())
    })?;
    let topic = topic.ok_or_else(|| Trouble::new("the topic is not there"))?;
    let mut producer = Producer::new(topic, command.partition)?;
    let sent = match file {
        Some(file) => {
            let pushed = producer.push(client, clock::wall_ms(), None, &file, &headers);
            pushed.and_then(|()| producer.send(client)).map_err(Failure::from)
        }
        None => send_lines(client, &mut producer, separator, &headers),
    };
    complain(&format!("{} records acknowledged", producer.acknowledged));
    sent
}

fn read_file(name: &str) -> Result<Vec<u8>, Failure> {
    let cannot = |error| Failure::Failed(format!("--file {name} cannot be read: {error}"));
    let mut bytes = Vec::new();
    let file = std::fs::File::open(name).map_err(cannot)?;
    file.take(limits::CLIENT_RECORD_BYTES_MAX as u64 + 1)
        .read_to_end(&mut bytes)
        .map_err(cannot)?;
    if bytes.len() > limits::CLIENT_RECORD_BYTES_MAX {
        return Err(too_long());
    }
    Ok(bytes)
}

/// Sends what each read brings at once, but for the line that has no end yet.
fn send_lines(
    client: &mut Client,
    producer: &mut Producer,
    separator: Option<&[u8]>,
    headers: &[(String, String)],
) -> Result<(), Failure> {
    let mut input = std::io::stdin().lock();
    let mut pending = Vec::new();
    let mut chunk = vec![0; limits::CLIENT_BATCH_BYTES];
    loop {
        let bytes = match input.read(&mut chunk) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(error) => {
                return Err(Failure::Failed(format!("the input cannot be read: {error}")));
            }
        };
        let is_end = bytes == 0;
        let read = chunk.get(..bytes).unwrap_or_default();
        // Only what is new can have an end of a line.
        let ends = read.iter().rposition(|byte| *byte == b'\n').map(|at| pending.len() + at + 1);
        pending.extend(read);
        let ends = if is_end { pending.len() } else { ends.unwrap_or(0) };
        let lines = pending.get(..ends).unwrap_or_default();
        for line in lines.split_inclusive(|byte| *byte == b'\n') {
            let line = line.strip_suffix(b"\n").unwrap_or(line);
            let (key, value) = split(line, separator);
            producer.push(client, clock::wall_ms(), key, value, headers)?;
        }
        if ends > 0 {
            producer.send(client)?;
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
}
