//! Then what each file is: one value, from one function. It alone decides which segments are live, which
//! files may be written over, and what is only reported.

use std::ops::RangeInclusive;

use super::anchors::{FoundFile, Page};
use super::groups::{self, Unreadable};
use super::{Base, RingFiles};
use crate::limits::PAGE_BYTES;
use crate::log::format::{AnchorKind, ListEntry, RingId};
use crate::log::ring::Segment;
use crate::types::{GroupSeq, SegmentSeq};

/// What a segment file is to its ring.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FileState {
    /// It holds a segment that the base knows.
    Live(Segment),
    /// It holds a segment that was begun after the base.
    Later(Later),
    /// It holds no live segment, and may be written over.
    Free,
    /// The base says that it holds this segment, and nothing of that is left. It may be written over.
    Damaged(SegmentSeq),
    /// It may hold a segment, and cannot be read: it is never written over.
    Unreadable,
    /// It is of another ring, or was moved here: it is neither read nor written over.
    Alien,
}

/// A segment that was begun after the base.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Later {
    pub(super) segment: Segment,
    /// Whether its head is whole: else its groups start with the first one that was found, and those
    /// before it are lost.
    pub(super) head: bool,
}

/// What a file's state follows from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Seen {
    head: Head,
    /// What the base says of the file.
    base: Listed,
    /// Whether its foot is that of the segment which the base lists.
    foot: bool,
    /// Whether it holds a group of a segment behind the base.
    behind: Behind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Head {
    /// Of a segment behind the base; its snapshot is broken, or it would be the base.
    Behind,
    /// Of the base's own segment, of one that it lists, or of one that was evicted before it.
    Before,
    Blank,
    Broken,
    Unreadable,
    Alien,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Listed {
    /// The base is this file's head.
    Own,
    /// Its list names the file.
    Yes,
    No,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Behind {
    Found,
    None,
    /// No: but a page could not be read.
    Unknown,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Live,
    Later,
    Free,
    Damaged,
    Unreadable,
    Alien,
}

struct Row {
    head: &'static [Head],
    base: &'static [Listed],
    foot: &'static [bool],
    behind: &'static [Behind],
    kind: Kind,
}

/// Each input matches exactly one row.
#[rustfmt::skip]
const TABLE: [Row; 13] = [
    row(ANY_HEAD,          &[Listed::Own],              EITHER,    ANY,                Kind::Live),
    row(&[Head::Alien],    NOT_OWN,                     EITHER,    ANY,                Kind::Alien),
    row(&[Head::Before],   &[Listed::Yes],              EITHER,    ANY,                Kind::Live),
    row(&[Head::Before],   &[Listed::No],               EITHER,    ANY,                Kind::Free),
    row(&[Head::Blank],    &[Listed::Yes],              &[true],   ANY,                Kind::Live),
    row(&[Head::Blank],    &[Listed::Yes],              &[false],  ANY,                Kind::Damaged),
    row(&[Head::Blank],    &[Listed::No],               EITHER,    ANY,                Kind::Free),
    // What is behind the base was written over what the base lists.
    row(READ_ON,           NOT_OWN,                     EITHER,    &[Behind::Found],   Kind::Later),
    row(READ_ON,           NOT_OWN,                     EITHER,    &[Behind::Unknown], Kind::Unreadable),
    // Begun and never used: what the base lists there is overwritten all the same.
    row(&[Head::Behind],   NOT_OWN,                     EITHER,    &[Behind::None],    Kind::Free),
    row(LOST_HEAD,         &[Listed::Yes],              EITHER,    &[Behind::None],    Kind::Live),
    row(&[Head::Broken],   &[Listed::No],               EITHER,    &[Behind::None],    Kind::Free),
    row(&[Head::Unreadable], &[Listed::No],             EITHER,    &[Behind::None],    Kind::Unreadable),
];

const ANY_HEAD: &[Head] =
    &[Head::Behind, Head::Before, Head::Blank, Head::Broken, Head::Unreadable, Head::Alien];
const READ_ON: &[Head] = &[Head::Behind, Head::Broken, Head::Unreadable];
const LOST_HEAD: &[Head] = &[Head::Broken, Head::Unreadable];
const NOT_OWN: &[Listed] = &[Listed::Yes, Listed::No];
const EITHER: &[bool] = &[false, true];
const ANY: &[Behind] = &[Behind::Found, Behind::None, Behind::Unknown];

const fn row(
    head: &'static [Head],
    base: &'static [Listed],
    foot: &'static [bool],
    behind: &'static [Behind],
    kind: Kind,
) -> Row {
    Row { head, base, foot, behind, kind }
}

impl Row {
    fn matches(&self, seen: &Seen) -> bool {
        self.head.contains(&seen.head)
            && self.base.contains(&seen.base)
            && self.foot.contains(&seen.foot)
            && self.behind.contains(&seen.behind)
    }
}

fn kind_of(seen: &Seen) -> Kind {
    let row = TABLE.iter().find(|row| row.matches(seen));
    row.expect("the table has a row for each input").kind
}

/// What a file is, and the page that could not be read if it therefore is [`FileState::Unreadable`].
pub(super) fn state_of(
    files: &RingFiles<'_>,
    id: RingId,
    base: Option<&Base>,
    found: &FoundFile,
) -> (FileState, Option<Unreadable>) {
    let entry = base.and_then(|base| base.list.iter().find(|entry| entry.file == found.file));
    let own = base.filter(|base| base.file == found.file && base.anchor.kind != AnchorKind::Foot);
    let head = head_of(base, found);
    let (behind, group) = match head {
        _ if own.is_some() => (Behind::None, Ok(None)),
        Head::Behind | Head::Broken | Head::Unreadable => {
            let group = first_behind(files, id, base, found);
            let behind = match group {
                Ok(Some(_)) => Behind::Found,
                Ok(None) => Behind::None,
                Err(_) => Behind::Unknown,
            };
            (behind, group)
        }
        Head::Before | Head::Blank | Head::Alien => (Behind::None, Ok(None)),
    };
    let seen = Seen {
        head,
        base: match (own, entry) {
            (Some(_), _) => Listed::Own,
            (None, Some(_)) => Listed::Yes,
            (None, None) => Listed::No,
        },
        foot: entry.is_some_and(|e| found.foot.anchor().is_some_and(|foot| foot.seq == e.seq)),
        behind,
    };
    let state = match (kind_of(&seen), own, entry, group) {
        (Kind::Live, Some(base), ..) => FileState::Live(own_segment(base)),
        (Kind::Live, None, Some(entry), _) => FileState::Live(listed_segment(entry, found)),
        (Kind::Damaged, _, Some(entry), _) => FileState::Damaged(entry.seq),
        (Kind::Later, _, _, Ok(Some(group))) => FileState::Later(group),
        (Kind::Unreadable, ..) => FileState::Unreadable,
        (Kind::Alien, ..) => FileState::Alien,
        _ => FileState::Free,
    };
    (state, group.err().filter(|_| state == FileState::Unreadable))
}

fn head_of(base: Option<&Base>, found: &FoundFile) -> Head {
    match &found.head {
        Page::Ours(head) if base.is_some_and(|base| head.seq <= base.anchor.seq) => Head::Before,
        Page::Ours(_) => Head::Behind,
        Page::Blank => Head::Blank,
        Page::Broken => Head::Broken,
        Page::Unreadable(_) => Head::Unreadable,
        Page::Alien(_) => Head::Alien,
    }
}

/// The segment behind the base that the file holds, if it holds a group of one. Without a group its
/// head was cut short or given up, and nothing was ever written behind it.
fn first_behind(
    files: &RingFiles<'_>,
    id: RingId,
    base: Option<&Base>,
    found: &FoundFile,
) -> Result<Option<Later>, Unreadable> {
    let head = found.head.anchor();
    let mut reader = files.reader(found.file);
    let segments = match head {
        Some(head) => head.seq..=head.seq,
        None => behind(base),
    };
    let group = groups::first_group(&mut reader, Some(id), segments, files.segment_bytes);
    let Some(group) = group else {
        return reader.unreadable().map_or(Ok(None), Err);
    };
    let groups_at = head.map_or(group.header.position, |head| head.groups_at);
    let group_next = head.map_or(group.header.seq, |head| head.group_next);
    let segment = Segment {
        seq: group.header.segment,
        file: found.file,
        groups_at,
        end: groups_at,
        group_last: GroupSeq(group_next.0.saturating_sub(1)),
        given_up: false,
    };
    Ok(Some(Later { segment, head: head.is_some() }))
}

/// The sequences that segments behind the base can have.
fn behind(base: Option<&Base>) -> RangeInclusive<SegmentSeq> {
    let base = base.map_or(0, |base| base.anchor.seq.0);
    SegmentSeq(base + 1)..=SegmentSeq(base + SEGMENT_JUMP_MAX)
}

fn own_segment(base: &Base) -> Segment {
    Segment {
        seq: base.anchor.seq,
        file: base.file,
        groups_at: base.anchor.groups_at,
        end: base.anchor.groups_at,
        group_last: GroupSeq(base.anchor.group_next.0 - 1),
        given_up: false,
    }
}

fn listed_segment(entry: &ListEntry, found: &FoundFile) -> Segment {
    let own = found.anchors().find(|anchor| anchor.seq == entry.seq);
    Segment {
        seq: entry.seq,
        file: entry.file,
        groups_at: own.map_or(PAGE_BYTES as u64, |anchor| anchor.groups_at),
        end: entry.end,
        group_last: entry.group_last,
        given_up: entry.given_up,
    }
}

/// Each try to begin a segment takes a sequence, also one that fails.
const SEGMENT_JUMP_MAX: u64 = 1 << 24;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_input_matches_exactly_one_row_and_nothing_that_may_live_is_written_over() {
        for head in ANY_HEAD.iter().copied() {
            for base in [Listed::Own, Listed::Yes, Listed::No] {
                for foot in [false, true] {
                    for behind in ANY.iter().copied() {
                        let seen = Seen { head, base, foot, behind };
                        let rows = TABLE.iter().filter(|row| row.matches(&seen)).count();
                        assert_eq!(rows, 1, "{seen:?}");
                        check(&seen, kind_of(&seen));
                    }
                }
            }
        }
    }

    /// What must hold of any table.
    fn check(seen: &Seen, kind: Kind) {
        let over = matches!(kind, Kind::Free | Kind::Damaged);
        let asked = !matches!(seen.head, Head::Before | Head::Blank | Head::Alien);
        if seen.base == Listed::Own {
            assert_eq!(kind, Kind::Live, "{seen:?}");
        } else if seen.head == Head::Alien {
            assert_eq!(kind, Kind::Alien, "{seen:?}");
        } else if asked && seen.behind == Behind::Found {
            assert_eq!(kind, Kind::Later, "what is behind the base is part of the log: {seen:?}");
        } else if asked && seen.behind == Behind::Unknown {
            assert_eq!(kind, Kind::Unreadable, "what may live is not written over: {seen:?}");
        } else if seen.base == Listed::Yes && seen.head != Head::Behind {
            assert_eq!(over, seen.head == Head::Blank && !seen.foot, "{seen:?}");
        } else {
            assert_eq!(over, seen.head != Head::Unreadable, "{seen:?}");
        }
    }
}
