//! Checks what a client produces: records that no consumer could read are refused.

use super::{Batch, BatchHeader, MAGIC_AT, Packed, Refusal, Unread, Walked, batches};
use crate::codec::compression::{Compression, Decompressor};
use crate::limits;

/// What a produce request may contain.
#[derive(Debug, Clone, Copy)]
pub struct Rules {
    /// Bytes of one batch (the topic's `max.message.bytes`).
    pub batch_bytes_max: usize,
    /// Whether zstd may be used: since Produce version 7.
    pub zstd_allowed: bool,
    /// Whether records are read, and not only their batch's header and CRC.
    pub records_read: bool,
    /// Whether the topic is compacted: each record can be read, and has a key of at most
    /// [`limits::COMPACTED_KEY_BYTES_MAX`].
    pub compacted: bool,
}

/// What a checked payload holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Checked {
    /// Batches, at least one. Kafka's clients send exactly one.
    pub batches: u32,
    /// Records in all of them.
    pub records: u64,
    /// The newest timestamp of the last batch, if its header's `max_timestamp` is another one. Kafka
    /// corrects it: see [`super::set_timestamps`].
    pub newest_ms: Option<i64>,
    /// Whether all records were read, and have no value: they only delete keys.
    pub tombstones: bool,
}

/// A check in progress. It may take several turns; each but the last ends within a compressed batch.
#[derive(Debug, Default)]
pub struct Check {
    packed: Option<Unpacking>,
}

/// A compressed batch that is being read.
#[derive(Debug)]
struct Unpacking {
    records: Packed,
    offset_expected: i64,
    newest_ms: i64,
    tombstones: bool,
}

impl Check {
    /// Checks all that a client produces to one partition, in Kafka's order of checks. None: the turn is
    /// over ([`Decompressor::turn`]), or there is no decompressor and one is needed; then this is to be
    /// called again in another turn, before the decompressor reads something else.
    ///
    /// Batches are checked record by record. Of one that takes more memory or time to decompress than
    /// there is for it, the rest is accepted unchecked. So are the records of all but the first batch if
    /// they are compressed: several are refused anyway. Null or empty payloads have no batch.
    pub fn go_on(
        &mut self,
        payload: &[u8],
        rules: &Rules,
        mut decompressor: Option<&mut Decompressor>,
    ) -> Result<Option<Checked>, Refusal> {
        let mut checked = Checked { batches: 0, records: 0, newest_ms: None, tombstones: true };
        let mut batches = batches(payload);
        for batch in batches.by_ref() {
            let first = checked.batches == 0;
            if !first || self.packed.is_none() {
                check_batch(&batch, rules)?;
            }
            let newest_ms = match Compression::from_number(batch.header.compression()) {
                _ if !rules.reads() => None,
                None => Some(check_records(&batch, rules, &mut checked.tombstones)?),
                Some(_) if !first => None,
                Some(compression) => {
                    let Some(decompressor) = &mut decompressor else {
                        return Ok(None);
                    };
                    let tombstones = &mut checked.tombstones;
                    match self.packed(&batch, compression, decompressor, rules, tombstones)? {
                        Some(newest_ms) => newest_ms,
                        None => return Ok(None),
                    }
                }
            };
            checked.tombstones &= newest_ms.is_some();
            checked.batches += 1;
            checked.records += u64::from(batch.header.records_count.unsigned_abs());
            let header_ms = batch.header.max_timestamp;
            checked.newest_ms = newest_ms.filter(|newest_ms| *newest_ms != header_ms);
        }
        if checked.batches == 0 || !batches.rest().is_empty() {
            return Err(not_whole(batches.rest()));
        }
        Ok(Some(checked))
    }

