//! Batches for unit tests.

use super::{BatchHeader, HEADER_BYTES, LENGTH_END, MAGIC_AT, put, set_timestamps};

/// A batch of records of which each has a key of one byte, no value, and one header.
pub fn batch_of(records: &[(i64, i32)]) -> Vec<u8> {
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
    let newest = records.iter().map(|record| 1000 + record.0).max().unwrap_or(0);
    set_timestamps(&mut batch, false, newest);
    batch
}

/// The batch with another payload behind its header, which says that it is compressed so.
pub fn with_payload(batch: &[u8], compression: u8, payload: &[u8]) -> Vec<u8> {
    let mut batch = batch[..HEADER_BYTES].to_vec();
    batch.extend(payload);
    let length = (batch.len() - LENGTH_END) as i32;
    put(&mut batch, 8, &length.to_be_bytes());
    put(&mut batch, 22, &[compression]);
    let newest = BatchHeader::read(&batch).unwrap().max_timestamp;
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
