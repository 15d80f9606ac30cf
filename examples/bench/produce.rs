//! `produce`: as many requests in flight as asked, on any number of connections, by one thread.
//!
//! Requests are built once and stand in one block, so that any run of them is a single send;
//! answers have one known length, so that checking one is a comparison and an increment. That
//! keeps the generator far below a microsecond for each request.

use crate::admin;
use crate::report::{Histogram, Progress, Report};
use crate::wire;
use rustix::event::{PollFd, PollFlags, poll};
use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

/// Measures durable (or not: `--acks 0`) produce requests.
#[derive(argh::FromArgs)]
#[argh(subcommand, name = "produce")]
pub struct Produce {
    #[argh(option, default = "1")]
    /// records per batch and request (1)
    batch: usize,
    #[argh(option, default = "200")]
    /// bytes of each record's value (200)
    record_bytes: usize,
    #[argh(option, default = "wire::Codec::None")]
    /// none: noise; gzip, snappy, lz4 or zstd: readings, compressed (none)
    codec: wire::Codec,
    #[argh(option, default = "1")]
    /// requests in flight on each connection (1)
    in_flight: usize,
    #[argh(option, default = "1")]
    /// connections (1)
    connections: usize,
    #[argh(option, default = "-1")]
    /// acks: -1, 0 or 1 (-1)
    acks: i16,
    #[argh(option, default = "String::from(\"bench\")")]
    /// name of the topic, or start of the names (bench)
    topic: String,
    #[argh(option, default = "1")]
    /// topics, taken in turn (1)
    topics: usize,
    #[argh(option, default = "1")]
    /// partitions of each, taken in turn (1)
    partitions: usize,
    #[argh(option, default = "5.0")]
    /// seconds to run (5)
    seconds: f64,
    #[argh(option)]
    /// records to send instead of seconds to run
    count: Option<u64>,
    #[argh(option, default = "0.3")]
    /// seconds at the start that do not count (0.3; 0 with --count)
    warm_up: f64,
    #[argh(switch)]
    /// send the next requests of a connection only when all of the last are answered
    rounds: bool,
    #[argh(switch)]
    /// send ApiVersions instead: what a request costs where no disk is involved
    ping: bool,
}

/// Runs it against `addr`.
pub fn run(args: &Produce, addr: &str, quiet: bool) -> io::Result<Report> {
    let names = admin::topic_names(&args.topic, args.topics);
    let load = if args.ping {
        Load::ping(args, addr)?
    } else {
        admin::create_topics(addr, &names, args.partitions)?;
        Load::new(args, &names)?
    };
    let mut clients = Vec::new();
    for _ in 0..args.connections {
        clients.push(Client::new(admin::connect(addr)?, &load, args.connections > 1)?);
    }
    let mut run = Run::new(args, quiet);
    if args.acks == 0 {
        run.unacknowledged(&mut clients)?;
    } else {
        run.acknowledged(&mut clients)?;
    }
    Ok(run.report(args, load.request_bytes))
}

/// The prebuilt requests.
struct Load {
    /// `period` different requests, then as many again as one send can take beyond the end.
    block: Vec<u8>,
    period: usize,
    request_bytes: usize,
    answer_bytes: usize,
    error_at: usize,
}

impl Load {
    fn new(args: &Produce, names: &[String]) -> io::Result<Load> {
        let partitions = args.topics * args.partitions;
        if args.batch * args.in_flight * args.connections * partitions == 0 {
            return Err(io::Error::other("none of the counts may be zero"));
        }
        // Correlation ids must tell apart what can be in flight together, where memory allows.
        let batch = match args.codec {
            wire::Codec::None => wire::batch(args.batch, args.record_bytes, now_ms()),
            codec => wire::batch_packed(args.batch, args.record_bytes, codec, now_ms()),
        };
        let wanted = partitions * (args.in_flight / partitions + 1);
        let fits = (wanted + args.in_flight) * batch.len() <= BLOCK_BYTES_MAX;
        let period = if fits { wanted } else { partitions };
        let one = |index: usize| {
            let index = index % period;
            let name = &names[index % partitions / args.partitions];
            let partition = (index % args.partitions) as i32;
            wire::produce(index as i32, name, partition, args.acks, &batch)
        };
        let block: Vec<u8> = (0..period + args.in_flight).flat_map(one).collect();
        Ok(Load {
            period,
            request_bytes: block.len() / (period + args.in_flight),
            answer_bytes: wire::produce_answer_bytes(&names[0]),
            error_at: wire::produce_answer_error_at(&names[0]),
            block,
        })
    }

    fn ping(args: &Produce, addr: &str) -> io::Result<Load> {
        let period = args.in_flight + 1;
        let one = |index| wire::Put::request(18, 0, (index % period) as i32).finish();
        let answer = admin::call(&mut admin::connect(addr)?, &one(0))?;
        let block: Vec<u8> = (0..period + args.in_flight).flat_map(one).collect();
        Ok(Load {
            period,
            request_bytes: block.len() / (period + args.in_flight),
            answer_bytes: answer.len() + 8,
            error_at: 8,
            block,
        })
    }
}

