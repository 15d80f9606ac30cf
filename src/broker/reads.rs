//! Read jobs: fetches and look-ups by timestamp, one per connection at the most.

use crate::config::Config;

/// The jobs of all connections, and what they wait for.
pub struct Reads {}

impl Reads {
    /// No jobs; allocates all that they will ever need.
    pub fn new(_config: &Config) -> Reads {
        Reads {}
    }
}
