//! `brooklet top`: how the running broker is, written anew every few seconds.
//!
//! It shows what the page shows first, out of the text of `brooklet status`. A terminal is written over
//! line by line and left as it is, so that nothing needs to be put back when Ctrl-C ends it.

use std::fmt::{self, Display, Write};
use std::io::IsTerminal;
use std::time::Duration;

use rustix::termios::tcgetwinsize;

use super::{Failure, print, status};
use crate::clock::{Clock, Mono};
use crate::config::Config;

/// Shows it until a signal comes; where the output is no terminal, once.
pub fn run(config: &Config, every_s: u64) -> Result<(), Failure> {
    let every = Duration::from_secs(every_s.max(1));
    let is_terminal = std::io::stdout().is_terminal();
    let clock = Clock::start();
    let mut before = Sample::ask(config, clock)?;
    if is_terminal {
        print(CLEAR);
        show(&frame(&before, None));
    }
    loop {
        std::thread::sleep(every);
        let now = match Sample::ask(config, clock) {
            Ok(now) => now,
            Err(Failure::Failed(why)) if is_terminal => {
                show(&format!("{why}\n"));
                continue;
            }
            Err(failure) => return Err(failure),
        };
        let text = frame(&now, Some(&before));
        if !is_terminal {
            print(&text);
            return Ok(());
        }
        show(&text);
        before = now;
    }
}

/// What the broker said, and when.
struct Sample {
    text: String,
    at: Mono,
}

impl Sample {
    fn ask(config: &Config, clock: Clock) -> Result<Sample, Failure> {
        let text = status::asked(config, "text\n")?;
        Ok(Sample { text, at: clock.mono() })
    }

    fn shown(&self) -> Section<'_> {
        Section { text: &self.text, indent: 0 }
    }
}

/// Writes over what stands on the terminal, as much as fits it.
fn show(text: &str) {
    let size = tcgetwinsize(std::io::stdout()).ok();
    let size = size.filter(|size| size.ws_row > 1 && size.ws_col > 1);
    let (rows, columns) =
        size.map_or((24, 80), |size| (usize::from(size.ws_row), usize::from(size.ws_col)));
    let mut screen = HOME.to_string();
    for line in text.lines().take(rows - 1) {
        screen.extend(line.chars().take(columns));
        screen += LINE_END;
    }
    print(&(screen + SCREEN_END));
}

const CLEAR: &str = "\x1b[2J";
const HOME: &str = "\x1b[H";
const LINE_END: &str = "\x1b[K\n";
const SCREEN_END: &str = "\x1b[J";

/// Lines of `status` with what stands below them.
#[derive(Clone, Copy)]
struct Section<'a> {
    text: &'a str,
    indent: usize,
}

/// Each line of a section itself: its name, its value, and what stands below it.
struct Lines<'a>(Section<'a>);

impl<'a> Iterator for Lines<'a> {
    type Item = (&'a str, &'a str, Section<'a>);

    // It is asked in many places.
    #[inline(never)]
    fn next(&mut self) -> Option<Self::Item> {
        let Section { text, indent } = self.0;
        let (line, behind) = text.split_once('\n')?;
        let mut below = 0;
        for line in behind.split_inclusive('\n') {
            if line.len() - line.trim_start().len() == indent {
                break;
            }
            below += line.len();
        }
        let (below, after) = behind.split_at(below);
        self.0.text = after;
        let line = line.trim_start();
        // No value that is looked at has a space in it.
        let (name, value) = match line.strip_suffix(':') {
            Some(name) => (name, ""),
            None => line.rsplit_once(' ').unwrap_or((line, "")),
        };
        Some((name.trim_end_matches(':'), value, Section { text: below, indent: indent + 2 }))
    }
}

impl<'a> Section<'a> {
    fn lines(self) -> Lines<'a> {
        Lines(self)
    }

    #[inline(never)]
    fn line(self, name: &str) -> Option<(&'a str, &'a str, Section<'a>)> {
        self.lines().find(|(known, ..)| *known == name)
    }

    fn of(self, name: &str) -> Section<'a> {
        self.line(name).map_or(Section { text: "", ..self }, |(_, _, below)| below)
    }

    fn text(self, name: &str) -> &'a str {
        self.line(name).map_or("", |(_, value, _)| value)
    }

    #[inline(never)]
    fn number(self, name: &str) -> Option<u64> {
        self.text(name).parse().ok()
    }

    /// The same, and 0 where it is not known.
    fn count(self, name: &str) -> u64 {
        self.number(name).unwrap_or(0)
    }
}

/// What is shown, and what came and went since `before`.
fn frame(now: &Sample, before: Option<&Sample>) -> String {
    let mut out = String::new();
    // Nothing that is written to a string fails.
    let _ = write_frame(now, before, &mut out);
    out
}

