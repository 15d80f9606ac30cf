//! The commands that ask a running broker, this one or any other, in Kafka's protocol.

pub mod args;
mod consume;
mod groups;
mod produce;
mod render;
mod stop;
mod topics;
mod when;

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use super::args::Command;
use super::{Failure, Refusal};
use crate::client::{Client, Trouble};
use crate::config::Config;

impl From<Trouble> for Failure {
    fn from(trouble: Trouble) -> Failure {
        Failure::Failed(trouble.text)
    }
}

/// Runs a command. The configuration is looked at only for the broker's address.
pub fn run(
    command: Command,
    config: impl FnOnce() -> Result<Config, Failure>,
) -> Result<(), Failure> {
    let broker = match &command {
        Command::Topics(command) => &command.broker,
        Command::Groups(command) => &command.broker,
        Command::Consume(command) => &command.broker,
        Command::Produce(command) => &command.broker,
        _ => unreachable!("the other commands are not these"),
    };
    let address = match broker {
        Some(broker) => with_port(broker),
        None => reachable(config()?.listen).to_string(),
    };
    let mut client = Client::new(address);
    match &command {
        Command::Topics(command) => topics::run(&mut client, command),
        Command::Groups(command) => groups::run(&mut client, command),
        Command::Consume(command) => consume::run(&mut client, command),
        Command::Produce(command) => produce::run(&mut client, command),
        _ => Ok(()),
    }
}

/// Kafka's own port, if none is said.
fn with_port(broker: &str) -> String {
    let is_ipv6 = broker.parse::<Ipv6Addr>().is_ok();
    match broker.rsplit_once(':') {
        _ if is_ipv6 => format!("[{broker}]:{PORT}"),
        Some((_, port)) if !port.contains(']') => broker.to_string(),
        _ => format!("{broker}:{PORT}"),
    }
}

/// Who listens on every address does so on loopback.
fn reachable(listen: SocketAddr) -> SocketAddr {
    match listen.ip().is_unspecified() {
        // `::` takes IPv4 as well, and nothing else where the kernel has no IPv6.
        true => SocketAddr::from((Ipv4Addr::LOCALHOST, listen.port())),
        false => listen,
    }
}

const PORT: u16 = 9092;

/// The command line is wrong.
fn usage(text: impl Into<String>) -> Failure {
    Failure::Usage(Refusal::new(text.into()))
}

/// What is to be done, which is to list if nothing is said, and with what.
fn action<'a>(what: &'a [String], command: &str) -> Result<(&'a str, &'a str), Failure> {
    match what {
        [] => Ok(("list", "")),
        [list] if list == "list" => Ok(("list", "")),
        [list, ..] if list == "list" => Err(usage(format!("{command} list takes no name"))),
        [action] => Err(usage(format!("{command} {action} wants a name behind it"))),
        [action, name] => Ok((action, name)),
        _ => Err(usage(format!("{command} takes one name"))),
    }
}

/// What an option gives as key=value.
fn pair(option: &str, given: &str) -> Result<(String, String), Failure> {
    match given.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_string(), value.to_string())),
        _ => Err(usage(format!("{option} {given} is not allowed: it takes key=value"))),
    }
}

/// Columns that are as wide as what is in them; the first row is their heading.
struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    fn new(heading: &[&str]) -> Table {
        let mut table = Table { rows: Vec::new() };
        table.row(heading);
        table
    }

    fn row(&mut self, cells: &[&str]) {
        self.rows.push(cells.iter().map(ToString::to_string).collect());
    }

    fn text(&self) -> String {
        let mut text = String::new();
        for row in &self.rows {
            let from = text.len();
            for (at, cell) in row.iter().enumerate() {
                let widths = self.rows.iter().filter_map(|row| row.get(at));
                let width = widths.map(|cell| cell.chars().count()).max().unwrap_or(0);
                let gap = 2 + width.saturating_sub(cell.chars().count());
                text += cell;
                text.extend(std::iter::repeat_n(' ', gap));
            }
            let end = from + text.get(from..).unwrap_or_default().trim_end().len();
            text.truncate(end);
            text.push('\n');
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_broker_without_a_port_has_kafkas() {
        for (given, address) in [
            ("pi", "pi:9092"),
            ("pi:1", "pi:1"),
            ("::1", "[::1]:9092"),
            ("[::1]", "[::1]:9092"),
            ("[::1]:1", "[::1]:1"),
        ] {
            assert_eq!(with_port(given), address);
        }
    }

    #[test]
    fn who_listens_everywhere_is_asked_on_loopback() {
        for (listen, address) in
            [("0.0.0.0:1", "127.0.0.1:1"), ("[::]:1", "127.0.0.1:1"), ("10.0.0.1:1", "10.0.0.1:1")]
        {
            assert_eq!(reachable(listen.parse().unwrap()).to_string(), address);
        }
    }

    #[test]
    fn columns_are_as_wide_as_what_is_in_them() {
        let mut table = Table::new(&["A", "LONG"]);
        table.row(&["größe", ""]);
        assert_eq!(table.text(), "A      LONG\ngröße\n");
    }
}
