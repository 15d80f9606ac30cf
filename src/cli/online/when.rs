//! A moment on the command line.

/// Milliseconds since 1970 of what is said: `@MS`, a span before now (`-15m`), or RFC 3339 in UTC
/// (`2026-02-28T12:00:59Z`).
pub fn moment(text: &str, now_ms: i64) -> Option<i64> {
    if let Some(ms) = text.strip_prefix('@') {
        return number(ms);
    }
    if let Some(back) = text.strip_prefix('-') {
        let (count, unit) = back.split_at_checked(back.len().checked_sub(1)?)?;
        let unit_ms = match unit {
            "s" => 1000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => DAY_MS,
            _ => return None,
        };
        let span = number(count)?.checked_mul(unit_ms)?;
        return Some(now_ms.saturating_sub(span).max(0));
    }
    rfc_3339(text)
}

/// A whole number without a sign.
pub fn number(text: &str) -> Option<i64> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| digits)
}

fn rfc_3339(text: &str) -> Option<i64> {
    let text = text.strip_suffix(['Z', 'z'])?;
    let (moment, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let (date, time) = moment.split_once(['T', 't', ' '])?;
    let [year, month, day] = three(date, '-', [4, 2, 2])?;
    let [hour, minute, second] = three(time, ':', [2, 2, 2])?;
    let is_one = year >= 1970
        && (1..=12).contains(&month)
        && (1..=days_of(year, month)).contains(&day)
        && hour < 24
        && minute < 60
        // A leap second is the first one of the next minute.
        && second <= 60;
    if !is_one {
        return None;
    }
    let days: i64 = (1970..year).map(|year| 337 + days_of(year, 2)).sum();
    let days = days + (1..month).map(|month| days_of(year, month)).sum::<i64>() + day - 1;
    number(fraction)?;
    let ms = fraction.bytes().chain([b'0'; 3]).take(3);
    let ms = ms.fold(0, |ms, digit| ms * 10 + i64::from(digit - b'0'));
    Some(days * DAY_MS + (hour * 60 + minute) * 60_000 + second * 1000 + ms)
}

/// Three numbers of so many digits.
fn three(text: &str, separator: char, digits: [usize; 3]) -> Option<[i64; 3]> {
    let mut parts = text.split(separator);
    let mut found = [0; 3];
    for (found, digits) in found.iter_mut().zip(digits) {
        *found = parts.next().filter(|part| part.len() == digits).and_then(number)?;
    }
    parts.next().is_none().then_some(found)
}

fn days_of(year: i64, month: i64) -> i64 {
    let is_leap = year % 4 == 0 && year % 100 != 0 || year % 400 == 0;
    match month {
        2 => 28 + i64::from(is_leap),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

const DAY_MS: i64 = 86_400_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_stamps_spans_and_dates() {
        let now = 1_000_000_000;
        for (text, ms) in [
            ("@1700000000000", Some(1_700_000_000_000)),
            ("-30s", Some(now - 30_000)),
            ("-15m", Some(now - 900_000)),
            ("-2h", Some(now - 7_200_000)),
            ("-1d", Some(now - 86_400_000)),
            ("-900d", Some(0)),
            ("1970-01-01T00:00:00Z", Some(0)),
            ("2000-02-29T00:00:00Z", Some(951_782_400_000)),
            ("2025-12-31T23:59:59.25Z", Some(1_767_225_599_250)),
            ("2026-02-28 12:00:59.1239z", Some(1_772_280_059_123)),
            ("2100-03-01T00:00:00Z", Some(4_107_542_400_000)),
            ("2100-02-29T00:00:00Z", None),
            ("2026-13-01T00:00:00Z", None),
            ("2026-00-01T00:00:00Z", None),
            ("2026-04-31T00:00:00Z", None),
            ("2026-01-01T24:00:00Z", None),
            ("2026-01-01T00:00:00", None),
            ("2026-01-01T00:00:00+01:00", None),
            ("2026-01-01T00:00:00.Z", None),
            ("2026-01-01T00:00Z", None),
            ("1969-12-31T23:59:59Z", None),
            ("2026-1-01T00:00:00Z", None),
            ("+026-01-01T00:00:00Z", None),
            ("Z", None),
            ("@", None),
            ("@-5", None),
            ("-", None),
            ("--5m", None),
            ("-5", None),
            ("-5w", None),
            ("-9223372036854775807d", None),
            ("ä", None),
            ("-5ä", None),
        ] {
            assert_eq!(moment(text, now), ms, "{text}");
        }
    }
}
