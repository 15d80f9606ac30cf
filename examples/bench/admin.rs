//! What comes before a load: a connection, the topics, their offsets.

use crate::wire::{Get, Put};
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// Connects without Nagle's delay.
pub fn connect(addr: &str) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(addr)
        .map_err(|e| io::Error::new(e.kind(), format!("cannot connect to {addr}: {e}")))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Sends one request and gives its answer after the correlation id.
pub fn call(stream: &mut TcpStream, request: &[u8]) -> io::Result<Vec<u8>> {
    stream.write_all(request)?;
    let mut answer = Vec::new();
    let length = receive(stream, &mut answer)?;
    answer.truncate(length);
    Ok(answer.split_off(4.min(length)))
}

/// Reads one whole answer into the front of `answer`, which only grows, and gives its length.
pub fn receive(stream: &mut TcpStream, answer: &mut Vec<u8>) -> io::Result<usize> {
    let mut length = [0; 4];
    stream.read_exact(&mut length)?;
    let length = u32::from_be_bytes(length) as usize;
    if length > ANSWER_BYTES_MAX {
        return Err(io::Error::other(format!("the broker announces {length} bytes")));
    }
    if answer.len() < length {
        answer.resize(length, 0);
    }
    stream.read_exact(&mut answer[..length])?;
    Ok(length)
}

/// Topic names for a run: the name itself, or numbered ones of one length.
pub fn topic_names(topic: &str, count: usize) -> Vec<String> {
    if count == 1 {
        return vec![topic.to_owned()];
    }
    (0..count).map(|index| format!("{topic}-{index:04}")).collect()
}

/// Creates the topics that do not exist and waits until every partition has a leader.
pub fn create_topics(addr: &str, names: &[String], partitions: usize) -> io::Result<()> {
    let mut stream = connect(addr)?;
    for some in names.chunks(CREATE_AT_ONCE) {
        let mut put = Put::request(19, 2, 1);
        put.i32(some.len() as i32);
        for name in some {
            put.string(name).i32(partitions as i32).i16(1).i32(0).i32(0);
        }
        put.i32(30_000).i8(0);
        let answer = call(&mut stream, &put.finish())?;
        let mut get = Get(&answer);
        get.i32()?;
        for _ in 0..get.count()? {
            let name = String::from_utf8_lossy(get.string()?).into_owned();
            let error = get.i16()?;
            get.string()?;
            if error != 0 && error != TOPIC_ALREADY_EXISTS {
                return Err(io::Error::other(format!("creating {name}: error {error}")));
            }
        }
    }
    for _ in 0..200 {
        // A leader that is known may still refuse for a moment: ask each for an offset.
        if leaders_known(&mut stream, names, partitions)?
            && names.iter().all(|name| offsets(&mut stream, name, partitions, -1).is_ok())
        {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    Err(io::Error::other("no leader for every partition after 10 s (or too few partitions)"))
}

/// The offset of the earliest (-2) or the next (-1) record of each partition of a topic.
pub fn offsets(
    stream: &mut TcpStream,
    topic: &str,
    partitions: usize,
    timestamp: i64,
) -> io::Result<Vec<i64>> {
    let mut put = Put::request(2, 2, 2);
    put.i32(-1).i8(0).i32(1).string(topic).i32(partitions as i32);
    for partition in 0..partitions {
        put.i32(partition as i32).i64(timestamp);
    }
    let answer = call(stream, &put.finish())?;
    let mut get = Get(&answer);
    let mut offsets = vec![0; partitions];
    get.i32()?;
    for _ in 0..get.count()? {
        get.string()?;
        for _ in 0..get.count()? {
            let (partition, error) = (get.i32()?, get.i16()?);
            get.i64()?;
            if error != 0 {
                return Err(io::Error::other(format!("offsets of {topic}: error {error}")));
            }
            if let Some(offset) = offsets.get_mut(partition as usize) {
                *offset = get.i64()?;
            }
        }
    }
    Ok(offsets)
}

fn leaders_known(stream: &mut TcpStream, names: &[String], partitions: usize) -> io::Result<bool> {
    let mut put = Put::request(3, 1, 3);
    put.i32(names.len() as i32);
    for name in names {
        put.string(name);
    }
    let answer = call(stream, &put.finish())?;
    let mut get = Get(&answer);
    for _ in 0..get.count()? {
        get.i32()?;
        get.string()?;
        get.i32()?;
        get.string()?;
    }
    get.i32()?;
    let mut known = 0;
    for _ in 0..get.count()? {
        get.i16()?;
        get.string()?;
        get.raw(1)?;
        for _ in 0..get.count()? {
            get.i16()?;
            let (partition, leader) = (get.i32()?, get.i32()?);
            for _ in 0..2 {
                let replicas = get.count()?;
                get.raw(4 * replicas)?;
            }
            known += usize::from(leader >= 0 && (partition as usize) < partitions);
        }
    }
    Ok(known == names.len() * partitions)
}

/// Beyond this an answer's length is taken for garbage.
const ANSWER_BYTES_MAX: usize = 256 << 20;

/// Topics per CreateTopics request, small enough for a broker with small frames.
const CREATE_AT_ONCE: usize = 32;

const TOPIC_ALREADY_EXISTS: i16 = 36;
