//! What ends a command before its work is done: a signal, or that nobody reads its output any more.

use std::os::fd::BorrowedFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_signal::{Signal, Signals};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use crate::cli::Failure;

/// Wakes who waits once SIGTERM or SIGINT came.
pub struct Stop {
    woken: UnixStream,
}

impl Stop {
    /// From now on the first signal sets `stop`, so that the work ends in order; the second one ends the
    /// process at once.
    pub fn at_signals(stop: Arc<AtomicBool>) -> Result<Stop, Failure> {
        let cannot = |error| Failure::Failed(format!("signals cannot be waited for: {error}"));
        let (woken, wake) = UnixStream::pair().map_err(cannot)?;
        let first = signals().map_err(cannot)?;
        let wait = move || {
            wait(&mut [PollFd::new(&first, PollFlags::IN)], None);
            stop.store(true, Ordering::Relaxed);
            drop(wake);
            // What came is not taken out of the first; those after it are counted anew.
            if let Ok(second) = signals() {
                wait(&mut [PollFd::new(&second, PollFlags::IN)], None);
                std::process::exit(ENDED);
            }
        };
        std::thread::Builder::new().spawn(wait).map_err(cannot)?;
        Ok(Stop { woken })
    }

    /// Waits for so long, or until a signal came.
    pub fn pause(&self, time: Duration) {
        wait(&mut [PollFd::new(&self.woken, PollFlags::IN)], Some(time));
    }

    /// Waits for input, or until a signal came; errors are found by who reads.
    pub fn wait_for(&self, input: BorrowedFd<'_>) {
        let input = PollFd::from_borrowed_fd(input, PollFlags::IN);
        wait(&mut [input, PollFd::new(&self.woken, PollFlags::IN)], None);
    }
}

fn signals() -> std::io::Result<Signals> {
    Signals::new([Signal::Term, Signal::Int])
}

/// Whether whoever read the standard output went away.
pub fn is_unread() -> bool {
    let output = std::io::stdout();
    let mut polled = [PollFd::new(&output, PollFlags::empty())];
    wait(&mut polled, Some(Duration::ZERO));
    polled.iter().any(|polled| polled.revents().intersects(PollFlags::ERR | PollFlags::HUP))
}

/// A signal interrupts it before the thread that takes signals can tell: then it waits again.
fn wait(polled: &mut [PollFd<'_>], time: Option<Duration>) {
    let time = time.and_then(|time| Timespec::try_from(time).ok());
    while poll(polled, time.as_ref()) == Err(Errno::INTR) {}
}

/// The exit code of who was ended by a second signal: a shell's for SIGINT.
const ENDED: i32 = 130;
