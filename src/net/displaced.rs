//! What is logged of displaced connections: a line a minute at the most.

use std::cell::Cell;
use std::fmt;
use std::net::IpAddr;

use crate::clock::Mono;
use crate::metrics::CloseReason;

/// When a line was last logged, and what happened since.
#[derive(Debug, Default)]
pub struct Displaced {
    told: Cell<Option<Mono>>,
    idle: Cell<u64>,
    held: Cell<u64>,
}

/// A line to be logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Line {
    /// Idle connections that were closed since the last line.
    pub idle: u64,
    /// Those that waited for room in a held ring.
    pub held: u64,
    /// Where the last one came from.
    pub last: IpAddr,
}

impl Displaced {
    /// Notes one that is closed; gives a line about all of them, if it is time for one.
    pub fn note(&self, why: CloseReason, remote: IpAddr, now: Mono) -> Option<Line> {
        let count = if why == CloseReason::Held { &self.held } else { &self.idle };
        count.set(count.get() + 1);
        if self.told.get().is_some_and(|told| now.since_us(told) < TELL_US) {
            return None;
        }
        self.told.set(Some(now));
        Some(Line { idle: self.idle.take(), held: self.held.take(), last: remote })
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "closed {} idle connections and {} of producers that wait for room, to make place for \
             others; the last was from {}",
            self.idle, self.held, self.last
        )
    }
}

/// Logged again no sooner.
const TELL_US: u64 = 60_000_000;

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    #[test]
    fn connections_that_made_way_are_told_of_once_a_minute_and_all_are_counted() {
        let displaced = Displaced::default();
        let from = |last| IpAddr::V4(Ipv4Addr::new(10, 0, 0, last));
        let mut lines = Vec::new();
        for second in 0..=120 {
            let now = Mono(second * 1_000_000);
            for why in [CloseReason::Displaced, CloseReason::Held, CloseReason::Displaced] {
                lines.extend(displaced.note(why, from(second as u8), now));
            }
        }
        assert_eq!(
            lines,
            [
                Line { idle: 1, held: 0, last: from(0) },
                Line { idle: 120, held: 60, last: from(60) },
                Line { idle: 120, held: 60, last: from(120) },
            ]
        );
        assert_eq!(
            lines[1].to_string(),
            "closed 120 idle connections and 60 of producers that wait for room, to make place for \
             others; the last was from 10.0.0.60"
        );
    }
}
