//! What the groups of a segment mean after a power cut: the decision table, and the walk that asks it.
//!
//! A group is *proven* once a later one says that it was on flash (`synced_through`), or once its
//! segment was closed. A proven group that is broken is damage: what is readable of it is kept. A
//! broken group that is not proven is a write that was cut short: it and what follows never
//! happened. A whole one that is not proven may be in the page cache only, and is copied forward.

use crate::log::scan::{self, Expect, Group, Reader};
use crate::types::{Boot, GroupSeq};

/// What is known of a group that was not acknowledged by anything but itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Proof {
    /// A later group, or the segment's end, says that it was on flash.
    Acknowledged,
    /// A later boot declared it void, and copied what it could read of it.
    Superseded,
    /// Nothing was written behind it.
    None,
}

/// What is found where a group should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Finding {
    /// Its header can be believed.
    pub header: bool,
    /// The CRCs of its directory and metadata hold.
    pub directory: bool,
    /// The CRCs of all its batches hold.
    pub payload: bool,
    /// What else is known.
    pub proof: Proof,
}

/// What becomes of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It is part of the log.
    Accept,
    /// Damage: the batches in it whose CRC holds are part of the log, the others are named.
    KeepGood,
    /// Damage: nothing of it is left; what it held shows as gaps.
    Lost,
    /// It is whole, and is copied forward before anything is served.
    CopyForward,
    /// It was cut short: it never happened, but its offsets are not given again.
    DropWithGap,
    /// It was cut short, and nothing is known of what it was to hold.
    Drop,
    /// It is void.
    Skip,
}

struct Row {
    header: Option<bool>,
    directory: Option<bool>,
    payload: Option<bool>,
    proof: Proof,
    verdict: Verdict,
}

/// Each input matches exactly one row; none: either.
const TABLE: [Row; 9] = [
    row(None, None, None, Proof::Superseded, Verdict::Skip),
    row(Some(true), Some(true), Some(true), Proof::Acknowledged, Verdict::Accept),
    row(Some(true), Some(true), Some(false), Proof::Acknowledged, Verdict::KeepGood),
    row(Some(true), Some(false), None, Proof::Acknowledged, Verdict::Lost),
    row(Some(false), None, None, Proof::Acknowledged, Verdict::Lost),
    row(Some(true), Some(true), Some(true), Proof::None, Verdict::CopyForward),
    row(Some(true), Some(true), Some(false), Proof::None, Verdict::DropWithGap),
    row(Some(true), Some(false), None, Proof::None, Verdict::Drop),
    row(Some(false), None, None, Proof::None, Verdict::Drop),
];

const fn row(
    header: Option<bool>,
    directory: Option<bool>,
    payload: Option<bool>,
    proof: Proof,
    verdict: Verdict,
) -> Row {
    Row { header, directory, payload, proof, verdict }
}

impl Row {
    fn matches(&self, finding: &Finding) -> bool {
        let fits = |wanted: Option<bool>, is| wanted.is_none_or(|wanted| wanted == is);
        fits(self.header, finding.header)
            && fits(self.directory, finding.directory)
            && fits(self.payload, finding.payload)
            && self.proof == finding.proof
    }
}

/// What becomes of what was found.
pub fn verdict(finding: &Finding) -> Verdict {
    let row = TABLE.iter().find(|row| row.matches(finding));
    row.expect("the table has a row for each input").verdict
}

/// A place in a segment where a group should be.
#[derive(Debug, Clone, Copy)]
pub struct Slot {
    /// Where it starts.
    pub at: u64,
    /// Its sequence; for one without a header, the lowest that it can have.
    pub seq: GroupSeq,
    /// Its header, if it can be believed.
    pub group: Option<Group>,
}

/// What a walk over a segment found out beside the groups themselves.
#[derive(Debug, Clone)]
pub struct Walked {
    /// Groups that nothing proves, in order; only in a segment that was not closed.
    pub tail: Vec<Slot>,
    /// Where the last believable group ends.
    pub end: u64,
    /// The last believable group's sequence, or the one before the first.
    pub seq_last: GroupSeq,
    /// The last proven group's sequence.
    pub proven: GroupSeq,
    /// The highest boot seen.
    pub boot: Boot,
    /// The CRC of the last believable header.
    pub crc: u32,
}

/// Where a walk starts, and what is known before it.
#[derive(Debug, Clone, Copy)]
pub struct Start {
    /// Where the first group should be.
    pub at: u64,
    /// Where groups must end.
    pub limit: u64,
    /// Which groups of it count.
    pub end: End,
    /// The CRC of the header before the first.
    pub crc: u32,
}

/// Where a segment's groups end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// It is the newest segment: behind the last whole group.
    Open,
    /// A later segment begins with this group: all before it were on flash, and what bears this
    /// sequence or a higher one here was given up, and written again there.
    Before(GroupSeq),
    /// At the limit, as a foot or a later head says; all of them were on flash.
    Limit,
}

