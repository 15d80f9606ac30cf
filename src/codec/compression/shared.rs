//! The one decompressor of all threads.
//!
//! The main thread reads a batch in several turns, and keeps the decompressor between them. It never waits
//! for it, except for a mirror's reports, and then for one batch at the most. Compaction reads a batch as a
//! whole, and waits until it can; it goes before requests that have not begun.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError, TryLockError};

use super::Decompressor;

/// See the module.
pub struct Shared {
    state: Mutex<State>,
    given_back: Condvar,
}

struct State {
    decompressor: Decompressor,
    /// A connection has it between two turns.
    kept: bool,
    /// Threads that wait for it.
    waiting: u32,
}

impl Shared {
    /// Shares a decompressor.
    pub fn new(decompressor: Decompressor) -> Shared {
        let state = Mutex::new(State { decompressor, kept: false, waiting: 0 });
        Shared { state, given_back: Condvar::new() }
    }

    /// Waits for it, and uses it for a batch.
    pub fn with<T>(&self, read: impl FnOnce(&mut Decompressor) -> T) -> T {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.waiting += 1;
        let waited = self.given_back.wait_while(state, |state| state.kept);
        let state = &mut *waited.unwrap_or_else(PoisonError::into_inner);
        state.waiting -= 1;
        state.decompressor.turn(u32::MAX);
        read(&mut state.decompressor)
    }

    /// Uses it in a turn, if nobody has it; `kept`: the caller kept it in the turn before. Beside its result
    /// `read` says whether it is kept for the next turn.
    pub fn try_with<T>(
        &self,
        kept: bool,
        read: impl FnOnce(&mut Decompressor) -> (T, bool),
    ) -> Option<T> {
        let mut state = self.try_lock()?;
        if !kept && (state.kept || state.waiting > 0) {
            return None;
        }
        let (done, keeps) = read(&mut state.decompressor);
        state.kept = keeps;
        drop(state);
        if kept && !keeps {
            self.given_back.notify_one();
        }
        Some(done)
    }

    /// Gives it back after a turn that kept it.
    pub fn give_back(&self) {
        // While it is kept, other threads have the lock only to see that.
        self.state.lock().unwrap_or_else(PoisonError::into_inner).kept = false;
        self.given_back.notify_one();
    }

    fn try_lock(&self) -> Option<MutexGuard<'_, State>> {
        match self.state.try_lock() {
            Ok(state) => Some(state),
            Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::WINDOW_BYTES_MIN;
    use super::*;
    use std::sync::{Arc, mpsc};

    #[test]
    fn who_keeps_it_has_it_alone_until_it_is_given_back() {
        let shared = Arc::new(Shared::new(Decompressor::new(WINDOW_BYTES_MIN)));
        assert_eq!(shared.try_with(false, |_| (1, true)), Some(1));
        assert_eq!(shared.try_with(false, |_| (2, false)), None);
        let (say, said) = mpsc::channel();
        let other = {
            let shared = Arc::clone(&shared);
            std::thread::spawn(move || {
                say.send("waits").unwrap();
                shared.with(|_| say.send("has it").unwrap());
            })
        };
        assert_eq!(said.recv(), Ok("waits"));
        while shared.try_with(true, |_| ((), true)).is_none() {}
        assert!(said.try_recv().is_err(), "it is kept");
        shared.give_back();
        assert_eq!(said.recv(), Ok("has it"));
        other.join().unwrap();
        assert_eq!(shared.try_with(false, |_| (3, false)), Some(3));
    }
}
