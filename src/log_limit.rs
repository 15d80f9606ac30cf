//! How much of what clients or a disk can cause as often as they like is logged: of one kind about one
//! address or name a line each so often, and of all together so many a minute. And [`Names`], of which a
//! line has as many as fit.

use std::cell::{Cell, RefCell};
use std::fmt::{self, Write as _};
use std::net::IpAddr;

use log::Level;

use crate::clock::Mono;

/// What was logged, and what was left out since. Of a fixed size.
#[derive(Debug, Default)]
pub struct LogLimit {
    /// What was last heard of, the newest at the end.
    told: RefCell<heapless::Vec<Told, TOLD_MAX>>,
    /// The lines that all kinds together had lately, each for [`LINE_US`]: until when that is.
    taken_until: Cell<u64>,
    /// Lines that were left out since, because there were too many of all kinds together.
    left_out: Cell<u32>,
}

/// Names for a line of the log: as many as there is room for.
#[derive(Debug, Default)]
pub struct Names {
    text: heapless::String<NAMES_BYTES>,
    more: u32,
}

/// What a line is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct About {
    kind: &'static str,
    whom: u64,
    again_us: u64,
}

/// A line that was logged.
#[derive(Debug, Clone, Copy)]
struct Told {
    kind: &'static str,
    whom: u64,
    at: Mono,
    left_out: u32,
}

impl About {
    /// A kind of lines: one a minute. The kind is told from others by its text.
    pub const fn kind(kind: &'static str) -> About {
        About { kind, whom: 0, again_us: 60_000_000 }
    }

    /// One a minute for each address.
    pub fn from(self, remote: IpAddr) -> About {
        let own = match remote.to_canonical() {
            IpAddr::V4(v4) => digest(&v4.octets()),
            IpAddr::V6(v6) => digest(&v6.octets()),
        };
        About { whom: own, ..self }
    }

    /// One a minute for each of such a name.
    pub fn of(self, name: &str) -> About {
        About { whom: digest(name.as_bytes()), ..self }
    }

    /// One an hour, for what comes for ever, such as a scanner's probes.
    pub const fn hourly(self) -> About {
        About { again_us: 3_600_000_000, ..self }
    }

    /// Each, as long as there are not too many of all kinds together.
    pub const fn each(self) -> About {
        About { again_us: 0, ..self }
    }
}

impl LogLimit {
    /// Logs a line, if it may be logged now, and with it how many like it were left out before.
    #[inline(never)]
    pub fn say(&self, level: Level, about: About, now: Mono, text: fmt::Arguments<'_>) {
        let Some(like_it) = self.admit(about, now) else {
            log::debug!("{text}");
            return;
        };
        let others = self.left_out.take();
        match (like_it, others) {
            (0, 0) => log::log!(level, "{text}"),
            (_, 0) => log::log!(level, "{text} ({like_it} times more since that was last said)"),
            (_, _) => log::log!(
                level,
                "{text} ({like_it} times more since that was last said; {others} lines of all kinds left out)"
            ),
        }
    }

    /// Whether a line may be logged now, and how many like it were left out before.
    pub fn admit(&self, about: About, now: Mono) -> Option<u32> {
        let mut told = self.told.borrow_mut();
        let is = |told: &Told| told.kind == about.kind && told.whom == about.whom;
        let place = told.iter().position(is);
        if let Some(place) = place
            && now.since_us(told[place].at) < about.again_us
        {
            told[place].left_out = told[place].left_out.saturating_add(1);
            return None;
        }
        if !self.take_line(now) {
            self.left_out.set(self.left_out.get().saturating_add(1));
            return None;
        }
        let left_out = place.map_or(0, |place| told.remove(place).left_out);
        if told.is_full() {
            // The one that was told longest ago.
            told.remove(0);
        }
        let _ = told.push(Told { kind: about.kind, whom: about.whom, at: now, left_out: 0 });
        Some(left_out)
    }

