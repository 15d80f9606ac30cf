//! `brooklet status`: asks the running broker over the socket in its data directory.
//!
//! The question is a line, `text`, `json` or `check`; the answer is all that follows until the end.

use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use super::{Failure, data_dir, print};
use crate::config::Config;

/// The socket's name in the data directory.
pub const SOCKET: &str = "status.sock";

/// Asks and prints.
pub fn run(config: &Config, json: bool, check: bool) -> Result<(), Failure> {
    let question = match (check, json) {
        (true, _) => "check\n",
        (false, true) => "json\n",
        (false, false) => "text\n",
    };
    let answer = asked(config, question)?;
    if check && answer != "ok" {
        return Err(Failure::Failed(answer));
    }
    print(&answer);
    if check {
        print("\n");
    }
    Ok(())
}

/// What the broker answers that serves this data directory.
pub fn asked(config: &Config, question: &str) -> Result<String, Failure> {
    let path = config.data_dir.join(SOCKET);
    ask(&path, question).map_err(|error| {
        let path = data_dir::absolute(&path);
        let where_ = path.display();
        Failure::Failed(match error.kind() {
            ErrorKind::NotFound | ErrorKind::ConnectionRefused => format!(
                "no broker is running there: nothing answers at {where_}; --data, --config or \
                 BROOKLET_DATA_DIR name the data directory of another one"
            ),
            _ => format!("{where_}: {error}"),
        })
    })
}

/// What the broker answers there.
pub fn ask(path: &std::path::Path, question: &str) -> std::io::Result<String> {
    let mut socket = UnixStream::connect(path)?;
    // A broker whose disk hangs does not answer; the asker should not hang with it.
    socket.set_read_timeout(Some(TIMEOUT))?;
    socket.write_all(question.as_bytes())?;
    let mut answer = String::new();
    socket.read_to_string(&mut answer)?;
    Ok(answer)
}

const TIMEOUT: Duration = Duration::from_secs(5);
