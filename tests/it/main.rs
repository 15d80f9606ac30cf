//! The one integration-test binary; a module per subject.

mod cli;
mod oracle;
mod reads;
