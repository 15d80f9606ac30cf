//! RecordBatch, version 2: the only format in which records are produced, stored and fetched.
//!
//! A batch is a header of 61 bytes and its records, which may be compressed; they are stored as they came.
//! The CRC covers everything from the attributes on, so base offset and leader epoch can be filled in
//! without changing it.

pub mod carry;
mod check;
mod packed;
mod refusal;
#[cfg(test)]
pub(crate) mod sample;

pub use check::{Check, Checked, Rules, check, check_beginning, is_packed};
pub use packed::{Head, Kept, Packed, Unread, Walked};
pub use refusal::Refusal;

use super::crc::crc32c;
use super::{Error, Reader};

/// A control batch that takes the offsets from `first` to `last`: consumers skip it and continue behind
/// it. It looks like the marker at a transaction's end: one record, at the last offset. (An empty batch,
/// as Kafka's log cleaner leaves them, is skipped by Java's and librdkafka's consumers only: others ask
/// for it again for ever, and one begins anew.) `last` is at most `i32::MAX` above `first`.
pub fn marker(first: i64, last: i64, leader_epoch: i32) -> heapless::Vec<u8, MARKER_BYTES_MAX> {
    let delta = i32::try_from(last - first).expect("a batch takes so many offsets");
    let mut batch = heapless::Vec::new();
    let mut put = |bytes: &[u8]| batch.extend_from_slice(bytes).expect("it has room for all");
    put(&first.to_be_bytes());
    put(&((marker_bytes(delta) - LENGTH_END) as i32).to_be_bytes());
    put(&leader_epoch.to_be_bytes());
    put(&[2, 0, 0, 0, 0]);
    put(&(ATTRIBUTE_TRANSACTIONAL | ATTRIBUTE_CONTROL).to_be_bytes());
    put(&delta.to_be_bytes());
    // No timestamps, no producer, no sequence.
    put(&[0xff; 30]);
    put(&1_i32.to_be_bytes());
    let record = marker_bytes(delta) - HEADER_BYTES - 1;
    // A length below 64 and a delta that is not negative, as zigzag numbers.
    put(&[(record << 1) as u8, 0, 0]);
    let mut rest = delta.unsigned_abs() << 1;
    while rest >= 0x80 {
        put(&[rest as u8 | 0x80]);
        rest >>= 7;
    }
    put(&[rest as u8]);
    // Key: version 0, commit. Value: version 0, coordinator epoch 0. No headers.
    put(&[4 << 1, 0, 0, 0, 1, 6 << 1, 0, 0, 0, 0, 0, 0, 0]);
    let crc = crc32c(&batch[CRC_END..]);
    batch[17..CRC_END].copy_from_slice(&crc.to_be_bytes());
    batch
}

/// The length of a [`marker`] whose last offset is `delta` above its first.
pub fn marker_bytes(delta: i32) -> usize {
    let zigzag = u64::from(delta.unsigned_abs()) << 1;
    let delta_bytes = (64 - (zigzag | 1).leading_zeros() as usize).div_ceil(7);
    // Length, attributes, timestamp; key, value, headers.
    HEADER_BYTES + 3 + delta_bytes + 13
}

/// The longest [`marker`].
pub const MARKER_BYTES_MAX: usize = HEADER_BYTES + 3 + 5 + 13;

/// The header of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchHeader {
    /// The offset of the first record; a client sends 0.
    pub base_offset: i64,
    /// The bytes that follow this field.
    pub batch_length: i32,
    /// The leader epoch in which it was appended.
    pub partition_leader_epoch: i32,
    /// The format: 2.
    pub magic: i8,
    /// The CRC-32C of all that follows this field.
    pub crc: u32,
    /// Compression, timestamp type, transactional, control.
    pub attributes: i16,
    /// The last record's offset is the base offset plus this.
    pub last_offset_delta: i32,
    /// What the records' timestamps count from.
    pub base_timestamp: i64,
    /// The newest timestamp, or the append time.
    pub max_timestamp: i64,
    /// The producer, or −1.
    pub producer_id: i64,
    /// Its epoch, or −1.
    pub producer_epoch: i16,
    /// The sequence number of the first record, or −1.
    pub base_sequence: i32,
    /// How many records there are.
    pub records_count: i32,
}

