//! What a ring does next for the disk, and what follows from each job's outcome: the writer's table.
//!
//! An **episode** of failures begins with a failed write or sync and ends with a group on flash. Its
//! first failure costs the current segment: the group goes to a spare at once. Each further one waits
//! before the next try, so that a disk that fails for long uses up neither files nor records.

use crate::clock::Mono;

/// What comes next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    /// Groups, at the end of the current segment.
    Append,
    /// No segment takes groups: the next group begins one.
    Between(Why),
    /// The current segment is full: note which segments are evicted.
    Evict,
    /// It is not: note that the oldest is evicted, which had to have its pass first.
    Clear,
    /// Then close it.
    Foot,
    /// Begin the next segment.
    Begin(Why),
    /// Nothing can be stored; it is tried again later.
    Failing(Why),
}

/// Why another segment is needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Why {
    /// There is none yet, or the current one is closed.
    Closed,
    /// The current one failed: it is not appended to, but read.
    GivenUp,
}

/// What happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Event {
    /// The group that is next does not fit, and something has to be overwritten.
    FullEvict,
    /// It does not fit.
    Full,
    /// A group wants a segment.
    Wanted,
    /// The pause after a failure is over.
    Retry,
    /// There is no file for another segment.
    NoFile,
    /// A group is written.
    Group,
    /// It could not be, for the first time in an episode.
    GroupFailed,
    /// And again.
    GroupFailedAgain,
    /// A seal is on flash.
    Seal,
    /// It could not be written: the next head proves the group instead.
    SealFailed,
    /// What was written is synced.
    Sync,
    /// It could not be.
    SyncFailed,
    /// The note of what is evicted is on flash.
    Evicted,
    /// It is not.
    EvictFailed,
    /// The pass of a segment is over that was due to be evicted with the roll before.
    Examined,
    /// A group of carried records is on flash.
    Carried,
    /// It is not.
    CarryFailed,
    /// The segment is closed; a foot that failed or did not fit is left out.
    Foot,
    /// A head is on flash.
    Head,
    /// It is not.
    HeadFailed,
}

struct Row {
    event: Event,
    mode: Mode,
    next: Mode,
}

/// Everything that can happen; anything else is a bug.
#[rustfmt::skip]
const TABLE: [Row; 29] = [
    row(Event::FullEvict,        Mode::Append,                Mode::Evict),
    row(Event::Full,             Mode::Append,                Mode::Foot),
    row(Event::Wanted,           Mode::Between(Why::Closed),  Mode::Begin(Why::Closed)),
    row(Event::Wanted,           Mode::Between(Why::GivenUp), Mode::Begin(Why::GivenUp)),
    row(Event::Group,            Mode::Append,                Mode::Append),
    row(Event::GroupFailed,      Mode::Append,                Mode::Begin(Why::GivenUp)),
    row(Event::GroupFailedAgain, Mode::Append,                Mode::Failing(Why::GivenUp)),
    row(Event::Seal,             Mode::Append,                Mode::Append),
    row(Event::SealFailed,       Mode::Append,                Mode::Begin(Why::GivenUp)),
    row(Event::Sync,             Mode::Append,                Mode::Append),
    row(Event::Sync,             Mode::Foot,                  Mode::Foot),
    row(Event::SyncFailed,       Mode::Append,                Mode::Between(Why::GivenUp)),
    row(Event::SyncFailed,       Mode::Foot,                  Mode::Begin(Why::GivenUp)),
    row(Event::Evicted,          Mode::Evict,                 Mode::Foot),
    row(Event::EvictFailed,      Mode::Evict,                 Mode::Begin(Why::GivenUp)),
    row(Event::Examined,         Mode::Append,                Mode::Clear),
    row(Event::Evicted,          Mode::Clear,                 Mode::Append),
    row(Event::EvictFailed,      Mode::Clear,                 Mode::Begin(Why::GivenUp)),
    row(Event::Carried,          Mode::Append,                Mode::Append),
    row(Event::CarryFailed,      Mode::Append,                Mode::Begin(Why::GivenUp)),
    row(Event::Foot,             Mode::Foot,                  Mode::Begin(Why::Closed)),
    row(Event::Head,             Mode::Begin(Why::Closed),    Mode::Append),
    row(Event::Head,             Mode::Begin(Why::GivenUp),   Mode::Append),
    row(Event::HeadFailed,       Mode::Begin(Why::Closed),    Mode::Failing(Why::Closed)),
    row(Event::HeadFailed,       Mode::Begin(Why::GivenUp),   Mode::Failing(Why::GivenUp)),
    row(Event::NoFile,           Mode::Begin(Why::Closed),    Mode::Failing(Why::Closed)),
    row(Event::NoFile,           Mode::Begin(Why::GivenUp),   Mode::Failing(Why::GivenUp)),
    row(Event::Retry,            Mode::Failing(Why::Closed),  Mode::Begin(Why::Closed)),
    row(Event::Retry,            Mode::Failing(Why::GivenUp), Mode::Begin(Why::GivenUp)),
];

