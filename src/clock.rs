//! Time as a value: the core is handed a [`Now`] and never looks at a clock itself.

use std::cell::Cell;
use std::path::PathBuf;

use crate::limits;

/// Microseconds since the process started, from a clock that never jumps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Mono(pub u64);

impl Mono {
    /// This moment, `ms` milliseconds later.
    pub fn plus_ms(self, ms: u64) -> Mono {
        Mono(self.0.saturating_add(ms.saturating_mul(1000)))
    }

    /// Microseconds from `earlier` to this; 0 when `earlier` is later.
    pub fn since_us(self, earlier: Mono) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

/// A moment, as the core sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Now {
    /// For timers.
    pub mono: Mono,
    /// Milliseconds since 1970 by the system's clock: for stamps only; it may be wrong and jump.
    pub wall_ms: i64,
    /// Whether the system's clock is known to be synchronised with another, see [`Synchronised`].
    pub wall_synchronised: bool,
}

/// Where a [`Now`] comes from: made once, when the process starts.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    start: std::time::Instant,
}

impl Clock {
    /// A clock whose [`Mono`] is 0 now.
    pub fn start() -> Clock {
        Clock { start: std::time::Instant::now() }
    }

    /// Microseconds since the start.
    pub fn mono(&self) -> Mono {
        Mono(u64::try_from(self.start.elapsed().as_micros()).unwrap_or(u64::MAX))
    }

    /// This moment; nothing is known of whether the system's clock is synchronised.
    pub fn now(&self) -> Now {
        Now { mono: self.mono(), wall_ms: wall_ms(), wall_synchronised: false }
    }

    /// For timers: when this will be, or was.
    pub fn instant(&self, mono: Mono) -> std::time::Instant {
        let after = std::time::Duration::from_micros(mono.0);
        // No timer is meant to wait longer than a year.
        let year = std::time::Duration::from_secs(365 * 86_400);
        self.start + after.min(self.start.elapsed() + year)
    }
}

/// Milliseconds since 1970 by the system's clock, right or wrong; 0 before that.
pub fn wall_ms() -> i64 {
    let wall = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    wall.map_or(0, |wall| i64::try_from(wall.as_millis()).unwrap_or(0))
}

/// 2025-01-01: a clock before this program was written is wrong.
pub const WALL_MS_MIN: i64 = 1_735_689_600_000;

/// Whether the system's clock is synchronised: so says a file that the system makes once it is. The
/// kernel knows it too, but there is no safe call that asks it.
pub struct Synchronised {
    file: PathBuf,
    /// When it was looked at last, and whether the file was there.
    looked: Cell<Option<(Mono, bool)>>,
}

impl Synchronised {
    /// Goes by this file; an empty path: nothing is ever known.
    pub fn by(file: PathBuf) -> Synchronised {
        Synchronised { file, looked: Cell::new(None) }
    }

    /// What is known at this moment, at most [`limits::CLOCK_LOOK_MS`] late. Only asking costs
    /// anything: nothing wakes up for it.
    pub fn at(&self, now: Mono) -> bool {
        if let Some((when, found)) = self.looked.get()
            && now < when.plus_ms(limits::CLOCK_LOOK_MS)
        {
            return found;
        }
        let found = !self.file.as_os_str().is_empty() && self.file.exists();
        self.looked.set(Some((now, found)));
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clock_is_synchronised_while_the_file_is_there_which_is_looked_at_rarely() {
        let file = std::env::temp_dir().join(format!("brooklet-clock-{}", std::process::id()));
        let synchronised = Synchronised::by(file.clone());
        let later = |looks: u64| Mono(0).plus_ms(looks * limits::CLOCK_LOOK_MS);
        assert!(!synchronised.at(Mono(0)));
        std::fs::write(&file, "").unwrap();
        assert!(!synchronised.at(Mono(later(1).0 - 1)), "not looked at again yet");
        assert!(synchronised.at(later(1)));
        std::fs::remove_file(&file).unwrap();
        assert!(synchronised.at(Mono(later(2).0 - 1)));
        assert!(!synchronised.at(later(2)));
        assert!(!Synchronised::by(PathBuf::new()).at(later(3)));
    }
}
