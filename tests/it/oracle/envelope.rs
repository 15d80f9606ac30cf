//! What surrounds messages, and what is in them: the oracle's headers and record batches.

use super::rows;
use brooklet::codec::batch::{self, Rules, batches};
use brooklet::codec::compression::{Decompressor, WINDOW_BYTES_MIN};
use brooklet::codec::frame::{self, RequestHeader};
use brooklet::codec::{Reader, Writer};
use bytes::BytesMut;
use kafka_protocol::messages as theirs;
use kafka_protocol::protocol::{Encodable, StrBytes};
use kafka_protocol::records::{
    Compression, Record, RecordBatchEncoder, RecordEncodeOptions, TimestampType,
};

#[test]
fn every_request_header_decodes_to_the_oracles_values() {
    for row in rows::all() {
        let key = theirs::ApiKey::try_from(row.key).unwrap();
        for version in row.versions.clone() {
            for client_id in [None, Some(""), Some("sensor-ä")] {
                let header = theirs::RequestHeader::default()
                    .with_request_api_key(row.key)
                    .with_request_api_version(version)
                    .with_correlation_id(i32::MIN)
                    .with_client_id(client_id.map(StrBytes::from_static_str));
                let mut bytes = BytesMut::new();
                header.encode(&mut bytes, key.request_header_version(version)).unwrap();
                bytes.extend(b"body");
                let mut r = Reader::new(&bytes);
                let ours = RequestHeader::decode(&mut r, |_| row.flexible_since).unwrap();
                let expected = RequestHeader {
                    api_key: row.key,
                    api_version: version,
                    correlation_id: i32::MIN,
                    client_id,
                };
                assert_eq!(ours, expected);
                assert_eq!(r.rest(), b"body");
                assert_eq!(RequestHeader::peek_api_key(&bytes), Some(row.key));
            }
        }
    }
}

#[test]
fn every_response_header_encodes_to_the_oracles_bytes() {
    for row in rows::all() {
        let key = theirs::ApiKey::try_from(row.key).unwrap();
        for version in row.versions.clone() {
            let header = theirs::ResponseHeader::default().with_correlation_id(77);
            let mut expected = BytesMut::new();
            header.encode(&mut expected, key.response_header_version(version)).unwrap();
            let mut buffer = [0; 16];
            let mut w = Writer::new(&mut buffer);
            let flexible = frame::response_header_flexible(row.key, version, row.flexible_since);
            frame::response_begin(&mut w, 77, flexible);
            let bytes = frame::response_end(&mut w).unwrap();
            let (length, header) = buffer[..bytes].split_at(frame::LENGTH_BYTES);
            assert_eq!(length, (expected.len() as u32).to_be_bytes());
            assert_eq!(header, expected, "{} {version}", row.name);
        }
    }
}

#[test]
fn the_oracles_record_batches_pass_and_show_the_same_records() {
    let mut decompressor = Decompressor::new(WINDOW_BYTES_MIN);
    for count in [1, 2, 63, 64, 300] {
        let (records, bytes) = record_batch(count);
        let rules = Rules {
            batch_bytes_max: bytes.len(),
            zstd_allowed: true,
            records_read: true,
            compacted: false,
        };
        let checked = batch::check(&bytes, &rules, &mut decompressor).unwrap();
        assert_eq!((checked.batches, checked.records), (1, count as u64));
        assert_eq!(checked.newest_ms, None);
        let batch = batches(&bytes).next().unwrap();
        assert_eq!(batch.header.producer_id, 4_000_000_000);
        assert_eq!(batch.header.producer_epoch, 3);
        assert_eq!(batch.header.base_sequence, 17);
        let ours = batch.records().unwrap().map(|record| record.unwrap());
        for (ours, theirs) in ours.zip(&records) {
            assert_eq!(ours.offset, theirs.offset);
            assert_eq!(ours.timestamp, theirs.timestamp);
            assert_eq!(ours.key, theirs.key.as_deref());
            assert_eq!(ours.value, theirs.value.as_deref());
            assert_eq!(ours.headers_count as usize, theirs.headers.len());
        }
    }
}

/// Some records, and the oracle's encoding of them.
pub fn record_batch(count: i32) -> (Vec<Record>, BytesMut) {
    let records: Vec<_> = (0..count).map(record).collect();
    let options = RecordEncodeOptions { version: 2, compression: Compression::None };
    let mut bytes = BytesMut::new();
    RecordBatchEncoder::encode(&mut bytes, &records, &options).unwrap();
    (records, bytes)
}

fn record(n: i32) -> Record {
    let header = |n: i32| (StrBytes::from_string(format!("h{n}")), (n != 1).then(|| "v".into()));
    Record {
        transactional: false,
        control: false,
        delete_horizon: false,
        partition_leader_epoch: -1,
        producer_id: 4_000_000_000,
        producer_epoch: 3,
        timestamp_type: TimestampType::Creation,
        offset: n.into(),
        sequence: 17 + n,
        timestamp: 1_700_000_000_000 - i64::from(n % 7) * 100_000,
        key: (n % 3 != 0).then(|| format!("key {n}").into()),
        value: (n % 5 != 1).then(|| "value ".repeat(n as usize).into()),
        headers: (0..n % 4).map(header).collect(),
    }
}
