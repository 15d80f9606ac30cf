//! What the service manager is told (systemd's `Type=notify`): lines of NAME=VALUE in datagrams to the
//! socket that `NOTIFY_SOCKET` names. Without that variable nothing is sent.
//!
//! A manager that does not read is not waited for: what it is told is lost then, and not the broker.

use std::env::var_os;
use std::fmt;
use std::os::unix::ffi::OsStrExt as _;
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::{AddressFamily, SendFlags, SocketAddrUnix, SocketFlags, SocketType};
use rustix::net::{sendto, socket_with};
use smol::Timer;

use crate::clock::Mono;

/// Whoever started this program and wants to know how it is.
#[derive(Default)]
pub struct Notify {
    address: Option<SocketAddrUnix>,
    /// How far the start was, when that was told last.
    told: Option<Mono>,
}

impl Notify {
    /// As the environment says it.
    pub fn from_env() -> Notify {
        let address = var_os("NOTIFY_SOCKET").and_then(|name| {
            let name = name.as_bytes();
            match name.strip_prefix(b"@") {
                Some(name) => SocketAddrUnix::new_abstract_name(name).ok(),
                None => SocketAddrUnix::new(name).ok(),
            }
        });
        Notify { address, told: None }
    }

    /// Sends one datagram.
    #[inline(never)]
    pub fn say(&self, text: fmt::Arguments<'_>) {
        let Some(address) = &self.address else { return };
        let sent = (|| {
            let socket =
                socket_with(AddressFamily::UNIX, SocketType::DGRAM, SocketFlags::CLOEXEC, None)?;
            let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
            sendto(&socket, text.to_string().as_bytes(), flags, address)
        })();
        if let Err(error) = sent {
            let error: Errno = error;
            log::debug!("NOTIFY_SOCKET: {error}");
        }
    }

    /// The start goes on: what it does, and that it may take longer.
    pub fn starting(&self, doing: fmt::Arguments<'_>) {
        self.say(format_args!("EXTEND_TIMEOUT_USEC={START_STEP_US_MAX}\nSTATUS={doing}"));
    }

    /// So many bytes of so many are filled; told each second at the most.
    pub fn filled(&mut self, done: u64, total: u64, now: Mono) {
        if self.told.is_none_or(|told| now.since_us(told) >= TELL_US) {
            self.told = Some(now);
            let (done, total) = (done >> 20, total >> 20);
            self.starting(format_args!("making segment files: {done} of {total} MiB"));
        }
    }

    /// Shows the manager that the main thread runs, twice in the time that it set, if it did.
    pub async fn watched(&self) {
        let number = |name| -> Option<u64> { var_os(name)?.to_str()?.parse().ok() };
        let for_us = number("WATCHDOG_PID").is_none_or(|pid| pid == u64::from(std::process::id()));
        match number("WATCHDOG_USEC").filter(|us| for_us && *us > 1) {
            Some(us) => loop {
                Timer::after(Duration::from_micros(us / 2)).await;
                self.say(format_args!("WATCHDOG=1"));
            },
            None => std::future::pending().await,
        }
    }
}

/// No step of a start takes longer: the largest segment, of 1 GiB, is read in it at 2 MB/s.
const START_STEP_US_MAX: u64 = 600_000_000;

const TELL_US: u64 = 1_000_000;
