//! Compaction of one batch: some of its records are removed, the others keep their offsets.
//!
//! As with Kafka's cleaner, base offset, last offset delta, producer, sequence and leader epoch stay; the
//! newest timestamp is that of the records that are left. A batch that keeps a tombstone gets a *delete
//! horizon*: the time from which the tombstone may be dropped takes the place of the base timestamp. The
//! records that are left of a compressed batch are written uncompressed.

use super::{
    ATTRIBUTE_COMPRESSION, ATTRIBUTE_LOG_APPEND_TIME, BatchHeader, CRC_AT, CRC_END, HEADER_BYTES,
    Kept, LENGTH_END, MAX_TIMESTAMP_AT, Packed, Walked, put,
};
use crate::codec::compression::{Compression, Decompressor};
use crate::codec::crc::crc32c;
use crate::codec::{Error, Reader};

/// A record's fields that compaction needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyedRecord<'a> {
    /// Its timestamp, from the batch's base timestamp on.
    pub timestamp_delta: i64,
    /// Its offset, from the batch's base offset on.
    pub offset_delta: i32,
    /// Its key; none: it is null, or longer than the bytes that were given.
    pub key: Option<&'a [u8]>,
    /// Its value is null: it deletes the key.
    pub tombstone: bool,
}

/// What is left of a batch; it is at the start of the buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Carried {
    /// Its bytes; 0: nothing is left.
    pub bytes: usize,
    /// Its records.
    pub records: u32,
    /// Its newest timestamp.
    pub newest_ms: i64,
}

/// The buffer has no room for what is left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NoRoom;

/// Decides whether a record stays.
pub type Keep<'a> = dyn FnMut(&KeyedRecord<'_>) -> bool + 'a;

/// Where a record's parts are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extent {
    /// Bytes of all of it, its length included.
    pub bytes: usize,
    /// Where what follows the offset delta begins.
    rest_at: usize,
}

/// Reads the beginning of a record. Bytes behind its key may be missing.
pub fn keyed_record(bytes: &[u8]) -> Result<(KeyedRecord<'_>, Extent), Error> {
    let mut r = Reader::new(bytes);
    let length = usize::try_from(r.varint()?).map_err(|_| Error::Length)?;
    let whole = (bytes.len() - r.rest().len()).checked_add(length).ok_or(Error::Length)?;
    r.take(1)?;
    let timestamp_delta = r.varlong()?;
    let offset_delta = r.varint()?;
    let rest_at = bytes.len() - r.rest().len();
    let key_bytes = r.varint()?;
    let key = usize::try_from(key_bytes).ok().and_then(|bytes| r.take(bytes).ok());
    let tombstone = key.is_some() && r.varint().is_ok_and(|bytes| bytes < 0);
    let record = KeyedRecord { timestamp_delta, offset_delta, key, tombstone };
    Ok((record, Extent { bytes: whole, rest_at }))
}

/// Calls `each` with the records of a whole compressed batch, as far as they can be read, until it returns
/// false. `key`: room for the longest key. False: not all of the wanted records could be read.
pub fn packed_records(
    batch: &[u8],
    compression: Compression,
    decompressor: &mut Decompressor,
    key: &mut [u8],
    each: &mut Keep<'_>,
) -> bool {
    let Some(header) = BatchHeader::read(batch) else {
        return false;
    };
    let mut records = Packed::new(decompressor, compression, header, batch);
    loop {
        let head = match records.next_keeping(decompressor, batch, Kept::Key(key)) {
            Ok(Walked::Record(head)) => head,
            Ok(Walked::End) => return true,
            Ok(Walked::Turn) | Err(_) => return false,
        };
        let record = KeyedRecord {
            timestamp_delta: head.timestamp.wrapping_sub(header.base_timestamp),
            offset_delta: head.offset.wrapping_sub(header.base_offset) as i32,
            key: head.key_bytes.and_then(|bytes| key.get(..bytes as usize)),
            tombstone: head.tombstone,
        };
        if !each(&record) {
            return true;
        }
    }
}

/// Whether the base timestamp of this batch is a delete horizon.
pub fn delete_horizon_ms(attributes: i16, base_timestamp: i64) -> Option<i64> {
    (attributes & ATTRIBUTE_DELETE_HORIZON != 0).then_some(base_timestamp)
}

