//! Errors say whose fault it is; that decides what happens next.

use std::fmt;

/// The disk failed at something: the segment is given up, producers are answered
/// KAFKA_STORAGE_ERROR (56) if no spare helps, readers go round it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DiskError {
    /// What was tried.
    pub doing: &'static str,
    /// The operating system's error number, 0 where there is none (a file that is too short).
    pub os: i32,
}

impl DiskError {
    /// From an error of the standard library.
    pub fn new(doing: &'static str, error: &std::io::Error) -> DiskError {
        DiskError { doing, os: error.raw_os_error().unwrap_or(0) }
    }

    /// Whether the file ends before what was asked for: what it lacks is lost, not hidden.
    pub fn is_short(&self) -> bool {
        self.os == 0
    }
}

impl fmt::Display for DiskError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_short() {
            write!(f, "{}: the file is too short", self.doing)
        } else {
            write!(f, "{}: {}", self.doing, std::io::Error::from_raw_os_error(self.os))
        }
    }
}

impl std::error::Error for DiskError {}
