//! A moment as people read it, for the log.

use std::fmt;

use crate::clock;

/// Seconds since 1970, shown as in `2026-02-28T12:00:59Z`.
pub struct Utc(u64);

impl Utc {
    /// By the system's clock, right or wrong; one before 1970 shows 1970.
    pub fn now() -> Utc {
        Utc(clock::wall_ms().unsigned_abs() / 1000)
    }
}

impl fmt::Display for Utc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (days, seconds) = (self.0 / 86_400, self.0 % 86_400);
        // Years that begin in March end with the leap day: then months have a simple pattern.
        let days = days + DAYS_TO_1970;
        let (era, day) = (days / DAYS_PER_400_YEARS, days % DAYS_PER_400_YEARS);
        let leap_days = day / 1460 - day / 36_524 + day / 146_096;
        let year_of_era = (day - leap_days) / 365;
        let day = day - (year_of_era * 365 + year_of_era / 4 - year_of_era / 100);
        let month = (5 * day + 2) / 153;
        let day = day - (153 * month + 2) / 5 + 1;
        let year = era * 400 + year_of_era + u64::from(month >= 10);
        let month = if month < 10 { month + 3 } else { month - 9 };
        let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
        write!(f, "{year:04}-{month:02}-{day:02}T{hours:02}:{minutes:02}:{seconds:02}Z")
    }
}

/// From the first of March of the year 0.
const DAYS_TO_1970: u64 = 719_468;
const DAYS_PER_400_YEARS: u64 = 146_097;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_shown_by_the_gregorian_calendar() {
        for (seconds, shown) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_399, "2000-02-28T23:59:59Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (951_868_800, "2000-03-01T00:00:00Z"),
            (1_735_689_599, "2024-12-31T23:59:59Z"),
            (1_735_689_600, "2025-01-01T00:00:00Z"),
            (4_107_542_399, "2100-02-28T23:59:59Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
            (13_569_465_600, "2400-01-01T00:00:00Z"),
        ] {
            assert_eq!(Utc(seconds).to_string(), shown);
        }
    }

    #[test]
    fn each_day_follows_the_one_before() {
        let days = [31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
        let mut moment = 0;
        for year in 1970..2410 {
            let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
            for (month, days) in (1..).zip(days) {
                for day in 1..=days + u64::from(month == 2 && leap) {
                    let shown = format!("{year:04}-{month:02}-{day:02}T00:00:00Z");
                    assert_eq!(Utc(moment).to_string(), shown);
                    moment += 86_400;
                }
            }
        }
    }
}
