//! The records of a compressed batch, walked as they are decompressed: what they are, not what they say.

use super::BatchHeader;
use crate::codec::compression::{Compression, Decompressor, Stream, Trouble};
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

/// Why there is no next record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unread {
    /// What is compressed is not what it says it is.
    Corrupt,
    /// The record is not one.
    Record,
    /// It cannot be read in the memory, or in the time, that is there for it; others may be able to.
    Beyond,
    /// There is no room for a copy of it.
    NoRoom,
}

/// Walks records, as many as the batch's header says. Ends after an error.
pub struct Packed<'a> {
    header: BatchHeader,
    left: i32,
    output: Output<'a>,
    /// Keys are copied to here, as far as they fit.
    key: &'a mut [u8],
}

/// Decompressed bytes, as far as they are wanted.
struct Output<'a> {
    stream: Stream<'a>,
    /// What of the piece was read.
    at: usize,
    /// Bytes of the pieces before it.
    before: u64,
}

impl<'a> Packed<'a> {
    /// The records of a batch whose codec this is; `batch` is all of it.
    pub fn new(
        decompressor: &'a mut Decompressor,
        compression: Compression,
        header: BatchHeader,
        batch: &'a [u8],
    ) -> Packed<'a> {
        let input = batch.get(super::HEADER_BYTES..).unwrap_or_default();
        let stream = decompressor.open(compression, input);
        let output = Output { stream, at: 0, before: 0 };
        Packed { header, left: header.records_count, output, key: &mut [] }
    }

    /// The same; a record's key can be looked at until the next record, if it is not longer than this.
    pub fn with_keys(self, key: &'a mut [u8]) -> Packed<'a> {
        Packed { key, ..self }
    }

    /// The key of the record that came last; none: it is null, or too long to be looked at.
    pub fn key(&self, head: &Head) -> Option<&[u8]> {
        self.key.get(..head.key_bytes? as usize)
    }

    /// Copies the next record as it stands in the output, its length included, instead of looking at it;
    /// gives its bytes. None: there are no more.
    pub fn copy(&mut self, out: &mut [u8]) -> Option<Result<usize, Unread>> {
        if self.left <= 0 {
            return None;
        }
        self.left -= 1;
        Some(self.output.copy_record(out).inspect_err(|_| self.left = 0))
    }

    /// Nothing may follow the records.
    pub fn finish(mut self) -> Result<(), Unread> {
        if self.output.next_piece()? { Err(Unread::Record) } else { Ok(()) }
    }

    fn record(&mut self) -> Result<Head, Unread> {
        let output = &mut self.output;
        let length = output.varint()?;
        let length = u64::try_from(length).map_err(|_| Unread::Record)?;
        let end = output.position() + length;
        output.skip(1)?; // Attributes: none is defined.
        let timestamp = self.header.base_timestamp.wrapping_add(output.varlong()?);
        let offset = self.header.base_offset.wrapping_add(output.varint()?.into());
        let key_bytes = output.length()?;
        output.copy_some(key_bytes.unwrap_or(0), self.key)?;
        let tombstone = !output.skip_nullable()?;
        let headers = u32::try_from(output.varint()?).map_err(|_| Unread::Record)?;
        for _ in 0..headers {
            if !output.skip_nullable()? {
                return Err(Unread::Record);
            }
            output.skip_nullable()?;
            if output.position() > end {
                break;
            }
        }
        if output.position() != end {
            return Err(Unread::Record);
        }
        let append_time = self.header.is_log_append_time();
        let timestamp = if append_time { self.header.max_timestamp } else { timestamp };
        Ok(Head { offset, timestamp, key_bytes, tombstone })
    }
}

impl Iterator for Packed<'_> {
    type Item = Result<Head, Unread>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.left <= 0 {
            return None;
        }
        self.left -= 1;
        let record = self.record();
        if record.is_err() {
            self.left = 0;
        }
        Some(record)
    }
}