/// Whether an uncompressed batch keeps a tombstone.
pub fn keeps_tombstone(batch: &[u8], keep: &mut Keep<'_>) -> bool {
    let mut rest = batch.get(HEADER_BYTES..).unwrap_or_default();
    while let Ok((record, extent)) = keyed_record(rest)
        && let Some(behind) = rest.get(extent.bytes..)
    {
        if record.tombstone && keep(&record) {
            return true;
        }
        rest = behind;
    }
    false
}

/// Keeps some records of the whole, uncompressed batch in `buf[at..]`, which is moved to the buffer's
/// start. `horizon_ms` becomes the delete horizon; with one, records may grow by some bytes each, and
/// after `NoRoom` the buffer's contents are undefined.
pub fn carry(
    buf: &mut [u8],
    at: usize,
    horizon_ms: Option<i64>,
    keep: &mut Keep<'_>,
) -> Result<Carried, NoRoom> {
    let Some(mut out) = Out::new(buf.get(at..).unwrap_or_default(), horizon_ms) else {
        return Ok(NOTHING);
    };
    let mut from = at + HEADER_BYTES;
    while let Some(rest) = buf.get(from..)
        && let Ok((record, extent)) = keyed_record(rest)
        && extent.bytes <= rest.len()
    {
        if keep(&record) {
            out.count(&record);
            let start = Start::of(&record, out.moved_ms, extent.bytes - extent.rest_at);
            let rest = from + extent.rest_at..from + extent.bytes;
            if out.to + start.length > rest.start {
                return Err(NoRoom);
            }
            buf[out.to..out.to + start.length].copy_from_slice(start.bytes());
            out.to += start.length;
            let length = rest.len();
            buf.copy_within(rest, out.to);
            out.to += length;
        }
        from += extent.bytes;
    }
    Ok(out.finish(buf))
}

/// The same of a compressed batch. Its records are written uncompressed, in front of it; `NoRoom`: there
/// is no room for them, or they cannot be read, and the batch at `at` is as it was.
pub fn carry_packed(
    buf: &mut [u8],
    at: usize,
    (compression, decompressor): (Compression, &mut Decompressor),
    horizon_ms: Option<i64>,
    keep: &mut Keep<'_>,
) -> Result<Carried, NoRoom> {
    let (room, batch) = buf.split_at_mut(at);
    let Some(header) = BatchHeader::read(batch) else {
        return Ok(NOTHING);
    };
    let mut out = Out::new(batch, horizon_ms).ok_or(NoRoom)?;
    out.attributes &= !ATTRIBUTE_COMPRESSION;
    let mut records = Packed::new(decompressor, compression, header, batch);
    loop {
        let rest = room.get_mut(out.to..).ok_or(NoRoom)?;
        match records.next_keeping(decompressor, batch, Kept::All(rest)) {
            Ok(Walked::End) => break,
            Ok(Walked::Record(_)) => {}
            Ok(Walked::Turn) | Err(_) => return Err(NoRoom),
        }
        let bytes = records.kept_bytes();
        let (record, extent) = keyed_record(&rest[..bytes]).map_err(|_| NoRoom)?;
        if !keep(&record) {
            continue;
        }
        out.count(&record);
        let start = Start::of(&record, out.moved_ms, bytes - extent.rest_at);
        let end = start.length + bytes - extent.rest_at;
        if end > rest.len() {
            return Err(NoRoom);
        }
        rest.copy_within(extent.rest_at..bytes, start.length);
        rest[..start.length].copy_from_slice(start.bytes());
        out.to += end;
    }
    if out.to > room.len() {
        return Err(NoRoom);
    }
    Ok(out.finish(room))
}

/// What is left of a batch, while it is written.
struct Out {
    head: [u8; HEADER_BYTES],
    header: BatchHeader,
    attributes: i16,
    base_ms: i64,
    moved_ms: i64,
    carried: Carried,
    /// Where the next record goes.
    to: usize,
}

