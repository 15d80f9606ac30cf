//! The one integration-test binary; a module per subject.

mod allowed;
mod cli;
mod client_rskafka;
mod compaction;
mod crash;
mod docs;
mod golden;
mod hold;
mod host;
mod http;
mod lines;
mod long;
mod model;
mod notify;
mod offsets;
#[cfg(feature = "client-commands")]
mod online;
mod oracle;
mod process;
mod produce;
mod reads;
mod requests;
mod rings;
mod roll;
mod sizes;
mod sizing;
mod status;
mod tidy;
mod told;
mod topic_ids;
mod turns;
