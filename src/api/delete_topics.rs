//! DeleteTopics (20): deletes topics. Versions 1–6.
//!
//! - 4 is flexible; 5 adds a message; 6 names topics by name or id (`topics`), before it by name
//!   (`topic_names`).
//! - With `delete_topic_enable = false` nothing is deleted: TOPIC_DELETION_DISABLED (73), before version
//!   3 INVALID_REQUEST (42).
//! - `timeout_ms` is ignored: the answer waits for one sync.

use super::change::{Change, Items, Made, Said, Wanted, identity_of};
use super::{Malformed, Request, Step, Window};
use crate::broker::Broker;
use crate::broker::refusal::Refusal;
use crate::broker::topics::{Growth, RECORD_BYTES};
use crate::clock::Now;
use crate::codec::{Array, ErrorCode, List, Writer, message};
use crate::log::StageError;
use crate::log::state::TopicName;
use crate::log_limit::Names;
use crate::types::{Ticket, TopicId};

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

/// The code of an answer of this version.
fn code_of(refusal: Option<&Refusal>, version: i16) -> ErrorCode {
    match refusal.map_or(ErrorCode::NONE, |refusal| refusal.code) {
        ErrorCode::TOPIC_DELETION_DISABLED if version < DISABLED_SINCE => {
            ErrorCode::INVALID_REQUEST
        }
        code => code,
    }
}

/// TOPIC_DELETION_DISABLED (73) is answered since this version, as in Kafka.
const DISABLED_SINCE: i16 = 3;

/// Deletes topics.
pub fn handle(
    broker: &mut Broker,
    request: &Request<'_>,
    out: Window<'_>,
    now: Now,
) -> Result<Step, Malformed> {
    let ask = DeleteTopicsRequest::decode(&mut request.reader(), request.version)?;
    let change =
        Change { request, items: ask.topics.len() + ask.topic_names.len(), validate_only: false };
    let settled = broker.topics_settled(|name| {
        let id = broker.topic_asked(Some(name), TopicId::default());
        ask.items().any(|topic| match topic.name {
            Some(asked) => asked == name,
            None => id.is_some() && id == broker.topic_asked(None, topic.topic_id),
        })
    });
    Ok(change.carry_out(broker, &ask, out, now, settled))
}

impl<'a> Items for DeleteTopicsRequest<'a> {
    type Item = DeleteTopicState<'a>;
    type New = TopicId;

    fn items(&self) -> impl Iterator<Item = DeleteTopicState<'a>> {
        let named = self.topic_names.iter();
        let named =
            named.map(|name| DeleteTopicState { name: Some(name), topic_id: TopicId::default() });
        self.topics.iter().chain(named)
    }

    fn identity(&self, broker: &Broker, topic: &DeleteTopicState<'a>) -> Option<u64> {
        match known(broker, topic) {
            Some((_, id)) => identity_of(&[&id.0]),
            None => identity_of(&[topic.name.unwrap_or_default().as_bytes(), &topic.topic_id.0]),
        }
    }

    #[inline(never)]
    fn check(
        &self,
        broker: &Broker,
        _: &mut Growth,
        twice: bool,
        topic: &DeleteTopicState<'a>,
    ) -> Result<Option<Wanted<TopicId>>, Refusal> {
        let invalid = |why: &str| {
            let why = format_args!("{why}");
            Err(Refusal::new(ErrorCode::INVALID_REQUEST, why))
        };
        if !broker.config.delete_topic_enable {
            let why = format_args!("delete_topic_enable is false in the broker's configuration.");
            return Err(Refusal::new(ErrorCode::TOPIC_DELETION_DISABLED, why));
        }
        let by_id = topic.topic_id != TopicId::default();
        match topic.name {
            Some(_) if by_id => return invalid("A topic may not be given by name and by id."),
            None if !by_id => return invalid("Neither a topic's name nor its id is given."),
            _ if twice => return invalid("The topic is named twice."),
            _ => {}
        }
        let Some((_, new)) = known(broker, topic) else {
            let (code, what) = match topic.name {
                Some(_) => (ErrorCode::UNKNOWN_TOPIC_OR_PARTITION, "name"),
                None => (ErrorCode::UNKNOWN_TOPIC_ID, "id"),
            };
            return Err(Refusal::new(code, format_args!("There is no topic of this {what}.")));
        };
        Ok(Some(Wanted { ring: broker.log.shared(), bytes: RECORD_BYTES, new }))
    }

    fn name(&self, broker: &Broker, topic: &DeleteTopicState<'a>, _: &TopicId, names: &mut Names) {
        if let Some((name, _)) = known(broker, topic) {
            names.add(format_args!("topic {name:?}"));
        }
    }

    fn stage(
        &self,
        broker: &mut Broker,
        id: TopicId,
        now: Now,
    ) -> Result<(Made, Ticket), StageError> {
        Ok((Made::default(), broker.topic_delete(id, now)?))
    }

    fn answer(&self, broker: &Broker, said: &Said<'_>, w: &mut Writer<'_>, version: i16) {
        DeleteTopicsResponse {
            throttle_time_ms: w.throttle_time_ms(),
            responses: &mut |list| {
                for (topic, outcome) in said.outcomes(self, broker) {
                    // Names and ids are shown both where the topic is known.
                    let known = known(broker, &topic).filter(|_| outcome.is_ok());
                    let (name, topic_id) = match &known {
                        Some((name, id)) => (Some(name.as_str()), *id),
                        None => (topic.name, topic.topic_id),
                    };
                    let refusal = outcome.err();
                    list.push(DeletableTopicResult {
                        name,
                        topic_id,
                        error_code: code_of(refusal.as_ref(), version),
                        error_message: refusal.as_ref().and_then(|r| said.message(r)),
                    });
                }
            },
        }
        .encode(w, version);
    }
}

