//! What clients can cause to be logged as often as they like: so many lines a second, and of one kind from
//! one address one an hour.

use std::cell::{Cell, RefCell};
use std::net::IpAddr;

use crate::clock::Mono;

/// What was logged, and what was left out since.
#[derive(Debug, Default)]
pub struct Complaints {
    second: Cell<u64>,
    count: Cell<u32>,
    /// The kinds and addresses that were last heard of.
    told: RefCell<heapless::Vec<Told, TOLD_MAX>>,
}

/// A line that was logged.
#[derive(Debug, Clone, Copy)]
struct Told {
    remote: IpAddr,
    text: &'static str,
    at: Mono,
    left_out: u32,
}

impl Complaints {
    /// Whether a line may be logged now, and how many were left out before it.
    pub fn admit(&self, now: Mono) -> Option<u32> {
        let second = now.0 / 1_000_000;
        let mut left_out = 0;
        if self.second.replace(second) != second {
            left_out = self.count.take().saturating_sub(PER_SECOND_MAX);
        }
        self.count.set(self.count.get().saturating_add(1));
        (self.count.get() <= PER_SECOND_MAX).then_some(left_out)
    }

    /// Whether a line with this text about this address may be logged now, and how many such were left out
    /// before it: probes and scrapes come for ever.
    pub fn admit_from(&self, remote: IpAddr, text: &'static str, now: Mono) -> Option<u32> {
        let mut told = self.told.borrow_mut();
        let place = told.iter().position(|told| told.remote == remote && told.text == text);
        let mut left_out = 0;
        if let Some(place) = place {
            let known = &mut told[place];
            if now.since_us(known.at) < AGAIN_US {
                known.left_out = known.left_out.saturating_add(1);
                return None;
            }
            left_out = known.left_out;
            told.remove(place);
        } else if told.is_full() {
            // The one that was told longest ago.
            told.remove(0);
        }
        let _ = told.push(Told { remote, text, at: now, left_out: 0 });
        Some(left_out)
    }
}

const PER_SECOND_MAX: u32 = 10;
const TOLD_MAX: usize = 16;
const AGAIN_US: u64 = 3_600_000_000;

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    const SECOND: u64 = 1_000_000;

    fn address(last: u8) -> IpAddr {
        IpAddr::V4(Ipv4Addr::new(10, 0, 0, last))
    }

    #[test]
    fn so_many_lines_a_second_and_then_how_many_were_left_out() {
        let complaints = Complaints::default();
        let admitted = (0..25).filter_map(|_| complaints.admit(Mono(5 * SECOND))).count();
        assert_eq!(admitted, 10);
        assert_eq!(complaints.admit(Mono(6 * SECOND)), Some(15));
        assert_eq!(complaints.admit(Mono(6 * SECOND)), Some(0));
    }

    #[test]
    fn one_line_an_hour_for_each_kind_and_address() {
        let complaints = Complaints::default();
        let admit =
            |last, text, second| complaints.admit_from(address(last), text, Mono(second * SECOND));
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
}
