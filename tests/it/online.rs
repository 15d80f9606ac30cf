//! The commands that ask a running broker: the binary against the binary.

mod ends;
pub mod peer;
mod usage;

use std::collections::BTreeSet;
use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::process::{Output, Stdio};

use kafka_protocol::messages::*;
use kafka_protocol::protocol::StrBytes;
use serde_json::{Value, json};

use crate::cli::{brooklet, command, err, out};
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
    let said = refused(&at, &["consume", "t", "--group", "members"]);
    assert!(said.starts_with("group members: UNKNOWN_MEMBER_ID: the group has members"), "{said}");
    let said = refused(&at, &["groups", "delete", "members"]);
    assert_eq!(said, "group members: NON_EMPTY_GROUP: the group has members; stop them first");

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

/// Produces what is given on the standard input.
fn produce(broker: &str, args: &[&str], input: &[u8]) -> Output {
    let mut child = command(&[&["produce"], args, &["--broker", broker]].concat())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // Who is refused before it reads closes the pipe.
    let _ = child.stdin.take().unwrap().write_all(input);
    child.wait_with_output().unwrap()
}

fn produced(broker: &str, args: &[&str], input: &[u8], count: u32) {
    let output = produce(broker, args, input);
    assert_eq!(err(&output), format!("brooklet: {count} records acknowledged\n"));
    assert_eq!((output.status.code(), out(&output).as_str()), (Some(0), ""));
}

#[test]
fn lines_are_produced_and_consumed_as_they_were() {
    let (_broker, at) = start("lines");
    // The topic is made by being used.
    produced(&at, &["t"], "hello\n\nw\u{f6}rld".as_bytes(), 3);
    assert_eq!(run(&at, &["consume", "t"]), "hello\n\nw\u{f6}rld\n");
    produced(&at, &["t"], b"", 0);

    let options = ["t", "--key-separator", ":", "--header", "a=1", "--header", "b="];
    produced(&at, &options, b"k:v:w\nno key\n:\n", 3);
    let format = ["--from", "3", "--format", r"%t/%p/%o [%k] [%s] %K %S %h\n"];
    let expected =
        "t/0/3 [k] [v:w] 1 3 a=1,b=\nt/0/4 [] [no key] -1 6 a=1,b=\nt/0/5 [] [] 0 0 a=1,b=\n";
    assert_eq!(run(&at, &[&["consume", "t"][..], &format].concat()), expected);

    // As many as make many batches, with one line that is longer than each read.
    let mut input = Vec::new();
    for n in 0..20_000 {
        writeln!(input, "line {n}").unwrap();
        if n == 10_000 {
            writeln!(input, "{}", "long ".repeat(100_000)).unwrap();
        }
    }
    produced(&at, &["many"], &input, 20_001);
    assert_eq!(run(&at, &["consume", "many"]).as_bytes(), input);
}

#[test]
fn a_file_is_one_record_whatever_is_in_it() {
    let (_broker, at) = start("file");
    let name = std::env::temp_dir().join(format!("brooklet-online-{}", std::process::id()));
    let file = name.to_str().unwrap();
    let content: Vec<u8> = (0..=255).cycle().take(100_000).collect();
    std::fs::write(&name, &content).unwrap();
    produced(&at, &["t", "--file", file], b"", 1);
    let args = ["consume", "t", "--format", "%s", "--broker", &at];
    assert_eq!(brooklet(&args).stdout, content);

    std::fs::write(&name, vec![b'x'; 2 << 20]).unwrap();
    let output = produce(&at, &["t", "--file", file], b"");
    assert_eq!(output.status.code(), Some(1));
    let said = err(&output);
    assert!(said.starts_with("brooklet: 0 records acknowledged\nbrooklet: topic t partition 0: "));
    assert!(said.contains("MESSAGE_TOO_LARGE: message_max_bytes"), "{said}");
    std::fs::remove_file(&name).unwrap();
    let said = refused(&at, &["produce", "new", "--file", file]);
    assert!(said.starts_with(&format!("--file {file} cannot be read: ")), "{said}");
    assert!(!run(&at, &["topics"]).contains("new"));
}

