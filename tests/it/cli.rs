//! The command line: exit codes, refusals, the lock, and what `plan` says.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::process::{Child, ChildStderr, Command, Output, Stdio};

use rustix::process::{Pid, Signal, kill_process};

/// A directory of this test alone, removed when it ends.
pub struct Scratch(PathBuf);

impl Scratch {
    pub fn new(name: &str) -> Scratch {
        let path = std::env::temp_dir().join(format!("brooklet-it-{}-{name}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).unwrap();
        Scratch(path)
    }

    fn file(&self, name: &str, text: &str) -> String {
        let path = self.0.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_string()
    }

    pub fn path(&self, name: &str) -> String {
        self.0.join(name).to_str().unwrap().to_string()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

pub fn command(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_brooklet"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("BROOKLET_") {
            command.env_remove(name);
        }
    }
    command.args(args).env_remove("RUST_LOG");
    command
}

pub fn brooklet(args: &[&str]) -> Output {
    command(args).output().unwrap()
}

pub fn err(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

pub fn out(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn help_and_version_exit_0_and_print_to_the_standard_output() {
    for args in [
        &["--help"][..],
        &["serve", "--help"],
        &["plan", "--help"],
        &["status", "--help"],
        &["check", "--help"],
        &["dump", "--help"],
        &["export", "--help"],
    ] {
        let output = brooklet(args);
        assert_eq!(output.status.code(), Some(0), "{args:?}");
        assert!(out(&output).starts_with("Usage: brooklet"), "{args:?}");
    }
    let output = brooklet(&["--version"]);
    assert_eq!(out(&output), concat!("brooklet ", env!("CARGO_PKG_VERSION"), "\n"));
    assert_eq!(output.status.code(), Some(0));
}

#[test]
fn a_wrong_command_line_exits_2() {
    for args in [
        &["--bogus"][..],
        &["bogus"],
        &["--config"],
        &["plan", "--json"],
        &["export", "--topic", "a"],
        &["plan", "--set", "no-equals"],
    ] {
        let output = brooklet(args);
        assert_eq!(output.status.code(), Some(2), "{args:?}: {}", err(&output));
        assert!(err(&output).starts_with("brooklet: "), "{args:?}: {}", err(&output));
    }
}

#[test]
fn a_wrong_configuration_exits_2_and_names_place_key_value_and_what_is_allowed() {
    let scratch = Scratch::new("wrong");
    let file = scratch.file("b.toml", "listen = \"127.0.0.1:1\"\nnum_partitions = 0\n");
    let output = brooklet(&["serve", "--config", &file]);
    assert_eq!(output.status.code(), Some(2));
    let wanted = format!(
        "brooklet: {file}, line 2: num_partitions = 0 is not allowed: it takes a whole number from \
         1 to 1024\n"
    );
    assert_eq!(err(&output), wanted);

    let output = brooklet(&["--config", &scratch.path("absent.toml"), "plan"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(err(&output).contains("absent.toml"), "{}", err(&output));

    let output = command(&["plan"]).env("BROOKLET_CREATE", "perhaps").output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(err(&output).contains("BROOKLET_CREATE: create = \"perhaps\""), "{}", err(&output));
}

#[test]
fn options_before_and_behind_the_command_and_the_environment_come_together() {
    let scratch = Scratch::new("together");
    let file = scratch.file("b.toml", "topics_max = 7\nmax_connections = 9\ngroups_max = 9\n");
    let output = command(&["--set", "groups_max=5", "plan", "--set", "groups_max=6"])
        .env("BROOKLET_CONFIG", &file)
        .env("BROOKLET_MAX_CONNECTIONS", "8")
        .env("BROOKLET_SERVICE_HOST", "10.0.0.1")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", err(&output));
    let count = |name: &str| -> u64 {
        let text = out(&output);
        let line = text.lines().find(|line| line.trim_start().starts_with(name)).unwrap();
        line.trim_start()[name.len()..].split_whitespace().next().unwrap().parse().unwrap()
    };
    assert_eq!((count("topics "), count("connections "), count("groups ")), (7, 8, 6));
    assert!(err(&output).contains("BROOKLET_SERVICE_HOST is no key"), "{}", err(&output));
}

#[test]
fn the_configuration_is_shown_with_where_it_came_from_and_can_be_taken_as_it_is_shown() {
    let scratch = Scratch::new("config");
    let file = scratch.file("b.toml", "topics_max = 7\n\n[[ring]]\nname = \"a\"\nsegments = 5\n");
    let shown = |args: &[&str]| {
        let mut command = command(args);
        let output = command.env("BROOKLET_GROUPS_MAX", "5").output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{}", err(&output));
        out(&output)
    };
    let text = shown(&["config", "--config", &file, "--data", "/x", "--set", "ring.a.spares=3"]);
    let has = |start: &str, end: &str| {
        let found = text.lines().any(|line| line.starts_with(start) && line.ends_with(end));
        assert!(found, "{start} … {end} in\n{text}");
    };
    has("topics_max = 7 ", &format!(" # {file}, line 1"));
    has("groups_max = 5 ", " # BROOKLET_GROUPS_MAX");
    has("data_dir = \"/x\" ", " # --data");
    has("segments = 5 ", &format!(" # {file}, line 5"));
    has("spares = 3 ", " # --set");
    has("node_id = 1 ", " # default");
    let again = scratch.file("again.toml", &text);
    let values = |text: &str| -> Vec<String> {
        text.lines().map(|line| line.split(" # ").next().unwrap().trim_end().to_string()).collect()
    };
    assert_eq!(values(&shown(&["config", "--config", &again])), values(&text));
}

#[test]
fn a_plan_that_does_not_fit_exits_2() {
    let output = brooklet(&["plan", "--set", "memory_max=4 MiB"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(err(&output).contains("memory_max = 4 MiB is not enough"), "{}", err(&output));
    let output = brooklet(&["serve", "--set", "memory_max=4 MiB"]);
    assert_eq!(output.status.code(), Some(2));
}

#[test]
fn the_shipped_configurations_are_accepted() {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/config/");
    for (file, sum) in [("brooklet.toml", "8 MiB"), ("tiny.toml", "3 MiB")] {
        let memory = format!("memory_max={sum}");
        let output = brooklet(&["plan", "--config", &format!("{root}{file}"), "--set", &memory]);
        assert_eq!(output.status.code(), Some(0), "{}", err(&output));
    }
}

#[test]
fn no_ring_is_made_where_there_must_be_one() {
    let scratch = Scratch::new("never");
    let data = scratch.path("data");
    let output = brooklet(&["--data", &data, "--set", "create=never"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(err(&output).contains("create = \"never\""), "{}", err(&output));
    assert!(!std::path::Path::new(&data).exists());
    for args in [
        &["check", "--data", &data][..],
        &["dump", "--data", &data],
        &["export", "--topic", "t", "--out", "o", "--data", &data],
    ] {
        let output = brooklet(args);
        assert_eq!(output.status.code(), Some(1), "{args:?}");
        assert!(err(&output).contains("there is no ring in"), "{}", err(&output));
    }
}

#[test]
fn a_start_that_cannot_be_says_what_stands_in_its_way() {
    let scratch = Scratch::new("in-the-way");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let file = scratch.file("file", "");
    let data = scratch.path("data");
    let own = format!("process {} (", std::process::id());
    for (args, code, said) in [
        (["--data", &data, "--listen", &address], 1, own.as_str()),
        (["--data", &data, "--listen", "203.0.113.1:9092"], 1, "this machine has no such address"),
        (["--data", &file, "--listen", "127.0.0.1:0"], 2, "that is a file; it takes a directory"),
        (
            ["--data", &data, "--config", "/no/such.toml"],
            2,
            "--config: the configuration \"/no/such.toml\"",
        ),
    ] {
        let output = brooklet(&args);
        assert_eq!(output.status.code(), Some(code), "{args:?}: {}", err(&output));
        assert!(err(&output).contains(said), "{args:?}: {}", err(&output));
    }
    let made = std::fs::read_dir(&data).unwrap().flatten();
    let made: Vec<_> = made.map(|entry| entry.file_name()).collect();
    assert_eq!(made, ["LOCK"], "no ring is made for an address that cannot be had");
}

#[test]
fn status_without_a_broker_says_so_and_exits_1() {
    let scratch = Scratch::new("status");
    let output = brooklet(&["status", "--data", &scratch.path("data")]);
    assert_eq!(output.status.code(), Some(1));
    assert!(err(&output).contains("no broker is running"), "{}", err(&output));
}

#[test]
fn the_doctor_says_what_is_wrong_and_what_to_do_and_exits_1() {
    let scratch = Scratch::new("doctor");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let listen = format!("listen={}", taken.local_addr().unwrap());
    let data = scratch.path("data");
    let output = brooklet(&["doctor", "--json", "--data", &data, "--set", &listen]);
    assert_eq!(output.status.code(), Some(1));
    let found: serde_json::Value = serde_json::from_str(&out(&output)).unwrap();
    let wrong = found.as_array().unwrap().iter().filter(|found| found["level"] == "wrong");
    let wrong: Vec<_> = wrong.map(|found| found["of"].as_str().unwrap()).collect();
    assert_eq!(wrong, ["port"], "{found}");
    assert!(!std::path::Path::new(&data).exists(), "it makes nothing");
    drop(taken);
    let output = brooklet(&["doctor", "--data", &data, "--set", &listen]);
    assert_eq!(output.status.code(), Some(0), "{}", out(&output));
    assert!(out(&output).contains("ok     sync: "), "{}", out(&output));
}

#[test]
fn a_second_user_of_a_data_directory_is_told_who_has_it() {
    let scratch = Scratch::new("locked");
    scratch.file("data/ring-0/segment-0000", "");
    let lock = scratch.file("data/LOCK", "4711\n");
    let held = std::fs::File::open(&lock).unwrap();
    rustix::fs::flock(&held, rustix::fs::FlockOperation::LockExclusive).unwrap();
    let data = scratch.path("data");
    for args in [&["check", "--data", &data][..], &["serve", "--data", &data]] {
        let output = brooklet(args);
        assert_eq!(output.status.code(), Some(1), "{args:?}");
        let holder = format!("in use by process {} (", std::process::id());
        assert!(err(&output).contains(&holder), "{}", err(&output));
    }
}

#[test]
fn an_address_that_is_taken_is_said_before_a_ring_is_made() {
    let scratch = Scratch::new("taken");
    let data = scratch.path("data");
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let output = brooklet(&["serve", "--listen", &address, "--data", &data]);
    assert_eq!(output.status.code(), Some(1), "{}", err(&output));
    assert!(err(&output).contains(&format!("cannot listen on {address}")), "{}", err(&output));
    let made = std::fs::read_dir(&data).into_iter().flatten().flatten();
    let made: Vec<_> = made.map(|entry| entry.file_name()).collect();
    assert!(!made.iter().any(|name| name.to_string_lossy().starts_with("ring")), "{made:?}");
}

/// Systemd makes the socket, and clients come before the broker is there: they wait.
#[test]
fn clients_of_a_socket_that_the_supervisor_made_are_served_once_the_ring_is_open() {
    let scratch = Scratch::new("activated");
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut early = TcpStream::connect(socket.local_addr().unwrap()).unwrap();
    // ApiVersions 0 of client "a".
    early.write_all(b"\0\0\0\x0b\0\x12\0\0\0\0\0\x05\0\x01a").unwrap();
    // The shell keeps its process id, and the socket becomes the third descriptor.
    let script = "LISTEN_PID=$$ LISTEN_FDS=1 exec \"$0\" \"$@\" 3<&0 0</dev/null";
    let mut command = Command::new("sh");
    command.args(["-c", script, env!("CARGO_BIN_EXE_brooklet"), "serve"]);
    command.args(["--data", &scratch.path("data"), "--listen", "127.0.0.1:1"]);
    for setting in ["ring.segments=3", "ring.spares=1", "ring.segment_bytes=4MiB"] {
        command.args(["--set", setting]);
    }
    let mut child = command.stdin(Stdio::from(OwnedFd::from(socket))).spawn().unwrap();
    let mut answer = [0; 10];
    let answered = early.read_exact(&mut answer);
    child.kill().unwrap();
    child.wait().unwrap();
    answered.unwrap();
    assert_eq!(answer[4..], [0, 0, 0, 5, 0, 0]);
}

/// A running broker with a small ring; killed if the test fails.
struct Broker {
    child: Child,
    log: BufReader<ChildStderr>,
    /// What it logged until it listened.
    started: String,
}

impl Broker {
    fn start(data: &str) -> Broker {
        let settings = ["ring.segments=3", "ring.spares=1", "ring.segment_bytes=4MiB"];
        let mut command = command(&["serve", "--listen", "127.0.0.1:0", "--data", data]);
        for setting in settings {
            command.args(["--set", setting]);
        }
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let log = BufReader::new(child.stderr.take().unwrap());
        let mut broker = Broker { child, log, started: String::new() };
        while !broker.started.contains("listening on") {
            let read = broker.log.read_line(&mut broker.started).unwrap();
            assert!(read > 0, "it ended: {}", broker.started);
        }
        broker
    }

    fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// Its exit code after this signal, and what it logged since it listened.
    fn end(mut self, signal: Signal) -> (Option<i32>, String) {
        kill_process(self.pid(), signal).unwrap();
        let mut rest = String::new();
        self.log.read_to_string(&mut rest).unwrap();
        (self.child.wait().unwrap().code(), rest)
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_start_is_logged_and_a_signal_ends_it_with_exit_0() {
    let scratch = Scratch::new("serve");
    let data = scratch.path("data");
    for signal in [Signal::TERM, Signal::INT] {
        let broker = Broker::start(&data);
        for wanted in [
            concat!("brooklet ", env!("CARGO_PKG_VERSION")),
            "ring main: 3 segments of 4 MiB and 1 spare",
            "memory plan: ",
            "data_dir /",
            "listening on 127.0.0.1:",
        ] {
            assert!(broker.started.contains(wanted), "no {wanted:?} in {}", broker.started);
        }
        let (code, rest) = broker.end(signal);
        assert_eq!(code, Some(0), "{rest}");
    }
    let output = brooklet(&["check", "--data", &data]);
    assert_eq!(output.status.code(), Some(0), "{}", out(&output));
    assert!(out(&output).contains("0 damaged places"), "{}", out(&output));
    let output = brooklet(&["dump", "--data", &data]);
    assert!(out(&output).contains("Boot { boot: Boot(2) }"), "{}", out(&output));
    let output = brooklet(&["export", "--topic", "t", "--out", "x", "--data", &data]);
    assert_eq!(output.status.code(), Some(1));
    assert!(err(&output).contains("there is no topic \"t\""), "{}", err(&output));
}

#[test]
fn what_comes_to_the_wrong_port_is_named_once() {
    let scratch = Scratch::new("probes");
    let broker = Broker::start(&scratch.path("data"));
    let address = broker.started.split("listening on ").nth(1).unwrap();
    let address = address.split(';').next().unwrap().to_string();
    let hello = [0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3];
    for probe in [&b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n"[..], &hello, b"\r\n\r\n"] {
        for _ in 0..20 {
            let mut stream = TcpStream::connect(&address).unwrap();
            stream.write_all(probe).unwrap();
            assert!(!matches!(stream.read(&mut [0]), Ok(1)), "it is closed");
        }
    }
    let (code, log) = broker.end(Signal::TERM);
    assert_eq!(code, Some(0));
    let count = |text| log.lines().filter(|line| line.contains(text)).count();
    assert_eq!(count("HTTP on the Kafka port"), 1, "{log}");
    assert_eq!(count("TLS on the Kafka port"), 1, "{log}");
    assert_eq!(count("closed the connection from 127.0.0.1"), 3, "{log}");
}

#[test]
fn status_shows_the_running_broker_and_others_are_kept_out() {
    let scratch = Scratch::new("running");
    let data = scratch.path("data");
    let broker = Broker::start(&data);
    let text = out(&brooklet(&["status", "--data", &data]));
    assert!(text.starts_with("version: ") && text.contains("\n  main:\n"), "{text}");
    assert_eq!(out(&brooklet(&["status", "--check", "--data", &data])), "ok\n");
    let json = out(&brooklet(&["status", "--json", "--data", &data]));
    assert!(json.starts_with("{\"version\":") && json.ends_with("}\n"), "{json}");
    let top = out(&brooklet(&["top", "--every", "1", "--data", &data]));
    assert!(top.contains("\nring main: 0 % filled of ") && !top.contains('\x1b'), "{top}");
    let holder = format!("in use by process {}", broker.child.id());
    for args in [&["--data", &data][..], &["check", "--data", &data], &["dump", "--data", &data]] {
        let output = brooklet(args);
        assert_eq!(output.status.code(), Some(1), "{args:?}");
        assert!(err(&output).contains(&holder), "{}", err(&output));
    }
    let (code, _) = broker.end(Signal::TERM);
    assert_eq!(code, Some(0));
    let set = ["--data", &data, "--listen", "127.0.0.1:0", "--set", "ring.segment_bytes=8MiB"];
    let output = brooklet(&set);
    assert_eq!(output.status.code(), Some(2), "{}", err(&output));
    assert!(err(&output).contains("ring.segment_bytes does not fit the ring"), "{}", err(&output));
}
