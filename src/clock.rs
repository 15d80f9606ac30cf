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