impl Out {
    fn new(batch: &[u8], horizon_ms: Option<i64>) -> Option<Out> {
        let header = BatchHeader::read(batch)?;
        let base_ms = horizon_ms.unwrap_or(header.base_timestamp);
        Some(Out {
            head: *batch.first_chunk()?,
            header,
            attributes: header.attributes | horizon_ms.map_or(0, |_| ATTRIBUTE_DELETE_HORIZON),
            base_ms,
            moved_ms: header.base_timestamp.wrapping_sub(base_ms),
            carried: NOTHING,
            to: HEADER_BYTES,
        })
    }

    fn count(&mut self, record: &KeyedRecord<'_>) {
        let timestamp = self.header.base_timestamp.wrapping_add(record.timestamp_delta);
        self.carried.newest_ms = self.carried.newest_ms.max(timestamp);
        self.carried.records += 1;
    }

    /// Writes the header before the records.
    fn finish(mut self, buf: &mut [u8]) -> Carried {
        if self.carried.records == 0 {
            return NOTHING;
        }
        if self.header.attributes & ATTRIBUTE_LOG_APPEND_TIME != 0 {
            self.carried.newest_ms = self.header.max_timestamp;
        }
        let head = &mut self.head;
        put(head, CRC_END, &self.attributes.to_be_bytes());
        put(head, LENGTH_END - 4, &((self.to - LENGTH_END) as i32).to_be_bytes());
        put(head, BASE_TIMESTAMP_AT, &self.base_ms.to_be_bytes());
        put(head, MAX_TIMESTAMP_AT, &self.carried.newest_ms.to_be_bytes());
        put(head, RECORDS_COUNT_AT, &self.carried.records.to_be_bytes());
        buf[..HEADER_BYTES].copy_from_slice(head);
        let crc = crc32c(&buf[CRC_END..self.to]);
        put(buf, CRC_AT, &crc.to_be_bytes());
        self.carried.bytes = self.to;
        self.carried
    }
}

/// The first fields of a record, up to its offset delta.
struct Start {
    bytes: [u8; START_BYTES_MAX],
    length: usize,
}

impl Start {
    fn of(record: &KeyedRecord<'_>, moved_ms: i64, rest_bytes: usize) -> Start {
        let mut body = Start { bytes: [0; START_BYTES_MAX], length: 1 };
        body.varint(record.timestamp_delta.wrapping_add(moved_ms));
        body.varint(i64::from(record.offset_delta));
        let mut start = Start { bytes: [0; START_BYTES_MAX], length: 0 };
        start.varint((body.length + rest_bytes) as i64);
        let end = start.length + body.length;
        start.bytes[start.length..end].copy_from_slice(body.bytes());
        start.length = end;
        start
    }

    fn varint(&mut self, value: i64) {
        let mut raw = ((value << 1) ^ (value >> 63)).cast_unsigned();
        loop {
            let more = if raw >= 0x80 { 0x80 } else { 0 };
            self.bytes[self.length] = raw as u8 & 0x7f | more;
            self.length += 1;
            raw >>= 7;
            if more == 0 {
                return;
            }
        }
    }

    fn bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

const NOTHING: Carried = Carried { bytes: 0, records: 0, newest_ms: i64::MIN };

/// Length, attributes, and two numbers of 64 bits at their longest.
const START_BYTES_MAX: usize = 10 + 1 + 10 + 10;
const ATTRIBUTE_DELETE_HORIZON: i16 = 1 << 6;
const BASE_TIMESTAMP_AT: usize = 27;
const RECORDS_COUNT_AT: usize = 57;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::batch::batches;
    use crate::codec::batch::sample::{batch_of, with_payload};
    use crate::codec::compression::WINDOW_BYTES_MIN;

    /// Offsets and timestamps.
    fn records(batch: &[u8]) -> Vec<(i64, i64)> {
        let batch = batches(batch).next().unwrap();
        assert!(batch.crc_holds());
        let records = batch.records().unwrap().map(Result::unwrap);
        records.map(|record| (record.offset, record.timestamp)).collect()
    }

