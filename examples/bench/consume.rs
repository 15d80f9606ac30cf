//! `consume`: fetches as a consumer does and checks what comes: CRCs, and offsets without gaps.

use crate::admin;
use crate::report::{Progress, Report};
use crate::wire::{self, Get, Put};
use std::io::{self, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Measures a fetch loop over all partitions of a topic, from the earliest record to the newest.
#[derive(argh::FromArgs)]
#[argh(subcommand, name = "consume")]
pub struct Consume {
    #[argh(option, default = "String::from(\"bench\")")]
    /// name of the topic (bench)
    topic: String,
    #[argh(option, default = "1")]
    /// its partitions (1)
    partitions: usize,
    #[argh(option, default = "1")]
    /// connections, a thread each, that share the partitions out (1)
    connections: usize,
    #[argh(option, default = "1 << 20")]
    /// max_bytes of a fetch and of each partition in it (1048576)
    fetch_bytes: i32,
    #[argh(option, default = "5.0")]
    /// seconds to run at most (5)
    seconds: f64,
    #[argh(option, default = "u64::MAX")]
    /// records to read at most, on each connection
    count: u64,
    #[argh(switch)]
    /// start again at the earliest record when all are read
    again: bool,
    #[argh(switch)]
    /// do not compute CRCs
    no_crc: bool,
}

/// Runs it against `addr`.
pub fn run(args: &Consume, addr: &str, quiet: bool) -> io::Result<Report> {
    admin::create_topics(addr, std::slice::from_ref(&args.topic), args.partitions)?;
    let connections = args.connections.clamp(1, args.partitions);
    let totals = Totals::default();
    let mut progress = Progress::new(quiet);
    let start = Instant::now();
    let seconds = std::thread::scope(|scope| -> io::Result<f64> {
        let mut threads = Vec::new();
        for first in 0..connections {
            let mine: Vec<usize> = (first..args.partitions).step_by(connections).collect();
            let totals = &totals;
            threads.push(scope.spawn(move || consume(args, addr, &mine, totals)));
        }
        while threads.iter().any(|thread| !thread.is_finished()) {
            std::thread::sleep(Duration::from_millis(2));
            progress.tick(Instant::now(), totals.records.load(Ordering::Relaxed));
        }
        let mut seconds: f64 = 0.0;
        for thread in threads {
            let ended = thread.join().map_err(|_| io::Error::other("a reader panicked"))??;
            seconds = seconds.max(ended.duration_since(start).as_secs_f64());
        }
        Ok(seconds)
    })?;
    progress.end();
    let total = |count: &AtomicU64| count.load(Ordering::Relaxed);
    let mut report = Report::new("consume");
    report.count("connections", connections as u64).count("records", total(&totals.records));
    report.count("batches", total(&totals.batches)).count("fetches", total(&totals.fetches));
    report.count("bytes", total(&totals.bytes)).count("gaps", total(&totals.gaps));
    report.figure("seconds", seconds);
    report.figure("records_per_s", total(&totals.records) as f64 / seconds);
    report.figure("mb_per_s", total(&totals.bytes) as f64 / 1e6 / seconds);
    Ok(report)
}

/// What all threads count together.
#[derive(Default)]
struct Totals {
    records: AtomicU64,
    batches: AtomicU64,
    bytes: AtomicU64,
    fetches: AtomicU64,
    gaps: AtomicU64,
}

/// Reads `partitions` on one connection until all are read or the time is over.
fn consume(
    args: &Consume,
    addr: &str,
    partitions: &[usize],
    totals: &Totals,
) -> io::Result<Instant> {
    let mut stream = admin::connect(addr)?;
    let earliest = admin::offsets(&mut stream, &args.topic, args.partitions, -2)?;
    let newest = admin::offsets(&mut stream, &args.topic, args.partitions, -1)?;
    let from = |offsets: &[i64]| -> Vec<(i32, i64)> {
        partitions.iter().map(|&partition| (partition as i32, offsets[partition])).collect()
    };
    let end = from(&newest);
    let mut fetch = FetchRequest::new(&args.topic, &from(&earliest), 500, 1, args.fetch_bytes);
    if fetch.has_reached(&end) {
        return Err(io::Error::other(format!("{} holds nothing to read", args.topic)));
    }
    let (mut answer, mut records, start) = (Vec::new(), 0, Instant::now());
    stream.write_all(fetch.bytes())?;
    loop {
        let length = admin::receive(&mut stream, &mut answer)?;
        // The heads tell where to go on, so that the broker works while the CRCs are checked here.
        let gaps_before = fetch.gaps;
        records += fetch.take(&answer[..length])?;
        totals.gaps.fetch_add(fetch.gaps - gaps_before, Ordering::Relaxed);
        let all_read = fetch.has_reached(&end);
        if all_read && args.again {
            fetch.restart();
        }
        let time_over = start.elapsed().as_secs_f64() >= args.seconds;
        let last = (all_read && !args.again) || time_over || records >= args.count;
        if !last {
            stream.write_all(fetch.bytes())?;
        }
        totals.fetches.fetch_add(1, Ordering::Relaxed);
        fetch.each_batch(&answer[..length], |head, batch| {
            totals.batches.fetch_add(1, Ordering::Relaxed);
            totals.records.fetch_add(head.records, Ordering::Relaxed);
            totals.bytes.fetch_add(head.bytes as u64, Ordering::Relaxed);
            if args.no_crc || wire::batch_crc_holds(batch) {
                return Ok(());
            }
            Err(io::Error::other(format!("wrong CRC at offset {}", head.base_offset)))
        })?;
        if last {
            return Ok(Instant::now());
        }
    }
}

/// A fetch request that is patched, not rebuilt, as its offsets go on.
pub struct FetchRequest {
    request: Vec<u8>,
    partitions: Vec<Partition>,
    /// Times that a batch did not begin where the last one ended.
    pub gaps: u64,
}

/// One partition of it.
struct Partition {
    index: i32,
    offset_first: i64,
    offset_next: i64,
    /// Where in the request its offset stands.
    offset_at: usize,
}

impl FetchRequest {
    /// Builds it for (partition, offset) pairs.
    pub fn new(
        topic: &str,
        from: &[(i32, i64)],
        wait_ms: i32,
        bytes_min: i32,
        bytes_max: i32,
    ) -> FetchRequest {
        let mut put = Put::request(1, 11, 4);
        put.i32(-1).i32(wait_ms).i32(bytes_min).i32(bytes_max).i8(0).i32(0).i32(-1);
        put.i32(1).string(topic).i32(from.len() as i32);
        let mut partitions = Vec::new();
        for &(index, offset) in from {
            put.i32(index).i32(-1);
            let offset_at = put.0.len();
            partitions.push(Partition {
                index,
                offset_first: offset,
                offset_next: offset,
                offset_at,
            });
            put.i64(offset).i64(-1).i32(bytes_max);
        }
        put.i32(0).string("");
        FetchRequest { request: put.finish(), partitions, gaps: 0 }
    }

    /// The request for what comes next.
    pub fn bytes(&self) -> &[u8] {
        &self.request
    }

    /// Goes back to the offsets of the beginning.
    fn restart(&mut self) {
        for partition in &mut self.partitions {
            partition.offset_next = partition.offset_first;
            patch(&mut self.request, partition);
        }
    }

    /// Whether every partition has been read up to `end`.
    fn has_reached(&self, end: &[(i32, i64)]) -> bool {
        self.partitions.iter().zip(end).all(|(partition, end)| partition.offset_next >= end.1)
    }

    /// Takes an answer (from its correlation id on), moves the offsets behind what is in it and
    /// gives the number of records.
    pub fn take(&mut self, answer: &[u8]) -> io::Result<u64> {
        let (mut records, mut moved) = (0, Vec::new());
        each_partition(answer, |index, mut bytes| {
            let found = self.partitions.iter().find(|partition| partition.index == index);
            let Some(mut next) = found.map(|partition| partition.offset_next) else {
                return Err(io::Error::other(format!("partition {index} was not asked for")));
            };
            while let Some(head) = wire::batch_head(bytes)? {
                // The first batch may begin before the offset that was asked for.
                if head.base_offset > next {
                    self.gaps += 1;
                }
                records += head.records;
                next = head.offset_next.max(next);
                bytes = &bytes[head.bytes..];
            }
            moved.push((index, next));
            Ok(())
        })?;
        for (index, next) in moved {
            for partition in self.partitions.iter_mut().filter(|p| p.index == index) {
                partition.offset_next = next;
                patch(&mut self.request, partition);
            }
        }
        Ok(records)
    }

    /// Calls `each` with every whole batch of an answer.
    fn each_batch(
        &self,
        answer: &[u8],
        mut each: impl FnMut(&wire::BatchHead, &[u8]) -> io::Result<()>,
    ) -> io::Result<()> {
        each_partition(answer, |_, mut bytes| {
            while let Some(head) = wire::batch_head(bytes)? {
                let (batch, rest) = bytes.split_at(head.bytes);
                each(&head, batch)?;
                bytes = rest;
            }
            Ok(())
        })
    }
}

fn patch(request: &mut [u8], partition: &Partition) {
    let at = partition.offset_at;
    request[at..at + 8].copy_from_slice(&partition.offset_next.to_be_bytes());
}

/// Walks a fetch answer and gives each partition's records.
fn each_partition(
    answer: &[u8],
    mut each: impl FnMut(i32, &[u8]) -> io::Result<()>,
) -> io::Result<()> {
    let mut get = Get(answer);
    get.i32()?;
    get.i32()?;
    let error = get.i16()?;
    if error != 0 {
        return Err(io::Error::other(format!("fetch: error {error}")));
    }
    get.i32()?;
    for _ in 0..get.count()? {
        get.string()?;
        for _ in 0..get.count()? {
            let (index, error) = (get.i32()?, get.i16()?);
            if error != 0 {
                return Err(io::Error::other(format!("fetch of partition {index}: error {error}")));
            }
            get.raw(8 + 8 + 8)?;
            let aborted = get.count()?;
            get.raw(16 * aborted + 4)?;
            let length = get.count()?;
            each(index, get.raw(length)?)?;
        }
    }
    Ok(())
}
