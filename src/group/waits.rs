//! Requests that wait for other members, one per connection at the most: 40 bytes each, and nothing
//! else is held for them.
//!
//! An answer is written when it is sent, from what the group is then. If the group has moved on
//! meanwhile, the answer says so, and the client joins again.

use super::members::MemberAt;
use super::{GroupAt, Groups};
use crate::codec::ErrorCode;
use crate::types::ConnId;

/// Writes what of an answer stands from `from` on into `buf`; gives the whole answer's length.
pub type WriteAnswer = fn(groups: &Groups, answer: &Answer, buf: &mut [u8], from: usize) -> usize;

/// Who waits, and how it is answered.
#[derive(Clone, Copy)]
pub struct Waiter {
    /// The connection.
    pub conn: ConnId,
    /// The request's version.
    pub version: i16,
    /// What the answer repeats.
    pub correlation_id: i32,
    /// How the answer is written.
    pub write: WriteAnswer,
}

/// What is answered.
#[derive(Clone, Copy)]
pub struct Answer {
    /// The request's version.
    pub version: i16,
    /// What the answer repeats.
    pub correlation_id: i32,
    /// Why there is nothing else to say. Otherwise the group and the member are there.
    pub code: ErrorCode,
    /// The group.
    pub group: GroupAt,
    /// The member.
    pub member: MemberAt,
    /// What the client becomes with this answer.
    pub role: Role,
}

/// What a client that joins becomes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// What the group says: leader or follower.
    AsElected,
    /// A leader that came back, and is to leave the assignment as it is.
    LeaderThatSkips,
    /// A leader that came back and does not know how to skip: it is told that it follows.
    LeaderAsFollower,
}

/// What a connection does about its wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WaitNext {
    /// Wait on, without a buffer.
    Sleep,
    /// Send so many bytes of the buffer, then step again. The answer has this error, or none.
    Send(usize, ErrorCode),
    /// The answer is out.
    Done,
    /// There is no answer: close the connection.
    Close(&'static str),
}

/// A wait.
#[derive(Clone, Copy)]
pub(super) struct Wait {
    write: WriteAnswer,
    answer: Answer,
    phase: Phase,
    /// The group's revision when the answer was due.
    revision: u32,
    sent: u32,
    total: u32,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    Waiting,
    Ready,
    Superseded,
}

impl Groups {
    /// Whether a connection waits here.
    pub fn waits(&self, conn: ConnId) -> bool {
        self.waits.get(usize::from(conn.0)).is_some_and(Option::is_some)
    }

    /// Goes on with what a connection waits for; `buf` is a buffer for the answer.
    pub fn step(&mut self, conn: ConnId, buf: &mut [u8]) -> WaitNext {
        let Some(Some(wait)) = self.waits.get(usize::from(conn.0)) else {
            return WaitNext::Close("nothing is waited for");
        };
        let mut wait = *wait;
        match wait.phase {
            Phase::Waiting => return WaitNext::Sleep,
            Phase::Superseded => {
                self.waits[usize::from(conn.0)] = None;
                return WaitNext::Close("the member asked again on another connection");
            }
            Phase::Ready => {}
        }
        if wait.sent > 0 && wait.sent == wait.total {
            self.waits[usize::from(conn.0)] = None;
            return WaitNext::Done;
        }
        let is_stale =
            wait.answer.code.is_none() && wait.revision != self.revision(wait.answer.group);
        if is_stale && wait.sent > 0 {
            self.waits[usize::from(conn.0)] = None;
            return WaitNext::Close("the group changed while a long answer was sent");
        }
        if is_stale {
            wait.answer.code = ErrorCode::REBALANCE_IN_PROGRESS;
        }
        let from = wait.sent as usize;
        let total = (wait.write)(self, &wait.answer, buf, from);
        let bytes = buf.len().min(total - from);
        (wait.sent, wait.total) = ((from + bytes) as u32, total as u32);
        self.waits[usize::from(conn.0)] = Some(wait);
        WaitNext::Send(bytes, wait.answer.code)
    }

    /// The connection is gone. Its member is not: it may come back on another.
    pub fn cancel(&mut self, conn: ConnId) {
        let wait = self.waits.get_mut(usize::from(conn.0));
        if let Some(wait) = wait.and_then(Option::take) {
            self.woken.retain(|other| *other != conn);
            if wait.phase == Phase::Waiting {
                self.counts.waiting -= 1;
                let member = self.members.get_mut(wait.answer.member);
                assert_eq!(member.conn.take(), Some(conn));
            }
        }
    }

    /// A connection whose wait should be stepped.
    pub fn woken(&mut self) -> Option<ConnId> {
        self.woken.pop()
    }

    /// Has a connection wait for its member; one that the member waits on already is closed.
    pub(super) fn wait(&mut self, at: MemberAt, waiter: &Waiter) {
        self.wait_end(at, Phase::Superseded, ErrorCode::NONE);
        let answer = self.answer_to(at, waiter, Role::AsElected);
        self.wait_set(waiter, answer, Phase::Waiting);
        self.members.get_mut(at).conn = Some(waiter.conn);
        self.counts.waiting += 1;
    }

    /// Has a connection answered at once.
    pub(super) fn answer_now(&mut self, at: MemberAt, waiter: &Waiter, role: Role) {
        let answer = self.answer_to(at, waiter, role);
        self.wait_set(waiter, answer, Phase::Ready);
    }

    /// Answers whoever waits for this member. A success is written when it is sent.
    pub(super) fn answer(&mut self, at: MemberAt, code: ErrorCode) {
        self.wait_end(at, Phase::Ready, code);
    }

    fn answer_to(&self, member: MemberAt, waiter: &Waiter, role: Role) -> Answer {
        Answer {
            version: waiter.version,
            correlation_id: waiter.correlation_id,
            code: ErrorCode::NONE,
            group: self.members.get(member).group,
            member,
            role,
        }
    }

    fn wait_set(&mut self, waiter: &Waiter, answer: Answer, phase: Phase) {
        let revision = self.revision(answer.group);
        let place = &mut self.waits[usize::from(waiter.conn.0)];
        assert!(place.is_none(), "a connection asks one thing at a time");
        let write = waiter.write;
        *place = Some(Wait { write, answer, phase, revision, sent: 0, total: 0 });
    }

    fn wait_end(&mut self, at: MemberAt, phase: Phase, code: ErrorCode) {
        let member = self.members.get_mut(at);
        let Some(conn) = member.conn.take() else {
            return;
        };
        let revision = self.revision(self.members.get(at).group);
        let wait = self.waits[usize::from(conn.0)].as_mut();
        let wait = wait.expect("the member's connection waits");
        (wait.phase, wait.revision, wait.answer.code) = (phase, revision, code);
        self.counts.waiting -= 1;
        self.woken.push(conn);
    }
}
