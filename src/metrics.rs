//! Counters.

/// What `status` shows.
#[derive(Debug, Clone, Default)]
pub struct Metrics {}
