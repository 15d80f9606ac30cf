//! What a run found: percentiles, one line of text or JSON, and the progress line meanwhile.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

/// Durations in logarithmic buckets of under 1 % each: an answer costs one increment.
pub struct Histogram {
    buckets: Vec<u64>,
    count: u64,
    max_ns: u64,
}

impl Histogram {
    /// An empty one.
    pub fn new() -> Histogram {
        Histogram { buckets: vec![0; 58 * SUB as usize], count: 0, max_ns: 0 }
    }

    /// Counts `times` durations of the same length.
    pub fn add(&mut self, duration: Duration, times: u64) {
        let ns = duration.as_nanos() as u64;
        self.buckets[bucket(ns)] += times;
        self.count += times;
        self.max_ns = self.max_ns.max(ns);
    }

    /// The duration that `share` of all do not exceed, in microseconds.
    pub fn quantile_us(&self, share: f64) -> f64 {
        let rank = ((self.count.saturating_sub(1)) as f64 * share) as u64;
        let mut seen = 0;
        for (index, count) in self.buckets.iter().enumerate() {
            seen += count;
            if seen > rank {
                return lower_ns(index).min(self.max_ns) as f64 / 1e3;
            }
        }
        0.0
    }

    /// Forgets everything, as at the end of the warm-up.
    pub fn clear(&mut self) {
        *self = Histogram::new();
    }
}

/// A run's figures, in the order in which they are shown.
pub struct Report {
    fields: Vec<(String, String)>,
}

impl Report {
    /// Starts a report with the verb's name.
    pub fn new(verb: &str) -> Report {
        Report { fields: vec![("verb".into(), format!("\"{verb}\""))] }
    }

    /// Adds a whole number.
    pub fn count(&mut self, name: &str, value: u64) -> &mut Report {
        self.fields.push((name.into(), value.to_string()));
        self
    }

    /// Adds a measured number.
    pub fn figure(&mut self, name: &str, value: f64) -> &mut Report {
        let digits = if value.abs() < 10.0 { 3 } else { 1 };
        self.fields.push((name.into(), format!("{value:.digits$}")));
        self
    }

    /// Adds the percentiles of `histogram` under `prefix`.
    pub fn latency(&mut self, prefix: &str, histogram: &Histogram) -> &mut Report {
        for (name, share) in [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("max", 1.0)] {
            self.figure(&format!("{prefix}_us_{name}"), histogram.quantile_us(share));
        }
        self
    }

    /// Prints it on standard output.
    pub fn print(&self, json: bool) {
        let (open, middle, between, close) =
            if json { ("{", "\":", ", ", "}") } else { ("", "=", " ", "") };
        let quote = if json { "\"" } else { "" };
        let fields: Vec<String> = self
            .fields
            .iter()
            .map(|(name, value)| format!("{quote}{name}{middle}{value}"))
            .collect();
        println!("{open}{}{close}", fields.join(between));
    }
}

/// The progress line: rewritten on a terminal, a line a second elsewhere, silent when told.
pub struct Progress {
    every: Option<Duration>,
    terminal: bool,
    started: Instant,
    shown: Instant,
    records: u64,
}

impl Progress {
    /// Starts counting now.
    pub fn new(quiet: bool) -> Progress {
        let terminal = std::io::stderr().is_terminal();
        let every = if terminal { Duration::from_millis(200) } else { Duration::from_secs(1) };
        let now = Instant::now();
        let every = (!quiet).then_some(every);
        Progress { every, terminal, started: now, shown: now, records: 0 }
    }

    /// Shows the line when it is due.
    pub fn tick(&mut self, now: Instant, records: u64) {
        let since = now.duration_since(self.shown);
        if self.every.is_none_or(|every| since < every) {
            return;
        }
        let rate = records.saturating_sub(self.records) as f64 / since.as_secs_f64();
        let elapsed = now.duration_since(self.started).as_secs_f64();
        let (before, after) = if self.terminal { ("\r\x1b[K", "") } else { ("", "\n") };
        eprint!("{before}{elapsed:6.1} s  {records} records  {rate:.0} records/s{after}");
        let _ = std::io::stderr().flush();
        (self.shown, self.records) = (now, records);
    }

    /// Clears the line of a terminal.
    pub fn end(&self) {
        if self.terminal && self.every.is_some() {
            eprint!("\r\x1b[K");
        }
    }
}

/// Sub-buckets of each power of two.
const SUB: u64 = 128;

fn bucket(ns: u64) -> usize {
    if ns < SUB {
        return ns as usize;
    }
    let shift = u64::from(ns.ilog2()) - 7;
    ((shift + 1) * SUB + ((ns >> shift) - SUB)) as usize
}

fn lower_ns(bucket: usize) -> u64 {
    let (octave, rest) = (bucket as u64 / SUB, bucket as u64 % SUB);
    if octave == 0 { rest } else { (SUB + rest) << (octave - 1) }
}