/// The name and the id of a topic that there is.
fn known(broker: &Broker, topic: &DeleteTopicState<'_>) -> Option<(TopicName, TopicId)> {
    let slot = broker.topic_asked(topic.name, topic.topic_id)?;
    broker.log.state().topic(slot).map(|found| (found.name.clone(), found.id))
}

#[cfg(test)]
mod tests {
    use kafka_protocol::messages::TopicName;
    use kafka_protocol::messages::create_topics_request::{CreatableTopic, CreateTopicsRequest};
    use kafka_protocol::messages::delete_topics_request::{DeleteTopicState, DeleteTopicsRequest};
    use kafka_protocol::protocol::StrBytes;
    use uuid::Uuid;

    use super::Step;
    use crate::broker::testing::Bench;

    fn name(name: &'static str) -> TopicName {
        TopicName(StrBytes::from_static_str(name))
    }

    fn bench(topics: &[&'static str]) -> Bench {
        let mut bench = Bench::new();
        let topics = topics.iter().map(|topic| {
            let topic = CreatableTopic::default().with_name(name(topic));
            topic.with_num_partitions(2).with_replication_factor(1)
        });
        bench.ask(7, &CreateTopicsRequest::default().with_topics(topics.collect()));
        bench
    }

    fn id(bench: &Bench, topic: &str) -> Uuid {
        let (_, topic) = bench.broker.log.state().topic_named(topic).unwrap();
        Uuid::from_bytes(topic.id.0)
    }

    fn by_name(topic: &'static str) -> DeleteTopicState {
        DeleteTopicState::default().with_name(Some(name(topic)))
    }

    fn by_id(id: Uuid) -> DeleteTopicState {
        DeleteTopicState::default().with_name(None).with_topic_id(id)
    }

    fn delete(bench: &mut Bench, topics: Vec<DeleteTopicState>) -> Vec<(Option<String>, i16)> {
        let request = DeleteTopicsRequest::default().with_topics(topics);
        let answer = bench.ask(6, &request);
        let results = answer.responses.iter();
        results.map(|r| (r.name.as_ref().map(|n| n.to_string()), r.error_code)).collect()
    }

    #[test]
    fn topics_are_deleted_by_name_and_by_id() {
        let mut bench = bench(&["a", "b", "c"]);
        let asked = vec![by_name("a"), by_id(id(&bench, "b"))];
        let gone = delete(&mut bench, asked);
        assert_eq!(gone, [(Some("a".into()), 0), (Some("b".into()), 0)]);
        assert_eq!(bench.broker.log.state().topics_len(), 1);
        assert_eq!(bench.broker.log.state().partitions_len(), 2);
        let request = DeleteTopicsRequest::default().with_topic_names(vec![name("c")]);
        assert_eq!(bench.ask(5, &request).responses[0].error_code, 0);
        assert_eq!(bench.broker.log.state().topics_len(), 0);
    }

    #[test]
    fn bad_arguments_get_kafkas_codes() {
        let mut bench = bench(&["a", "b"]);
        let (a, unknown) = (id(&bench, "a"), Uuid::from_bytes([9; 16]));
        assert_eq!(delete(&mut bench, vec![by_name("x")]), [(Some("x".into()), 3)]);
        assert_eq!(delete(&mut bench, vec![by_id(unknown)]), [(None, 100)]);
        assert_eq!(delete(&mut bench, vec![by_id(Uuid::nil())]), [(None, 42)]);
        let both = by_name("a").with_topic_id(a);
        assert_eq!(delete(&mut bench, vec![both]), [(Some("a".into()), 42)]);
        let twice = vec![by_name("a"), by_name("b"), by_id(a)];
        let twice = delete(&mut bench, twice);
        assert_eq!(twice, [(Some("a".into()), 42), (Some("b".into()), 0)]);
    }

    #[test]
    fn a_topic_that_is_being_deleted_is_waited_for() {
        let mut bench = bench(&["a"]);
        let id = id(&bench, "a");
        let request = DeleteTopicsRequest::default().with_topics(vec![by_name("a")]);
        assert!(matches!(bench.step(6, &request), Step::ReplyAfter { .. }));
        assert!(matches!(bench.step(6, &request), Step::Again(_)));
        assert_eq!(delete(&mut bench, vec![by_id(id)]), [(None, 100)]);
    }
}
