//! The answer to a request that was staged whole, when its sync has failed.

use super::ProduceResponse;
use crate::codec::{Decode, Error, ErrorCode, Reader, frame};

/// Makes an encoded answer say `code` for every partition that it did not refuse before: what was
/// appended could not be stored. `answer` is the whole frame, its length included.
pub fn produce_response_fail(
    version: i16,
    answer: &mut [u8],
    code: ErrorCode,
) -> Result<(), Error> {
    let flexible = version >= ProduceResponse::FLEXIBLE_SINCE;
    let correlation_id_bytes = 4;
    let mut walk = ResponseWalk { answer, at: 0, version, flexible };
    walk.skip(|r| r.take(frame::LENGTH_BYTES + correlation_id_bytes))?;
    walk.skip(Reader::skip_tags)?;
    for _ in 0..walk.count()? {
        walk.skip(<&str>::decode_from)?;
        for _ in 0..walk.count()? {
            walk.partition_fail(code)?;
        }
        walk.skip(Reader::skip_tags)?;
    }
    Ok(())
}

/// Where [`produce_response_fail`] is in the answer.
struct ResponseWalk<'a> {
    answer: &'a mut [u8],
    at: usize,
    version: i16,
    flexible: bool,
}

impl ResponseWalk<'_> {
    fn skip<'s, T>(
        &'s mut self,
        read: impl FnOnce(&mut Reader<'s>) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let mut r = Reader::new(self.answer.get(self.at..).unwrap_or_default());
        r.set_version(self.version, self.flexible);
        let value = read(&mut r)?;
        self.at = self.answer.len() - r.rest().len();
        Ok(value)
    }

    /// The count of an array whose elements follow.
    fn count(&mut self) -> Result<u32, Error> {
        let flexible = self.flexible;
        self.skip(|r| match flexible {
            true => r.uvarint()?.checked_sub(1).ok_or(Error::Null),
            false => u32::try_from(i32::decode_from(r)?).map_err(|_| Error::Length),
        })
    }

    fn partition_fail(&mut self, code: ErrorCode) -> Result<(), Error> {
        self.skip(i32::decode_from)?;
        let failed = self.skip(ErrorCode::decode_from)?.is_none();
        if failed {
            let at = self.at - size_of::<ErrorCode>();
            self.put(at, &code.0.to_be_bytes());
        }
        let append_time_since = 2;
        let log_start_since = 5;
        // Base offset, append time, log start: Kafka answers −1 with an error.
        for since in [0, append_time_since, log_start_since] {
            if self.version >= since {
                self.skip(i64::decode_from)?;
                if failed {
                    self.put(self.at - size_of::<i64>(), &(-1_i64).to_be_bytes());
                }
            }
        }
        let messages_since = 8;
        if self.version >= messages_since {
            for _ in 0..self.count()? {
                self.skip(i32::decode_from)?;
                self.skip(Option::<&str>::decode_from)?;
                self.skip(Reader::skip_tags)?;
            }
            self.skip(Option::<&str>::decode_from)?;
        }
        self.skip(Reader::skip_tags)
    }

    fn put(&mut self, at: usize, bytes: &[u8]) {
        if let Some(target) = self.answer.get_mut(at..at + bytes.len()) {
            target.copy_from_slice(bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::produce::{
        BatchIndexAndErrorMessage, PartitionProduceResponse, TopicProduceResponse,
    };
    use crate::codec::Writer;

    /// Two topics; every third partition was refused, with a message and a record's error.
    fn answer(version: i16, code_of_others: i16) -> Vec<u8> {
        let mut buffer = vec![0; 16 << 10];
        let mut w = Writer::new(&mut buffer);
        frame::response_begin(&mut w, 7, version >= ProduceResponse::FLEXIBLE_SINCE);
        let failed = code_of_others != 0;
        ProduceResponse {
            responses: &mut |list| {
                for (name, partitions) in [("telemetry", 3), ("alarms", 200)] {
                    list.push(TopicProduceResponse {
                        name,
                        partition_responses: &mut |list| {
                            for index in 0..partitions {
                                let refused = index % 3 == 2;
                                let offset = if failed && !refused { -1 } else { 40 };
                                list.push(PartitionProduceResponse {
                                    index,
                                    error_code: ErrorCode(if refused { 3 } else { code_of_others }),
                                    base_offset: offset,
                                    log_append_time_ms: offset,
                                    log_start_offset: offset,
                                    record_errors: &mut |list| {
                                        if refused {
                                            list.push(BatchIndexAndErrorMessage {
                                                batch_index: 0,
                                                batch_index_error_message: None,
                                            });
                                        }
                                    },
                                    error_message: refused.then_some("no such topic"),
                                });
                            }
                        },
                    });
                }
            },
            throttle_time_ms: 0,
        }
        .encode(&mut w, version);
        let bytes = frame::response_end(&mut w).unwrap();
        buffer.truncate(bytes);
        buffer
    }

    #[test]
    fn a_failed_sync_turns_what_was_appended_into_errors_and_nothing_else() {
        for version in 3..=12 {
            let mut patched = answer(version, 0);
            let code = ErrorCode::KAFKA_STORAGE_ERROR;
            assert_eq!(produce_response_fail(version, &mut patched, code), Ok(()));
            assert_eq!(patched, answer(version, code.0), "version {version}");
        }
    }

    #[test]
    fn a_cut_answer_is_an_error() {
        let whole = answer(9, 0);
        for end in 0..whole.len() - 8 {
            let mut cut = whole[..end].to_vec();
            assert!(produce_response_fail(9, &mut cut, ErrorCode(56)).is_err(), "{end}");
        }
    }
}
