//! The other side of a command: requests by another codec, and brokers that are none.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};

use brooklet::codec::batch::{BatchHeader, HEADER_BYTES, LENGTH_END, set_timestamps};
use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::*;
use kafka_protocol::protocol::{Decodable, Encodable, HeaderVersion, Request, StrBytes};
use kafka_protocol::records::{
    Compression, Record, RecordBatchEncoder, RecordEncodeOptions, TimestampType,
};

/// Sends a request, and reads what it is answered.
pub fn ask<R: Request>(stream: &mut TcpStream, version: i16, request: R) -> R::Response {
    let mut frame = BytesMut::new();
    RequestHeader::default()
        .with_request_api_key(R::KEY)
        .with_request_api_version(version)
        .with_client_id(Some(StrBytes::from_static_str("peer")))
        .encode(&mut frame, R::header_version(version))
        .unwrap();
    request.encode(&mut frame, version).unwrap();
    stream.write_all(&(frame.len() as u32).to_be_bytes()).unwrap();
    stream.write_all(&frame).unwrap();
    let mut length = [0; 4];
    stream.read_exact(&mut length).unwrap();
    let mut answer = vec![0; u32::from_be_bytes(length) as usize];
    stream.read_exact(&mut answer).unwrap();
    let mut answer = Bytes::from(answer);
    ResponseHeader::decode(&mut answer, R::Response::header_version(version)).unwrap();
    R::Response::decode(&mut answer, version).unwrap()
}

/// Produces so many records, without keys, to a partition.
pub fn produce(stream: &mut TcpStream, topic: &str, partition: i32, count: i64) {
    let records: Vec<Record> = (0..count).map(|n| record(n, None, Some("v"))).collect();
    produce_batch(stream, topic, partition, encoded(&records));
}

/// A record of a batch, at this place in it.
pub fn record(at: i64, key: Option<&str>, value: Option<&str>) -> Record {
    let bytes = |text: &str| Bytes::from(text.to_string());
    Record {
        transactional: false,
        control: false,
        delete_horizon: false,
        partition_leader_epoch: -1,
        producer_id: -1,
        producer_epoch: -1,
        timestamp_type: TimestampType::Creation,
        offset: at,
        sequence: at as i32,
        timestamp: 1_700_000_000_000 + at,
        key: key.map(bytes),
        value: value.map(bytes),
        headers: Default::default(),
    }
}

/// A batch of them.
pub fn encoded(records: &[Record]) -> Bytes {
    let mut batch = BytesMut::new();
    let options = RecordEncodeOptions { version: 2, compression: Compression::None };
    RecordBatchEncoder::encode(&mut batch, records, &options).unwrap();
    batch.freeze()
}

/// The batch with each of Kafka's codecs.
pub fn compressed(batch: &[u8]) -> Vec<Bytes> {
    let (header, records) = batch.split_at(HEADER_BYTES);
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    gzip.write_all(records).unwrap();
    let mut lz4 = lz4_flex::frame::FrameEncoder::new(Vec::new());
    lz4.write_all(records).unwrap();
    let payloads = [
        gzip.finish().unwrap(),
        snap::raw::Encoder::new().compress_vec(records).unwrap(),
        lz4.finish().unwrap(),
        ruzstd::encoding::compress_to_vec(records, ruzstd::encoding::CompressionLevel::Fastest),
    ];
    let with_codec = |(codec, payload): (u8, Vec<u8>)| {
        let mut batch = [header, &payload].concat();
        let length = (batch.len() - LENGTH_END) as i32;
        batch[8..LENGTH_END].copy_from_slice(&length.to_be_bytes());
        batch[22] |= codec;
        let newest = BatchHeader::read(&batch).unwrap().max_timestamp;
        set_timestamps(&mut batch, false, newest);
        Bytes::from(batch)
    };
    (1..).zip(payloads).map(with_codec).collect()
}

/// Produces a batch as it is.
pub fn produce_batch(stream: &mut TcpStream, topic: &str, partition: i32, batch: Bytes) {
    let partition = produce_request::PartitionProduceData::default()
        .with_index(partition)
        .with_records(Some(batch));
    let topic = produce_request::TopicProduceData::default()
        .with_name(TopicName(StrBytes::from_string(topic.to_string())))
        .with_partition_data(vec![partition]);
    let request =
        ProduceRequest::default().with_acks(-1).with_timeout_ms(5000).with_topic_data(vec![topic]);
    // The first version that takes zstd.
    let answer = ask(stream, 7, request);
    assert_eq!(answer.responses[0].partition_responses[0].error_code, 0);
}

/// Commits offsets of a group without members.
pub fn commit(stream: &mut TcpStream, group: &str, topic: &str, offsets: &[(i32, i64)]) {
    let partition = |(index, offset): &(i32, i64)| {
        offset_commit_request::OffsetCommitRequestPartition::default()
            .with_partition_index(*index)
            .with_committed_offset(*offset)
    };
    let topic = offset_commit_request::OffsetCommitRequestTopic::default()
        .with_name(TopicName(StrBytes::from_string(topic.to_string())))
        .with_partitions(offsets.iter().map(partition).collect());
    let request = OffsetCommitRequest::default()
        .with_group_id(GroupId(StrBytes::from_string(group.to_string())))
        .with_topics(vec![topic]);
    let answer = ask(stream, 2, request);
    assert!(answer.topics[0].partitions.iter().all(|partition| partition.error_code == 0));
}

/// Deletes the records of partition 0 before an offset.
pub fn delete_records(stream: &mut TcpStream, topic: &str, before: i64) {
    let partition = delete_records_request::DeleteRecordsPartition::default().with_offset(before);
    let topic = delete_records_request::DeleteRecordsTopic::default()
        .with_name(TopicName(StrBytes::from_string(topic.to_string())))
        .with_partitions(vec![partition]);
    let request = DeleteRecordsRequest::default().with_timeout_ms(5000).with_topics(vec![topic]);
    assert_eq!(ask(stream, 1, request).topics[0].partitions[0].error_code, 0);
}

/// Answers the first request with these bytes, and closes the connection.
pub fn answer_once(listener: &TcpListener, answer: &[u8]) {
    let (mut stream, _) = listener.accept().unwrap();
    let mut length = [0; 4];
    stream.read_exact(&mut length).unwrap();
    let mut request = vec![0; u32::from_be_bytes(length) as usize];
    stream.read_exact(&mut request).unwrap();
    stream.write_all(answer).unwrap();
}