/// Walks a segment's groups in order. Calls `each` with every one whose fate is known, with its proof:
/// never [`Proof::None`].
pub fn walk(
    reader: &mut Reader<'_>,
    start: Start,
    mut expect: Expect,
    each: &mut dyn FnMut(&mut Reader<'_>, &Slot, Proof),
) -> Walked {
    let mut walked = Walked {
        tail: Vec::new(),
        end: start.at,
        seq_last: GroupSeq(expect.seq_min.0 - 1),
        proven: GroupSeq(expect.seq_min.0 - 1),
        boot: expect.boot_min,
        crc: start.crc,
    };
    let mut pending: Vec<Slot> = Vec::new();
    let mut at = start.at;
    while at + expect.alignment <= start.limit {
        let mut group = scan::group_at(reader, at, start.limit, &expect);
        if group.is_none() {
            pending.push(Slot { at, seq: expect.seq_min, group: None });
            group = scan::group_from(reader, at + expect.alignment, start.limit, &expect);
        }
        let Some(group) = group else { break };
        let header = group.header;
        if matches!(start.end, End::Before(next) if header.seq >= next) {
            break;
        }
        // A copy that was cut short voids nothing: what it was to replace is all there is.
        let voids = header.supersedes > GroupSeq(0) && scan::is_whole(reader, &group);
        settle(reader, &mut pending, &mut walked, Some((&group, voids)), each);
        pending.push(Slot { at: header.position, seq: header.seq, group: Some(group) });
        at = header.position + u64::from(header.bytes);
        expect.seq_min = GroupSeq(header.seq.0 + 1);
        expect.boot_min = header.boot;
        walked.end = at;
        walked.seq_last = header.seq;
        walked.boot = header.boot;
        walked.crc = group.crc;
    }
    if start.end != End::Open {
        if start.end == End::Before(GroupSeq(walked.seq_last.0 + 1)) {
            // None is missing: what stands behind the last group is nothing.
            pending.pop_if(|slot| slot.group.is_none());
        }
        settle(reader, &mut pending, &mut walked, None, each);
        walked.proven = walked.seq_last;
    }
    walked.tail = pending;
    walked
}

/// Tells the fate of those that `by` proves or, if it may, voids; none: of all, they are proven.
fn settle(
    reader: &mut Reader<'_>,
    pending: &mut Vec<Slot>,
    walked: &mut Walked,
    by: Option<(&Group, bool)>,
    each: &mut dyn FnMut(&mut Reader<'_>, &Slot, Proof),
) {
    pending.retain(|slot| {
        let proof = by.map_or(Proof::Acknowledged, |(by, voids)| proof_of(slot, by, voids));
        if proof == Proof::None {
            return true;
        }
        if proof == Proof::Acknowledged {
            walked.proven = walked.proven.max(slot.seq);
        }
        each(reader, slot, proof);
        false
    });
    if let Some((by, _)) = by {
        walked.proven = walked.proven.max(by.header.synced_through);
    }
}

fn proof_of(slot: &Slot, by: &Group, voids: bool) -> Proof {
    let header = &by.header;
    let void = voids && slot.seq <= header.supersedes;
    let older = slot.group.is_none_or(|group| group.header.boot < header.boot);
    if header.synced_through >= slot.seq {
        Proof::Acknowledged
    } else if void && older {
        Proof::Superseded
    } else {
        Proof::None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_input_of_the_decision_table_matches_exactly_one_row() {
        let flags = [false, true];
        for proof in [Proof::Acknowledged, Proof::Superseded, Proof::None] {
            for header in flags {
                for directory in flags {
                    for payload in flags {
                        let finding = Finding { header, directory, payload, proof };
                        let rows = TABLE.iter().filter(|row| row.matches(&finding)).count();
                        assert_eq!(rows, 1, "{finding:?}");
                        check(&finding, verdict(&finding));
                    }
                }
            }
        }
    }

    /// What must hold of any table: nothing acknowledged is dropped, nothing unproven is accepted as
    /// it is, nothing broken is taken for whole, and what a later boot replaced stays replaced.
    fn check(finding: &Finding, verdict: Verdict) {
        use Verdict::*;
        let whole = finding.header && finding.directory && finding.payload;
        match finding.proof {
            Proof::Superseded => assert_eq!(verdict, Skip),
            Proof::Acknowledged => {
                assert!(matches!(verdict, Accept | KeepGood | Lost), "{finding:?}");
                assert_eq!(verdict == Accept, whole, "{finding:?}");
            }
            Proof::None => {
                assert!(matches!(verdict, CopyForward | DropWithGap | Drop), "{finding:?}");
                assert_eq!(verdict == CopyForward, whole, "{finding:?}");
                let named = finding.header && finding.directory && !finding.payload;
                assert_eq!(verdict == DropWithGap, named, "{finding:?}");
            }
        }
    }
}