    /// Reads the records of a compressed batch, as far as the turn goes; gives their newest timestamp, or
    /// none of it if they were not read to their end.
    fn packed(
        &mut self,
        batch: &Batch<'_>,
        compression: Compression,
        decompressor: &mut Decompressor,
        rules: &Rules,
        tombstones: &mut bool,
    ) -> Result<Option<Option<i64>>, Refusal> {
        let beyond = if rules.compacted { Err(Refusal::KeysBeyond) } else { Ok(Some(None)) };
        let unpacking = self.packed.get_or_insert_with(|| Unpacking {
            records: Packed::new(decompressor, compression, batch.header, batch.bytes),
            offset_expected: batch.header.base_offset,
            newest_ms: i64::MIN,
            tombstones: true,
        });
        loop {
            match unpacking.records.next(decompressor, batch.bytes) {
                Ok(Walked::Record(record)) if record.offset == unpacking.offset_expected => {
                    if rules.compacted {
                        check_key(record.key_bytes.map(|bytes| bytes as usize))?;
                    }
                    unpacking.tombstones &= record.tombstone;
                    unpacking.newest_ms = unpacking.newest_ms.max(record.timestamp);
                    unpacking.offset_expected += 1;
                }
                Ok(Walked::Record(_)) => return Err(Refusal::RecordOffsets),
                Ok(Walked::End) => {
                    *tombstones &= unpacking.tombstones;
                    return Ok(Some(Some(unpacking.newest_ms)));
                }
                Ok(Walked::Turn) => return Ok(None),
                Err(Unread::Corrupt) => return Err(Refusal::Decompression),
                Err(Unread::Record) => return Err(Refusal::RecordUnreadable),
                Err(Unread::Trailing) => return Err(Refusal::RecordsTrailing),
                Err(Unread::Beyond | Unread::NoRoom) => return beyond,
            }
        }
    }
}

/// The same in one go, however long it takes.
pub fn check(
    payload: &[u8],
    rules: &Rules,
    decompressor: &mut Decompressor,
) -> Result<Checked, Refusal> {
    let mut check = Check::default();
    loop {
        decompressor.turn(u32::MAX);
        if let Some(checked) = check.go_on(payload, rules, Some(decompressor))? {
            return Ok(checked);
        }
    }
}

impl Rules {
    /// Whether records are read at all.
    pub fn reads(&self) -> bool {
        self.records_read || self.compacted
    }
}

/// Whether the first batch is compressed, or says so.
pub fn is_packed(payload: &[u8]) -> bool {
    BatchHeader::read(payload).is_some_and(|header| header.compression() != 0)
}

/// Refuses a payload of which only the beginning is read, because it is longer than a batch may be (or
/// than there is memory for). None: nothing is wrong with the first batch, so there must be several.
pub fn check_beginning(beginning: &[u8], payload_bytes: usize, rules: &Rules) -> Option<Refusal> {
    let header = BatchHeader::read(beginning);
    let bytes = header.and_then(|header| header.batch_bytes());
    match (header, bytes) {
        (Some(header), Some(bytes)) if bytes <= payload_bytes => {
            check_header(&header, bytes, rules).err()
        }
        _ => Some(not_whole(beginning)),
    }
}

/// Why a payload that does not begin with a whole batch is refused.
fn not_whole(payload: &[u8]) -> Refusal {
    // The old formats' headers are shorter, but their magic is at the same place.
    match payload.get(MAGIC_AT) {
        Some(0 | 1) => Refusal::OldFormat,
        _ => Refusal::NotWhole,
    }
}

/// Checks a batch's header and CRC.
fn check_batch(batch: &Batch<'_>, rules: &Rules) -> Result<(), Refusal> {
    let header = &batch.header;
    check_header(header, batch.bytes.len(), rules)?;
    if !batch.crc_holds() {
        return Err(Refusal::Crc);
    }
    if header.is_control() {
        return Err(Refusal::Control);
    }
    if header.is_transactional() {
        return Err(Refusal::Transactional);
    }
    if header.records_count <= 0 || header.last_offset_delta != header.records_count - 1 {
        return Err(Refusal::RecordsCount);
    }
    if header.has_producer_id() && header.base_sequence < 0 {
        return Err(Refusal::NoSequence);
    }
    if header.is_log_append_time() {
        return Err(Refusal::AppendTime);
    }
    Ok(())
}

/// The checks of a batch's header, before its CRC.
fn check_header(header: &BatchHeader, bytes: usize, rules: &Rules) -> Result<(), Refusal> {
    let compression = header.compression();
    if header.magic != MAGIC {
        return Err(Refusal::OldFormat);
    }
    if compression > COMPRESSION_ZSTD || (compression == COMPRESSION_ZSTD && !rules.zstd_allowed) {
        return Err(Refusal::Compression);
    }
    if header.base_offset != 0 {
        return Err(Refusal::BaseOffset);
    }
    if bytes > rules.batch_bytes_max {
        return Err(Refusal::TooLarge);
    }
    Ok(())
}

