//! Which offsets appended batches take, and what the broker writes into their headers.

use super::Append;
use crate::codec::batch::{self, BatchHeader};
use crate::types::{Boot, Offset};

/// How many offsets the batches take, and their newest timestamp.
pub(super) fn stretch_of(append: &Append<'_>) -> (u32, i64) {
    let mut records = 0u32;
    let stamp = append.append_time_ms.or(append.newest_ms);
    let mut newest_ms = stamp.unwrap_or(i64::MIN);
    for batch in batch::batches(append.batches) {
        records += batch.header.last_offset_delta.unsigned_abs() + 1;
        if stamp.is_none() {
            newest_ms = newest_ms.max(batch.header.max_timestamp);
        }
    }
    (records, newest_ms)
}

/// Writes offsets, leader epoch and, where they change, timestamps into staged batches.
pub(super) fn place_batches(batches: &mut [u8], first: Offset, boot: Boot, append: &Append<'_>) {
    let mut offset = first;
    let mut rest = batches;
    while let Some(header) = BatchHeader::read(rest)
        && let Some(bytes) = header.batch_bytes()
        && let Some((batch, behind)) = rest.split_at_mut_checked(bytes)
    {
        batch::set_offset(batch, offset.0, boot.0.cast_signed());
        if let Some(append_time_ms) = append.append_time_ms {
            batch::set_timestamps(batch, true, append_time_ms);
        } else if let Some(newest_ms) = append.newest_ms {
            batch::set_timestamps(batch, false, newest_ms);
        }
        offset = offset.plus(header.last_offset_delta.unsigned_abs() + 1);
        rest = behind;
    }
}