/// One connection: requests still to send, and the times of those in flight.
struct Client<'a> {
    load: &'a Load,
    stream: TcpStream,
    /// The next request to send, and how much of it went out already.
    send_index: usize,
    send_partial_bytes: usize,
    send_count: usize,
    /// The next answer expected, and what is in flight: (asked for at, requests).
    answer_index: usize,
    in_flight: usize,
    bursts: VecDeque<(Instant, usize)>,
    received: Vec<u8>,
    received_bytes: usize,
}

impl<'a> Client<'a> {
    fn new(stream: TcpStream, load: &'a Load, polled: bool) -> io::Result<Client<'a>> {
        stream.set_nonblocking(polled)?;
        Ok(Client {
            load,
            stream,
            send_index: 0,
            send_partial_bytes: 0,
            send_count: 0,
            answer_index: 0,
            in_flight: 0,
            bursts: VecDeque::new(),
            received: vec![0; 64 << 10],
            received_bytes: 0,
        })
    }

    /// Puts `count` more requests in flight.
    fn offer(&mut self, count: usize, now: Instant) -> io::Result<()> {
        if count > 0 {
            self.bursts.push_back((now, count));
            self.in_flight += count;
            self.send_count += count;
        }
        self.send()
    }

    /// Sends what the socket takes.
    fn send(&mut self) -> io::Result<()> {
        let request_bytes = self.load.request_bytes;
        while self.send_count > 0 {
            let start = self.send_index * request_bytes;
            let end = start + self.send_count * request_bytes;
            let sent =
                match self.stream.write(&self.load.block[start + self.send_partial_bytes..end]) {
                    Ok(sent) => sent + self.send_partial_bytes,
                    Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                    Err(e) => return Err(e),
                };
            self.send_count -= sent / request_bytes;
            self.send_index = (self.send_index + sent / request_bytes) % self.load.period;
            self.send_partial_bytes = sent % request_bytes;
        }
        Ok(())
    }

    /// Reads once and gives how many requests that answered.
    fn receive(&mut self, latency: &mut Histogram) -> io::Result<usize> {
        match self.stream.read(&mut self.received[self.received_bytes..]) {
            Ok(0) => return Err(io::Error::other("the broker closed the connection")),
            Ok(read) => self.received_bytes += read,
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(0),
            Err(e) => return Err(e),
        }
        let mut answered = 0;
        let whole = self.received_bytes - self.received_bytes % self.load.answer_bytes;
        for answer in self.received[..whole].chunks_exact(self.load.answer_bytes) {
            check(answer, self.load, self.answer_index)?;
            self.answer_index += 1;
            if self.answer_index == self.load.period {
                self.answer_index = 0;
            }
            answered += 1;
        }
        self.received.copy_within(whole..self.received_bytes, 0);
        self.received_bytes -= whole;
        self.count(answered, latency)?;
        Ok(answered)
    }

    fn count(&mut self, answered: usize, latency: &mut Histogram) -> io::Result<()> {
        let now = Instant::now();
        let mut rest = answered;
        while rest > 0 {
            let Some((asked, count)) = self.bursts.front_mut() else {
                return Err(io::Error::other("more answers than requests"));
            };
            let taken = rest.min(*count);
            latency.add(now.duration_since(*asked), taken as u64);
            *count -= taken;
            rest -= taken;
            if *count == 0 {
                self.bursts.pop_front();
            }
        }
        self.in_flight -= answered;
        Ok(())
    }
}

/// The run as a whole: when to stop, what was counted.
struct Run {
    batch: u64,
    in_flight: usize,
    rounds: bool,
    /// Requests still to be sent, when their number is given.
    requests_left: Option<u64>,
    warm_up_until: Option<Instant>,
    end: Instant,
    measured_from: Instant,
    measured_until: Instant,
    requests: u64,
    latency: Histogram,
    progress: Progress,
}

impl Run {
    fn new(args: &Produce, quiet: bool) -> Run {
        let now = Instant::now();
        let requests_left = args.count.map(|count| count.div_ceil(args.batch as u64));
        let warm_up = Duration::from_secs_f64(args.warm_up);
        let counted = requests_left.is_some() || args.warm_up == 0.0;
        Run {
            batch: args.batch as u64,
            in_flight: args.in_flight,
            rounds: args.rounds,
            requests_left,
            warm_up_until: (!counted).then(|| now + warm_up),
            end: now + warm_up + Duration::from_secs_f64(args.seconds),
            measured_from: now,
            measured_until: now,
            requests: 0,
            latency: Histogram::new(),
            progress: Progress::new(quiet),
        }
    }

