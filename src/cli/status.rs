//! `brooklet status`: asks the running broker over the socket in its data directory.
//!
//! The question is a line, `text` or `json`; the answer is all that follows until the end.

use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use super::{Failure, data_dir, print};
use crate::config::Config;

/// The socket's name in the data directory.
pub const SOCKET: &str = "status.sock";

/// Asks and prints.
pub fn run(config: &Config, json: bool) -> Result<(), Failure> {
    let path = config.data_dir.join(SOCKET);
    let answer = ask(&path, json).map_err(|error| {
        let path = data_dir::absolute(&path);
        let where_ = path.display();
        Failure::Failed(match error.kind() {
            ErrorKind::NotFound | ErrorKind::ConnectionRefused => format!(
                "no broker is running there: nothing answers at {where_}; --data, --config or \
                 BROOKLET_DATA_DIR name the data directory of another one"
            ),
            _ => format!("{where_}: {error}"),
        })
    })?;
    print(&answer);
    Ok(())
}

fn ask(path: &std::path::Path, json: bool) -> std::io::Result<String> {
    let mut socket = UnixStream::connect(path)?;
    // A broker whose disk hangs does not answer; the asker should not hang with it.
    socket.set_read_timeout(Some(TIMEOUT))?;
    socket.write_all(if json { b"json\n" } else { b"text\n" })?;
    let mut answer = String::new();
    socket.read_to_string(&mut answer)?;
    Ok(answer)
}

const TIMEOUT: Duration = Duration::from_secs(5);
