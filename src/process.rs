//! What the kernel says of processes, for people.

use std::fs;

/// A process as people find it: its number and its name.
pub fn named(pid: u32) -> String {
    match fs::read_to_string(format!("/proc/{pid}/comm")) {
        Ok(name) => format!("process {pid} ({})", name.trim_end()),
        Err(_) => format!("process {pid}"),
    }
}

/// Who listens on a TCP port, as far as this user may know.
#[inline(never)]
pub fn listening_on(port: u16) -> Option<u32> {
    let mut socket = None;
    for table in ["/proc/net/tcp", "/proc/net/tcp6"] {
        for line in fs::read_to_string(table).unwrap_or_default().lines() {
            let mut fields = line.split_ascii_whitespace().skip(1);
            let local = fields.next().and_then(|local| local.rsplit_once(':'));
            let own = local.and_then(|(_, own)| u16::from_str_radix(own, 16).ok());
            if own == Some(port) && fields.nth(1) == Some(LISTENS) {
                socket = fields.nth(5).map(|inode| format!("socket:[{inode}]"));
            }
        }
    }
    let socket = socket?;
    for process in fs::read_dir("/proc").ok()?.flatten() {
        // Others have no such name, or are this one once more.
        let pid = process.file_name().to_str().and_then(|name| name.parse().ok());
        let files = pid.and_then(|_| fs::read_dir(process.path().join("fd")).ok());
        for file in files.into_iter().flatten().flatten() {
            if fs::read_link(file.path()).is_ok_and(|link| link.as_os_str() == &*socket) {
                return pid;
            }
        }
    }
    None
}

/// A socket's state in the kernel's tables.
const LISTENS: &str = "0A";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_listens_is_found() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        assert_eq!(listening_on(port), Some(std::process::id()));
        assert!(
            named(std::process::id()).starts_with(&format!("process {} (", std::process::id()))
        );
        drop(listener);
        assert_eq!(listening_on(port), None);
    }
}