    /// So many lines at once, and then one each so often.
    fn take_line(&self, now: Mono) -> bool {
        let taken_until = self.taken_until.get().max(now.0);
        let may = taken_until - now.0 <= (LINES_AT_ONCE - 1) * LINE_US;
        if may {
            self.taken_until.set(taken_until + LINE_US);
        }
        may
    }
}

impl Names {
    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.text.is_empty() && self.more == 0
    }

    /// Adds one.
    pub fn add(&mut self, name: fmt::Arguments<'_>) {
        let whole = self.text.len();
        let before = if whole == 0 { "" } else { ", " };
        if self.more > 0 || write!(self.text, "{before}{name}").is_err() {
            self.text.truncate(whole);
            self.more += 1;
        }
    }
}

impl fmt::Display for Names {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)?;
        match self.more {
            0 => Ok(()),
            more => write!(f, " and {more} more"),
        }
    }
}

/// FNV-1a: two that have the same share a line.
fn digest(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |digest, byte| {
        (digest ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3)
    })
}

/// Of 200 bytes each, a line each ten seconds is 1.7 MB a day.
const LINE_US: u64 = 10_000_000;
const LINES_AT_ONCE: u64 = 60;
const TOLD_MAX: usize = 32;
/// A few names of topics.
const NAMES_BYTES: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    const SECOND: u64 = 1_000_000;

    fn address(last: u8) -> IpAddr {
        IpAddr::V4(Ipv4Addr::new(10, 0, 0, last))
    }

    #[test]
    fn of_all_kinds_so_many_at_once_and_then_one_each_ten_seconds() {
        let limit = LogLimit::default();
        let about = About::kind("changed").each();
        let at = |second| limit.admit(about, Mono(second * SECOND)).is_some();
        assert_eq!((0..100).filter(|_| at(5)).count(), 60);
        assert_eq!(limit.left_out.get(), 40);
        assert_eq!((6..106).filter(|second| at(*second)).count(), 10);
        // After a silence there is room for as many as before, and no more.
        assert_eq!((0..100).filter(|_| at(100_000)).count(), 60);
    }

    #[test]
    fn one_line_for_each_kind_and_address_at_a_time() {
        let limit = LogLimit::default();
        let admit = |last, kind, second| {
            let about = About::kind(kind).from(address(last)).hourly();
            limit.admit(about, Mono(second * SECOND))
        };
        assert_eq!(admit(1, "HTTP", 0), Some(0));
        assert!((1..3600).all(|second| admit(1, "HTTP", second).is_none()));
        assert_eq!(admit(1, "TLS", 10), Some(0));
        assert_eq!(admit(2, "HTTP", 10), Some(0));
        assert_eq!(admit(1, "HTTP", 3600), Some(3599));
        // Of many addresses the newest are known.
        for last in 3..40 {
            assert_eq!(admit(last, "HTTP", 3601), Some(0));
        }
        assert_eq!((admit(39, "HTTP", 3602), admit(1, "HTTP", 3602)), (None, Some(0)));
    }

    #[test]
    fn of_names_there_are_as_many_as_fit() {
        let mut names = Names::default();
        assert!(names.is_empty());
        names.add(format_args!("a"));
        names.add(format_args!("b {}", 7));
        assert_eq!(names.to_string(), "a, b 7");
        names.add(format_args!("{}", "long".repeat(100)));
        // What comes behind it is left out too: nobody looks for it there.
        names.add(format_args!("c"));
        assert_eq!(names.to_string(), "a, b 7 and 2 more");
    }

    #[test]
    fn an_address_is_the_same_in_both_of_its_forms() {
        let about = About::kind("x");
        let IpAddr::V4(v4) = address(1) else { panic!("it is one") };
        assert_eq!(about.from(address(1)), about.from(IpAddr::V6(v4.to_ipv6_mapped())));
        assert_ne!(about.from(address(1)), about.from(address(2)));
        assert_ne!(about.of("a"), about.of("b"));
    }
}