    #[test]
    fn what_is_kept_keeps_its_offset_and_its_time_and_the_batch_its_bounds() {
        let batch = batch_of(&[(0, 0), (700, 1), (-5, 2), (70, 3)]);
        for at in [0, 40] {
            let mut buf = vec![0; at];
            buf.extend(&batch);
            let carried = carry(&mut buf, at, None, &mut |r| r.offset_delta % 3 != 0).unwrap();
            assert_eq!((carried.records, carried.newest_ms), (2, 1700));
            buf.truncate(carried.bytes);
            assert_eq!(records(&buf), [(1, 1700), (2, 995)]);
            let header = BatchHeader::read(&buf).unwrap();
            assert_eq!((header.base_offset, header.last_offset()), (0, 3));
            assert_eq!((header.max_timestamp, header.records_count), (1700, 2));
        }
        let mut buf = batch;
        assert_eq!(carry(&mut buf, 0, None, &mut |_| false).unwrap().bytes, 0);
    }

    #[test]
    fn a_delete_horizon_moves_no_records_time() {
        let batch = batch_of(&[(0, 0), (700, 1), (-5, 2)]);
        let mut buf = vec![0; 40];
        buf.extend(&batch);
        let carried = carry(&mut buf, 40, Some(1 << 41), &mut |_| true).unwrap();
        buf.truncate(carried.bytes);
        assert!(buf.len() > batch.len());
        assert_eq!(records(&buf), [(0, 1000), (1, 1700), (2, 995)]);
        let header = BatchHeader::read(&buf).unwrap();
        let horizon = delete_horizon_ms(header.attributes, header.base_timestamp);
        assert_eq!(horizon, Some(1 << 41));
        assert_eq!(delete_horizon_ms(0, 1), None);
        let mut buf = batch;
        assert_eq!(carry(&mut buf, 0, Some(1 << 41), &mut |_| true), Err(NoRoom));
    }

    #[test]
    fn what_is_left_of_a_compressed_batch_is_as_if_it_had_never_been_compressed() {
        let batch = batch_of(&[(0, 0), (700, 1), (-5, 2), (70, 3)]);
        let raw = snap::raw::Encoder::new().compress_vec(&batch[HEADER_BYTES..]).unwrap();
        let packed = with_payload(&batch, 2, &raw);
        let mut decompressor = Decompressor::new(WINDOW_BYTES_MIN);
        for horizon_ms in [None, Some(1 << 41)] {
            let mut plain = [vec![0; 200], batch.clone()].concat();
            let keep = &mut |record: &KeyedRecord<'_>| record.offset_delta % 3 != 0;
            let expected = carry(&mut plain, 200, horizon_ms, keep).unwrap();
            for room in [0, HEADER_BYTES, expected.bytes - 1] {
                let mut buf = [vec![0; room], packed.clone()].concat();
                let codec = (Compression::Snappy, &mut decompressor);
                assert_eq!(carry_packed(&mut buf, room, codec, horizon_ms, keep), Err(NoRoom));
                assert_eq!(buf[room..], packed);
            }
            let mut buf = [vec![0; 200], packed.clone()].concat();
            let codec = (Compression::Snappy, &mut decompressor);
            assert_eq!(carry_packed(&mut buf, 200, codec, horizon_ms, keep), Ok(expected));
            assert_eq!(buf[..expected.bytes], plain[..expected.bytes]);
        }
        let mut seen = Vec::new();
        let all = packed_records(
            &packed,
            Compression::Snappy,
            &mut decompressor,
            &mut [0; 8],
            &mut |record| {
                seen.push((record.offset_delta, record.timestamp_delta, record.key == Some(b"k")));
                true
            },
        );
        assert!(all);
        assert_eq!(seen, [(0, 0, true), (1, 700, true), (2, -5, true), (3, 70, true)]);
    }

    #[test]
    fn a_null_value_is_a_tombstone_and_a_key_may_be_cut_off() {
        let batch = batch_of(&[(3, 0)]);
        let (whole, extent) = keyed_record(&batch[HEADER_BYTES..]).unwrap();
        assert_eq!((whole.key, whole.tombstone), (Some(&b"k"[..]), true));
        assert_eq!(extent.bytes, batch.len() - HEADER_BYTES);
        assert!(keeps_tombstone(&batch, &mut |_| true));
        assert!(!keeps_tombstone(&batch, &mut |_| false));
        let (cut, extent_cut) = keyed_record(&batch[HEADER_BYTES..HEADER_BYTES + 5]).unwrap();
        assert_eq!((cut.key, extent_cut.bytes), (None, extent.bytes));
        assert!(keyed_record(&[]).is_err());
    }
}
