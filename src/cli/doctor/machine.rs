//! The addresses, the port, the clock, and memory.

use std::fs::read_to_string;
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::time::Duration;

use super::Findings;
use crate::clock;
use crate::config::Config;
use crate::plan::{Mib, Plan};
use crate::process;

/// Looks at all of it.
pub fn look(config: &Config, plan: &Plan, is_running: bool, found: &mut Findings) {
    look_at_port(config, is_running, found);
    look_at_advertised(config, is_running, found);
    look_at_clock(config, found);
    look_at_memory(plan, found);
}

fn look_at_port(config: &Config, is_running: bool, found: &mut Findings) {
    let port = config.listen.port();
    match process::listening_on(port) {
        Some(pid) if !is_running => found.wrong(
            "port",
            format_args!("{} has port {port}", process::named(pid)),
            "End it, or choose another port with listen.",
        ),
        None if is_running => found.note(
            "port",
            format_args!("nothing that this user may see listens on port {port}"),
            "Is the running broker configured otherwise? --config, or run as its user or as root.",
        ),
        _ => found.well("port", format_args!("{}", config.listen)),
    }
    if config.listen.ip().is_loopback() {
        found.note(
            "port",
            format_args!("{} is reached from this machine only", config.listen),
            "listen = \"[::]:9092\" takes clients from everywhere.",
        );
    }
    let v6_off = read_to_string("/proc/sys/net/ipv6/conf/all/disable_ipv6");
    if config.listen.is_ipv6() && v6_off.is_ok_and(|off| off.trim() == "1") {
        found.note(
            "port",
            format_args!("IPv6 is switched off"),
            "Clients reach it over IPv4 only.",
        );
    }
}

/// The address that clients come back to has to be one that they can reach.
fn look_at_advertised(config: &Config, is_running: bool, found: &mut Findings) {
    let Some((host, port)) = &config.advertised_listeners.0 else {
        let text = "clients are told the address that they reached";
        return found.well("advertised address", format_args!("{text}"));
    };
    let addresses = (host.as_str(), *port).to_socket_addrs();
    let addresses: Vec<SocketAddr> = addresses.into_iter().flatten().collect();
    if addresses.is_empty() {
        return found.wrong(
            "advertised address",
            format_args!("{host} is no name that this machine can resolve"),
            "Clients that cannot either are lost after their first request: leave advertised_listeners empty.",
        );
    }
    let mut reached = addresses
        .iter()
        .map(|address| (address, TcpStream::connect_timeout(address, CONNECT_TIME)));
    match reached.find(|(_, stream)| stream.is_ok()) {
        Some((address, _)) => {
            found.well("advertised address", format_args!("{host}:{port} is {address}, and answers"));
        }
        None if !is_running => found.well(
            "advertised address",
            format_args!("{host}:{port} is {}, if a broker runs", addresses[0]),
        ),
        None => found.wrong(
            "advertised address",
            format_args!("{host}:{port} does not answer from here"),
            "Clients are sent there after their first request: a firewall, a wrong port, or an old address.",
        ),
    }
}

fn look_at_clock(config: &Config, found: &mut Findings) {
    let file = &config.clock_synchronised_file;
    let synchronised = !file.as_os_str().is_empty() && file.exists();
    if clock::wall_ms() < clock::WALL_MS_MIN {
        found.wrong(
            "clock",
            format_args!("it stands before this program was made"),
            "Records get wrong timestamps. Bring NTP up, or fit a clock with a battery.",
        );
    } else if synchronised {
        found.well("clock", format_args!("{} says that it is synchronised", file.display()));
    } else {
        found.note(
            "clock",
            format_args!("nothing says that it is synchronised"),
            "systemd-timesyncd does; for other services name their file with clock_synchronised_file.",
        );
    }
}

fn look_at_memory(plan: &Plan, found: &mut Findings) {
    let planned = plan.memory_bytes();
    let total = read_to_string("/proc/meminfo").ok().and_then(|text| kib_of(&text, "MemTotal:"));
    match total {
        Some(total) if planned > total / 2 => found.wrong(
            "memory",
            format_args!("the plan is {}, and the machine has {}", Mib(planned), Mib(total)),
            "config/tiny.toml shows which keys make it smaller.",
        ),
        Some(total) => {
            let text = format_args!("the plan is {} of {}", Mib(planned), Mib(total));
            found.well("memory", text);
        }
        None => {}
    }
    let limit = read_to_string(UNIT_LIMIT).ok().and_then(|limit| limit.trim().parse::<u64>().ok());
    if let Some(limit) = limit.filter(|limit| *limit < planned) {
        found.wrong(
            "memory",
            format_args!(
                "the unit's MemoryMax is {}, below the plan of {}",
                Mib(limit),
                Mib(planned)
            ),
            "Raise MemoryMax, or make the plan smaller.",
        );
    }
}

fn kib_of(text: &str, name: &str) -> Option<u64> {
    let value = text.lines().find_map(|line| line.strip_prefix(name))?;
    Some(value.split_whitespace().next()?.parse::<u64>().ok()? * 1024)
}

const UNIT_LIMIT: &str = "/sys/fs/cgroup/system.slice/brooklet.service/memory.max";
const CONNECT_TIME: Duration = Duration::from_secs(2);
