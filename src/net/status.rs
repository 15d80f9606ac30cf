//! The status socket: a client sends one line, `text` or `json`, and gets what `status` shows; or
//! `check`, and gets `ok` or an error.
//!
//! One client at a time, each for a second at most: the next one waits in the socket's backlog.

use std::fs::Permissions;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use smol::future::FutureExt as _;
use smol::io::{AsyncReadExt as _, AsyncWriteExt as _};
use smol::{Async, Timer};

use super::Net;
use super::core::Core;
use crate::log_limit::About;
use crate::storage::FILE_MODE;

/// Makes the socket; one that was left behind is replaced.
pub fn bind(path: &Path) -> io::Result<Async<UnixListener>> {
    match std::fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
        _ => {}
    }
    let listener = Async::<UnixListener>::bind(path)?;
    std::fs::set_permissions(path, Permissions::from_mode(FILE_MODE))?;
    Ok(listener)
}

/// Serves clients until the task is dropped.
pub async fn serve<C: Core>(net: Rc<Net<C>>, listener: Async<UnixListener>) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                let answer = answer(&net, stream);
                let late = async {
                    Timer::after(CLIENT_TIME_MAX).await;
                    Err(io::ErrorKind::TimedOut.into())
                };
                if let Err(e) = answer.or(late).await {
                    log::debug!("status socket: {e}");
                }
            }
            Err(e) => {
                let about = About::kind("status socket");
                net.complain(log::Level::Error, about, format_args!("status socket: {e}"));
                Timer::after(CLIENT_TIME_MAX).await;
            }
        }
    }
}

async fn answer<C: Core>(net: &Net<C>, mut stream: Async<UnixStream>) -> io::Result<()> {
    let mut line = [0; 16];
    // It is short enough to arrive in one piece.
    let asked = stream.read(&mut line).await?;
    let asked = &line[..asked];
    if asked.starts_with(b"check") {
        let health = net.core.borrow().health();
        return stream.write_all(health.err().unwrap_or(HEALTHY).as_bytes()).await;
    }
    let buf = &mut *net.shown.lock().await;
    net.metrics_gather();
    let now = net.hub.now();
    let bytes = net.core.borrow().status(now, asked.starts_with(b"json"), buf);
    let bytes = bytes.ok_or(io::ErrorKind::OutOfMemory)?;
    stream.write_all(&buf[..bytes]).await
}

/// What is answered to `check` if all is well; anything else says what is not.
const HEALTHY: &str = "ok";

const CLIENT_TIME_MAX: Duration = Duration::from_secs(1);
