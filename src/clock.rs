//! Time as a value: the core is handed a [`Now`] and never looks at a clock itself.

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
    /// Whether the kernel says that the system's clock is synchronised.
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

    /// This moment.
    pub fn now(&self) -> Now {
        let wall = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        Now {
            mono: self.mono(),
            wall_ms: wall.map_or(0, |wall| i64::try_from(wall.as_millis()).unwrap_or(0)),
            wall_synchronised: false,
        }
    }

    /// For timers: when this will be, or was.
    pub fn instant(&self, mono: Mono) -> std::time::Instant {
        let after = std::time::Duration::from_micros(mono.0);
        // No timer is meant to wait longer than a year.
        let year = std::time::Duration::from_secs(365 * 86_400);
        self.start + after.min(self.start.elapsed() + year)
    }
}
