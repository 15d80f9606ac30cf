//! What an operator is told of what clients do, at the default level of the log.

mod disk;

use brooklet::api::Step;
use brooklet::broker::{ConnId, Peer};
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::incremental_alter_configs_request::{
    AlterConfigsResource, AlterableConfig,
};
use kafka_protocol::messages::join_group_request::JoinGroupRequestProtocol;
use kafka_protocol::messages::{
    ApiKey, FetchRequest, FetchResponse, GroupId, IncrementalAlterConfigsRequest,
    IncrementalAlterConfigsResponse, JoinGroupRequest, JoinGroupResponse, ProduceResponse,
};

use crate::allowed::{change_all, config, stored, unknown};
use crate::host::{Host, NOON_MS, PLAIN, batch, frame, read_answer};
use crate::lines::said;
use crate::produce::{create_topic, produce, topic_name};

#[test]
fn each_change_is_told_with_who_made_it() {
    said("");
    let mut host = stored(Host::new(config("any")));
    let wanted = [
        r#"topic "new" with 1 partitions"#,
        r#"1 more partitions of topic "t""#,
        "t-0 before 1",
        r#"t-0 of group "g""#,
        r#"DeleteGroups by client "it" at 127.0.0.1:9092: group "g""#,
        r#"DeleteTopics by client "it" at 127.0.0.1:9092: topic "t""#,
    ];
    said("");
    change_all(&mut host);
    let lines = said(" by client \"it\" at 127.0.0.1:9092: ");
    assert_eq!(lines.len(), wanted.len(), "{lines:#?}");
    for (line, wanted) in lines.iter().zip(wanted) {
        assert!(line.contains(wanted), "{wanted} is not in {line}");
    }
    let config = AlterableConfig::default()
        .with_name("retention.ms".to_string().into())
        .with_value(Some("7".to_string().into()));
    let resource = AlterConfigsResource::default()
        .with_resource_type(2)
        .with_resource_name("new".to_string().into())
        .with_configs(vec![config]);
    let alter = IncrementalAlterConfigsRequest::default().with_resources(vec![resource]);
    let _: IncrementalAlterConfigsResponse = host.ask(ApiKey::IncrementalAlterConfigs, 1, &alter);
    let lines = said("IncrementalAlterConfigs by client");
    assert!(lines[0].ends_with(r#": topic "new", "retention.ms" = "7""#), "{lines:?}");
    assert_eq!(unknown(&mut host, &["used"]), [0]);
    let lines = said("by its use");
    assert!(lines[0].contains(r#"Metadata by client "it""#), "{lines:?}");
}

#[test]
fn records_that_are_refused_are_told_with_the_bound_once_a_minute() {
    said("");
    let mut host = stored(Host::new(config("any")));
    create_topic(&mut host, "short", 1, &[("max.message.bytes", "100")]);
    let long = produce(-1, "short", &[(0, Some(batch(PLAIN, NOON_MS, &[&[0; 500]])))]);
    for _ in 0..5 {
        let answer: ProduceResponse = host.ask(ApiKey::Produce, 9, &long);
        assert_eq!(answer.responses[0].partition_responses[0].error_code, 10);
    }
    let lines = said("are refused");
    assert_eq!(lines.len(), 1, "{lines:?}");
    for part in ["short-0", " bytes, ", "max.message.bytes (100)", "batch.size", "127.0.0.1"] {
        assert!(lines[0].contains(part), "{part}: {lines:?}");
    }
    host.now.mono = host.now.mono.plus_ms(60_000);
    let _: ProduceResponse = host.ask(ApiKey::Produce, 9, &long);
    let lines = said("are refused");
    assert!(lines[0].contains("(4 times more since that was last said)"), "{lines:?}");
}

#[test]
fn a_consumer_of_what_is_gone_is_told_and_counted() {
    said("");
    let mut host = stored(Host::new(config("any")));
    change_all(&mut host);
    create_topic(&mut host, "t", 1, &[]);
    for _ in 0..3 {
        let values = batch(PLAIN, NOON_MS, &[b"x"]);
        let _: ProduceResponse =
            host.ask(ApiKey::Produce, 9, &produce(-1, "t", &[(0, Some(values))]));
    }
    let errors = host.broker.metrics.errors(1);
    said("");
    let partition =
        FetchPartition::default().with_fetch_offset(7).with_partition_max_bytes(1 << 20);
    let topic = FetchTopic::default().with_topic(topic_name("t")).with_partitions(vec![partition]);
    let request = FetchRequest::default().with_topics(vec![topic]);
    let answer: FetchResponse = host.ask(ApiKey::Fetch, 11, &request);
    assert_eq!(answer.responses[0].partitions[0].error_code, 1);
    let lines = said("is not there");
    assert!(
        lines[0].contains("offset 7 of t-0 is not there: it is beyond the end, 3"),
        "{lines:?}"
    );
    assert_eq!(host.broker.metrics.errors(1), errors + 1);
}

#[test]
fn a_group_without_room_for_a_member_is_told_with_the_keys() {
    said("");
    let mut small = config("any");
    small.group_max_size = 1;
    let mut host = Host::new(small);
    let protocol = JoinGroupRequestProtocol::default().with_name("range".to_string().into());
    let join = JoinGroupRequest::default()
        .with_group_id(GroupId("g".to_string().into()))
        .with_session_timeout_ms(10_000)
        .with_protocol_type("consumer".to_string().into())
        .with_protocols(vec![protocol]);
    let frame = frame(ApiKey::JoinGroup, 3, &join);
    assert!(matches!(host.dispatch(&frame).0, Step::Wait(_)));
    let other = Peer { conn: ConnId(1), ..host.peer() };
    let (_, answer) = host.dispatch_as(&other, &frame);
    let answer: JoinGroupResponse = read_answer(ApiKey::JoinGroup, 3, &answer);
    assert_eq!(answer.error_code, 81);
    let lines = said("there is no room for it in consumer group \"g\"");
    assert!(lines[0].contains("group_max_size = 1, group_members_max = 128"), "{lines:?}");
}

#[test]
fn a_member_that_is_not_heard_of_is_told() {
    said("");
    let mut host = Host::new(config("any"));
    let join = JoinGroupRequest::default()
        .with_group_id(GroupId("g".to_string().into()))
        .with_session_timeout_ms(10_000)
        .with_protocol_type("consumer".to_string().into())
        .with_protocols(vec![
            JoinGroupRequestProtocol::default().with_name("range".to_string().into()),
        ]);
    assert!(matches!(host.dispatch(&frame(ApiKey::JoinGroup, 3, &join)).0, Step::Wait(_)));
    for _ in 0..4 {
        host.now.mono = host.now.mono.plus_ms(60_000);
        host.broker.tick(host.now);
    }
    let lines = said("is removed");
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(lines[0].contains("client \"it\" at 127.0.0.1"), "{lines:?}");
}

#[test]
fn a_clock_that_is_not_trusted_is_told_and_again_when_it_is() {
    said("");
    let mut host = stored(Host::new(config("any")));
    assert!(said("the clock is").is_empty());
    (host.now.wall_ms, host.now.wall_synchronised) = (60_000, false);
    for _ in 0..3 {
        host.now.mono = host.now.mono.plus_ms(60_000);
        unknown(&mut host, &["t"]);
    }
    let lines = said("the clock is");
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(lines[0].starts_with("the clock is not trusted: "), "{lines:?}");
    host.now.wall_synchronised = true;
    host.now.mono = host.now.mono.plus_ms(60_000);
    unknown(&mut host, &["t"]);
    assert_eq!(said("the clock is"), ["the clock is trusted: retention.ms applies again"]);
}
