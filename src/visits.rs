//! Counts work instead of time, for tests: entries of tables that are looked at.

use std::cell::Cell;

thread_local! {
    static VISITS: Cell<usize> = const { Cell::new(0) };
}

/// An entry is looked at. A move of all that stand behind a place counts as one.
pub fn visit() {
    VISITS.set(VISITS.get() + 1);
}

/// How many entries are looked at meanwhile.
pub fn visits(run: &mut dyn FnMut()) -> usize {
    VISITS.set(0);
    run();
    VISITS.get()
}
