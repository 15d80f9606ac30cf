//! What ends a command, and what comes while it runs.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::process::{Child, ChildStdout, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use super::{cells, produced, run, start};
use crate::cli::{command, err};

#[test]
fn whoever_follows_sees_what_comes_also_from_a_broker_that_starts_again() {
    let (mut broker, at) = start("follow");
    produced(&at, &["t"], b"a\nb\n", 2);
    let args = ["consume", "t", "--follow", "--from", "1", "--count", "3", "--broker", &at];
    let mut child = command(&args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert_eq!(lines.next().unwrap().unwrap(), "b");
    produced(&at, &["t"], b"c\n", 1);
    assert_eq!(lines.next().unwrap().unwrap(), "c");
    broker.kill_and_start();
    produced(&at, &["t"], b"d\n", 1);
    assert_eq!(lines.next().unwrap().unwrap(), "d");
    assert!(lines.next().is_none());
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), err(&output).as_str()), (Some(0), ""));
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let (_broker, at) = start("pipe");
    // More than any pipe takes.
    let input = b"0123456789\n".repeat(200_000);
    produced(&at, &["t"], &input, 200_000);
    let args = ["consume", "t", "--broker", &at];
    let mut child = command(&args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line, "0123456789\n");
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), err(&output).as_str()), (Some(0), ""));
}

#[test]
fn a_reader_that_goes_away_is_noticed_when_nothing_comes() {
    let (_broker, at) = start("unread");
    produced(&at, &["t"], b"a\n", 1);
    let (child, mut output) = following(&at, &["consume", "t", "-f"]);
    assert_eq!(line(&mut output), "a\n");
    drop(output);
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), err(&output).as_str()), (Some(0), ""));
}

#[test]
fn a_signal_ends_consuming_with_what_was_printed_committed() {
    let (_broker, at) = start("signal");
    produced(&at, &["t"], b"a\nb\n", 2);
    for (signal, input, count) in [(Signal::INT, "", 2), (Signal::TERM, "c\n", 3)] {
        produced(&at, &["t"], input.as_bytes(), input.lines().count() as u32);
        let args = ["consume", "t", "-f", "--group", "g", "--format", "%o\\n"];
        let (child, mut output) = following(&at, &args);
        assert!(!line(&mut output).is_empty());
        kill_process(Pid::from_child(&child), signal).unwrap();
        let output = child.wait_with_output().unwrap();
        assert_eq!((output.status.code(), err(&output).as_str()), (Some(0), ""));
        let described = run(&at, &["groups", "describe", "g"]);
        assert_eq!(cells(&described)[2][2], count.to_string());
    }
}

#[test]
fn a_second_signal_ends_whoever_waits_for_a_broker_that_hangs() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = listener.local_addr().unwrap().to_string();
    let (mut child, _output) = following(&at, &["consume", "t"]);
    let (mut stream, _) = listener.accept().unwrap();
    // It has asked, so it waits for signals.
    stream.read_exact(&mut [0; 4]).unwrap();
    // Two at once may be taken for one.
    while child.try_wait().unwrap().is_none() {
        let _ = kill_process(Pid::from_child(&child), Signal::TERM);
        std::thread::yield_now();
    }
    assert_eq!(child.wait().unwrap().code(), Some(130));
}

#[test]
fn lines_are_sent_as_they_come_until_a_signal() {
    let (_broker, at) = start("interactive");
    run(&at, &["topics", "create", "t"]);
    let (_reader, mut read) = following(&at, &["consume", "t", "-f"]);
    let (mut child, _output) = following(&at, &["produce", "t"]);
    let mut input = child.stdin.take().unwrap();
    for sent in ["a\n", "b\n"] {
        input.write_all(sent.as_bytes()).unwrap();
        assert_eq!(line(&mut read), sent);
    }
    input.write_all(b"c\nno end of a line").unwrap();
    assert_eq!(line(&mut read), "c\n");
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(err(&output), "brooklet: 3 records acknowledged\n");
    drop(read);
}

#[test]
fn a_rate_holds_lines_back_and_a_signal_ends_the_wait() {
    let (_broker, at) = start("rate");
    produced(&at, &["t", "--rate", "1000000"], b"a\nb\n", 2);
    let (_reader, mut read) = following(&at, &["consume", "t", "-f", "--from", "end"]);
    let (mut child, _output) = following(&at, &["produce", "t", "--rate", "1"]);
    let mut input = child.stdin.take().unwrap();
    // They would take a quarter of an hour.
    input.write_all(&b"c\n".repeat(1000)).unwrap();
    assert_eq!(line(&mut read), "c\n");
    kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
    let output = child.wait_with_output().unwrap();
    let said = err(&output);
    let count = said.strip_prefix("brooklet: ").and_then(|said| said.split(' ').next());
    assert!((1..1000).contains(&count.unwrap().parse::<u32>().unwrap()), "{said}");
    assert_eq!(output.status.code(), Some(0), "{said}");
}

/// Starts a command, whose output is read while it runs.
fn following(broker: &str, args: &[&str]) -> (Child, BufReader<ChildStdout>) {
    let mut command = command(&[args, &["--broker", broker]].concat());
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let output = BufReader::new(child.stdout.take().unwrap());
    (child, output)
}

fn line(output: &mut BufReader<ChildStdout>) -> String {
    let mut line = String::new();
    output.read_line(&mut line).unwrap();
    line
}
