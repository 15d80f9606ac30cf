//! The records of a compressed batch, walked as they are decompressed: their fields, without values.

use super::BatchHeader;
use crate::codec::compression::{Compression, Decompressor, Trouble};
use crate::limits;

/// A record, without value and headers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// Its offset.
    pub offset: i64,
    /// Its timestamp: the append time, where the batch has one.
    pub timestamp: i64,
    /// Bytes of its key; none: it is null.
    pub key_bytes: Option<u32>,
    /// Its value is null.
    pub tombstone: bool,
}

/// What of a record is kept while it is walked over.
#[derive(Debug)]
pub enum Kept<'a> {
    /// No byte.
    Nothing,
    /// Its key, if it fits.
    Key(&'a mut [u8]),
    /// All of it as it is in the output, its length included.
    All(&'a mut [u8]),
}

/// Why there is no next record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unread {
    /// The compressed bytes are not valid.
    Corrupt,
    /// The record is not valid.
    Record,
    /// Something follows the last record.
    Trailing,
    /// It cannot be read within this broker's bounds of memory or time; others may be able to.
    Beyond,
    /// There is no room to keep all of it.
    NoRoom,
}

/// What comes next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Walked {
    /// A record.
    Record(Head),
    /// There were as many as the batch's header says, and nothing is behind them.
    End,
    /// The turn is over: ask again in the next one. See [`Decompressor::turn`].
    Turn,
}

/// A walk over records, which can be suspended at any byte.
#[derive(Debug, Clone, Copy)]
pub struct Packed {
    header: BatchHeader,
    /// Records that are left.
    left: i32,
    /// How much of the piece was read, and the bytes of the pieces before it.
    at: usize,
    before: u64,
    field: Field,
    /// The number that is being read, and how many of its bits were.
    number: u64,
    bits: u32,
    /// Bytes to skip before the field.
    skip: u64,
    /// Where the record ends.
    end: u64,
    /// Headers of the record that are left.
    headers: u32,
    head: Head,
    /// Bytes of the record that were kept.
    kept: usize,
    /// How much output is read at the most.
    bytes_max: u64,
}

/// What is read next of a record: a number, which may be the length of bytes behind it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Field {
    Length,
    Timestamp,
    Offset,
    Key,
    Value,
    Headers,
    HeaderKey,
    HeaderValue,
    End,
}

impl Packed {
    /// Begins with the records of a batch whose codec this is; `batch` is all of it.
    pub fn new(
        decompressor: &mut Decompressor,
        compression: Compression,
        header: BatchHeader,
        batch: &[u8],
    ) -> Packed {
        decompressor.open(compression, records(batch));
        Packed {
            header,
            left: header.records_count,
            at: 0,
            before: 0,
            field: Field::Length,
            number: 0,
            bits: 0,
            skip: 0,
            end: 0,
            headers: 0,
            head: Head { offset: 0, timestamp: 0, key_bytes: None, tombstone: false },
            kept: 0,
            bytes_max: limits::DECOMPRESSED_BYTES_MAX,
        }
    }

    /// The same with another bound, where no client waits.
    pub fn up_to(self, bytes_max: u64) -> Packed {
        Packed { bytes_max, ..self }
    }

    /// Reads the next record of the same batch, with the same decompressor, which must have read nothing
    /// else meanwhile. Not to be called after an end or an error.
    pub fn next(
        &mut self,
        decompressor: &mut Decompressor,
        batch: &[u8],
    ) -> Result<Walked, Unread> {
        self.next_keeping(decompressor, batch, Kept::Nothing)
    }

