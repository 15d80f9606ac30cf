//! Turns: no task keeps the only thread.
//!
//! Reads from the page cache, writes while the disk is quick, and requests that were received already
//! complete at once, so a task with many of these would never wait, and no other would run. Every loop
//! that dispatches again or steps a job counts its work here, and yields after a fixed amount.

use std::cell::Cell;

use smol::future::yield_now;

use crate::limits;

/// The work that a task did since it last yielded.
#[derive(Debug, Default)]
pub struct Turn {
    done: Cell<u32>,
}

/// A piece of work, and what part of a turn it takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Work {
    /// A produce request is checked and copied. A turn has as many as may be in flight, so that all
    /// of them get into one group.
    Stage = 1,
    /// Any other request, a step of a job with its read, an attempt to accept.
    Step = 8,
    /// A window of a long answer is encoded, or something is written to the disk.
    Window = 16,
    /// Something is tried again: other tasks always have a turn before.
    Again = TURN as isize,
}

impl Turn {
    /// Counts work that is about to be done; yields before it if that is too much.
    pub async fn take(&self, work: Work) {
        let done = self.done.get() + work as u32;
        if done <= TURN {
            self.done.set(done);
        } else {
            self.done.set(work as u32);
            yield_now().await;
        }
    }

    /// Counts bytes that were decompressed beside that.
    pub fn unpacked(&self, bytes: u32) {
        self.done.set(self.done.get() + bytes / UNPACKED_BYTES);
    }

    /// The task waited for something, and other tasks had a turn meanwhile.
    pub fn begin(&self) {
        self.done.set(0);
    }
}

/// The work of one turn.
const TURN: u32 = 64;

/// What is decompressed for one piece of work.
const UNPACKED_BYTES: u32 = limits::DECOMPRESSED_TURN_BYTES / TURN;

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::Future;
    use std::task::{Context, Poll, Waker};

    /// How often this gives everybody else a turn.
    fn turns_of(work: impl Future<Output = ()>) -> usize {
        let mut work = std::pin::pin!(work);
        let mut context = Context::from_waker(Waker::noop());
        (0..).take_while(|_| work.as_mut().poll(&mut context) == Poll::Pending).count()
    }

    #[test]
    fn everybody_else_has_a_turn_after_so_much_work_of_any_kind() {
        for (work, each) in
            [(Work::Stage, 64), (Work::Step, 8), (Work::Window, 4), (Work::Again, 1)]
        {
            let turn = Turn::default();
            let turns = turns_of(async {
                for _ in 0..each * 5 + 1 {
                    turn.take(work).await;
                }
            });
            assert_eq!(turns, 5, "{work:?}");
        }
    }

    #[test]
    fn what_was_decompressed_is_work() {
        let turn = Turn::default();
        let turns = turns_of(async {
            for _ in 0..21 {
                turn.unpacked(limits::DECOMPRESSED_TURN_BYTES / 4);
                turn.take(Work::Stage).await;
            }
        });
        assert_eq!(turns, 5, "four in each");
    }

    #[test]
    fn who_waited_begins_anew() {
        let turn = Turn::default();
        let turns = turns_of(async {
            for _ in 0..10 {
                turn.take(Work::Again).await;
                turn.begin();
            }
        });
        assert_eq!(turns, 0);
    }
}
