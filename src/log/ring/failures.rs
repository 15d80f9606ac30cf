//! What is logged of a disk that fails: at the beginning of an episode what failed and what that means, now
//! and then that it lasts, and its end.

use super::Out;
use crate::clock::Mono;
use crate::error::DiskError;

/// A ring's failures, and which were logged.
#[derive(Debug, Default)]
pub(super) struct Failures {
    /// When the episode began; none: there is none.
    since: Option<Mono>,
    /// Failures in it.
    count: u64,
    /// A line was logged about it.
    is_told: bool,
    /// When a failure was last logged.
    told: Option<Mono>,
    /// Failures since then.
    untold: u64,
}

impl Failures {
    /// A job failed.
    pub(super) fn failed(&mut self, ring: &str, out: Out, error: DiskError, now: Mono) {
        let since = *self.since.get_or_insert(now);
        self.count += 1;
        self.untold += 1;
        if self.told.is_some_and(|told| now.since_us(told) < TELL_US) {
            return;
        }
        let what = what(out);
        let lasts_s = now.since_us(since) / 1_000_000;
        if self.is_told || lasts_s > 0 {
            log::error!(
                "ring {ring}: the disk still fails after {lasts_s} s and {} failures, at {what}: {error}",
                self.count
            );
        } else {
            let before = Before(self.untold - 1);
            log::error!(
                "ring {ring}: the disk failed at {what}: {error}; what was not acknowledged goes to a spare \
                 segment; if that fails too, producers get an error that they retry; consumers go on{before}"
            );
        }
        (self.told, self.untold, self.is_told) = (Some(now), 0, true);
    }

    /// A group is on flash, or nothing is left to be stored: the episode, if there was one, is over.
    pub(super) fn ended(&mut self, ring: &str, now: Mono) {
        let Some(since) = self.since.take() else { return };
        let count = std::mem::take(&mut self.count);
        if std::mem::take(&mut self.is_told) {
            let (us, failures) =
                (now.since_us(since), if count == 1 { "failure" } else { "failures" });
            log::info!(
                "ring {ring}: the disk works again after {}.{} s and {count} {failures}",
                us / 1_000_000,
                us / 100_000 % 10
            );
        }
    }
}

/// Failures of earlier episodes that were not logged.
struct Before(u64);

impl std::fmt::Display for Before {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            0 => Ok(()),
            more => write!(f, " ({more} more failures since this was last said)"),
        }
    }
}

/// What a job was to do.
fn what(out: Out) -> &'static str {
    match out {
        Out::Group { .. } => "a commit group",
        Out::Sync => "syncing earlier groups",
        Out::Seal { .. } => "a seal",
        Out::Evict { .. } => "the note that a segment is overwritten",
        Out::Errand => "reading for compaction",
        Out::Carried { .. } => "a group of compacted records",
        Out::Foot => "a segment's footer",
        Out::Head { .. } => "a segment's header",
    }
}

/// While it lasts it is logged again no sooner.
const TELL_US: u64 = 60_000_000;
