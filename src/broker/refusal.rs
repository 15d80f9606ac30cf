//! Why a client's request is refused: Kafka's code, and a message.

use std::fmt;

use crate::codec::ErrorCode;

/// A Kafka error with its message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// What the client is told.
    pub code: ErrorCode,
    /// The message, which tools show.
    pub message: Note,
}

/// A short message. It may quote what a client sent, so it is cut where it is too long.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Note(heapless::String<NOTE_BYTES_MAX>);

impl Refusal {
    /// With a message.
    pub fn new(code: ErrorCode, message: fmt::Arguments<'_>) -> Refusal {
        Refusal { code, message: Note::new(message) }
    }
}

impl Note {
    /// The message.
    pub fn new(message: fmt::Arguments<'_>) -> Note {
        let mut note = Note::default();
        let _ = fmt::Write::write_fmt(&mut note, message);
        note
    }

    /// The message.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Write for Note {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for letter in text.chars() {
            self.0.push(letter).map_err(|_| fmt::Error)?;
        }
        Ok(())
    }
}

const NOTE_BYTES_MAX: usize = 320;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_is_cut_between_letters() {
        let long = "\u{e9}".repeat(NOTE_BYTES_MAX);
        let note = Note::new(format_args!("x{long}"));
        assert_eq!(note.as_str().len(), NOTE_BYTES_MAX - 1);
    }
}
