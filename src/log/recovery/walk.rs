//! The walk over a segment's groups: in order, each with what proves it.

use super::groups::{self, Expect, Group, Reader};
use super::verdict::Proof;
use crate::types::{Boot, GroupSeq};

/// A place in a segment where a group should be.
#[derive(Debug, Clone, Copy)]
pub struct Slot {
    /// Where it starts.
    pub at: u64,
    /// Its sequence; for one without a header, the lowest that it can have.
    pub seq: GroupSeq,
    /// Bytes to the next one.
    pub bytes: u64,
    /// Its header, if it is valid.
    pub group: Option<Group>,
}

/// What a walk over a segment found out beside the groups themselves.
#[derive(Debug, Clone)]
pub struct Walked {
    /// Groups that nothing proves, in order; only in a segment that was not closed.
    pub tail: Vec<Slot>,
    /// Where the last valid group ends.
    pub end: u64,
    /// The last valid group's sequence, or the one before the first.
    pub seq_last: GroupSeq,
    /// The last proven group's sequence.
    pub proven: GroupSeq,
    /// The highest boot seen.
    pub boot: Boot,
    /// The CRC of the last valid header.
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

/// Walks a segment's groups in order. Calls `each` with every one that is proven or void, never with
/// [`Proof::None`].
pub fn walk(
    reader: &mut Reader<'_>,
    start: Start,
    mut expect: Expect,
    each: &mut dyn FnMut(&mut Reader<'_>, &Slot, Proof),
) -> Walked {
    let mut walked = Walked {
        tail: Vec::new(),
        end: start.at,
        seq_last: GroupSeq(expect.seq_min.0.saturating_sub(1)),
        proven: GroupSeq(expect.seq_min.0.saturating_sub(1)),
        boot: expect.boot_min,
        crc: start.crc,
    };
    let mut pending: Vec<Slot> = Vec::new();
    let mut at = start.at;
    while at + expect.alignment <= start.limit {
        let mut group = groups::group_at(reader, at, start.limit, &expect);
        if group.is_none() {
            group = groups::group_from(reader, at + expect.alignment, start.limit, &expect);
            let bytes = group.map_or(start.limit, |group| group.header.position) - at;
            pending.push(Slot { at, seq: expect.seq_min, bytes, group: None });
        }
        let Some(group) = group else { break };
        let header = group.header;
        if matches!(start.end, End::Before(next) if header.seq >= next) {
            break;
        }
        // A copy that was cut short voids nothing: what it was to replace is all there is.
        let voids = header.supersedes > GroupSeq(0) && groups::is_whole(reader, &group);
        settle(reader, &mut pending, &mut walked, Some((&group, voids)), each);
        let bytes = u64::from(header.bytes);
        pending.push(Slot { at: header.position, seq: header.seq, bytes, group: Some(group) });
        at = header.position + u64::from(header.bytes);
        expect.seq_min = GroupSeq(header.seq.0.saturating_add(1));
        expect.boot_min = header.boot;
        walked.end = at;
        walked.seq_last = header.seq;
        walked.boot = header.boot;
        walked.crc = group.crc;
    }
    if start.end != End::Open {
        if start.end == End::Before(GroupSeq(walked.seq_last.0.saturating_add(1))) {
            // No group is missing, so nothing was behind the last one.
            pending.pop_if(|slot| slot.group.is_none());
        }
        settle(reader, &mut pending, &mut walked, None, each);
        walked.proven = walked.seq_last;
    }
    walked.tail = pending;
    walked
}

/// Passes on the groups that `by` proves or, if it may, voids; none: all, as proven.
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
