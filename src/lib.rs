//! brooklet: a Kafka-protocol broker for constrained edge devices.
//!
//! The layers, top to bottom (imports point down only):
//! `cli` → `net`, `client` → `report` → `plan`, `api` → `broker` → `log`, `group` → `storage`, `codec` →
//! `limits`, `config`, `clock`, `error`, `metrics`, `types`, `bytes`, `process`,
//! `log_limit`.

pub mod api;
pub mod broker;
pub mod bytes;
pub mod cli;
#[cfg(feature = "client-commands")]
pub mod client;
pub mod clock;
pub mod codec;
pub mod config;
pub mod error;
pub mod group;
pub mod limits;
pub mod log;
pub mod log_limit;
pub mod metrics;
pub mod net;
pub mod plan;
mod process;
pub mod report;
pub mod storage;
pub mod types;
#[cfg(test)]
mod visits;
