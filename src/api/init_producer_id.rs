//! InitProducerId (22): gives a producer its id and epoch. Versions 0–5.
//!
//! - 2 is flexible; 3 lets a producer come back with the id and epoch that it has; 4 and 5 add
//!   errors. Without transactions such a producer gets a new id all the same, as in Kafka: it
//!   raises its epoch by itself.
//! - A transactional id is refused with TRANSACTIONAL_ID_AUTHORIZATION_FAILED (53).
//! - Ids are random, so that none is ever given twice, whatever happened to the ring.
//! - `transaction_timeout_ms` is ignored.

use crate::api::{Malformed, Request, Step, Window};
use crate::broker::Broker;
use crate::clock::Now;
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

/// Gives an id.
pub fn handle(
    _broker: &mut Broker,
    request: &Request<'_>,
    out: Window<'_>,
    _now: Now,
) -> Result<Step, Malformed> {
    let ask = InitProducerIdRequest::decode(&mut request.reader(), request.version)?;
    let error_code = if ask.transactional_id == Some("") {
        ErrorCode::INVALID_REQUEST
    } else if ask.transactional_id.is_some() {
        ErrorCode::TRANSACTIONAL_ID_AUTHORIZATION_FAILED
    } else if (ask.producer_id == NONE) == (i64::from(ask.producer_epoch) == NONE) {
        ErrorCode::NONE
    } else {
        ErrorCode::INVALID_REQUEST
    };
    let good = error_code.is_none();
    Ok(request.reply(out, |w| {
        InitProducerIdResponse {
            throttle_time_ms: w.throttle_time_ms(),
            error_code,
            producer_id: if good { id_random() } else { NONE },
            producer_epoch: if good { 0 } else { NONE as i16 },
        }
        .encode(w, request.version);
    }))
}

/// 63 random bits: no id is ever given twice, though nothing of it is stored.
fn id_random() -> i64 {
    let mut bytes = [0; 8];
    loop {
        let got = rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty());
        if got == Ok(bytes.len()) {
            return i64::from_be_bytes(bytes) & i64::MAX;
        }
    }
}

/// No id, no epoch.
const NONE: i64 = -1;
