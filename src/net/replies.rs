//! Answers to produce requests that wait for their sync: encoded, in order, in leased buffers.
//!
//! One buffer serves a client that asks one thing at a time; one that has many requests in flight
//! gets a few more, while there are any. A place among the answers counts through all of them.

use std::ops::Range;

use super::hub::Lease;
use crate::clock::Mono;
use crate::types::{Settle, Until};

/// A connection's pending answers.
#[derive(Default)]
pub struct Replies {
    /// When the first of their requests came.
    pub since: Mono,
    pages: heapless::Vec<Page, PAGES_MAX>,
    count: u32,
    longest: u32,
    owed: heapless::Vec<Owed, OWED_MAX>,
}

/// A buffer with answers, each of which is in one buffer.
struct Page {
    lease: Lease,
    end: usize,
}

/// Answers of one version that wait for the same groups.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Owed {
    /// Where the last of them ends; the first starts where the one before ends.
    end: u32,
    /// The version of their requests.
    pub version: i16,
    /// What they wait for.
    pub until: Until,
}

impl Replies {
    /// Whether any are pending.
    pub fn owes(&self) -> bool {
        self.count > 0
    }

    /// Whether they should be settled before the next request is taken on.
    pub fn is_full(&self, count_max: usize) -> bool {
        let full = self.count as usize >= count_max || self.owed.is_full();
        self.count > 0 && (full || self.pages.is_full() && self.wants_lease(self.longest as usize))
    }

    /// Whether another buffer is needed for an answer of this many bytes.
    pub fn wants_lease(&self, bytes: usize) -> bool {
        let last = self.pages.last();
        last.is_none_or(|page| page.lease.buf.len() - page.end < bytes)
    }

    /// Takes another buffer; it is dropped if there are enough.
    pub fn add(&mut self, lease: Lease) {
        let _ = self.pages.push(Page { lease, end: 0 });
    }

    /// Notes an answer; false if there is no room for it.
    pub fn owe(&mut self, answer: &[u8], version: i16, until: Until) -> bool {
        let before = self.pages.len().saturating_sub(1);
        let Some(page) = self.pages.last_mut() else {
            return false;
        };
        let place = page.end..page.end + answer.len();
        let end = (before * page.lease.buf.len() + place.end) as u32;
        let Some(place) = page.lease.buf.get_mut(place) else {
            return false;
        };
        let owed = Owed { end, version, until };
        if let Some(last) = self.owed.last_mut()
            && (last.version, last.until) == (version, until)
        {
            last.end = end;
        } else if self.owed.push(owed).is_err() {
            return false;
        }
        place.copy_from_slice(answer);
        page.end += answer.len();
        self.count += 1;
        self.longest = self.longest.max(answer.len() as u32);
        true
    }

    /// The first answers behind `sent`.
    pub fn first_from(&self, sent: usize) -> Option<&Owed> {
        self.owed.iter().find(|owed| owed.end() > sent)
    }

    /// How far answers may be sent when those up to `end` may: including the next ones that are done.
    pub fn due(&self, end: usize, settled: impl Fn(&Until) -> Settle) -> usize {
        let later = self.owed.iter().filter(|owed| owed.end() > end);
        let done = later.take_while(|owed| settled(&owed.until) == Settle::Done);
        done.last().map_or(end, Owed::end)
    }

    /// The bytes between two places, as far as they are in one buffer, and where those behind them
    /// begin.
    pub fn bytes(&self, part: Range<usize>) -> (&[u8], usize) {
        let Some((page, within, next)) = self.page_at(part) else {
            return (&[], usize::MAX);
        };
        (&self.pages[page].lease.buf[within], next)
    }

    /// Calls `change` with each answer between two places, its size prefix included.
    pub fn each_answer(&mut self, mut part: Range<usize>, mut change: impl FnMut(&mut [u8])) {
        while part.start < part.end {
            let Some((page, within, next)) = self.page_at(part.clone()) else {
                return;
            };
            let mut rest = &mut self.pages[page].lease.buf[within];
            while let Some(prefix) = rest.first_chunk::<4>() {
                let bytes = 4 + u32::from_be_bytes(*prefix) as usize;
                let (answer, behind) = rest.split_at_mut(bytes);
                change(answer);
                rest = behind;
            }
            part.start = next;
        }
    }

    /// The buffer in which a part begins, what of it is there, and where the rest begins.
    fn page_at(&self, part: Range<usize>) -> Option<(usize, Range<usize>, usize)> {
        let bytes = self.pages.first()?.lease.buf.len();
        let page = part.start / bytes;
        let begin = page * bytes;
        let end = self.pages.get(page)?.end.min(part.end - begin);
        Some((page, part.start - begin..end, begin + bytes))
    }
}

impl Owed {
    /// Where the last of them ends.
    pub fn end(&self) -> usize {
        self.end as usize
    }
}

/// Buffers of one connection.
const PAGES_MAX: usize = 3;

/// How many different groups of answers may wait. One is usual; more only where a connection writes to
/// several rings, or where a commit group was closed while its requests came in.
const OWED_MAX: usize = 3;