#[test]
fn keys_choose_partitions_and_records_without_take_turns() {
    let (_broker, at) = start("partitions");
    run(&at, &["topics", "create", "t", "--partitions", "3"]);
    let lines: Vec<String> = (0..60).map(|n| format!("key{}:{n}", n % 20)).collect();
    produced(&at, &["t", "--key-separator", ":"], lines.join("\n").as_bytes(), 60);
    let printed = run(&at, &["consume", "t", "--format", r"%p %k %s\n"]);
    let rows = cells(&printed);
    assert_eq!(rows.len(), 60);
    for first in &rows {
        assert!(rows.iter().all(|row| row[1] != first[1] || row[0] == first[0]), "{first:?}");
    }
    let used =
        |rows: &[Vec<&str>]| rows.iter().map(|row| row[0].to_string()).collect::<BTreeSet<_>>();
    assert_eq!(used(&rows).len(), 3);
    // A record of its own for each of so many batches.
    run(&at, &["topics", "create", "u", "--partitions", "3"]);
    produced(&at, &["u"], vec![b"y".repeat(40_000); 3].join(&b'\n').as_slice(), 3);
    let printed = run(&at, &["consume", "u", "--format", r"%p %S\n"]);
    assert_eq!(used(&cells(&printed)).len(), 3);
    produced(&at, &["u", "--partition", "2"], b"a\nb\n", 2);
    let args = ["consume", "u", "--partition", "2", "--from", "-2", "--format", "%s "];
    assert_eq!(run(&at, &args), "a b ");
    let said = refused(&at, &["consume", "u", "--partition", "3"]);
    assert_eq!(said, "topic u has no partition 3, but 3 from 0 on");
    assert_eq!(produce(&at, &["u", "--partition", "3"], b"a\n").status.code(), Some(1));
}

#[test]
fn consuming_begins_where_it_is_told_to_and_ends_where_the_topic_did() {
    let (_broker, at) = start("from");
    run(&at, &["topics", "create", "t"]);
    let mut stream = TcpStream::connect(&at).unwrap();
    peer::produce(&mut stream, "t", 0, 10);
    let offsets = |from: &str| {
        let printed = run(&at, &["consume", "t", "--format", "%o ", "--from", from]);
        printed.split_whitespace().map(|offset| offset.parse().unwrap()).collect::<Vec<i64>>()
    };
    let to_the_end = |from: i64| (from..10).collect::<Vec<_>>();
    for (from, first) in [
        ("start", 0),
        ("end", 10),
        ("4", 4),
        ("10", 10),
        ("-3", 7),
        ("-30", 0),
        ("@1700000000006", 6),
        ("@1800000000000", 10),
        ("@0", 0),
        ("-5m", 10),
    ] {
        assert_eq!(offsets(from), to_the_end(first), "{from}");
    }
    assert_eq!(run(&at, &["consume", "t", "--format", "%o ", "--count", "2"]), "0 1 ");
    let said = refused(&at, &["consume", "t", "--from", "11"]);
    let places = "it starts at 0 and ends at 10; --from start begins where it starts";
    assert_eq!(said, format!("topic t partition 0: offset 11 is not there yet: {places}"));
    peer::delete_records(&mut stream, "t", 5);
    assert_eq!(offsets("start"), to_the_end(5));
    let said = refused(&at, &["consume", "t", "--from", "4"]);
    let places = places.replace("at 0", "at 5");
    assert_eq!(said, format!("topic t partition 0: offset 4 is gone: {places}"));
    let said = refused(&at, &["consume", "absent"]);
    assert!(said.starts_with("topic absent: UNKNOWN_TOPIC_OR_PARTITION: "), "{said}");
}

