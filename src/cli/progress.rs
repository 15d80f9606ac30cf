//! How far the zero-filling is: a bar on a terminal, lines in the log elsewhere.

use std::fmt;
use std::io::{IsTerminal, Write};

use crate::clock::{Clock, Mono};
use crate::plan::Mib;

/// Shows progress when it is worth showing.
pub struct Progress {
    terminal: bool,
    clock: Clock,
    /// The percentage shown last, and when.
    shown: Option<(u64, Mono)>,
}

/// How long the rest takes, as fast as it went so far.
struct Left {
    took_us: u64,
    done: u64,
    total: u64,
}

impl Progress {
    /// Nothing was shown yet.
    pub fn new() -> Progress {
        Progress { terminal: std::io::stderr().is_terminal(), clock: Clock::start(), shown: None }
    }

    /// So many bytes of so many are done.
    pub fn update(&mut self, done: u64, total: u64) {
        let percent = percent_of(done, total);
        let now = self.clock.mono();
        let step = if self.terminal { 1 } else { 10 };
        if let Some((shown, when)) = self.shown {
            let late = percent > shown && now.since_us(when) >= LINE_US;
            if shown == 100 || percent < 100 && percent < shown + step && !late {
                return;
            }
        }
        self.shown = Some((percent, now));
        let left = Left { took_us: now.0, done, total };
        if !self.terminal {
            log::info!("making segment files: {percent} % of {}{left}", Mib(total));
            return;
        }
        let line = bar(percent, &left);
        let end = if percent == 100 { "\n" } else { "" };
        let _ = write!(std::io::stderr(), "\r{line}{end}");
    }
}

fn percent_of(done: u64, total: u64) -> u64 {
    let percent = u128::from(done.min(total)) * 100 / u128::from(total.max(1));
    if total == 0 { 100 } else { u64::try_from(percent).unwrap_or(100) }
}

impl fmt::Display for Left {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let left = u128::from(self.total.saturating_sub(self.done));
        let us = u128::from(self.took_us) * left / u128::from(self.done.max(1));
        let s = us.div_ceil(1_000_000);
        // What the first second tells is too little.
        if left == 0 || self.took_us < 1_000_000 || self.done == 0 {
            return Ok(());
        }
        if s < 120 { write!(f, ", {s} s left") } else { write!(f, ", {} min left", s.div_ceil(60)) }
    }
}

fn bar(percent: u64, left: &Left) -> String {
    let filled = (percent * BAR_COLUMNS / 100) as usize;
    let empty = BAR_COLUMNS as usize - filled;
    format!(
        "making segment files [{}{}] {percent:3} % of {}{left:<14}",
        "#".repeat(filled),
        ".".repeat(empty),
        Mib(left.total)
    )
}

const BAR_COLUMNS: u64 = 30;

/// A line at least so often, if there is anything new.
const LINE_US: u64 = 30_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_grows_from_nothing_to_all() {
        let left = Left { took_us: 0, done: 0, total: 1 << 20 };
        assert!(bar(0, &left).contains(&format!("[{}]   0 % of 1.00 MiB", ".".repeat(30))));
        assert!(bar(100, &left).contains(&format!("[{}] 100 %", "#".repeat(30))));
        assert_eq!((percent_of(0, 0), percent_of(1, 3), percent_of(9, 3)), (100, 33, 100));
    }

    #[test]
    fn what_is_left_is_told_once_there_is_something_to_go_by() {
        let text = |took_us, done, total| Left { took_us, done, total }.to_string();
        assert_eq!(text(999_999, 1, 100), "");
        assert_eq!(text(2_000_000, 0, 100), "");
        assert_eq!(text(2_000_000, 100, 100), "");
        assert_eq!(text(2_000_000, 25, 100), ", 6 s left");
        assert_eq!(text(60_000_000, 17 << 30, 34 << 30), ", 60 s left");
        assert_eq!(text(60_000_000, 1 << 30, 17 << 30), ", 16 min left");
    }
}
