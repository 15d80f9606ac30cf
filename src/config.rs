//! The configuration: keys, bounds, defaults.

/// The resolved configuration.
#[derive(Debug, Clone, Default)]
pub struct Config {}
