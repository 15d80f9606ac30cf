//! The part of the configuration for sockets and threads.

use std::net::SocketAddr;
use std::path::PathBuf;

use super::pools::PoolSizes;
use crate::config::{Config, METADATA_NAME};
use crate::types::RingIndex;

/// The resolved values.
#[derive(Debug, Clone)]
pub struct Setup {
    /// Where to listen.
    pub listen: SocketAddr,
    /// Where HTTP is served; none: nowhere.
    pub http_listen: Option<SocketAddr>,
    /// The host that clients are told, if the configuration has one.
    pub advertised_host: Option<String>,
    /// Where the status socket is made; none: there is none.
    pub status_socket: Option<PathBuf>,
    /// See [`crate::clock::Synchronised`].
    pub clock_synchronised_file: PathBuf,
    /// Connections at a time.
    pub max_connections: usize,
    /// Connections of one address at a time.
    pub max_connections_per_ip: usize,
    /// A new connection that completed no request in this time is the first to be displaced.
    pub newcomer_ms: u64,
    /// A silent connection is closed after this.
    pub idle_ms_max: u64,
    /// A connection with a buffer that others wait for is closed below this rate.
    pub lease_bytes_per_second_min: u64,
    /// Produce requests of one connection that may wait for their answers.
    pub in_flight_max: usize,
    /// The longest frame without its size prefix.
    pub request_bytes_max: usize,
    /// The pools of buffers.
    pub pools: PoolSizes,
    /// The rings' names, that of the metadata ring last.
    pub rings: Vec<String>,
    /// Syncs run on the executor while they take less than this on average.
    pub sync_inline_us_max: u64,
    /// Groups wait for more requests when syncs take at least this on average.
    pub gather_sync_us_min: u64,
}

impl Setup {
    /// A ring's name.
    pub fn ring_name(&self, ring: RingIndex) -> &str {
        self.rings.get(usize::from(ring.0)).map_or("", String::as_str)
    }
}

impl From<&Config> for Setup {
    fn from(config: &Config) -> Setup {
        Setup {
            listen: config.listen,
            http_listen: config.http_listen.0,
            advertised_host: config.advertised_listeners.0.as_ref().map(|(host, _)| host.clone()),
            status_socket: Some(config.data_dir.join("status.sock")),
            clock_synchronised_file: config.clock_synchronised_file.clone(),
            max_connections: config.max_connections,
            max_connections_per_ip: config.max_connections_per_ip,
            newcomer_ms: NEWCOMER_MS,
            idle_ms_max: config.connections_max_idle_ms,
            lease_bytes_per_second_min: config.lease_bytes_per_second_min,
            in_flight_max: config.requests_in_flight_max,
            request_bytes_max: config.socket_request_max_bytes,
            pools: config.pools(),
            rings: config
                .rings
                .iter()
                .map(|ring| ring.name.clone())
                .chain([METADATA_NAME.to_string()])
                .collect(),
            sync_inline_us_max: config.sync_inline_us_max,
            gather_sync_us_min: GATHER_SYNC_US_MIN,
        }
    }
}

/// Clients send their first request at once; over a slow link it takes a moment.
const NEWCOMER_MS: u64 = 2000;

/// Quicker syncs are not worth a timer.
const GATHER_SYNC_US_MIN: u64 = 400;
