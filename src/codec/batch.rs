//! RecordBatch, version 2: the one format in which records arrive, are kept, and leave.
//!
//! A batch is a header of 61 bytes and its records, which may be compressed; compressed ones are
//! never opened. The CRC covers everything from the attributes on, so that base offset and leader
//! epoch are filled in without touching it.

use super::crc::crc32c;
use super::{Decode, Error, ErrorCode, Reader};

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
    /// Reads a header; `None` if there are too few bytes for one. Nothing else is checked.
    pub fn read(bytes: &[u8]) -> Option<BatchHeader> {
        BatchHeader::decode_from(&mut Reader::new(bytes)).ok()
    }

    /// The whole batch's length, if `batch_length` could be one.
    pub fn batch_bytes(&self) -> Option<usize> {
        let bytes = usize::try_from(self.batch_length)
            .ok()?
            .checked_add(LENGTH_END)?;
        (bytes >= HEADER_BYTES).then_some(bytes)
    }

    /// The last record's offset.
    pub fn last_offset(&self) -> i64 {
        self.base_offset
            .saturating_add(self.last_offset_delta.into())
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

impl<'a> Decode<'a> for BatchHeader {
    fn decode_from(r: &mut Reader<'a>) -> Result<Self, Error> {
        Ok(BatchHeader {
            base_offset: i64::decode_from(r)?,
            batch_length: i32::decode_from(r)?,
            partition_leader_epoch: i32::decode_from(r)?,
            magic: i8::decode_from(r)?,
            crc: i32::decode_from(r)?.cast_unsigned(),
            attributes: i16::decode_from(r)?,
            last_offset_delta: i32::decode_from(r)?,
            base_timestamp: i64::decode_from(r)?,
            max_timestamp: i64::decode_from(r)?,
            producer_id: i64::decode_from(r)?,
            producer_epoch: i16::decode_from(r)?,
            base_sequence: i32::decode_from(r)?,
            records_count: i32::decode_from(r)?,
        })
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
        self.bytes
            .get(CRC_END..)
            .is_some_and(|covered| crc32c(covered) == self.header.crc)
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

/// The batches that stand one behind the other in `bytes`; ends before the first that is cut
/// short or has no length. Only lengths are looked at.
pub fn batches(bytes: &[u8]) -> Batches<'_> {
    Batches { rest: bytes }
}

/// Walks batches. Made by [`batches`].
#[derive(Debug, Clone)]
pub struct Batches<'a> {
    rest: &'a [u8],
}

impl<'a> Batches<'a> {
    /// What was not walked yet; once it ended, what is no batch.
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

/// What a produce request may bring.
#[derive(Debug, Clone, Copy)]
pub struct Rules {
    /// Bytes of one batch (the topic's `max.message.bytes`).
    pub batch_bytes_max: usize,
    /// Whether zstd may be used: since Produce version 7.
    pub zstd_allowed: bool,
}

/// What a checked payload holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Checked {
    /// Batches, at least one. Kafka's clients send exactly one.
    pub batches: u32,
    /// Records in all of them.
    pub records: u64,
    /// Whether each header's `max_timestamp` is what the records say. Where it is not,
    /// [`set_timestamps`] corrects it; of compressed records it is believed.
    pub max_timestamps_hold: bool,
}

/// Why a payload is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refusal {
    /// Kafka's code.
    pub code: ErrorCode,
    /// For people.
    pub message: &'static str,
}

/// Checks all of what a client produces to one partition, in Kafka's order of checks.
///
/// What is uncompressed is checked record by record; of what is compressed only the header can be
/// wrong. Null or empty payloads have no batch.
pub fn check(payload: &[u8], rules: &Rules) -> Result<Checked, Refusal> {
    let mut checked = Checked {
        batches: 0,
        records: 0,
        max_timestamps_hold: true,
    };
    let mut batches = batches(payload);
    for batch in batches.by_ref() {
        check_batch(&batch, rules)?;
        let max_timestamp = check_records(&batch)?;
        checked.batches += 1;
        checked.records += u64::from(batch.header.records_count.unsigned_abs());
        checked.max_timestamps_hold &=
            max_timestamp.is_none_or(|newest| newest == batch.header.max_timestamp);
    }
    if checked.batches == 0 || !batches.rest().is_empty() {
        // The old formats' headers are shorter: their magic stands at the same place.
        return match batches.rest().get(MAGIC_AT) {
            Some(0 | 1) => Err(OLD_FORMAT),
            _ => refuse(
                ErrorCode::INVALID_RECORD,
                "the records are not whole record batches",
            ),
        };
    }
    Ok(checked)
}

