//! Answers to requests that wait for other members of a group: JoinGroup and SyncGroup.

use super::join_group::{self, JoinGroupRequest};
use super::{answer_write, api_of, sync_group};
use crate::broker::{Broker, JobNext};
use crate::clock::Mono;
use crate::codec::Writer;
use crate::group::WaitNext;
use crate::types::ConnId;

/// What is kept of a request that waits, to write its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Asked {
    /// The API's number.
    pub key: i16,
    /// The version of the message.
    pub version: i16,
    /// What the answer repeats.
    pub correlation_id: i32,
}

/// Goes on with what a connection waits for: writes of its answer into `buf` what stands there.
pub fn wait_step(broker: &mut Broker, conn: ConnId, asked: Asked, buf: &mut [u8]) -> JobNext {
    let (answer, from) = match broker.groups.wait_next(conn) {
        WaitNext::Write(answer, from) => (answer, from),
        WaitNext::Sleep => return JobNext::Sleep(Mono(u64::MAX)),
        WaitNext::Done => return JobNext::Done,
        WaitNext::Close(why) => return JobNext::Close(why),
    };
    let Asked { key, version, correlation_id } = asked;
    let api = api_of(key).expect("it was served when it was asked");
    let groups = &broker.groups;
    let mut w = Writer::window(buf, from);
    answer_write(&mut w, api, version, correlation_id, |w| match key {
        JoinGroupRequest::KEY => join_group::write(groups, &answer, w, version),
        _ => sync_group::write(groups, &answer, w, version),
    });
    let total = w.len();
    let bytes = buf.len().min(total - from);
    broker.groups.wait_written(conn, from + bytes, total);
    broker.metrics.error(answer.code.0);
    JobNext::Send { from: 0, to: bytes }
}
