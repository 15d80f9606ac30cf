//! Answers to produce requests that wait for their sync: encoded, in order, in one leased buffer.

use std::ops::Range;

use super::hub::Lease;
use crate::clock::Mono;
use crate::types::{Settle, Until};

/// What one connection owes.
#[derive(Default)]
pub struct Replies {
    /// The answers, one behind the other.
    pub lease: Option<Lease>,
    /// When the first of their requests came.
    pub since: Mono,
    end: usize,
    count: usize,
    longest: usize,
    owed: heapless::Vec<Owed, OWED_MAX>,
}

/// Answers of one version that wait for the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Owed {
    /// Where the last of them ends; the first starts where the one before ends.
    pub end: usize,
    /// The version of their requests.
    pub version: i16,
    /// What they wait for.
    pub until: Until,
}

impl Replies {
    /// Whether anything is owed.
    pub fn owes(&self) -> bool {
        self.count > 0
    }

    /// Whether what is owed should be settled before the next request is taken on.
    pub fn is_full(&self, count_max: usize) -> bool {
        let room = self.lease.as_ref().map_or(0, |lease| lease.buf.len());
        self.count > 0
            && (self.count >= count_max || self.owed.is_full() || room - self.end < self.longest)
    }

    /// Notes an answer; false if there is no room for it.
    pub fn owe(&mut self, answer: &[u8], version: i16, until: Until) -> bool {
        let Some(lease) = &mut self.lease else {
            return false;
        };
        let end = self.end + answer.len();
        let Some(place) = lease.buf.get_mut(self.end..end) else {
            return false;
        };
        let owed = Owed {
            end,
            version,
            until,
        };
        if let Some(last) = self.owed.last_mut()
            && (last.version, last.until) == (version, until)
        {
            last.end = end;
        } else if self.owed.push(owed).is_err() {
            return false;
        }
        place.copy_from_slice(answer);
        self.end = end;
        self.count += 1;
        self.longest = self.longest.max(answer.len());
        true
    }

    /// The first answers behind `sent`.
    pub fn first_from(&self, sent: usize) -> Option<Owed> {
        self.owed.iter().find(|owed| owed.end > sent).copied()
    }

    /// How far answers may be sent when those up to `end` may: as far as the next ones are done.
    pub fn due(&self, end: usize, settled: impl Fn(&Until) -> Settle) -> usize {
        let later = self.owed.iter().filter(|owed| owed.end > end);
        let done = later.take_while(|owed| settled(&owed.until) == Settle::Done);
        done.last().map_or(end, |owed| owed.end)
    }

    /// Some of the answers' bytes.
    pub fn bytes(&self, part: Range<usize>) -> &[u8] {
        self.lease.as_ref().map_or(&[], |lease| &lease.buf[part])
    }

    /// Hands over each answer between two ends, its size prefix included.
    pub fn each_answer(&mut self, from: usize, to: usize, mut change: impl FnMut(&mut [u8])) {
        let Some(lease) = &mut self.lease else { return };
        let mut rest = &mut lease.buf[from..to];
        while let Some(prefix) = rest.first_chunk::<4>() {
            let bytes = 4 + u32::from_be_bytes(*prefix) as usize;
            let (answer, behind) = rest.split_at_mut(bytes);
            change(answer);
            rest = behind;
        }
    }
}

/// Kinds of answers waiting for different things. One is usual; more only where a connection writes
/// to several rings, or where a group was closed while its requests came in.
const OWED_MAX: usize = 4;
