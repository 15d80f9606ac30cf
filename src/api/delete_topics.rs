//! DeleteTopics (20): deletes topics. Versions 1–6.
//!
//! - 4 is flexible; 5 adds a message; 6 names topics by name or id (`topics`), before it by name
//!   (`topic_names`).
//! - `timeout_ms` is ignored: the answer waits for one sync.

use crate::codec::{Array, ErrorCode, List, message};
use crate::types::TopicId;

message! {
    /// Topics to delete.
    request DeleteTopicsRequest<'a>, key 20, flexible 4+ {
        topics: Array<'a, DeleteTopicState<'a>>, 6+;
        topic_names: Array<'a, &'a str>, 0-5;
        timeout_ms: i32, 0+;
    }

    /// One topic, by name or by id.
    request DeleteTopicState<'a> {
        name: Option<&'a str>, 6+, nullable 6+;
        topic_id: TopicId, 6+;
    }

    /// What became of them.
    response DeleteTopicsResponse<'a>, key 20, flexible 4+ {
        throttle_time_ms: i32, 1+;
        responses: List<'a, DeletableTopicResult<'static>>, 0+;
    }

    /// What became of one topic.
    response DeletableTopicResult<'a> {
        name: Option<&'a str>, 0+, nullable 6+;
        topic_id: TopicId, 6+;
        error_code: ErrorCode, 0+;
        error_message: Option<&'a str>, 5+, nullable 5+;
    }
}