/// Checks the records of a batch that is not compressed, and gives their newest timestamp.
fn check_records(batch: &Batch<'_>, rules: &Rules, tombstones: &mut bool) -> Result<i64, Refusal> {
    let mut records = batch.records().ok_or(Refusal::RecordUnreadable)?;
    let mut newest_ms = i64::MIN;
    for (offset_expected, record) in (batch.header.base_offset..).zip(records.by_ref()) {
        let Ok(record) = record else {
            return Err(Refusal::RecordUnreadable);
        };
        if record.offset != offset_expected {
            return Err(Refusal::RecordOffsets);
        }
        if rules.compacted {
            check_key(record.key.map(<[u8]>::len))?;
        }
        *tombstones &= record.value.is_none();
        newest_ms = newest_ms.max(record.timestamp);
    }
    match records.reader.finish() {
        Ok(()) => Ok(newest_ms),
        Err(_) => Err(Refusal::RecordsTrailing),
    }
}

fn check_key(bytes: Option<usize>) -> Result<(), Refusal> {
    match bytes {
        None => Err(Refusal::NoKey),
        Some(bytes) if bytes <= limits::COMPACTED_KEY_BYTES_MAX => Ok(()),
        Some(_) => Err(Refusal::KeyTooLong),
    }
}

const MAGIC: i8 = 2;
const COMPRESSION_ZSTD: i16 = 4;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::ErrorCode;
    use crate::codec::batch::sample::{batch_of, with_payload};
    use crate::codec::batch::{CRC_AT, CRC_END, HEADER_BYTES, put, set_timestamps};
    use crate::codec::compression::WINDOW_BYTES_MIN;
    use crate::codec::crc::crc32c;
    use std::io::Write;

    const RULES: Rules = Rules {
        batch_bytes_max: 1 << 20,
        zstd_allowed: true,
        records_read: true,
        compacted: false,
    };

    fn check(payload: &[u8], rules: &Rules) -> Result<Checked, Refusal> {
        super::check(payload, rules, &mut Decompressor::new(WINDOW_BYTES_MIN))
    }

    /// The code for a good batch that was changed at `at`, with its CRC made right again.
    fn code_after(at: usize, bytes: &[u8]) -> i16 {
        let mut batch = batch_of(&[(0, 0), (7, 1)]);
        put(&mut batch, at, bytes);
        let crc = crc32c(&batch[CRC_END..]);
        put(&mut batch, CRC_AT, &crc.to_be_bytes());
        check(&batch, &RULES).map_or_else(|refusal| refusal.code().0, |_| 0)
    }

    #[test]
    fn good_batches_pass_one_by_one_and_together() {
        let one = batch_of(&[(0, 0), (-5, 1), (70_000, 2)]);
        let expected = Checked { batches: 1, records: 3, newest_ms: None, tombstones: true };
        assert_eq!(check(&one, &RULES), Ok(expected));
        let two = [one.clone(), batch_of(&[(1, 0)])].concat();
        let expected = Checked { batches: 2, records: 4, newest_ms: None, tombstones: true };
        assert_eq!(check(&two, &RULES), Ok(expected));
        assert_eq!(batches(&two).map(|batch| batch.bytes.len()).sum::<usize>(), two.len());
    }

    #[test]
    fn each_lie_of_a_header_has_kafkas_code() {
        assert_eq!(code_after(0, &[]), 0);
        assert_eq!(code_after(0, &[0, 0, 0, 0, 0, 0, 0, 1]), 87, "base offset");
        for magic in [0, 1, 3, 255] {
            assert_eq!(code_after(MAGIC_AT, &[magic]), 87, "magic {magic}");
        }
        assert_eq!(code_after(22, &[5]), 76, "compression 5");
        assert_eq!(code_after(22, &[4]), 87, "said to be zstd");
        assert_eq!(code_after(22, &[8]), 32, "append time");
        assert_eq!(code_after(22, &[16]), 53, "transactional");
        assert_eq!(code_after(22, &[32]), 87, "control");
        assert_eq!(code_after(57, &[0, 0, 0, 3]), 87, "one more record");
        assert_eq!(code_after(57, &[0, 0, 0, 0]), 87, "no record");
        assert_eq!(code_after(57, &[255, 255, 255, 255]), 87, "negative count");
        assert_eq!(code_after(23, &[0, 0, 0, 5]), 87, "last offset delta");
        assert_eq!(code_after(23, &[0, 0, 0, 2, 0]), 87, "last offset delta");
        assert_eq!(code_after(43, &[0; 8]), 87, "a producer id without a sequence");
    }

    #[test]
    fn counts_that_agree_with_each_other_but_not_with_the_records_are_lies() {
        for count in [1_i32, 3, i32::MAX] {
            let mut batch = batch_of(&[(0, 0), (7, 1)]);
            put(&mut batch, 23, &(count - 1).to_be_bytes());
            put(&mut batch, 57, &count.to_be_bytes());
            set_timestamps(&mut batch, false, 1007);
            assert_eq!(check(&batch, &RULES).unwrap_err().code(), ErrorCode::INVALID_RECORD);
        }
        let offsets_wrong = batch_of(&[(0, 0), (0, 2)]);
        assert_eq!(check(&offsets_wrong, &RULES).unwrap_err().code(), ErrorCode::INVALID_RECORD);
        let empty = batch_of(&[]);
        assert_eq!(check(&empty, &RULES).unwrap_err().code(), ErrorCode::INVALID_RECORD);
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
        assert_eq!(check(&batch, &RULES).unwrap_err().code(), ErrorCode::CORRUPT_MESSAGE);
    }

    #[test]
    fn every_truncation_and_every_trailing_byte_is_refused() {
        let good = batch_of(&[(0, 0), (7, 1)]);
        for end in 0..good.len() {
            let code = check(&good[..end], &RULES).unwrap_err().code();
            assert_eq!(code, ErrorCode::INVALID_RECORD, "{end}");
        }
        let mut trailing = good;
        trailing.push(0);
        assert!(check(&trailing, &RULES).is_err());
    }

    #[test]
    fn size_and_zstd_have_their_own_codes() {
        let mut batch = batch_of(&[(0, 0)]);
        let rules = Rules { batch_bytes_max: batch.len() - 1, ..RULES };
        assert_eq!(check(&batch, &rules).unwrap_err().code(), ErrorCode::MESSAGE_TOO_LARGE);
        let exactly = Rules { batch_bytes_max: batch.len(), ..RULES };
        assert!(check(&batch, &exactly).is_ok());
        put(&mut batch, 22, &[4]);
        set_timestamps(&mut batch, false, 0);
        let rules = Rules { zstd_allowed: false, ..RULES };
        let code = check(&batch, &rules).unwrap_err().code();
        assert_eq!(code, ErrorCode::UNSUPPORTED_COMPRESSION_TYPE);
        let unread = Rules { records_read: false, ..RULES };
        assert!(check(&batch, &unread).is_ok(), "its records are believed");
    }

    #[test]
    fn of_a_batch_that_is_too_long_the_header_says_what_all_of_it_would() {
        let batch = batch_of(&[(0, 0), (7, 1)]);
        let rules = Rules { batch_bytes_max: batch.len() - 1, ..RULES };
        for (at, byte) in [(0, 0), (MAGIC_AT, 1), (22, 5), (7, 1)] {
            let mut batch = batch.clone();
            batch[at] = byte;
            let refusal = check(&batch, &rules).unwrap_err();
            assert_eq!(check_beginning(&batch[..61], batch.len(), &rules), Some(refusal));
        }
        assert_eq!(check_beginning(&batch[..61], 2 * batch.len(), &RULES), None);
        let cut = check_beginning(&batch[..61], batch.len() - 1, &RULES);
        assert_eq!(cut, Some(Refusal::NotWhole));
    }

    #[test]
    fn a_newest_timestamp_that_is_wrong_is_told() {
        let mut batch = batch_of(&[(0, 0), (7, 1)]);
        set_timestamps(&mut batch, false, 9999);
        assert_eq!(check(&batch, &RULES).unwrap().newest_ms, Some(1007));
        set_timestamps(&mut batch, false, 1007);
        assert_eq!(check(&batch, &RULES).unwrap().newest_ms, None);
    }

    /// A payload as each codec packs it.
    fn packed(payload: &[u8]) -> [(u8, Vec<u8>); 4] {
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        gzip.write_all(payload).unwrap();
        let mut lz4 = lz4_flex::frame::FrameEncoder::new(Vec::new());
        lz4.write_all(payload).unwrap();
        let level = ruzstd::encoding::CompressionLevel::Fastest;
        [
            (1, gzip.finish().unwrap()),
            (2, snap::raw::Encoder::new().compress_vec(payload).unwrap()),
            (3, lz4.finish().unwrap()),
            (4, ruzstd::encoding::compress_to_vec(payload, level)),
        ]
    }

    #[test]
    fn what_is_compressed_is_read_as_kafka_reads_it() {
        let good = batch_of(&[(0, 0), (-5, 1), (70_000, 2)]);
        let records = &good[HEADER_BYTES..];
        let shorter = &batch_of(&[(0, 0), (-5, 1)])[HEADER_BYTES..];
        let longer = &batch_of(&[(0, 0), (-5, 1), (70_000, 2), (0, 3)])[HEADER_BYTES..];
        let elsewhere = &batch_of(&[(0, 0), (-5, 2), (70_000, 1)])[HEADER_BYTES..];
        let mut too_long = records.to_vec();
        too_long[0] += 2;
        let trailing = [records, b"abc"].concat();
        for (payload, expected) in [
            (records, None),
            (shorter, Some(Refusal::RecordUnreadable)),
            (longer, Some(Refusal::RecordsTrailing)),
            (elsewhere, Some(Refusal::RecordOffsets)),
            (&too_long, Some(Refusal::RecordUnreadable)),
            (&trailing, Some(Refusal::RecordsTrailing)),
        ] {
            for (compression, packed) in packed(payload) {
                let checked = check(&with_payload(&good, compression, &packed), &RULES);
                assert_eq!(checked.err(), expected, "codec {compression}");
            }
        }
        for (compression, packed) in packed(records) {
            let mut behind = packed.clone();
            behind.extend(b"something");
            let code = |payload: &[u8]| {
                let checked = check(&with_payload(&good, compression, payload), &RULES);
                checked.map_or_else(|refusal| refusal.code().0, |_| 0)
            };
            assert_eq!(code(b"garbage, garbage, garbage"), 87, "codec {compression}");
            assert_eq!(code(&[]), 87, "codec {compression}");
            assert_eq!(code(&packed[..packed.len() / 2]), 87, "codec {compression}");
            // Java's readers of gzip and LZ4 do not look behind the end.
            let expected = if matches!(compression, 1 | 3) { 0 } else { 87 };
            assert_eq!(code(&behind), expected, "codec {compression}");
        }
    }

    #[test]
    fn newest_timestamps_are_right_inside_what_is_compressed() {
        let mut batch = batch_of(&[(0, 0), (7, 1), (3, 2)]);
        let records = batch[HEADER_BYTES..].to_vec();
        set_timestamps(&mut batch, false, 9999);
        for (compression, packed) in packed(&records) {
            let checked = check(&with_payload(&batch, compression, &packed), &RULES);
            let newest_ms = Some(1007);
            let expected = Checked { batches: 1, records: 3, newest_ms, tombstones: true };
            assert_eq!(checked, Ok(expected), "codec {compression}");
        }
    }

    #[test]
    fn a_compacted_topic_takes_nothing_without_a_key_also_compressed() {
        let compacted = Rules { compacted: true, ..RULES };
        let good = batch_of(&[(0, 0), (7, 1)]);
        let mut null = good.clone();
        // No key, and a value of the one byte that follows.
        let at = null.iter().rposition(|byte| *byte == b'k').unwrap();
        put(&mut null, at - 1, &[1, 2]);
        set_timestamps(&mut null, false, 1007);
        assert!(!check(&null, &RULES).unwrap().tombstones);
        let unread = Rules { records_read: false, ..compacted };
        for (batch, expected) in [(&good, Ok(true)), (&null, Err(Refusal::NoKey))] {
            let found = |batch: &[u8], rules| check(batch, rules).map(|found| found.tombstones);
            assert_eq!(found(batch, &compacted), expected);
            assert_eq!(found(batch, &unread), expected);
            for (compression, packed) in packed(&batch[HEADER_BYTES..]) {
                let batch = with_payload(batch, compression, &packed);
                assert_eq!(found(&batch, &compacted), expected, "codec {compression}");
            }
        }
        assert_eq!(check_key(Some(limits::COMPACTED_KEY_BYTES_MAX)), Ok(()));
        assert!(check_key(Some(limits::COMPACTED_KEY_BYTES_MAX + 1)).is_err());
    }

    #[test]
    fn what_grows_without_end_is_believed_when_its_time_is_up() {
        let good = batch_of(&[(0, 0)]);
        // A record that says that it is as long as a record can be.
        let mut payload = vec![0xfe, 0xff, 0xff, 0xff, 0x0f, 0, 0, 0, 1];
        payload.extend([0xe0, 0xff, 0xff, 0xff, 0x0f]);
        payload.resize(limits::DECOMPRESSED_BYTES_MAX as usize + 100_000, 0);
        for (compression, packed) in packed(&payload) {
            let batch = with_payload(&good, compression, &packed);
            assert!(check(&batch, &RULES).is_ok(), "codec {compression}");
            let compacted = Rules { compacted: true, ..RULES };
            let refused = check(&batch, &compacted).unwrap_err();
            assert_eq!(refused, Refusal::KeysBeyond, "codec {compression}: keys cannot be seen");
        }
    }
}