#[test]
fn a_group_goes_on_where_it_was_and_is_told_what_is_gone() {
    let (_broker, at) = start("group");
    run(&at, &["topics", "create", "t"]);
    let mut stream = TcpStream::connect(&at).unwrap();
    peer::produce(&mut stream, "t", 0, 10);
    let args = ["consume", "t", "--group", "g", "--format", "%o "];
    assert_eq!(run(&at, &[&args[..], &["--count", "3"]].concat()), "0 1 2 ");
    peer::delete_records(&mut stream, "t", 5);
    let output = brooklet(&[&args[..], &["--count", "2", "--broker", &at]].concat());
    assert_eq!(out(&output), "5 6 ");
    let gone = "topic t partition 0: the records from 3 to 4 are gone; reading from 5";
    assert_eq!(err(&output), format!("brooklet: {gone}\n"));
    assert_eq!(run(&at, &args), "7 8 9 ");
    assert_eq!(run(&at, &args), "");
    let described = run(&at, &["groups", "describe", "g"]);
    assert_eq!(cells(&described)[2][..5], ["t", "0", "10", "10", "0"]);
}

#[test]
fn a_group_is_reset_when_it_is_told_twice_and_deleted_without_members() {
    let (_broker, at) = start("reset");
    run(&at, &["topics", "create", "t", "--partitions", "2"]);
    let mut stream = TcpStream::connect(&at).unwrap();
    peer::produce(&mut stream, "t", 0, 5);
    peer::produce(&mut stream, "t", 1, 3);
    peer::delete_records(&mut stream, "t", 1);
    peer::commit(&mut stream, "g", "t", &[(0, 4)]);
    let committed = || {
        let described = run(&at, &["groups", "describe", "g"]);
        let rows = cells(&described).split_off(2);
        rows.iter().map(|row| row[1..3].join(" ")).collect::<Vec<_>>()
    };
    let reset = ["groups", "reset", "g", "--to"];
    let output = brooklet(&[&reset[..], &["earliest", "--topic", "t", "--broker", &at]].concat());
    assert_eq!(err(&output), "brooklet: nothing is changed yet; --execute does it\n");
    let shown =
        [["TOPIC", "PARTITION", "COMMITTED", "NEW"], ["t", "0", "4", "1"], ["t", "1", "-", "0"]];
    assert_eq!(cells(&out(&output)), shown);
    assert_eq!(committed(), ["0 4"]);
    for (to, topic, after) in [
        ("earliest", "t", ["0 1", "1 0"]),
        ("latest", "t:1", ["0 1", "1 3"]),
        ("2", "t:0", ["0 2", "1 3"]),
    ] {
        run(&at, &[&reset[..], &[to, "--topic", topic, "--execute"]].concat());
        assert_eq!(committed(), after);
    }
    let said = refused(&at, &[&reset[..], &["4", "--topic", "t", "--execute"]].concat());
    assert_eq!(said, "topic t partition 1 has no offset 4: it starts at 0 and ends at 3");
    assert_eq!(committed(), ["0 2", "1 3"]);
    run(&at, &["groups", "delete", "g"]);
    assert_eq!(run(&at, &["groups"]), "GROUP  TYPE\n");
    let said = refused(&at, &["groups", "delete", "g"]);
    assert!(said.starts_with("group g: GROUP_ID_NOT_FOUND: it is not there"), "{said}");
}

#[test]
fn json_has_every_record_of_every_codec_whole() {
    let (_broker, at) = start("json");
    run(&at, &["topics", "create", "t"]);
    let mut stream = TcpStream::connect(&at).unwrap();
    let mut records = vec![
        peer::record(0, None, Some("plain \"quoted\"\n\u{1}\u{1f980}")),
        peer::record(1, Some("key"), None),
        peer::record(2, Some(""), Some("")),
        peer::record(3, None, None),
    ];
    records[1].key = Some(vec![0xff, 0, 1].into());
    records[2].headers.insert(StrBytes::from_static_str("h"), Some(vec![0xfe].into()));
    records[2].headers.insert(StrBytes::from_static_str("n"), None);
    let plain = peer::encoded(&records);
    let batches = peer::compressed(&plain);
    let count = 1 + batches.len() as i64;
    peer::produce_batch(&mut stream, "t", 0, plain);
    batches.into_iter().for_each(|batch| peer::produce_batch(&mut stream, "t", 0, batch));
    let printed = run(&at, &["consume", "t", "--json"]);
    let shown: Vec<Value> =
        printed.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let wanted = (0..count).flat_map(|batch| {
        let common = move |at: i64, rest: Value| {
            let mut wanted = json!({
                "topic": "t", "partition": 0, "offset": 4 * batch + at, "headers": [],
                "timestamp": 1_700_000_000_000_i64 + at,
            });
            wanted.as_object_mut().unwrap().extend(rest.as_object().unwrap().clone());
            wanted
        };
        let headers = json!([{"name": "h", "value_base64": "/g=="}, {"name": "n", "value": null}]);
        [
            common(0, json!({"key": null, "value": "plain \"quoted\"\n\u{1}\u{1f980}"})),
            common(1, json!({"key_base64": "/wAB", "value": null})),
            common(2, json!({"key": "", "value": "", "headers": headers})),
            common(3, json!({"key": null, "value": null})),
        ]
    });
    assert_eq!(shown, wanted.collect::<Vec<_>>());
    // From the middle of a compressed batch.
    let args = ["consume", "t", "--from", "6", "--count", "3", "--format", "%o "];
    assert_eq!(run(&at, &args), "6 7 8 ");
}

