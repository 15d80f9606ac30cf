//! InitProducerId (22): gives a producer its id and epoch. Versions 0–5.
//!
//! - 2 is flexible; 3 lets a producer come back with the id and epoch that it has; 4 and 5 add
//!   errors.
//! - A transactional id is refused with TRANSACTIONAL_ID_AUTHORIZATION_FAILED (53).
//! - Ids are random, so that none is ever given twice, whatever happened to the ring.
//! - `transaction_timeout_ms` is ignored.

use crate::codec::{ErrorCode, message};

message! {
    /// Asks for an id.
    request InitProducerIdRequest<'a>, key 22, flexible 2+ {
        transactional_id: Option<&'a str>, 0+, nullable 0+;
        transaction_timeout_ms: i32, 0+;
        producer_id: i64, 3+, default -1;
        producer_epoch: i16, 3+, default -1;
    }

    /// The id.
    response InitProducerIdResponse, key 22, flexible 2+ {
        throttle_time_ms: i32, 0+;
        error_code: ErrorCode, 0+;
        producer_id: i64, 0+;
        producer_epoch: i16, 0+;
    }
}