    /// The same, and some of the record's bytes are kept, in the same room in each turn.
    pub fn next_keeping(
        &mut self,
        decompressor: &mut Decompressor,
        batch: &[u8],
        mut kept: Kept<'_>,
    ) -> Result<Walked, Unread> {
        loop {
            if self.field == Field::End && self.skip == 0 {
                return self.record().map(Walked::Record);
            }
            let behind = self.left <= 0 && self.field == Field::Length;
            let piece = decompressor.piece();
            let Some(rest) = piece.get(self.at..).filter(|rest| !rest.is_empty()) else {
                if decompressor.turn_is_over() {
                    return Ok(Walked::Turn);
                }
                self.before += piece.len() as u64;
                self.at = 0;
                if self.before > self.bytes_max {
                    return Err(Unread::Beyond);
                }
                match decompressor.next_piece(records(batch)) {
                    Ok(true) => continue,
                    Ok(false) if behind => return Ok(Walked::End),
                    Ok(false) => return Err(Unread::Record),
                    Err(Trouble::Corrupt) => return Err(Unread::Corrupt),
                    Err(Trouble::Beyond) => return Err(Unread::Beyond),
                }
            };
            if behind {
                return Err(Unread::Trailing);
            }
            if self.field == Field::Length && self.bits == 0 {
                self.kept = 0;
            }
            if self.skip > 0 {
                let some = self.skip.min(rest.len() as u64);
                self.keep(&mut kept, &rest[..some as usize])?;
                self.skip -= some;
                self.at += some as usize;
                continue;
            }
            for byte in rest {
                if let Kept::All(_) = kept {
                    self.keep(&mut kept, &[*byte])?;
                }
                self.at += 1;
                self.number |= u64::from(byte & 0x7f) << self.bits;
                if *byte < 0x80 {
                    self.bits = 0;
                    let raw = std::mem::take(&mut self.number);
                    self.field((raw >> 1).cast_signed() ^ -(raw & 1).cast_signed())?;
                    break;
                }
                self.bits += 7;
                if self.bits >= self.bits_max() {
                    return Err(Unread::Record);
                }
            }
        }
    }

    /// Keeps the next bytes, if they are of what is to be kept.
    fn keep(&mut self, kept: &mut Kept<'_>, bytes: &[u8]) -> Result<(), Unread> {
        let to = self.kept + bytes.len();
        let room = match kept {
            Kept::All(room) => room.get_mut(self.kept..to).ok_or(Unread::NoRoom)?,
            // Its length was read.
            Kept::Key(room) if self.field == Field::Value => match room.get_mut(self.kept..to) {
                Some(room) => room,
                None => return Ok(()),
            },
            _ => return Ok(()),
        };
        room.copy_from_slice(bytes);
        self.kept = to;
        Ok(())
    }

    /// How many bytes of the record that came last were kept.
    pub fn kept_bytes(&self) -> usize {
        self.kept
    }

    /// Takes the number that a field begins with.
    fn field(&mut self, number: i64) -> Result<(), Unread> {
        let count = u64::try_from(number).map_err(|_| Unread::Record);
        let nullable = if number == -1 { Ok(0) } else { count };
        if self.field != Field::Timestamp && i32::try_from(number).is_err() {
            return Err(Unread::Record);
        }
        self.field = match self.field {
            Field::Length => {
                self.end = self.position() + count?;
                self.skip = 1; // Attributes: none is defined.
                Field::Timestamp
            }
            Field::Timestamp => {
                self.head.timestamp = self.header.base_timestamp.wrapping_add(number);
                Field::Offset
            }
            Field::Offset => {
                self.head.offset = self.header.base_offset.wrapping_add(number);
                Field::Key
            }
            Field::Key => {
                self.skip = nullable?;
                self.head.key_bytes = u32::try_from(number).ok();
                Field::Value
            }
            Field::Value => {
                self.skip = nullable?;
                self.head.tombstone = number == -1;
                Field::Headers
            }
            Field::Headers => {
                self.headers = count? as u32;
                self.header_next()
            }
            Field::HeaderKey => {
                self.skip = count?;
                Field::HeaderValue
            }
            Field::HeaderValue => {
                self.skip = nullable?;
                self.headers -= 1;
                self.header_next()
            }
            Field::End => unreachable!("it has no number"),
        };
        if self.position() + self.skip <= self.end { Ok(()) } else { Err(Unread::Record) }
    }

    fn header_next(&self) -> Field {
        if self.headers == 0 { Field::End } else { Field::HeaderKey }
    }

    /// The record that was read.
    fn record(&mut self) -> Result<Head, Unread> {
        if self.position() != self.end {
            return Err(Unread::Record);
        }
        self.field = Field::Length;
        self.left -= 1;
        if self.header.is_log_append_time() {
            self.head.timestamp = self.header.max_timestamp;
        }
        Ok(self.head)
    }

    /// How many bytes were read.
    fn position(&self) -> u64 {
        self.before + self.at as u64
    }

    fn bits_max(&self) -> u32 {
        if self.field == Field::Timestamp { VARLONG_BITS_MAX } else { VARINT_BITS_MAX }
    }
}

/// The compressed part of a batch.
fn records(batch: &[u8]) -> &[u8] {
    batch.get(super::HEADER_BYTES..).unwrap_or_default()
}

const VARINT_BITS_MAX: u32 = 32;
const VARLONG_BITS_MAX: u32 = 64;
