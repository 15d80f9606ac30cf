//! DeleteTopics (20): deletes topics. Versions 1–6.
//!
//! - 4 is flexible; 5 adds a message; 6 names topics by name or id (`topics`), before it by name
//!   (`topic_names`).
//! - `timeout_ms` is ignored: the answer waits for one sync.

use super::change::{Change, Pass};
use super::{Malformed, Request, Step, Window};
use crate::broker::Broker;
use crate::broker::refusal::Refusal;
use crate::broker::topics::{RECORD_BYTES, SHARED_RING};
use crate::clock::Now;
use crate::codec::{Array, ErrorCode, List, ListWriter, message};
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

/// Deletes topics.
pub fn handle(
    broker: &mut Broker,
    request: &Request<'_>,
    out: Window<'_>,
    now: Now,
) -> Result<Step, Malformed> {
    let ask = DeleteTopicsRequest::decode(&mut request.reader(), request.version)?;
    let named = ask.topic_names.iter().map(|name| DeleteTopicState {
        name: Some(name),
        topic_id: TopicId::default(),
    });
    let topics = ask.topics.iter().chain(named);
    let change = Change {
        request,
        items: ask.topics.len() + ask.topic_names.len(),
        validate_only: false,
    };
    let settled = broker.topics_settled(|name| {
        let id = broker.topic_asked(Some(name), TopicId::default());
        let mut topics = topics.clone();
        topics.any(|topic| match topic.name {
            Some(asked) => asked == name,
            None => id.is_some() && id == broker.topic_asked(None, topic.topic_id),
        })
    });
    let step = change.carry_out(broker, out, now, settled, |pass, broker, w| {
        DeleteTopicsResponse {
            throttle_time_ms: 0,
            responses: &mut |list| delete_all(broker, pass, topics.clone(), list),
        }
        .encode(w, request.version);
    });
    Ok(step)
}

fn delete_all<'a>(
    broker: &mut Broker,
    pass: &mut Pass,
    topics: impl Iterator<Item = DeleteTopicState<'a>> + Clone,
    list: &mut ListWriter<'_, '_, DeletableTopicResult<'static>>,
) {
    for (at, topic) in topics.clone().enumerate() {
        let same = |other: DeleteTopicState<'_>| {
            other.name == topic.name && other.topic_id == topic.topic_id
        };
        if pass.compares() && topics.clone().take(at).any(same) {
            continue;
        }
        let twice = || topics.clone().skip(at + 1).any(same);
        // Names and ids are shown both where the topic is known.
        let slot = broker.topic_asked(topic.name, topic.topic_id);
        let found = slot.and_then(|slot| broker.log.state().topic(slot));
        let known = found.map(|found| (found.name.clone(), found.id));
        let result = delete(
            broker,
            pass,
            &topic,
            known.as_ref().map(|known| known.1),
            twice,
        );
        let (name, id) = match &known {
            Some((name, id)) if result.is_ok() => (Some(name.as_str()), *id),
            _ => (topic.name, topic.topic_id),
        };
        let message = result
            .as_ref()
            .err()
            .map(|refusal| refusal.message.as_str());
        list.push(DeletableTopicResult {
            name,
            topic_id: id,
            error_code: result
                .as_ref()
                .err()
                .map_or(ErrorCode::NONE, |refusal| refusal.code),
            error_message: message.filter(|_| !pass.brief),
        });
    }
}

fn delete(
    broker: &mut Broker,
    pass: &mut Pass,
    topic: &DeleteTopicState<'_>,
    known: Option<TopicId>,
    twice: impl FnOnce() -> bool,
) -> Result<(), Refusal> {
    pass.open()?;
    let invalid = |why: &str| {
        let why = format_args!("{why}");
        Err(Refusal::new(ErrorCode::INVALID_REQUEST, why))
    };
    let by_id = topic.topic_id != TopicId::default();
    match topic.name {
        Some(_) if by_id => return invalid("A topic may not be given by name and by id."),
        None if !by_id => return invalid("Neither a topic's name nor its id is given."),
        _ if twice() => return invalid("The topic is named twice."),
        _ => {}
    }
    let Some(id) = known else {
        let (code, what) = match topic.name {
            Some(_) => (ErrorCode::UNKNOWN_TOPIC_OR_PARTITION, "name"),
            None => (ErrorCode::UNKNOWN_TOPIC_ID, "id"),
        };
        return Err(Refusal::new(
            code,
            format_args!("There is no topic of this {what}."),
        ));
    };
    pass.change(broker, SHARED_RING, RECORD_BYTES, |broker, now| {
        broker.topic_delete(id, now).map(|ticket| ((), ticket))
    })
}