impl Output<'_> {
    /// How many bytes were read.
    fn position(&self) -> u64 {
        self.before + self.at as u64
    }

    /// Whether there are more bytes: if the piece is read, the next one is decompressed.
    fn next_piece(&mut self) -> Result<bool, Unread> {
        let piece = self.stream.piece().len();
        if self.at < piece {
            return Ok(true);
        }
        self.before += piece as u64;
        self.at = 0;
        if self.before > limits::DECOMPRESSED_BYTES_MAX {
            return Err(Unread::Beyond);
        }
        match self.stream.next_piece() {
            Ok(piece) => Ok(!piece.is_empty()),
            Err(Trouble::Corrupt) => Err(Unread::Corrupt),
            Err(Trouble::Beyond) => Err(Unread::Beyond),
        }
    }

    fn byte(&mut self) -> Result<u8, Unread> {
        if !self.next_piece()? {
            return Err(Unread::Record);
        }
        let byte = self.stream.piece()[self.at];
        self.at += 1;
        Ok(byte)
    }

    fn skip(&mut self, mut count: u64) -> Result<(), Unread> {
        while count > 0 {
            if !self.next_piece()? {
                return Err(Unread::Record);
            }
            let some = count.min((self.stream.piece().len() - self.at) as u64);
            self.at += some as usize;
            count -= some;
        }
        Ok(())
    }

    /// Passes over bytes whose length is a varint; false: they are null.
    fn skip_nullable(&mut self) -> Result<bool, Unread> {
        let Some(length) = self.length()? else {
            return Ok(false);
        };
        self.skip(length.into())?;
        Ok(true)
    }

    /// A length; none: what it is of is null.
    fn length(&mut self) -> Result<Option<u32>, Unread> {
        match self.varint()? {
            -1 => Ok(None),
            length => Ok(Some(u32::try_from(length).map_err(|_| Unread::Record)?)),
        }
    }

    /// Passes over so many bytes; those for which there is room are copied.
    fn copy_some(&mut self, count: u32, out: &mut [u8]) -> Result<(), Unread> {
        let copied = (count as usize).min(out.len());
        self.copy_all(&mut out[..copied])?;
        self.skip(u64::from(count) - copied as u64)
    }

    fn copy_all(&mut self, mut out: &mut [u8]) -> Result<(), Unread> {
        while !out.is_empty() {
            if !self.next_piece()? {
                return Err(Unread::Record);
            }
            let rest = &self.stream.piece()[self.at..];
            let (here, behind) = out.split_at_mut(rest.len().min(out.len()));
            here.copy_from_slice(&rest[..here.len()]);
            self.at += here.len();
            out = behind;
        }
        Ok(())
    }

    fn copy_record(&mut self, out: &mut [u8]) -> Result<usize, Unread> {
        let length = self.length()?.ok_or(Unread::Record)?;
        let mut raw = length << 1;
        let mut at = 0;
        loop {
            let more = if raw >= 0x80 { 0x80 } else { 0 };
            *out.get_mut(at).ok_or(Unread::NoRoom)? = raw as u8 & 0x7f | more;
            at += 1;
            raw >>= 7;
            if more == 0 {
                break;
            }
        }
        let end = at + length as usize;
        self.copy_all(out.get_mut(at..end).ok_or(Unread::NoRoom)?)?;
        Ok(end)
    }

    fn varint(&mut self) -> Result<i32, Unread> {
        let raw = u32::try_from(self.varint_raw(VARINT_BITS_MAX)?).map_err(|_| Unread::Record)?;
        Ok((raw >> 1).cast_signed() ^ -(raw & 1).cast_signed())
    }

    fn varlong(&mut self) -> Result<i64, Unread> {
        let raw = self.varint_raw(VARLONG_BITS_MAX)?;
        Ok((raw >> 1).cast_signed() ^ -(raw & 1).cast_signed())
    }

    fn varint_raw(&mut self, bits_max: u32) -> Result<u64, Unread> {
        let mut number = 0;
        for shift in (0..bits_max).step_by(7) {
            let byte = self.byte()?;
            number |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(number);
            }
        }
        Err(Unread::Record)
    }
}

const VARINT_BITS_MAX: u32 = 32;
const VARLONG_BITS_MAX: u32 = 64;