fn write_frame(now: &Sample, before: Option<&Sample>, out: &mut String) -> fmt::Result {
    let status = now.shown();
    let version = status.text("version");
    let up = Span(status.number("uptime_seconds"));
    let (listen, start) = (status.text("listen"), status.text("starts_total"));
    writeln!(out, "brooklet {version} on {listen}, start {start}, up {up}\n")?;
    let well = out.len();
    write_wrong(status, out)?;
    if out.len() == well {
        writeln!(out, "All is well.")?;
    }
    // A lap of the ring of metadata loses nothing.
    for (name, _, ring) in status.of("rings").lines().filter(|(name, ..)| *name != "metadata") {
        write_ring(name, ring, out)?;
    }
    let rate = |of: &str| {
        let before = before?;
        let bytes = |section: Section<'_>| section.of("traffic").number(of);
        let more = bytes(status)?.checked_sub(bytes(before.shown())?)?;
        Some(more * 1000 / (now.at.since_us(before.at) / 1000).max(1))
    };
    let (connections, waiting) = (status.of("connections"), status.of("waiting"));
    writeln!(
        out,
        "\ntraffic   in {}, out {}; {} of {} connections; {} producers and {} consumers wait",
        Rate(rate("bytes_in_total")),
        Rate(rate("bytes_out_total")),
        connections.count("open"),
        connections.count("places"),
        waiting.count("producers"),
        waiting.count("fetches"),
    )?;
    let sync = status.of("sync_us");
    writeln!(
        out,
        "syncs     half of them within {} us, 99 of 100 within {} us, the longest {} us",
        sync.count("p50"),
        sync.count("p99"),
        sync.count("max"),
    )?;
    let memory = status.of("memory");
    let (resident, planned) = (memory.count("resident_bytes"), memory.count("planned_bytes"));
    writeln!(out, "memory    {} of {} planned", Size(resident), Size(planned))?;
    let list = |out: &mut String, name: &str, of: &mut dyn Iterator<Item = String>| {
        let all: Vec<String> = of.collect();
        let all = if all.is_empty() { "none".to_string() } else { all.join(", ") };
        writeln!(out, "{name:9} {all}")
    };
    let tables = status.of("tables");
    let mut tables = tables.lines().map(|(name, _, table)| {
        format!("{} {} of {}", name.replace('_', " "), table.count("used"), table.count("max"))
    });
    list(out, "tables", &mut tables)?;
    let errors = status.of("errors_total");
    list(out, "errors", &mut errors.lines().map(|(name, count, _)| format!("{name} {count}")))
}

/// A line for each thing that is wrong.
fn write_wrong(status: Section<'_>, out: &mut String) -> fmt::Result {
    for (name, _, ring) in status.of("rings").lines() {
        if ring.of("failures").count("is_failing") > 0 {
            writeln!(out, "! The disk fails in ring {name}: producers get errors.")?;
        }
        let hold = ring.of("hold");
        if hold.count("is_full") > 0 {
            let (waiting, since) = (hold.count("producers_waiting"), hold.number("full_seconds"));
            writeln!(
                out,
                "! Ring {name} is full and held: {waiting} producers have waited for {}.",
                Span(since)
            )?;
        }
        for (holder, _, watched) in ring.of("watch").lines() {
            let missed = watched.count("overwritten_records_total");
            if missed > 0 {
                writeln!(
                    out,
                    "! {missed} records of ring {name} were overwritten before {holder} had them."
                )?;
            }
        }
    }
    let damage = status.of("damage");
    let found = ["segments", "commit_groups", "batches", "records", "found_reading_total"];
    if found.iter().any(|name| damage.count(name) > 0) {
        writeln!(out, "! The medium is damaged; the log names what is lost.")?;
    }
    if status.number("clock_trusted") == Some(0) {
        writeln!(out, "! The clock is not trusted: records are kept beyond retention.ms.")?;
    }
    for (name, _, table) in status.of("tables").lines() {
        let (used, max) = (table.count("used"), table.count("max"));
        if max > 0 && used * 10 >= max * 9 {
            writeln!(out, "! The table of {name} is nearly full: {used} of {max}.")?;
        }
    }
    Ok(())
}

fn write_ring(name: &str, ring: Section<'_>, out: &mut String) -> fmt::Result {
    let (data, hold) = (ring.count("data_bytes"), ring.of("hold"));
    let rate = ring.number("bytes_per_second");
    let filled = (ring.count("live_bytes") * 100).checked_div(data).unwrap_or(0);
    write!(out, "\nring {name}: ")?;
    match hold.number("full_percent") {
        Some(held) => write!(out, "{held} % held")?,
        None => write!(out, "{filled} % filled")?,
    }
    write!(out, " of {}, {}, lap {}, ", Size(data), Rate(rate), ring.count("laps") + 1)?;
    match (hold.number("seconds_to_full"), ring.number("seconds_to_overwrite"), rate) {
        _ if hold.count("is_full") > 0 => writeln!(out, "full")?,
        (Some(left), ..) => writeln!(out, "full in {} if nobody consumes", Span(Some(left)))?,
        (None, Some(left), _) => writeln!(out, "overwrites in {}", Span(Some(left)))?,
        (None, None, Some(0)) => writeln!(out, "nothing is written")?,
        (None, None, _) => writeln!(out, "how long it lasts is not known yet")?,
    }
    let largest: Vec<String> = ring
        .of("largest_topics")
        .lines()
        .map(|(topic, bytes, _)| format!("{topic} {}", Size(bytes.parse().unwrap_or(0))))
        .collect();
    if !largest.is_empty() {
        writeln!(out, "  most by {}", largest.join(", "))?;
    }
    for (holder, _, lag) in hold.of("for").lines().chain(ring.of("watch").lines()) {
        let (records, percent) = (lag.count("lag_records"), lag.count("lag_percent"));
        write!(out, "  {holder}: {records} records ({percent} %) behind")?;
        match lag.number("overwritten_records_total") {
            Some(missed) => writeln!(out, ", {missed} overwritten before it had them")?,
            None => writeln!(out)?,
        }
    }
    Ok(())
}

