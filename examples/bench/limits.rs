//! `disk` and `echo`: what this machine's disk and loopback can do, for a figure to stand beside.

use crate::admin;
use crate::report::{Histogram, Progress, Report};
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Measures pwrite + fdatasync, one after another, in a file that was filled with zeros before.
#[derive(argh::FromArgs)]
#[argh(subcommand, name = "disk")]
pub struct Disk {
    #[argh(option)]
    /// directory of the file, which is removed afterwards
    dir: PathBuf,
    #[argh(option, default = "270")]
    /// bytes of each write (270: a batch of one 200-byte record)
    bytes: usize,
    #[argh(option, default = "1")]
    /// begin each write at a multiple of this (1)
    align: usize,
    #[argh(option, default = "3.0")]
    /// seconds to run (3)
    seconds: f64,
}

/// Measures requests and answers of fixed sizes between two threads over the loopback interface.
#[derive(argh::FromArgs)]
#[argh(subcommand, name = "echo")]
pub struct Echo {
    #[argh(option, default = "344")]
    /// bytes of each request (344)
    request_bytes: usize,
    #[argh(option, default = "57")]
    /// bytes of each answer (57)
    answer_bytes: usize,
    #[argh(option, default = "1")]
    /// requests in flight (1)
    in_flight: usize,
    #[argh(option, default = "3.0")]
    /// seconds to run (3)
    seconds: f64,
}

/// Runs `disk`.
pub fn disk(args: &Disk, quiet: bool) -> io::Result<Report> {
    let mut probe = DiskProbe::new(&args.dir, args.bytes, args.align)?;
    let (mut latency, mut progress) = (Histogram::new(), Progress::new(quiet));
    let (start, mut writes) = (Instant::now(), 0);
    let seconds = loop {
        latency.add(probe.write()?, 1);
        writes += 1;
        let now = Instant::now();
        progress.tick(now, writes);
        let elapsed = now.duration_since(start).as_secs_f64();
        if elapsed >= args.seconds {
            break elapsed;
        }
    };
    progress.end();
    let mut report = Report::new("disk");
    report.count("bytes", args.bytes as u64).count("align", args.align as u64);
    report.count("writes", writes).figure("writes_per_s", writes as f64 / seconds);
    report.latency("write", &latency);
    Ok(report)
}

/// Runs `echo`.
pub fn echo(args: &Echo, quiet: bool) -> io::Result<Report> {
    let mut probe = EchoProbe::new(args.request_bytes, args.answer_bytes, args.in_flight)?;
    let (mut latency, mut progress) = (Histogram::new(), Progress::new(quiet));
    let (start, mut answers) = (Instant::now(), 0);
    let seconds = loop {
        latency.add(probe.round()?, args.in_flight as u64);
        answers += args.in_flight as u64;
        let now = Instant::now();
        progress.tick(now, answers);
        let elapsed = now.duration_since(start).as_secs_f64();
        if elapsed >= args.seconds {
            break elapsed;
        }
    };
    progress.end();
    let per_second = answers as f64 / seconds;
    let mut report = Report::new("echo");
    report.count("request_bytes", args.request_bytes as u64);
    report.count("answer_bytes", args.answer_bytes as u64);
    report.count("in_flight", args.in_flight as u64);
    report.count("answers", answers).figure("answers_per_s", per_second);
    report.figure("mb_per_s", per_second * args.answer_bytes as f64 / 1e6);
    report.latency("round", &latency);
    Ok(report)
}

/// A zero-filled file, written and synced a little at a time; starts again at its end.
pub struct DiskProbe {
    file: File,
    path: PathBuf,
    bytes: Vec<u8>,
    step_bytes: u64,
    at: u64,
}

impl DiskProbe {
    /// Fills the file and syncs it, so that a write changes no metadata.
    pub fn new(dir: &Path, bytes: usize, align: usize) -> io::Result<DiskProbe> {
        let path = dir.join(format!("bench-probe-{}", std::process::id()));
        let file = OpenOptions::new().write(true).create(true).truncate(true).open(&path)?;
        let step_bytes = bytes.next_multiple_of(align.max(1)) as u64;
        for index in 0..PROBE_BYTES.max(step_bytes).div_ceil(1 << 20) {
            file.write_all_at(&vec![0; 1 << 20], index << 20)?;
        }
        file.sync_all()?;
        Ok(DiskProbe { file, path, bytes: vec![0x5a; bytes], step_bytes, at: 0 })
    }

    /// Writes and syncs once and says how long that took.
    pub fn write(&mut self) -> io::Result<Duration> {
        if self.at + self.step_bytes > PROBE_BYTES {
            self.at = 0;
        }
        let start = Instant::now();
        self.file.write_all_at(&self.bytes, self.at)?;
        self.file.sync_data()?;
        self.at += self.step_bytes;
        Ok(start.elapsed())
    }
}

impl Drop for DiskProbe {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

/// A thread that answers every so many bytes with so many others, and its client.
pub struct EchoProbe {
    stream: TcpStream,
    requests: Vec<u8>,
    answers: Vec<u8>,
}

impl EchoProbe {
    /// Starts the thread; it ends with the connection.
    pub fn new(request: usize, answer: usize, in_flight: usize) -> io::Result<EchoProbe> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let stream = admin::connect(&listener.local_addr()?.to_string())?;
        let (served, _) = listener.accept()?;
        served.set_nodelay(true)?;
        std::thread::spawn(move || serve(served, request, answer, in_flight));
        let requests = vec![1; request * in_flight];
        Ok(EchoProbe { stream, requests, answers: vec![0; answer * in_flight] })
    }

    /// Sends all requests at once and waits for all answers.
    pub fn round(&mut self) -> io::Result<Duration> {
        let start = Instant::now();
        self.stream.write_all(&self.requests)?;
        self.stream.read_exact(&mut self.answers)?;
        Ok(start.elapsed())
    }
}

fn serve(mut stream: TcpStream, request: usize, answer: usize, in_flight: usize) {
    let mut received = vec![0; (request * in_flight).max(64 << 10)];
    let answers = vec![2; answer * in_flight];
    let mut pending = 0;
    while let Ok(read) = stream.read(&mut received) {
        pending += read;
        let whole = pending / request;
        pending %= request;
        if read == 0 || stream.write_all(&answers[..whole * answer]).is_err() {
            return;
        }
    }
}

/// Larger than what is synced at once, small enough to be filled in a moment.
const PROBE_BYTES: u64 = 16 << 20;