#[test]
fn several_files_are_records_in_their_order() {
    let (_broker, at) = start("files");
    let folder = std::env::temp_dir().join(format!("brooklet-online-files-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let names = ["a", "b"].map(|name| folder.join(name).to_str().unwrap().to_string());
    std::fs::write(&names[0], "one\ntwo\n").unwrap();
    std::fs::write(&names[1], "").unwrap();
    let files = ["t", "--file", &names[0], "--file", &names[1], "--file", &names[0]];
    produced(&at, &files, b"", 3);
    std::fs::remove_dir_all(&folder).unwrap();
    let printed = run(&at, &["consume", "t", "--format", "%o %S\\n"]);
    assert_eq!(printed, "0 8\n1 0\n2 8\n");
}

#[test]
fn topics_are_listed_as_json() {
    let (_broker, at) = start("topics-json");
    assert_eq!(run(&at, &["topics", "--json"]), "");
    run(&at, &["topics", "create", "b.c_d-e", "--partitions", "3"]);
    run(&at, &["topics", "create", "a"]);
    let listed = run(&at, &["topics", "list", "--json"]);
    let listed: Vec<Value> = listed.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    let topic = |name, partitions: i32| json!({"topic": name, "partitions": partitions});
    assert_eq!(listed, [topic("a", 1), topic("b.c_d-e", 3)]);
}

#[test]
fn places_are_given_as_times_as_well() {
    let (_broker, at) = start("times");
    run(&at, &["topics", "create", "t"]);
    // Stamped from 2023-11-14T22:13:20Z on, a millisecond after the other.
    peer::produce(&mut TcpStream::connect(&at).unwrap(), "t", 0, 10);
    let args = ["consume", "t", "--format", "%o ", "--from"];
    for (time, printed) in [
        ("2023-11-14T22:13:20.007Z", "7 8 9 "),
        ("2023-11-14T22:13:20Z", "0 1 2 3 4 5 6 7 8 9 "),
        ("2023-11-14T22:13:21Z", ""),
    ] {
        assert_eq!(run(&at, &[&args[..], &[time]].concat()), printed, "{time}");
        let reset = ["groups", "reset", "g", "--topic", "t", "--to", time];
        let shown = run(&at, &reset);
        let first = printed.split(' ').next().filter(|offset| !offset.is_empty());
        assert_eq!(cells(&shown)[1], ["t", "0", "-", first.unwrap_or("10")], "{time}");
    }
}

#[test]
fn a_broker_that_does_not_serve_a_command_is_named_with_what_it_lacks() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = listener.local_addr().unwrap().to_string();
    // Metadata from version 5 on, and nothing else.
    let answer = b"\0\0\0\x10\0\0\0\x01\0\0\0\0\0\x01\0\x03\0\x05\0\x09";
    let peer = std::thread::spawn(move || peer::answer_once(&listener, answer));
    let said = refused(&at, &["topics"]);
    assert!(said.starts_with(&format!("{at} does not serve Metadata in version 4: ")), "{said}");
    peer.join().unwrap();
}