/// Bytes, in the largest unit that leaves three digits.
struct Size(u64);

impl Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = ["KiB", "MiB", "GiB"];
        let unit = units.iter().enumerate().rev().find(|(at, _)| self.0 >> (10 * (at + 1)) > 0);
        let Some((at, unit)) = unit else { return write!(f, "{} B", self.0) };
        let tenths = (u128::from(self.0) * 10) >> (10 * (at + 1));
        match tenths {
            0..1000 => write!(f, "{}.{} {unit}", tenths / 10, tenths % 10),
            _ => write!(f, "{} {unit}", tenths / 10),
        }
    }
}

/// Bytes per second, if known.
struct Rate(Option<u64>);

impl Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(bytes) => write!(f, "{}/s", Size(bytes)),
            None => f.write_str("? B/s"),
        }
    }
}

/// Seconds, in the two largest units.
struct Span(Option<u64>);

impl Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(seconds) = self.0 else { return f.write_str("?") };
        let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
        match (days, hours, minutes) {
            (0, 0, 0) => write!(f, "{seconds} s"),
            (0, 0, _) => write!(f, "{minutes} min"),
            (0, ..) => write!(f, "{hours} h {minutes} min"),
            (100.., ..) => write!(f, "{days} d"),
            _ => write!(f, "{days} d {hours} h"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STATUS: &str = "\
version: 0.1.0
listen: [::]:9092
uptime_seconds: 90000
starts_total: 7
clock_trusted: 1
rings:
  main:
    data_bytes: 268435456
    live_bytes: 134217728
    laps: 2
    bytes_per_second: 2048
    seconds_to_overwrite: 131072
    largest_topics:
      t: 1536
    watch:
      group: a: b:
        lag_records: 9
        lag_percent: 3
        overwritten_records_total: 0
  alarms:
    data_bytes: 1048576
    bytes_per_second: unknown
    hold:
      full_percent: 100
      is_full: 1
      full_seconds: 61
      producers_waiting: 2
      for:
        mirror:up:
          lag_records: 5
          lag_percent: 100
  metadata:
    data_bytes: 1
connections:
  open: 3
  places: 512
traffic:
  bytes_in_total: 5096
tables:
  topics:
    used: 1
    max: 128
errors_total:
  NONE: 1
";

    #[test]
    fn a_frame_says_what_matters_first() {
        let at = |ms| Mono(0).plus_ms(ms);
        let before = Sample { text: STATUS.replace("5096", "1000"), at: at(5) };
        let now = Sample { text: STATUS.to_string(), at: at(2005) };
        let frame = frame(&now, Some(&before));
        let lines: Vec<&str> = frame.lines().collect();
        assert_eq!(lines[0], "brooklet 0.1.0 on [::]:9092, start 7, up 1 d 1 h");
        for line in [
            "! Ring alarms is full and held: 2 producers have waited for 1 min.",
            "ring main: 50 % filled of 256 MiB, 2.0 KiB/s, lap 3, overwrites in 1 d 12 h",
            "  most by t 1.5 KiB",
            "  group: a: b: 9 records (3 %) behind, 0 overwritten before it had them",
            "ring alarms: 100 % held of 1.0 MiB, ? B/s, lap 1, full",
            "  mirror:up: 5 records (100 %) behind",
            "traffic   in 2.0 KiB/s, out ? B/s; 3 of 512 connections; 0 producers and 0 consumers wait",
            "tables    topics 1 of 128",
            "errors    NONE 1",
        ] {
            assert!(lines.contains(&line), "no {line:?} in\n{frame}");
        }
        assert!(!frame.contains("metadata") && !frame.contains("All is well"), "{frame}");
    }

    #[test]
    fn sizes_and_spans_have_two_or_three_digits() {
        let sizes = [0, 1023, 1024, 102_399, 102_400, 1 << 40].map(|bytes| Size(bytes).to_string());
        assert_eq!(sizes, ["0 B", "1023 B", "1.0 KiB", "99.9 KiB", "100 KiB", "1024 GiB"]);
        let spans = [59, 60, 3600, 86_400, 9_000_000].map(|s| Span(Some(s)).to_string());
        assert_eq!(spans, ["59 s", "1 min", "1 h 0 min", "1 d 0 h", "104 d"]);
    }
}