    fn acknowledged(&mut self, clients: &mut [Client]) -> io::Result<()> {
        for client in clients.iter_mut() {
            let now = Instant::now();
            let count = self.take(self.in_flight, now);
            client.offer(count, now)?;
        }
        let mut ready = vec![true; clients.len()];
        while clients.iter().any(|client| client.in_flight > 0) {
            if clients.len() > 1 {
                wait(clients, &mut ready)?;
            }
            for (client, _) in clients.iter_mut().zip(&ready).filter(|(_, ready)| **ready) {
                let answered = client.receive(&mut self.latency)?;
                let now = Instant::now();
                self.answered(answered as u64, now);
                let room = self.in_flight - client.in_flight;
                let wanted = if self.rounds && client.in_flight > 0 { 0 } else { room };
                let count = self.take(wanted, now);
                client.offer(count, now)?;
            }
        }
        Ok(())
    }

    /// Nothing is answered: the rate is what the sockets take, closed by a request that is.
    fn unacknowledged(&mut self, clients: &mut [Client]) -> io::Result<()> {
        for client in clients.iter_mut() {
            client.stream.set_nonblocking(false)?;
        }
        loop {
            let mut sent = 0;
            for client in clients.iter_mut() {
                let now = Instant::now();
                let count = self.take(self.in_flight, now);
                client.offer(count, now)?;
                client.bursts.clear();
                sent += count;
                self.answered(count as u64, now);
            }
            if sent == 0 {
                break;
            }
        }
        for client in clients.iter_mut() {
            let request = wire::Put::request(18, 0, -1).finish();
            admin::call(&mut client.stream, &request)?;
        }
        self.measured_until = Instant::now();
        Ok(())
    }

    /// How many of `wanted` requests may still be sent.
    fn take(&mut self, wanted: usize, now: Instant) -> usize {
        match &mut self.requests_left {
            Some(left) => {
                let taken = (wanted as u64).min(*left);
                *left -= taken;
                taken as usize
            }
            None if now < self.end => wanted,
            None => 0,
        }
    }

    fn answered(&mut self, requests: u64, now: Instant) {
        self.requests += requests;
        self.measured_until = now;
        if self.warm_up_until.is_some_and(|until| now >= until) {
            (self.warm_up_until, self.measured_from, self.requests) = (None, now, 0);
            self.latency.clear();
        }
        self.progress.tick(now, self.requests * self.batch);
    }

    fn report(&self, args: &Produce, request_bytes: usize) -> Report {
        self.progress.end();
        let seconds = self.measured_until.duration_since(self.measured_from).as_secs_f64();
        let records = self.requests * self.batch;
        let per_second = records as f64 / seconds;
        let mut report = Report::new("produce");
        report.count("connections", args.connections as u64);
        report.count("in_flight", args.in_flight as u64);
        report.count("batch", self.batch).count("record_bytes", args.record_bytes as u64);
        report.count("request_bytes", request_bytes as u64);
        report.count("records", records).figure("seconds", seconds);
        report.figure("records_per_s", per_second);
        report.figure("requests_per_s", self.requests as f64 / seconds);
        report.figure("mb_per_s", per_second * args.record_bytes as f64 / 1e6);
        if args.acks != 0 {
            report.latency("ack", &self.latency);
        }
        report
    }
}

/// Waits until any connection can be read, or written to where something is left to send.
fn wait(clients: &mut [Client], ready: &mut [bool]) -> io::Result<()> {
    let mut fds = Vec::with_capacity(clients.len());
    for client in clients.iter() {
        let sending = client.send_count > 0;
        let flags = if sending { PollFlags::IN | PollFlags::OUT } else { PollFlags::IN };
        fds.push(PollFd::new(&client.stream, flags));
    }
    poll(&mut fds, None)?;
    for (fd, ready) in fds.iter().zip(ready.iter_mut()) {
        *ready = !fd.revents().is_empty();
    }
    Ok(())
}

/// One answer: its length, the correlation id in turn, and no error.
fn check(answer: &[u8], load: &Load, index: usize) -> io::Result<()> {
    let length = (load.answer_bytes - 4) as u32;
    let error = &answer[load.error_at..load.error_at + 2];
    if answer[..4] != length.to_be_bytes() || answer[4..8] != (index as u32).to_be_bytes() {
        let start = &answer[..8];
        return Err(io::Error::other(format!(
            "answer begins {start:02x?}: expected {length} bytes, correlation id {index}"
        )));
    }
    match i16::from_be_bytes([error[0], error[1]]) {
        0 => Ok(()),
        code => Err(io::Error::other(format!("answered with error {code}"))),
    }
}

/// The wall clock, for the records' timestamps.
pub fn now_ms() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |since| since.as_millis() as i64)
}

/// The prebuilt requests may take this much memory.
const BLOCK_BYTES_MAX: usize = 256 << 20;
