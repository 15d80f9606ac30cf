//! The brooklet binary as a process over a data directory of its own: start, stop, kill, again.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

/// A ring that is zero-filled in a moment.
const SETTINGS: [&str; 3] = ["ring.segments=3", "ring.spares=1", "ring.segment_bytes=4 MiB"];
/// How often readiness and the end are asked for, and how long one try waits.
const TRIES_MAX: u32 = 3000;
const TRY_PAUSE: Duration = Duration::from_millis(10);

/// A broker that is killed, and whose data is removed, when this is dropped.
pub struct Process {
    address: SocketAddr,
    data: PathBuf,
    settings: Vec<String>,
    child: Child,
}

impl Process {
    /// Starts a broker over an empty data directory; `name` keeps it apart from other tests' ones.
    pub fn start(name: &str) -> Self {
        Self::start_with(name, &SETTINGS)
    }

    /// The same, with these values of keys.
    pub fn start_with(name: &str, settings: &[&str]) -> Self {
        let data = std::env::temp_dir().join(format!("brooklet-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&data);
        let free = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = free.local_addr().expect("its address");
        drop(free);
        let settings: Vec<String> = settings.iter().map(ToString::to_string).collect();
        let child = spawn(address, &data, &settings);
        let mut process = Self { address, data, settings, child };
        process.wait_until_ready();
        process
    }

    /// What `brooklet status --json` prints.
    pub fn status(&self) -> serde_json::Value {
        let mut command = Command::new(env!("CARGO_BIN_EXE_brooklet"));
        command.args(["status", "--json", "--data"]).arg(&self.data);
        // Clients may connect before there is anybody to ask.
        for _ in 0..TRIES_MAX {
            let output = command.output().expect("it runs");
            if output.status.success() {
                return serde_json::from_slice(&output.stdout).expect("it is JSON");
            }
            sleep(TRY_PAUSE);
        }
        panic!("nobody answers in {:?}", self.data);
    }

    /// HOST:PORT, as clients want it.
    pub fn bootstrap(&self) -> String {
        self.address.to_string()
    }

    /// Ends the broker with SIGKILL and starts it over the same data.
    pub fn kill_and_start(&mut self) {
        self.child.kill().expect("SIGKILL");
        self.child.wait().expect("the end of a killed process");
        self.child = spawn(self.address, &self.data, &self.settings);
        self.wait_until_ready();
    }

    /// Connecting is enough: what is asked waits until the ring is open.
    fn wait_until_ready(&mut self) {
        for _ in 0..TRIES_MAX {
            if TcpStream::connect(self.address).is_ok() {
                return;
            }
            if let Some(status) = self.child.try_wait().expect("the state of the broker") {
                panic!("the broker ended before it listened: {status}");
            }
            sleep(TRY_PAUSE);
        }
        panic!("nothing listens on {}", self.address);
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.data);
    }
}

fn spawn(address: SocketAddr, data: &PathBuf, settings: &[String]) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_brooklet"));
    command.arg("serve").arg("--listen").arg(address.to_string()).arg("--data").arg(data);
    // Else they would all want one port.
    command.args(["--set", "http_listen="]);
    for setting in settings {
        match setting.split_once("config:") {
            Some(("", file)) => command.arg("--config").arg(file),
            _ => command.arg("--set").arg(setting),
        };
    }
    // What it says belongs to the test's output, which is shown when the test fails.
    command.env("RUST_LOG", "warn").stdin(Stdio::null()).spawn().expect("the brooklet binary")
}