impl BatchHeader {
    /// The record of this batch in `bytes`, its length included.
    pub fn record<'a>(&self, bytes: &'a [u8]) -> Result<Record<'a>, Error> {
        Records { header: *self, left: 1, reader: Reader::new(bytes) }.record()
    }

    /// Reads a header; `None` if there are too few bytes for one. Nothing else is checked.
    #[inline(always)]
    pub fn read(bytes: &[u8]) -> Option<BatchHeader> {
        // The length is known, so that no field costs another check: every batch comes through here.
        let mut rest: &[u8] = bytes.first_chunk::<HEADER_BYTES>()?;
        let r = &mut rest;
        Some(BatchHeader {
            base_offset: i64::from_be_bytes(field(r)?),
            batch_length: i32::from_be_bytes(field(r)?),
            partition_leader_epoch: i32::from_be_bytes(field(r)?),
            magic: i8::from_be_bytes(field(r)?),
            crc: u32::from_be_bytes(field(r)?),
            attributes: i16::from_be_bytes(field(r)?),
            last_offset_delta: i32::from_be_bytes(field(r)?),
            base_timestamp: i64::from_be_bytes(field(r)?),
            max_timestamp: i64::from_be_bytes(field(r)?),
            producer_id: i64::from_be_bytes(field(r)?),
            producer_epoch: i16::from_be_bytes(field(r)?),
            base_sequence: i32::from_be_bytes(field(r)?),
            records_count: i32::from_be_bytes(field(r)?),
        })
    }

    /// The whole batch's length, if `batch_length` could be one.
    pub fn batch_bytes(&self) -> Option<usize> {
        let bytes = usize::try_from(self.batch_length).ok()?.checked_add(LENGTH_END)?;
        (bytes >= HEADER_BYTES).then_some(bytes)
    }

    /// The last record's offset.
    pub fn last_offset(&self) -> i64 {
        self.base_offset.saturating_add(self.last_offset_delta.into())
    }

    /// The codec of the records: 0 none, 1 gzip, 2 snappy, 3 lz4, 4 zstd; 5–7 are no codec.
    pub fn compression(&self) -> i16 {
        self.attributes & ATTRIBUTE_COMPRESSION
    }

    /// Whether the timestamps are append times.
    pub fn is_log_append_time(&self) -> bool {
        self.attributes & ATTRIBUTE_LOG_APPEND_TIME != 0
    }

    /// Whether it belongs to a transaction.
    pub fn is_transactional(&self) -> bool {
        self.attributes & ATTRIBUTE_TRANSACTIONAL != 0
    }

    /// Whether it is a transaction's marker.
    pub fn is_control(&self) -> bool {
        self.attributes & ATTRIBUTE_CONTROL != 0
    }

    /// Whether its producer is idempotent.
    pub fn has_producer_id(&self) -> bool {
        self.producer_id >= 0
    }
}

/// One batch of several.
#[derive(Debug, Clone, Copy)]
pub struct Batch<'a> {
    /// Its header.
    pub header: BatchHeader,
    /// All of it, the header included.
    pub bytes: &'a [u8],
}

impl<'a> Batch<'a> {
    /// Whether the CRC holds.
    pub fn crc_holds(&self) -> bool {
        self.bytes.get(CRC_END..).is_some_and(|covered| crc32c(covered) == self.header.crc)
    }

    /// Its records; `None` if they are compressed.
    pub fn records(&self) -> Option<Records<'a>> {
        (self.header.compression() == 0).then(|| Records {
            header: self.header,
            left: self.header.records_count,
            reader: Reader::new(self.bytes.get(HEADER_BYTES..).unwrap_or_default()),
        })
    }
}

/// The batches that are one behind the other in `bytes`; ends before the first that is truncated or
/// has no valid length. Nothing else is checked.
pub fn batches(bytes: &[u8]) -> Batches<'_> {
    Batches { rest: bytes }
}

