//! The configuration: keys, bounds, defaults.
