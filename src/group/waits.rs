//! Requests that wait for other members, one per connection at the most: 24 bytes each, and nothing
//! else is held for them.
//!
//! Who asked is told what became of it, and writes it as a client understands it, from what the group
//! is when it is sent. If the group has moved on meanwhile, the answer says so, and the client joins
//! again.

use super::members::MemberAt;
use super::{GroupAt, Groups};
use crate::codec::ErrorCode;
use crate::types::ConnId;

/// What is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Answer {
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
    /// Write the answer from this byte on, say what was written ([`Groups::wait_written`]), send it, and
    /// ask again.
    Write(Answer, usize),
    /// The answer is out.
    Done,
    /// There is no answer: close the connection.
    Close(&'static str),
}

/// A wait.
#[derive(Clone, Copy)]
pub(super) struct Wait {
    answer: Answer,
    phase: Phase,
    /// The group's revision when the answer was due.
    revision: u32,
    sent: u32,
    total: u32,
}

const _: () = assert!(size_of::<Option<Wait>>() == 24);

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

    /// What became of that which a connection waits for.
    pub fn wait_next(&mut self, conn: ConnId) -> WaitNext {
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
        self.waits[usize::from(conn.0)] = Some(wait);
        WaitNext::Write(wait.answer, wait.sent as usize)
    }

    /// The first `to` bytes of an answer, which has `total`, are on their way.
    pub fn wait_written(&mut self, conn: ConnId, to: usize, total: usize) {
        let wait = self.waits[usize::from(conn.0)].as_mut().expect("it is being answered");
        (wait.sent, wait.total) = (to as u32, total as u32);
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
    pub(super) fn wait(&mut self, at: MemberAt, conn: ConnId) {
        self.wait_end(at, Phase::Superseded, ErrorCode::NONE);
        self.wait_set(conn, at, Role::AsElected, Phase::Waiting);
        self.members.get_mut(at).conn = Some(conn);
        self.counts.waiting += 1;
    }

    /// Has a connection answered at once.
    pub(super) fn answer_now(&mut self, at: MemberAt, conn: ConnId, role: Role) {
        self.wait_set(conn, at, role, Phase::Ready);
    }

    /// Answers whoever waits for this member. A success is written when it is sent.
    pub(super) fn answer(&mut self, at: MemberAt, code: ErrorCode) {
        self.wait_end(at, Phase::Ready, code);
    }

    fn wait_set(&mut self, conn: ConnId, member: MemberAt, role: Role, phase: Phase) {
        let group = self.members.get(member).group;
        let revision = self.revision(group);
        let place = &mut self.waits[usize::from(conn.0)];
        assert!(place.is_none(), "a connection asks one thing at a time");
        let answer = Answer { code: ErrorCode::NONE, group, member, role };
        *place = Some(Wait { answer, phase, revision, sent: 0, total: 0 });
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
