//! How far the zero-filling is: a bar on a terminal, lines in the log elsewhere.

use std::fmt;
use std::io::{IsTerminal, Write};

use crate::clock::Mono;
use crate::plan::Mib;

/// Shows progress when it is worth showing.
#[derive(Default)]
pub struct Progress {
    terminal: bool,
    /// When the first of it was done, and how much was done by then.
    begun: Option<(Mono, u64)>,
    /// The percentage shown last, and when.
    shown: Option<(u64, Mono)>,
    /// All is done, as far as that was shown.
    done: bool,
}

/// How long the rest takes, as fast as it went so far.
struct Left {
    took_us: u64,
    done: u64,
    left: u64,
}

impl Progress {
    /// Nothing was shown yet.
    pub fn new() -> Progress {
        Progress { terminal: std::io::stderr().is_terminal(), ..Progress::default() }
    }

    /// So many bytes of so many are done by now.
    pub fn update(&mut self, done: u64, total: u64, now: Mono) {
        let percent = percent_of(done, total);
        if let Some(left) = self.left(done, total, now).filter(|_| self.terminal) {
            if self.shown.is_none_or(|(shown, _)| percent > shown) {
                self.shown = Some((percent, now));
                let line = bar(percent, total, &left);
                let end = if percent == 100 { "\n" } else { "" };
                let _ = write!(std::io::stderr(), "\r{line}{end}");
            }
        } else if let Some(line) = self.line(done, total, now) {
            log::info!("{line}");
        }
    }

    /// What the log says, if anything: nothing of what is done in a moment.
    fn line(&mut self, done: u64, total: u64, now: Mono) -> Option<String> {
        let left = self.left(done, total, now)?;
        let percent = percent_of(done, total);
        if percent == 100 {
            let took_s = left.took_us.div_ceil(1_000_000);
            self.done = true;
            return self
                .shown
                .map(|_| format!("made segment files of {} in {took_s} s", Mib(total)));
        }
        let is_due = match self.shown {
            Some((_, when)) => now.since_us(when) >= LINE_US,
            None => left.took_us >= QUIET_US,
        };
        if !is_due {
            return None;
        }
        self.shown = Some((percent, now));
        Some(format!("making segment files: {percent} % of {}{left}", Mib(total)))
    }

    /// How it goes; none: all was done before.
    fn left(&mut self, done: u64, total: u64, now: Mono) -> Option<Left> {
        if self.done {
            return None;
        }
        let (begun, before) = *self.begun.get_or_insert((now, done));
        let (took_us, left) = (now.since_us(begun), total.saturating_sub(done));
        Some(Left { took_us, done: done.saturating_sub(before), left })
    }
}

fn percent_of(done: u64, total: u64) -> u64 {
    let percent = u128::from(done.min(total)) * 100 / u128::from(total.max(1));
    if total == 0 { 100 } else { u64::try_from(percent).unwrap_or(100) }
}

impl fmt::Display for Left {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let us = u128::from(self.took_us) * u128::from(self.left) / u128::from(self.done.max(1));
        let s = us.div_ceil(1_000_000);
        // What the first second tells is too little.
        if self.left == 0 || self.took_us < 1_000_000 || self.done == 0 {
            return Ok(());
        }
        if s < 120 { write!(f, ", {s} s left") } else { write!(f, ", {} min left", s.div_ceil(60)) }
    }
}

fn bar(percent: u64, total: u64, left: &Left) -> String {
    let filled = (percent * BAR_COLUMNS / 100) as usize;
    let empty = BAR_COLUMNS as usize - filled;
    format!(
        "making segment files [{}{}] {percent:3} % of {}{left:<14}",
        "#".repeat(filled),
        ".".repeat(empty),
        Mib(total)
    )
}

const BAR_COLUMNS: u64 = 30;

/// What takes no longer is not worth a line.
const QUIET_US: u64 = 5_000_000;

/// A line so often.
const LINE_US: u64 = 10_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    const TOTAL: u64 = 1000 << 20;

    /// What is said by a log of one that makes `per_s` MiB in a second.
    fn said(per_s: u64) -> Vec<String> {
        let mut progress = Progress::default();
        let mut lines = Vec::new();
        for mib in 1..=1000 {
            let now = Mono(7_000_000 + mib * 1_000_000 / per_s);
            lines.extend(progress.line(mib << 20, TOTAL, now));
        }
        // The last piece is reported once more.
        lines.extend(progress.line(TOTAL, TOTAL, Mono(u64::MAX / 2)));
        lines
    }

    #[test]
    fn what_is_made_in_a_moment_is_not_said_and_the_rest_at_times_and_at_its_end() {
        assert!(said(1000).is_empty() && said(210).is_empty());
        let lines = said(100);
        assert_eq!(
            lines,
            [
                "making segment files: 50 % of 1000.00 MiB, 5 s left",
                "made segment files of 1000.00 MiB in 10 s"
            ]
        );
        let lines = said(10);
        assert_eq!(lines.len(), 11);
        assert_eq!(lines[1], "making segment files: 15 % of 1000.00 MiB, 85 s left");
        assert_eq!(lines[10], "made segment files of 1000.00 MiB in 100 s");
    }

    #[test]
    fn what_was_there_before_does_not_count_as_made() {
        let mut progress = Progress::default();
        assert_eq!(progress.line(900 << 20, TOTAL, Mono(0)), None);
        let line = progress.line(910 << 20, TOTAL, Mono(10_000_000)).unwrap();
        assert!(line.ends_with("91 % of 1000.00 MiB, 90 s left"), "{line}");
    }

    #[test]
    fn a_bar_grows_from_nothing_to_all() {
        let (left, total) = (Left { took_us: 0, done: 0, left: 1 << 20 }, 1 << 20);
        assert!(bar(0, total, &left).contains(&format!("[{}]   0 % of 1.00 MiB", ".".repeat(30))));
        assert!(bar(100, total, &left).contains(&format!("[{}] 100 %", "#".repeat(30))));
        assert_eq!((percent_of(0, 0), percent_of(1, 3), percent_of(9, 3)), (100, 33, 100));
    }

    #[test]
    fn what_is_left_is_told_once_there_is_something_to_go_by() {
        let text = |took_us, done, left| Left { took_us, done, left }.to_string();
        assert_eq!(text(999_999, 1, 99), "");
        assert_eq!(text(2_000_000, 0, 100), "");
        assert_eq!(text(2_000_000, 100, 0), "");
        assert_eq!(text(2_000_000, 25, 75), ", 6 s left");
        assert_eq!(text(60_000_000, 17 << 30, 17 << 30), ", 60 s left");
        assert_eq!(text(60_000_000, 1 << 30, 16 << 30), ", 16 min left");
    }
}
