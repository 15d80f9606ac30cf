//! `latency` and `e2e`: one record at a time, and how long until it is acknowledged or seen.

use crate::admin;
use crate::consume::FetchRequest;
use crate::limits::{DiskProbe, EchoProbe};
use crate::produce::now_ms;
use crate::report::{Histogram, Progress, Report};
use crate::wire;
use rustix::event::{PollFd, PollFlags, poll};
use std::io::{self, Read, Write};
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Measures one durable record at a time, in turn with the disk's and the loopback's own time.
#[derive(argh::FromArgs)]
#[argh(subcommand, name = "latency")]
pub struct Latency {
    #[argh(option)]
    /// directory for the disk's own pwrite + fdatasync of the same bytes, best on the same disk
    dir: Option<PathBuf>,
    #[argh(option, default = "1")]
    /// begin each of the disk's own writes at a multiple of this (1)
    align: usize,
    #[argh(option, default = "1")]
    /// records per batch (1)
    batch: usize,
    #[argh(option, default = "200")]
    /// bytes of each record's value (200)
    record_bytes: usize,
    #[argh(option, default = "-1")]
    /// acks: -1 or 1 (-1)
    acks: i16,
    #[argh(option, default = "String::from(\"bench\")")]
    /// name of the topic (bench)
    topic: String,
    #[argh(option, default = "5.0")]
    /// seconds to run (5)
    seconds: f64,
}

/// Measures from the send of a record to its arrival at a consumer that waits for it.
#[derive(argh::FromArgs)]
#[argh(subcommand, name = "e2e")]
pub struct EndToEnd {
    #[argh(option, default = "200")]
    /// bytes of each record's value (200)
    record_bytes: usize,
    #[argh(option, default = "-1")]
    /// acks: -1 or 1 (-1)
    acks: i16,
    #[argh(option, default = "String::from(\"bench-e2e\")")]
    /// name of the topic (bench-e2e)
    topic: String,
    #[argh(option, default = "5.0")]
    /// seconds to run (5)
    seconds: f64,
}

/// Runs `latency`.
pub fn latency(args: &Latency, addr: &str, quiet: bool) -> io::Result<Report> {
    admin::create_topics(addr, std::slice::from_ref(&args.topic), 1)?;
    let mut stream = admin::connect(addr)?;
    let batch = wire::batch(args.batch, args.record_bytes, now_ms());
    let request = wire::produce(1, &args.topic, 0, args.acks, &batch);
    let mut answer = vec![0; wire::produce_answer_bytes(&args.topic)];
    let error_at = wire::produce_answer_error_at(&args.topic);
    let mut echo = EchoProbe::new(request.len(), answer.len(), 1)?;
    let mut disk = match &args.dir {
        Some(dir) => Some(DiskProbe::new(dir, batch.len(), args.align)?),
        None => None,
    };
    let mut seen = [Histogram::new(), Histogram::new(), Histogram::new()];
    let mut progress = Progress::new(quiet);
    let (start, mut rounds) = (Instant::now(), 0);
    loop {
        let sent = Instant::now();
        stream.write_all(&request)?;
        stream.read_exact(&mut answer)?;
        seen[0].add(sent.elapsed(), 1);
        no_error(&answer, error_at)?;
        if let Some(disk) = &mut disk {
            seen[1].add(disk.write()?, 1);
        }
        seen[2].add(echo.round()?, 1);
        rounds += 1;
        if rounds == WARM_UP_ROUNDS {
            seen.iter_mut().for_each(Histogram::clear);
        }
        let now = Instant::now();
        progress.tick(now, rounds);
        if now.duration_since(start).as_secs_f64() >= args.seconds {
            break;
        }
    }
    progress.end();
    let [ack, own, turn] = &seen;
    let mut report = Report::new("latency");
    report.count("batch", args.batch as u64).count("record_bytes", args.record_bytes as u64);
    report.count("batch_bytes", batch.len() as u64).count("rounds", rounds);
    if disk.is_some() {
        let (p50, own50) = (ack.quantile_us(0.5), own.quantile_us(0.5));
        report.figure("ratio_to_disk_p50", p50 / own50);
        report.figure("ratio_to_disk_and_echo_p50", p50 / (own50 + turn.quantile_us(0.5)));
    }
    report.latency("ack", ack);
    if disk.is_some() {
        report.latency("disk", own);
    }
    report.latency("echo", turn);
    Ok(report)
}

/// Runs `e2e`.
pub fn end_to_end(args: &EndToEnd, addr: &str, quiet: bool) -> io::Result<Report> {
    admin::create_topics(addr, std::slice::from_ref(&args.topic), 1)?;
    let (mut producer, mut consumer) = (admin::connect(addr)?, admin::connect(addr)?);
    let batch = wire::batch(1, args.record_bytes, now_ms());
    let request = wire::produce(1, &args.topic, 0, args.acks, &batch);
    let mut answer = vec![0; wire::produce_answer_bytes(&args.topic)];
    let next = admin::offsets(&mut consumer, &args.topic, 1, -1)?[0];
    let mut fetch = FetchRequest::new(&args.topic, &[(0, next)], 10_000, 1, 1 << 20);
    let (mut ack, mut seen) = (Histogram::new(), Histogram::new());
    let (mut progress, start, mut rounds) = (Progress::new(quiet), Instant::now(), 0);
    let mut fetched = Vec::new();
    while start.elapsed().as_secs_f64() < args.seconds {
        consumer.write_all(fetch.bytes())?;
        // Long enough for the broker to have read the fetch: the consumer must be waiting.
        std::thread::sleep(Duration::from_micros(300));
        let sent = Instant::now();
        producer.write_all(&request)?;
        let (mut acknowledged, mut arrived) = (false, false);
        while !(acknowledged && arrived) {
            let mut fds =
                [PollFd::new(&producer, PollFlags::IN), PollFd::new(&consumer, PollFlags::IN)];
            poll(&mut fds, None)?;
            let ready = fds.map(|fd| !fd.revents().is_empty());
            if ready[1] {
                let length = admin::receive(&mut consumer, &mut fetched)?;
                if fetch.take(&fetched[..length])? > 0 {
                    seen.add(sent.elapsed(), 1);
                    arrived = true;
                } else {
                    consumer.write_all(fetch.bytes())?;
                }
            }
            if ready[0] {
                producer.read_exact(&mut answer)?;
                ack.add(sent.elapsed(), 1);
                no_error(&answer, wire::produce_answer_error_at(&args.topic))?;
                acknowledged = true;
            }
        }
        rounds += 1;
        if rounds == WARM_UP_ROUNDS {
            ack.clear();
            seen.clear();
        }
        progress.tick(Instant::now(), rounds);
    }
    progress.end();
    let mut report = Report::new("e2e");
    report.count("record_bytes", args.record_bytes as u64).count("rounds", rounds);
    report.latency("seen", &seen).latency("ack", &ack);
    Ok(report)
}

fn no_error(answer: &[u8], error_at: usize) -> io::Result<()> {
    match i16::from_be_bytes([answer[error_at], answer[error_at + 1]]) {
        0 => Ok(()),
        error => Err(io::Error::other(format!("produce: error {error}"))),
    }
}

/// Rounds at the start that do not count.
const WARM_UP_ROUNDS: u64 = 50;