/// Fills in what the broker gives to a batch; the CRC does not cover it.
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
        let length = usize::try_from(self.reader.varint()?).map_err(|_| Error::Length)?;
        let mut r = Reader::new(self.reader.take(length)?);
        i8::decode_from(&mut r)?; // Attributes: none is defined.
        let timestamp = self.header.base_timestamp.wrapping_add(r.varlong()?);
        let offset = self.header.base_offset.wrapping_add(r.varint()?.into());
        let key = nullable_bytes(&mut r)?;
        let value = nullable_bytes(&mut r)?;
        let headers_count = u32::try_from(r.varint()?).map_err(|_| Error::Length)?;
        for _ in 0..headers_count {
            nullable_bytes(&mut r)?.ok_or(Error::Null)?;
            nullable_bytes(&mut r)?;
        }
        r.finish()?;
        let append_time = self.header.is_log_append_time();
        let timestamp = if append_time {
            self.header.max_timestamp
        } else {
            timestamp
        };
        Ok(Record {
            offset,
            timestamp,
            key,
            value,
            headers_count,
        })
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

/// Checks a batch's header and CRC.
fn check_batch(batch: &Batch<'_>, rules: &Rules) -> Result<(), Refusal> {
    let header = &batch.header;
    let compression = header.compression();
    if header.magic != MAGIC {
        return Err(OLD_FORMAT);
    }
    if compression > COMPRESSION_ZSTD || (compression == COMPRESSION_ZSTD && !rules.zstd_allowed) {
        let message = "the compression type is not supported in this version";
        return refuse(ErrorCode::UNSUPPORTED_COMPRESSION_TYPE, message);
    }
    if header.base_offset != 0 {
        return refuse(
            ErrorCode::INVALID_RECORD,
            "the base offset of a batch must be 0",
        );
    }
    if batch.bytes.len() > rules.batch_bytes_max {
        return refuse(
            ErrorCode::MESSAGE_TOO_LARGE,
            "the batch exceeds max.message.bytes",
        );
    }
    if !batch.crc_holds() {
        return refuse(
            ErrorCode::CORRUPT_MESSAGE,
            "the CRC of the batch does not hold",
        );
    }
    if header.is_control() {
        return refuse(
            ErrorCode::INVALID_RECORD,
            "clients cannot write control records",
        );
    }
    if header.is_transactional() {
        let message = "there are no transactions";
        return refuse(ErrorCode::TRANSACTIONAL_ID_AUTHORIZATION_FAILED, message);
    }
    if header.records_count <= 0 || header.last_offset_delta != header.records_count - 1 {
        return refuse(
            ErrorCode::INVALID_RECORD,
            "the record count of the batch is wrong",
        );
    }
    if header.has_producer_id() && header.base_sequence < 0 {
        return refuse(
            ErrorCode::INVALID_RECORD,
            "a producer id without a sequence number",
        );
    }
    if header.is_log_append_time() {
        let message = "clients cannot set the timestamp type to LogAppendTime";
        return refuse(ErrorCode::INVALID_TIMESTAMP, message);
    }
    Ok(())
}

/// Checks the records of a batch that are not compressed, and gives their newest timestamp.
fn check_records(batch: &Batch<'_>) -> Result<Option<i64>, Refusal> {
    let Some(mut records) = batch.records() else {
        return Ok(None);
    };
    let mut newest = i64::MIN;
    for (offset_expected, record) in (batch.header.base_offset..).zip(records.by_ref()) {
        let Ok(record) = record else {
            return refuse(
                ErrorCode::INVALID_RECORD,
                "a record of the batch cannot be read",
            );
        };
        if record.offset != offset_expected {
            return refuse(
                ErrorCode::INVALID_RECORD,
                "the records' offsets are not 0, 1, 2 …",
            );
        }
        newest = newest.max(record.timestamp);
    }
    match records.reader.finish() {
        Ok(()) => Ok(Some(newest)),
        Err(_) => refuse(
            ErrorCode::INVALID_RECORD,
            "bytes follow the batch's last record",
        ),
    }
}

fn refuse<T>(code: ErrorCode, message: &'static str) -> Result<T, Refusal> {
    Err(Refusal { code, message })
}

