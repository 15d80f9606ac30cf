//! How far the zero-filling is: a bar on a terminal, lines in the log elsewhere.

use std::io::{IsTerminal, Write};

use crate::plan::Mib;

/// Shows progress when it is worth showing.
pub struct Progress {
    terminal: bool,
    /// The percentage shown last.
    shown: Option<u64>,
}

impl Progress {
    /// Nothing was shown yet.
    pub fn new() -> Progress {
        Progress { terminal: std::io::stderr().is_terminal(), shown: None }
    }

    /// So many bytes of so many are done.
    pub fn update(&mut self, done: u64, total: u64) {
        let percent = percent_of(done, total);
        let step = if self.terminal { 1 } else { 10 };
        if self.shown.is_some_and(|shown| percent < shown + step && percent < 100)
            || self.shown == Some(100)
        {
            return;
        }
        self.shown = Some(percent);
        if !self.terminal {
            log::info!("filling the ring with zeroes: {percent} % of {}", Mib(total));
            return;
        }
        let line = bar(percent, total);
        let end = if percent == 100 { "\n" } else { "" };
        let _ = write!(std::io::stderr(), "\r{line}{end}");
    }
}

fn percent_of(done: u64, total: u64) -> u64 {
    let percent = u128::from(done.min(total)) * 100 / u128::from(total.max(1));
    if total == 0 { 100 } else { u64::try_from(percent).unwrap_or(100) }
}

fn bar(percent: u64, total: u64) -> String {
    let filled = (percent * BAR_COLUMNS / 100) as usize;
    let empty = BAR_COLUMNS as usize - filled;
    format!(
        "filling the ring with zeroes [{}{}] {percent:3} % of {}",
        "#".repeat(filled),
        ".".repeat(empty),
        Mib(total)
    )
}

const BAR_COLUMNS: u64 = 30;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_grows_from_nothing_to_all() {
        assert!(bar(0, 1 << 20).contains(&format!("[{}]   0 % of 1.00 MiB", ".".repeat(30))));
        assert!(bar(100, 1).contains(&format!("[{}] 100 %", "#".repeat(30))));
        assert_eq!((percent_of(0, 0), percent_of(1, 3), percent_of(9, 3)), (100, 33, 100));
    }
}
