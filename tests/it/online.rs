//! The commands that ask a running broker: the binary against the binary.

mod peer;

use std::net::{TcpListener, TcpStream};
use std::process::Output;

use kafka_protocol::messages::*;
use kafka_protocol::protocol::StrBytes;

use crate::cli::{brooklet, err, out};
use crate::process::Process;
use peer::ask;

/// A broker, and its address for `--broker`.
fn start(name: &str) -> (Process, String) {
    let broker = Process::start(&format!("online-{name}"));
    let address = broker.bootstrap();
    (broker, address)
}

/// Runs a command that has to succeed, and gives what it prints.
fn run(broker: &str, args: &[&str]) -> String {
    let output = brooklet(&[args, &["--broker", broker]].concat());
    assert_eq!(output.status.code(), Some(0), "{args:?}: {}", err(&output));
    out(&output)
}

/// Runs a command that has to fail, and gives what it complains of.
fn refused(broker: &str, args: &[&str]) -> String {
    complaint(brooklet(&[args, &["--broker", broker]].concat()))
}

fn complaint(output: Output) -> String {
    let text = err(&output);
    assert_eq!(output.status.code(), Some(1), "{text}{}", out(&output));
    let text = text.strip_prefix("brooklet: ").expect("it says who complains");
    assert_eq!(text.matches('\n').count(), 1, "one line: {text}");
    text.trim_end().to_string()
}

/// The cells of a table.
fn cells(text: &str) -> Vec<Vec<&str>> {
    text.lines().map(|line| line.split_whitespace().collect()).collect()
}

fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_string())
}

#[test]
fn topics_are_created_listed_described_altered_and_deleted() {
    let (_broker, at) = start("topics");
    assert_eq!(run(&at, &["topics"]), "TOPIC  PARTITIONS\n");
    run(&at, &["topics", "create", "b", "--partitions", "3", "--config", "retention.ms=1000"]);
    run(&at, &["topics", "create", "a"]);
    let listed = run(&at, &["topics", "list"]);
    assert_eq!(cells(&listed), [["TOPIC", "PARTITIONS"], ["a", "1"], ["b", "3"]]);

    let described = run(&at, &["topics", "describe", "b"]);
    let (partitions, settings) = described.split_once("\n\n").unwrap();
    let leader = cells(partitions)[1][1].to_string();
    assert_eq!(
        cells(partitions),
        [
            ["PARTITION", "LEADER", "START", "END"],
            ["0", &leader, "0", "0"],
            ["1", &leader, "0", "0"],
            ["2", &leader, "0", "0"],
        ]
    );
    assert_eq!(cells(settings), [["SETTING", "VALUE"], ["retention.ms", "1000"]]);

    let changes = ["--config", "retention.ms=", "--config", "cleanup.policy=compact"];
    run(&at, &[&["topics", "alter", "b", "--partitions", "4"][..], &changes].concat());
    let described = run(&at, &["topics", "describe", "b"]);
    let (partitions, settings) = described.split_once("\n\n").unwrap();
    assert_eq!(cells(partitions).len(), 5);
    assert_eq!(cells(settings), [["SETTING", "VALUE"], ["cleanup.policy", "compact"]]);

    run(&at, &["topics", "delete", "b"]);
    assert_eq!(cells(&run(&at, &["topics"])), [["TOPIC", "PARTITIONS"], ["a", "1"]]);
}

#[test]
fn what_a_broker_refuses_is_named_as_kafka_does_with_what_to_do() {
    let (_broker, at) = start("refused");
    run(&at, &["topics", "create", "a"]);
    for (args, code) in [
        (&["topics", "create", "a"][..], "TOPIC_ALREADY_EXISTS"),
        (&["topics", "create", "no/name"], "INVALID_TOPIC_EXCEPTION"),
        (&["topics", "create", "c", "--partitions", "0"], "INVALID_PARTITIONS"),
        (&["topics", "create", "c", "--config", "retention.ms=never"], "INVALID_CONFIG"),
        (&["topics", "describe", "absent"], "UNKNOWN_TOPIC_OR_PARTITION"),
        (&["topics", "delete", "absent"], "UNKNOWN_TOPIC_OR_PARTITION"),
        (&["topics", "alter", "absent", "--partitions", "2"], "UNKNOWN_TOPIC_OR_PARTITION"),
        (
            &["topics", "alter", "absent", "--config", "retention.ms=1"],
            "UNKNOWN_TOPIC_OR_PARTITION",
        ),
        (&["topics", "alter", "a", "--partitions", "1"], "INVALID_PARTITIONS"),
        (&["topics", "alter", "a", "--config", "bogus=1"], "INVALID_CONFIG"),
    ] {
        let said = refused(&at, args);
        assert!(said.starts_with(&format!("topic {}: {code}: ", args[2])), "{args:?}: {said}");
    }
    let said = refused(&at, &["groups", "describe", "absent"]);
    assert_eq!(said, "group absent is not there; brooklet groups lists those that are");
}

