//! `brooklet topics`.

use super::args::Topics;
use super::{Table, action, pair, usage};
use crate::cli::{Failure, print};
use crate::client::{Client, EARLIEST, LATEST, Trouble};

/// Does what is said.
pub fn run(client: &mut Client, command: &Topics) -> Result<(), Failure> {
    let settings = command.config.iter().map(|setting| pair("--config", setting));
    let settings = settings.collect::<Result<Vec<_>, _>>()?;
    let changes = command.partitions.is_some() || !settings.is_empty();
    let (action, name) = action(&command.what, "topics")?;
    if command.json && action != "list" {
        return Err(usage(format!("topics {action} takes no --json")));
    }
    if changes && matches!(action, "list" | "describe" | "delete") {
        return Err(usage(format!("topics {action} takes no --partitions or --config")));
    }
    match action {
        "list" => client.retry(&mut |client| list(client, command.json))?,
        "describe" => client.retry(&mut |client| describe(client, name))?,
        "create" => {
            client.retry(&mut |client| client.create(name, command.partitions, &settings))?;
            print(&format!("{name} is created\n"));
        }
        "alter" => {
            if !changes {
                return Err(usage("topics alter wants --partitions or --config"));
            }
            if let Some(partitions) = command.partitions {
                client.retry(&mut |client| client.grow(name, partitions))?;
            }
            if !settings.is_empty() {
                client.retry(&mut |client| client.alter(name, &settings))?;
            }
            print(&format!("{name} is altered\n"));
        }
        "delete" => {
            client.retry(&mut |client| client.delete(name))?;
            print(&format!("{name} is deleted\n"));
        }
        other => {
            return Err(usage(format!(
                "topics {other} is not there; list, describe, create, alter and delete are"
            )));
        }
    }
    Ok(())
}

fn list(client: &mut Client, json: bool) -> Result<(), Trouble> {
    let mut table = Table::new(&["TOPIC", "PARTITIONS"]);
    let mut objects = String::new();
    for topic in client.topics()? {
        let partitions = topic.partitions.len().to_string();
        // Names of topics have nothing that is written otherwise in JSON.
        objects += &format!("{{\"topic\":\"{}\",\"partitions\":{partitions}}}\n", topic.name);
        table.row(&[&topic.name, &partitions]);
    }
    print(&if json { objects } else { table.text() });
    Ok(())
}

fn describe(client: &mut Client, name: &str) -> Result<(), Trouble> {
    let topic = client.topic(name, false)?;
    let starts = client.offsets(name, &topic.partitions, EARLIEST)?;
    let ends = client.offsets(name, &topic.partitions, LATEST)?;
    let mut table = Table::new(&["PARTITION", "LEADER", "START", "END"]);
    for ((partition, start), end) in topic.partitions.iter().zip(starts).zip(ends) {
        let numbers = [partition.index.into(), partition.leader.into(), start, end];
        let cells = numbers.map(|number: i64| number.to_string());
        table.row(&cells.each_ref().map(String::as_str));
    }
    let mut text = table.text();
    let settings = client.settings(name)?;
    if !settings.is_empty() {
        let mut table = Table::new(&["SETTING", "VALUE"]);
        for (name, value) in &settings {
            table.row(&[name, value]);
        }
        text.push('\n');
        text += &table.text();
    }
    print(&text);
    Ok(())
}
