//! The one integration-test binary; a module per subject.

mod cli;
mod docs;
mod host;
mod offsets;
mod oracle;
mod produce;
mod reads;