#[test]
fn a_broker_that_is_not_there_or_is_none_is_an_error_at_once() {
    let free = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = free.local_addr().unwrap().to_string();
    drop(free);
    let said = refused(&at, &["topics"]);
    assert!(said.starts_with(&format!("no broker answers at {at}: ")), "{said}");
    assert!(said.ends_with("; --broker names another one"), "{said}");
    // Without --broker it is the one of the configuration.
    let said = complaint(brooklet(&["--listen", &at.replace("127.0.0.1", "0.0.0.0"), "topics"]));
    assert!(said.starts_with(&format!("no broker answers at {at}: ")), "{said}");

    for (answer, what) in [
        (&b"HTTP/1.1 400 Bad Request\r\n\r\n"[..], "does not answer as a Kafka broker"),
        (b"", "closes the connection"),
        (b"\0\0\0\x05\0\0\0\x01\0", "the answer is not one of Kafka's protocol"),
        (b"\0\0\0\x04\0\0\0\x09", "the answer belongs to another request"),
    ] {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let at = listener.local_addr().unwrap().to_string();
        let peer = std::thread::spawn(move || peer::answer_once(&listener, answer));
        let said = refused(&at, &["topics"]);
        assert!(said.contains(what), "{said}");
        peer.join().unwrap();
    }
}

#[test]
fn groups_are_listed_and_described_with_members_offsets_and_lag() {
    let (_broker, at) = start("groups");
    assert_eq!(run(&at, &["groups"]), "GROUP  TYPE\n");
    run(&at, &["topics", "create", "t", "--partitions", "3"]);
    let mut stream = TcpStream::connect(&at).unwrap();
    peer::produce(&mut stream, "t", 0, 5);
    peer::commit(&mut stream, "alone", "t", &[(0, 3), (2, 0)]);
    let table = run(&at, &["groups", "describe", "alone"]);
    let (state, table) = table.split_once('\n').unwrap();
    assert_eq!(state, "Empty, members: 0");
    let heading = ["TOPIC", "PARTITION", "COMMITTED", "END", "LAG", "CLIENT", "HOST"];
    let expected =
        [heading, ["t", "0", "3", "5", "2", "-", "-"], ["t", "2", "0", "0", "0", "-", "-"]];
    assert_eq!(cells(table), expected);

    // A member that was assigned two partitions, of which it committed nothing yet.
    let join = |member: &StrBytes| {
        let protocol = join_group_request::JoinGroupRequestProtocol::default()
            .with_name(text("range"))
            .with_metadata(b"\0\0\0\0\0\0\xff\xff\xff\xff".as_slice().into());
        JoinGroupRequest::default()
            .with_group_id(GroupId(text("members")))
            .with_session_timeout_ms(30_000)
            .with_rebalance_timeout_ms(30_000)
            .with_member_id(member.clone())
            .with_protocol_type(text("consumer"))
            .with_protocols(vec![protocol])
    };
    let joined = ask(&mut stream, 2, join(&StrBytes::default()));
    assert_eq!(joined.error_code, 0);
    let assigned = b"\0\0\0\0\0\x01\0\x01t\0\0\0\x02\0\0\0\0\0\0\0\x01\xff\xff\xff\xff";
    let assignment = sync_group_request::SyncGroupRequestAssignment::default()
        .with_member_id(joined.member_id.clone())
        .with_assignment(assigned.as_slice().into());
    let sync = SyncGroupRequest::default()
        .with_group_id(GroupId(text("members")))
        .with_generation_id(joined.generation_id)
        .with_member_id(joined.member_id.clone())
        .with_assignments(vec![assignment]);
    assert_eq!(ask(&mut stream, 2, sync).error_code, 0);
    let listed = run(&at, &["groups", "list"]);
    assert_eq!(cells(&listed)[1..], [vec!["alone"], vec!["members", "consumer"]]);
    let table = run(&at, &["groups", "describe", "members"]);
    let (state, table) = table.split_once('\n').unwrap();
    assert_eq!(state, "Stable, members: 1, assigned by range");
    let row = |partition, end| ["t", partition, "-", end, "-", "peer", "127.0.0.1"];
    assert_eq!(cells(table), [heading, row("0", "5"), row("1", "0")]);

    // Offsets outlive their topic.
    run(&at, &["topics", "delete", "t"]);
    let table = run(&at, &["groups", "describe", "members"]);
    assert_eq!(
        cells(&table)[2..],
        [
            ["t", "0", "-", "-", "-", "peer", "127.0.0.1"],
            ["t", "1", "-", "-", "-", "peer", "127.0.0.1"],
        ]
    );
}