/// Bytes whose length is a varint; −1 is null.
fn nullable_bytes<'a>(r: &mut Reader<'a>) -> Result<Option<&'a [u8]>, Error> {
    match r.varint()? {
        -1 => Ok(None),
        length => r
            .take(usize::try_from(length).map_err(|_| Error::Length)?)
            .map(Some),
    }
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
const MAGIC: i8 = 2;
const COMPRESSION_ZSTD: i16 = 4;
const ATTRIBUTE_COMPRESSION: i16 = 0b111;
const ATTRIBUTE_LOG_APPEND_TIME: i16 = 1 << 3;
const ATTRIBUTE_TRANSACTIONAL: i16 = 1 << 4;
const ATTRIBUTE_CONTROL: i16 = 1 << 5;
const OLD_FORMAT: Refusal = Refusal {
    code: ErrorCode::INVALID_RECORD,
    message: "only record batches of magic 2 are accepted",
};

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: Rules = Rules {
        batch_bytes_max: 1 << 20,
        zstd_allowed: true,
    };

    /// A batch of records of which each has a key of one byte, no value, and one header.
    fn batch_of(records: &[(i64, i32)]) -> Vec<u8> {
        let mut body = Vec::new();
        for (timestamp, offset) in records {
            let mut record = vec![0];
            varint(&mut record, *timestamp);
            varint(&mut record, (*offset).into());
            record.extend([2, b'k', 1, 2, 2, b'h', 1]);
            varint(&mut body, record.len() as i64);
            body.extend(record);
        }
        let count = records.len() as i32;
        let mut batch = vec![0; HEADER_BYTES];
        batch.extend(&body);
        let length = (batch.len() - LENGTH_END) as i32;
        put(&mut batch, 8, &length.to_be_bytes());
        put(&mut batch, 12, &(-1_i32).to_be_bytes());
        put(&mut batch, MAGIC_AT, &[2]);
        put(&mut batch, 23, &(count - 1).to_be_bytes());
        put(&mut batch, 27, &1000_i64.to_be_bytes());
        put(&mut batch, 43, &(-1_i64).to_be_bytes());
        put(&mut batch, 51, &(-1_i16).to_be_bytes());
        put(&mut batch, 53, &(-1_i32).to_be_bytes());
        put(&mut batch, 57, &count.to_be_bytes());
        let newest = records
            .iter()
            .map(|record| 1000 + record.0)
            .max()
            .unwrap_or(0);
        set_timestamps(&mut batch, false, newest);
        batch
    }

    fn varint(out: &mut Vec<u8>, value: i64) {
        let mut raw = ((value << 1) ^ (value >> 63)).cast_unsigned();
        while raw >= 0x80 {
            out.push(raw as u8 | 0x80);
            raw >>= 7;
        }
        out.push(raw as u8);
    }

    /// The code for a good batch that was changed at `at`, with its CRC made right again.
    fn code_after(at: usize, bytes: &[u8]) -> i16 {
        let mut batch = batch_of(&[(0, 0), (7, 1)]);
        put(&mut batch, at, bytes);
        let crc = crc32c(&batch[CRC_END..]);
        put(&mut batch, CRC_AT, &crc.to_be_bytes());
        check(&batch, &RULES).map_or_else(|refusal| refusal.code.0, |_| 0)
    }

    #[test]
    fn good_batches_pass_one_by_one_and_together() {
        let one = batch_of(&[(0, 0), (-5, 1), (70_000, 2)]);
        let expected = Checked {
            batches: 1,
            records: 3,
            max_timestamps_hold: true,
        };
        assert_eq!(check(&one, &RULES), Ok(expected));
        let two = [one.clone(), batch_of(&[(1, 0)])].concat();
        let expected = Checked {
            batches: 2,
            records: 4,
            max_timestamps_hold: true,
        };
        assert_eq!(check(&two, &RULES), Ok(expected));
        assert_eq!(
            batches(&two).map(|batch| batch.bytes.len()).sum::<usize>(),
            two.len()
        );
    }

    #[test]
    fn each_lie_of_a_header_has_kafkas_code() {
        assert_eq!(code_after(0, &[]), 0);
        assert_eq!(code_after(0, &[0, 0, 0, 0, 0, 0, 0, 1]), 87, "base offset");
        for magic in [0, 1, 3, 255] {
            assert_eq!(code_after(MAGIC_AT, &[magic]), 87, "magic {magic}");
        }
        assert_eq!(code_after(22, &[5]), 76, "compression 5");
        assert_eq!(code_after(22, &[4]), 0, "zstd");
        assert_eq!(code_after(22, &[8]), 32, "append time");
        assert_eq!(code_after(22, &[16]), 53, "transactional");
        assert_eq!(code_after(22, &[32]), 87, "control");
        assert_eq!(code_after(57, &[0, 0, 0, 3]), 87, "one more record");
        assert_eq!(code_after(57, &[0, 0, 0, 0]), 87, "no record");
        assert_eq!(code_after(57, &[255, 255, 255, 255]), 87, "negative count");
        assert_eq!(code_after(23, &[0, 0, 0, 5]), 87, "last offset delta");
        assert_eq!(code_after(23, &[0, 0, 0, 2, 0]), 87, "last offset delta");
        assert_eq!(
            code_after(43, &[0; 8]),
            87,
            "a producer id without a sequence"
        );
    }

    #[test]
    fn counts_that_agree_with_each_other_but_not_with_the_records_are_lies() {
        for count in [1_i32, 3, i32::MAX] {
            let mut batch = batch_of(&[(0, 0), (7, 1)]);
            put(&mut batch, 23, &(count - 1).to_be_bytes());
            put(&mut batch, 57, &count.to_be_bytes());
            set_timestamps(&mut batch, false, 1007);
            assert_eq!(
                check(&batch, &RULES).unwrap_err().code,
                ErrorCode::INVALID_RECORD
            );
        }
        let offsets_wrong = batch_of(&[(0, 0), (0, 2)]);
        assert_eq!(
            check(&offsets_wrong, &RULES).unwrap_err().code,
            ErrorCode::INVALID_RECORD
        );
        let empty = batch_of(&[]);
        assert_eq!(
            check(&empty, &RULES).unwrap_err().code,
            ErrorCode::INVALID_RECORD
        );
    }

    #[test]
    fn every_flipped_bit_behind_the_length_is_refused() {
        let good = batch_of(&[(0, 0), (7, 1)]);
        for at in MAGIC_AT * 8..good.len() * 8 {
            let mut batch = good.clone();
            batch[at / 8] ^= 1 << (at % 8);
            assert!(check(&batch, &RULES).is_err(), "bit {at}");
        }
        let mut batch = good;
        *batch.last_mut().unwrap() ^= 1;
        assert_eq!(
            check(&batch, &RULES).unwrap_err().code,
            ErrorCode::CORRUPT_MESSAGE
        );
    }

    #[test]
    fn every_truncation_and_every_trailing_byte_is_refused() {
        let good = batch_of(&[(0, 0), (7, 1)]);
        for end in 0..good.len() {
            let code = check(&good[..end], &RULES).unwrap_err().code;
            assert_eq!(code, ErrorCode::INVALID_RECORD, "{end}");
        }
        let mut trailing = good;
        trailing.push(0);
        assert!(check(&trailing, &RULES).is_err());
    }

    #[test]
    fn size_and_zstd_have_their_own_codes() {
        let mut batch = batch_of(&[(0, 0)]);
        let rules = Rules {
            batch_bytes_max: batch.len() - 1,
            ..RULES
        };
        assert_eq!(
            check(&batch, &rules).unwrap_err().code,
            ErrorCode::MESSAGE_TOO_LARGE
        );
        let exactly = Rules {
            batch_bytes_max: batch.len(),
            ..RULES
        };
        assert!(check(&batch, &exactly).is_ok());
        put(&mut batch, 22, &[4]);
        set_timestamps(&mut batch, false, 0);
        let rules = Rules {
            zstd_allowed: false,
            ..RULES
        };
        let code = check(&batch, &rules).unwrap_err().code;
        assert_eq!(code, ErrorCode::UNSUPPORTED_COMPRESSION_TYPE);
        assert!(check(&batch, &RULES).is_ok());
    }

    #[test]
    fn stamping_keeps_the_crc() {
        let mut batch = batch_of(&[(0, 0), (7, 1)]);
        set_offset(&mut batch, 40, 3);
        let stamped = batches(&batch).next().unwrap();
        assert!(stamped.crc_holds());
        assert_eq!(
            (stamped.header.base_offset, stamped.header.last_offset()),
            (40, 41)
        );
        assert_eq!(stamped.header.partition_leader_epoch, 3);
        let times = |batch: &[u8]| -> Vec<(i64, i64)> {
            let records = batches(batch).next().unwrap().records().unwrap();
            records
                .map(|record| record.unwrap())
                .map(|r| (r.offset, r.timestamp))
                .collect()
        };
        assert_eq!(times(&batch), [(40, 1000), (41, 1007)]);
        set_timestamps(&mut batch, true, 5000);
        assert!(batches(&batch).next().unwrap().crc_holds());
        assert_eq!(times(&batch), [(40, 5000), (41, 5000)]);
    }

    #[test]
    fn a_newest_timestamp_that_is_wrong_is_told() {
        let mut batch = batch_of(&[(0, 0), (7, 1)]);
        set_timestamps(&mut batch, false, 9999);
        assert!(!check(&batch, &RULES).unwrap().max_timestamps_hold);
    }

    #[test]
    fn records_show_keys_values_and_headers() {
        let batch = batch_of(&[(3, 0)]);
        let record = batches(&batch)
            .next()
            .unwrap()
            .records()
            .unwrap()
            .next()
            .unwrap();
        let expected = Record {
            offset: 0,
            timestamp: 1003,
            key: Some(b"k"),
            value: None,
            headers_count: 1,
        };
        assert_eq!(record, Ok(expected));
    }
}
