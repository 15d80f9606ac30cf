//! What the broker of a test's own thread logs.

use std::cell::RefCell;
use std::sync::Once;

thread_local! {
    static LINES: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

struct Lines;

impl log::Log for Lines {
    fn enabled(&self, metadata: &log::Metadata<'_>) -> bool {
        metadata.level() <= log::Level::Info
    }

    fn log(&self, record: &log::Record<'_>) {
        if self.enabled(record.metadata()) {
            LINES.with_borrow_mut(|lines| lines.push(record.args().to_string()));
        }
    }

    fn flush(&self) {}
}

/// What this thread's broker said since this was last asked, of what has this in it.
pub fn said(of: &str) -> Vec<String> {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        log::set_logger(&Lines).expect("it is the only one");
        log::set_max_level(log::LevelFilter::Info);
    });
    let lines = LINES.with_borrow_mut(std::mem::take);
    lines.into_iter().filter(|line| line.contains(of)).collect()
}