const fn row(event: Event, mode: Mode, next: Mode) -> Row {
    Row { event, mode, next }
}

/// The writer: its mode, and the present episode.
#[derive(Debug)]
pub(super) struct Writer {
    mode: Mode,
    episode: Option<Episode>,
}

/// An episode of failures.
#[derive(Debug, Clone, Copy)]
struct Episode {
    /// How long it waits before the next try; doubles with each.
    pause_ms: u64,
    /// When that is, while it waits.
    retry: Mono,
    /// Requests got an error in it.
    refused: bool,
}

impl Writer {
    pub(super) fn new(mode: Mode) -> Writer {
        Writer { mode, episode: None }
    }

    pub(super) fn mode(&self) -> Mode {
        self.mode
    }

    /// Takes note of what happened.
    pub(super) fn on(&mut self, event: Event) {
        let row = TABLE.iter().find(|row| row.event == event && row.mode == self.mode);
        self.mode = match row {
            Some(row) => row.next,
            None => panic!("{event:?} cannot happen in {:?}", self.mode),
        };
    }

    /// A write or a sync failed.
    pub(super) fn failed(&mut self) {
        let new = Episode { pause_ms: RETRY_MS_MIN, retry: Mono(0), refused: false };
        self.episode.get_or_insert(new);
    }

    /// A group is on flash, or nothing is left to be stored.
    pub(super) fn recovered(&mut self) {
        self.episode = None;
    }

    /// Whether something failed since a group was last on flash.
    pub(super) fn in_episode(&self) -> bool {
        self.episode.is_some()
    }

    /// Begins to wait before the next try.
    pub(super) fn pause(&mut self, now: Mono) {
        self.failed();
        if let Some(episode) = &mut self.episode {
            episode.retry = now.plus_ms(episode.pause_ms);
            episode.pause_ms = (episode.pause_ms * 2).min(RETRY_MS_MAX);
            episode.refused = true;
        }
    }

    /// When the next try begins, while it waits.
    pub(super) fn retry(&self) -> Option<Mono> {
        let waits = matches!(self.mode, Mode::Failing(_));
        self.episode.filter(|_| waits).map(|episode| episode.retry)
    }

    /// Whether it has failed for so long that pauses grow no more.
    pub(super) fn pauses_are_longest(&self) -> bool {
        self.episode.is_some_and(|episode| episode.pause_ms == RETRY_MS_MAX)
    }

    /// Whether nothing can be stored: from when answers were failed until a group is on flash.
    pub(super) fn refuses(&self) -> bool {
        self.episode.is_some_and(|episode| episode.refused)
    }
}

const RETRY_MS_MIN: u64 = 250;
const RETRY_MS_MAX: u64 = 30_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_input_has_two_rows_and_each_mode_is_left() {
        for (i, row) in TABLE.iter().enumerate() {
            let same = |other: &Row| other.event == row.event && other.mode == row.mode;
            assert!(!TABLE[i + 1..].iter().any(same), "{:?} in {:?}", row.event, row.mode);
            assert!(TABLE.iter().any(|other| other.mode == row.next), "{:?}", row.next);
        }
    }

    #[test]
    fn what_failed_is_never_appended_to_and_no_foot_follows_a_failure() {
        for row in &TABLE {
            let failed = format!("{:?}", row.event).contains("Failed");
            let again = matches!(row.next, Mode::Append | Mode::Evict | Mode::Clear | Mode::Foot);
            assert!(!failed || !again, "{:?} in {:?}", row.event, row.mode);
            if row.mode == Mode::Failing(Why::GivenUp) || row.mode == Mode::Between(Why::GivenUp) {
                assert_eq!(row.next, Mode::Begin(Why::GivenUp), "it stays given up");
            }
        }
    }

    #[test]
    fn pauses_grow_until_a_group_is_on_flash() {
        let mut writer = Writer::new(Mode::Begin(Why::GivenUp));
        let mut pauses = Vec::new();
        for _ in 0..9 {
            writer.on(Event::HeadFailed);
            writer.pause(Mono(0));
            pauses.push(writer.retry().unwrap().0 / 1000);
            assert!(writer.refuses());
            writer.on(Event::Retry);
        }
        assert_eq!(pauses, [250, 500, 1000, 2000, 4000, 8000, 16_000, 30_000, 30_000]);
        writer.on(Event::Head);
        assert!(writer.refuses() && writer.in_episode(), "a head is no group");
        writer.recovered();
        writer.on(Event::GroupFailed);
        assert!(!writer.refuses());
    }
}
