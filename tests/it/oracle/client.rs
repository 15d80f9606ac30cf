//! The tables of the client against Kafka's schemas, in the one version that each is used in: order,
//! names, types and nulls.

use brooklet::client::messages::*;
use brooklet::codec::FieldTable;

use super::schema::{self, Field, Kind, Side};

/// A structure's name, and its fields.
type Table = (&'static str, &'static [FieldTable]);

macro_rules! tables {
    ($($name:ident),* $(,)?) => { [$((stringify!($name), $name::TABLE)),*] };
}

macro_rules! messages {
    ($($name:literal $request:ident $response:ident $version:ident,)*) => {
        [$(
            ($name, $request::KEY, $request::FLEXIBLE_SINCE, version::$version,
             (stringify!($request), $request::TABLE), (stringify!($response), $response::TABLE)),
        )*]
    };
}

#[test]
fn every_table_of_the_client_agrees_with_kafkas_schema() {
    for (name, key, flexible_since, version, sent, received) in messages! {
        "Produce" ProduceRequest ProduceResponse PRODUCE,
        "Fetch" FetchRequest FetchResponse FETCH,
        "ListOffsets" ListOffsetsRequest ListOffsetsResponse LIST_OFFSETS,
        "Metadata" MetadataRequest MetadataResponse METADATA,
        "OffsetCommit" OffsetCommitRequest OffsetCommitResponse OFFSET_COMMIT,
        "OffsetFetch" OffsetFetchRequest OffsetFetchResponse OFFSET_FETCH,
        "FindCoordinator" FindCoordinatorRequest FindCoordinatorResponse FIND_COORDINATOR,
        "DescribeGroups" DescribeGroupsRequest DescribeGroupsResponse DESCRIBE_GROUPS,
        "ListGroups" ListGroupsRequest ListGroupsResponse LIST_GROUPS,
        "ApiVersions" ApiVersionsRequest ApiVersionsResponse API_VERSIONS,
        "CreateTopics" CreateTopicsRequest CreateTopicsResponse CREATE_TOPICS,
        "DeleteTopics" DeleteTopicsRequest DeleteTopicsResponse DELETE_TOPICS,
        "DescribeConfigs" DescribeConfigsRequest DescribeConfigsResponse DESCRIBE_CONFIGS,
        "CreatePartitions" CreatePartitionsRequest CreatePartitionsResponse CREATE_PARTITIONS,
        "DeleteGroups" DeleteGroupsRequest DeleteGroupsResponse DELETE_GROUPS,
        "IncrementalAlterConfigs" IncrementalAlterConfigsRequest IncrementalAlterConfigsResponse
            INCREMENTAL_ALTER_CONFIGS,
    } {
        assert!(version < flexible_since, "{name}: headers of flexible versions are not written");
        for (side, table) in [(Side::Request, sent), (Side::Response, received)] {
            let schema = schema::load(name, side);
            assert_eq!(schema.key, i64::from(key), "{name}");
            assert!(!schema.flexible.contain(version), "{name}");
            structure(&table, &schema.fields, side, version);
        }
        let served = brooklet::api::APIS.iter().find(|api| api.key == key).unwrap();
        assert!((served.min..=served.max).contains(&version), "{name} is not served here");
    }
}

fn structure((name, table): &Table, fields: &[Field], side: Side, version: i16) {
    let fields = fields.iter().filter(|field| field.versions.contain(version));
    let fields: Vec<_> = fields.filter(|field| field.tag.is_none()).collect();
    assert_eq!(table.len(), fields.len(), "{name}");
    for (line, field) in table.iter().zip(fields) {
        let what = format!("{name} {}", line.name);
        // Topics and groups are told of in the same form.
        let renamed = *name == "NamedResult" && field.name == "group_id";
        assert!(line.name == field.name || renamed, "{what} is {}", field.name);
        assert!(line.since == 0 && line.until == i16::MAX, "{what}: there is one version");
        let kind = ["'a", "'static", "<>", ", ", "&", " "];
        let kind = kind.iter().fold(line.kind.to_string(), |kind, part| kind.replace(part, ""));
        let is_option = kind.starts_with("Option<");
        assert_eq!(is_option, line.nullable_since == 0, "{what}");
        // What is sent need not be null where it may be. The broker's own schema has no null records.
        let nullable = field.nullable.contain(version) || field.name == "records";
        let is_fit =
            if side == Side::Request { !is_option || nullable } else { is_option == nullable };
        assert!(is_fit, "{what} is null where it may not be, or may be null");
        let kind = kind.trim_start_matches("Option<").trim_end_matches('>');
        matches(kind, &field.kind, side, version, &what);
    }
}

fn matches(kind: &str, field: &Kind, side: Side, version: i16, what: &str) {
    match field {
        Kind::Scalar(scalar) => {
            let expected = match scalar.as_str() {
                "bool" => "bool",
                "int8" => "i8",
                "int16" if kind == "ErrorCode" => "ErrorCode",
                "int16" => "i16",
                "int32" => "i32",
                "int64" => "i64",
                "string" => "str",
                "bytes" | "records" => "[u8]",
                other => panic!("no type for {other}"),
            };
            assert_eq!(kind, expected, "{what}");
            assert_eq!(what.ends_with("error_code"), kind == "ErrorCode", "{what}");
        }
        // A structure of one field is written as the field alone.
        Kind::Structure(_, fields) if kind == "str" => {
            let mut fields = fields.iter().filter(|field| field.versions.contain(version));
            let field = fields.next().unwrap_or_else(|| panic!("{what}: it is empty"));
            assert!(fields.next().is_none(), "{what} is a structure");
            matches(kind, &field.kind, side, version, what);
        }
        Kind::Structure(_, fields) => {
            let table = parts().into_iter().find(|(name, _)| *name == kind);
            structure(&table.unwrap_or_else(|| panic!("{what}: no {kind}")), fields, side, version);
        }
        Kind::Array(element) => {
            let (_, kind) = kind.split_once('<').unwrap_or_else(|| panic!("{what} is an array"));
            // Structures that are never sent have no table.
            let is_empty = kind == "i32" && matches!(**element, Kind::Structure(..));
            if !is_empty {
                matches(kind, element, side, version, what);
            } else {
                assert!(EMPTY.contains(&what), "{what} has elements");
            }
        }
    }
}

/// Arrays that are sent without an element, or as null.
const EMPTY: [&str; 4] = [
    "CreatableTopic assignments",
    "CreatePartitionsTopic assignments",
    "FetchRequest forgotten_topics_data",
    "OffsetFetchRequest topics",
];

fn parts() -> Vec<Table> {
    tables![
        MetadataBroker,
        MetadataTopic,
        MetadataPartition,
        ListOffsetsTopic,
        ListOffsetsPartition,
        ListedTopic,
        ListedPartition,
        CreatableTopic,
        CreatableConfig,
        TopicResult,
        NamedResult,
        CreatePartitionsTopic,
        AlterConfigsResource,
        AlterableConfig,
        AlterConfigsResult,
        DescribeConfigsResource,
        DescribedResource,
        DescribedConfig,
        DescribedSynonym,
        ListedGroup,
        DescribedGroup,
        DescribedMember,
        CommittedTopic,
        CommittedPartition,
        OffsetCommitTopic,
        OffsetCommitPartition,
        OffsetCommitResult,
        OffsetCommitPartitionResult,
        FetchTopic,
        FetchPartition,
        FetchedTopic,
        FetchedPartition,
        AbortedTransaction,
        ProduceTopic,
        ProducePartition,
        ProducedTopic,
        ProducedPartition,
        ApiVersion,
    ]
    .to_vec()
}