/// Walks batches. Made by [`batches`].
#[derive(Debug, Clone)]
pub struct Batches<'a> {
    rest: &'a [u8],
}

impl<'a> Batches<'a> {
    /// The bytes that were not walked yet; at the end, those that are no batch.
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }
}

impl<'a> Iterator for Batches<'a> {
    type Item = Batch<'a>;

    fn next(&mut self) -> Option<Batch<'a>> {
        let header = BatchHeader::read(self.rest)?;
        let (bytes, rest) = self.rest.split_at_checked(header.batch_bytes()?)?;
        self.rest = rest;
        Some(Batch { header, bytes })
    }
}

/// Fills in base offset and leader epoch, which the CRC does not cover.
pub fn set_offset(batch: &mut [u8], base_offset: i64, leader_epoch: i32) {
    put(batch, 0, &base_offset.to_be_bytes());
    put(batch, LENGTH_END, &leader_epoch.to_be_bytes());
}

/// Sets the timestamp type and the newest timestamp (or the append time), and the CRC with them.
pub fn set_timestamps(batch: &mut [u8], log_append_time: bool, max_timestamp: i64) {
    let Some(header) = BatchHeader::read(batch) else {
        return;
    };
    let attributes = match log_append_time {
        true => header.attributes | ATTRIBUTE_LOG_APPEND_TIME,
        false => header.attributes & !ATTRIBUTE_LOG_APPEND_TIME,
    };
    put(batch, CRC_END, &attributes.to_be_bytes());
    put(batch, MAX_TIMESTAMP_AT, &max_timestamp.to_be_bytes());
    let crc = crc32c(batch.get(CRC_END..).unwrap_or_default());
    put(batch, CRC_AT, &crc.to_be_bytes());
}

/// One record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record<'a> {
    /// Its offset.
    pub offset: i64,
    /// Its timestamp: the append time, where the batch has one.
    pub timestamp: i64,
    /// Its key.
    pub key: Option<&'a [u8]>,
    /// Its value; null is a tombstone.
    pub value: Option<&'a [u8]>,
    /// How many headers it has.
    pub headers_count: u32,
    /// Their bytes; [`Record::headers`] walks them.
    pub headers_bytes: &'a [u8],
}

impl<'a> Record<'a> {
    /// Its headers: name and value.
    pub fn headers(&self) -> impl Iterator<Item = (&'a [u8], Option<&'a [u8]>)> + use<'a> {
        let mut r = Reader::new(self.headers_bytes);
        (0..self.headers_count).map_while(move |_| {
            let name = nullable_bytes(&mut r).ok()??;
            Some((name, nullable_bytes(&mut r).ok()?))
        })
    }
}

/// Walks the records of an uncompressed batch, as many as its header says. Ends after an error.
#[derive(Debug, Clone)]
pub struct Records<'a> {
    header: BatchHeader,
    left: i32,
    reader: Reader<'a>,
}

impl<'a> Records<'a> {
    fn record(&mut self) -> Result<Record<'a>, Error> {
        let length = usize::try_from(self.reader.varint_inline()?).map_err(|_| Error::Length)?;
        let mut r = Reader::new(self.reader.take(length)?);
        r.take(1)?; // Attributes: none is defined.
        let timestamp = self.header.base_timestamp.wrapping_add(r.varlong_inline()?);
        let offset = self.header.base_offset.wrapping_add(r.varint_inline()?.into());
        let key = nullable_bytes(&mut r)?;
        let value = nullable_bytes(&mut r)?;
        let headers_count = u32::try_from(r.varint_inline()?).map_err(|_| Error::Length)?;
        let headers_bytes = r.rest();
        for _ in 0..headers_count {
            nullable_bytes(&mut r)?.ok_or(Error::Null)?;
            nullable_bytes(&mut r)?;
        }
        r.finish()?;
        let append_time = self.header.is_log_append_time();
        let timestamp = if append_time { self.header.max_timestamp } else { timestamp };
        Ok(Record { offset, timestamp, key, value, headers_count, headers_bytes })
    }
}

