//! What the kernel says of processes, for people.

use std::fs;
use std::os::unix::ffi::OsStrExt as _;

/// A process as people find it: its number and its name.
pub fn named(pid: u32) -> String {
    match fs::read_to_string(format!("/proc/{pid}/comm")) {
        Ok(name) => format!("process {pid} ({})", name.trim_end()),
        Err(_) => format!("process {pid}"),
    }
}

/// Who listens on a TCP port, as far as this user may know.
pub fn listening_on(port: u16) -> Option<u32> {
    let tables = ["/proc/net/tcp", "/proc/net/tcp6"].map(fs::read_to_string);
    let inode = tables.iter().flatten().flat_map(|table| table.lines()).find_map(|line| {
        let fields: Vec<&str> = line.split_ascii_whitespace().collect();
        let [_, local, _, LISTENS, _, _, _, _, _, inode, ..] = fields[..] else { return None };
        let (_, own) = local.rsplit_once(':')?;
        (u16::from_str_radix(own, 16) == Ok(port)).then(|| inode.to_string())
    })?;
    let socket = format!("socket:[{inode}]");
    let processes = fs::read_dir("/proc").ok()?.flatten();
    let pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    pids.into_iter().find(|pid| {
        let files = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
        let links = files.filter_map(|file| fs::read_link(file.path()).ok());
        links.into_iter().any(|link| link.as_os_str().as_bytes() == socket.as_bytes())
    })
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