impl<'a> Iterator for Records<'a> {
    type Item = Result<Record<'a>, Error>;

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

/// Bytes whose length is a varint; −1 is null.
#[inline(always)]
fn nullable_bytes<'a>(r: &mut Reader<'a>) -> Result<Option<&'a [u8]>, Error> {
    match r.varint_inline()? {
        -1 => Ok(None),
        length => r.take(usize::try_from(length).map_err(|_| Error::Length)?).map(Some),
    }
}

/// Takes the next field off the front.
#[inline(always)]
fn field<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (field, behind) = rest.split_first_chunk()?;
    *rest = behind;
    Some(*field)
}

fn put(batch: &mut [u8], at: usize, bytes: &[u8]) {
    if let Some(target) = batch.get_mut(at..at + bytes.len()) {
        target.copy_from_slice(bytes);
    }
}

/// Bytes of a batch's header, which is followed by its records.
pub const HEADER_BYTES: usize = 61;
/// Bytes of the base offset and the length; the length counts what follows them.
pub const LENGTH_END: usize = 12;
const MAGIC_AT: usize = 16;
const CRC_AT: usize = 17;
const CRC_END: usize = 21;
const MAX_TIMESTAMP_AT: usize = 35;
const ATTRIBUTE_COMPRESSION: i16 = 0b111;
const ATTRIBUTE_LOG_APPEND_TIME: i16 = 1 << 3;
const ATTRIBUTE_TRANSACTIONAL: i16 = 1 << 4;
const ATTRIBUTE_CONTROL: i16 = 1 << 5;

#[cfg(test)]
mod tests {
    use super::sample::batch_of;
    use super::*;

    #[test]
    fn stamping_keeps_the_crc() {
        let mut batch = batch_of(&[(0, 0), (7, 1)]);
        set_offset(&mut batch, 40, 3);
        let stamped = batches(&batch).next().unwrap();
        assert!(stamped.crc_holds());
        assert_eq!((stamped.header.base_offset, stamped.header.last_offset()), (40, 41));
        assert_eq!(stamped.header.partition_leader_epoch, 3);
        let times = |batch: &[u8]| -> Vec<(i64, i64)> {
            let records = batches(batch).next().unwrap().records().unwrap();
            records.map(|record| record.unwrap()).map(|r| (r.offset, r.timestamp)).collect()
        };
        assert_eq!(times(&batch), [(40, 1000), (41, 1007)]);
        set_timestamps(&mut batch, true, 5000);
        assert!(batches(&batch).next().unwrap().crc_holds());
        assert_eq!(times(&batch), [(40, 5000), (41, 5000)]);
    }

    #[test]
    fn a_marker_takes_all_its_offsets_and_has_one_control_record_at_the_last() {
        for (first, last) in [(0, 0), (7, 70), (5, 5 + i64::from(i32::MAX)), (1 << 40, 1 << 41)] {
            let last = last.min(first + i64::from(i32::MAX));
            let bytes = marker(first, last, 3);
            assert_eq!(bytes.len(), marker_bytes((last - first) as i32));
            let batch = batches(&bytes).next().unwrap();
            assert!(batch.crc_holds() && batch.header.is_control());
            assert_eq!((batch.header.base_offset, batch.header.last_offset()), (first, last));
            assert_eq!(batch.header.partition_leader_epoch, 3);
            let records: Vec<_> = batch.records().unwrap().map(Result::unwrap).collect();
            assert_eq!(records.len(), 1);
            assert_eq!((records[0].offset, records[0].key), (last, Some(&[0, 0, 0, 1][..])));
        }
        assert_eq!(marker_bytes(i32::MAX), MARKER_BYTES_MAX);
    }

    #[test]
    fn records_show_keys_values_and_headers() {
        let batch = batch_of(&[(3, 0)]);
        let record = batches(&batch).next().unwrap().records().unwrap().next().unwrap();
        let expected = Record {
            offset: 0,
            timestamp: 1003,
            key: Some(b"k"),
            value: None,
            headers_count: 1,
            headers_bytes: &[2, b'h', 1],
        };
        assert_eq!(record, Ok(expected));
        assert_eq!(expected.headers().collect::<Vec<_>>(), [(&b"h"[..], None)]);
    }
}
