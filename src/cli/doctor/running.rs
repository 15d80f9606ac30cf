//! What the running broker says of itself.

use super::Findings;
use crate::cli::status;
use crate::config::Config;

/// Asks it; gives whether it runs.
pub fn look(config: &Config, found: &mut Findings) -> bool {
    let path = config.data_dir.join(status::SOCKET);
    let Ok(text) = status::ask(&path, "text\n") else {
        found.note(
            "broker",
            format_args!("none runs over {}", config.data_dir.display()),
            "What only a running one knows is left out. --data or --config name another directory.",
        );
        return false;
    };
    let health = status::ask(&path, "check\n").unwrap_or_default();
    if health == "ok" {
        found.well("broker", format_args!("it runs, and its disk takes records"));
    } else {
        found.wrong("broker", format_args!("{health}"), "See the log for what the disk said.");
    }
    for line in lines(&text) {
        look_at(&line, found);
    }
    true
}

/// A number, with the names of the sections that it is in.
#[derive(Debug, PartialEq, Eq)]
struct Line<'a> {
    within: Vec<&'a str>,
    name: &'a str,
    value: &'a str,
}

/// The numbers of the answer: sections are indented.
fn lines(text: &str) -> Vec<Line<'_>> {
    let mut within: Vec<&str> = Vec::new();
    let mut found = Vec::new();
    for line in text.lines() {
        let name = line.trim_start();
        within.truncate((line.len() - name.len()) / 2);
        match name.strip_suffix(':') {
            Some(section) => within.push(section),
            None => {
                if let Some((name, value)) = name.split_once(": ") {
                    found.push(Line { within: within.clone(), name, value });
                }
            }
        }
    }
    found
}

fn look_at(line: &Line<'_>, found: &mut Findings) {
    let value: u64 = line.value.parse().unwrap_or(0);
    let of = line.within.last().copied().unwrap_or_default();
    let ring = line.within.get(1).copied().unwrap_or_default();
    match (line.within.first().copied().unwrap_or_default(), line.name) {
        ("damage", "segments" | "commit_groups" | "batches" | "records") if value > 0 => found.wrong(
            "medium",
            format_args!("{value} {} were found damaged at the start", line.name.replace('_', " ")),
            "The log of the start names what is lost. A card that loses data once does it again: replace it.",
        ),
        ("damage", "found_reading_total") if value > 0 => found.wrong(
            "medium",
            format_args!("readers found {value} damaged places since the start"),
            "The log names them. Replace the card.",
        ),
        ("rings", "overwritten_records_total") if value > 0 => found.wrong(
            "mirror",
            format_args!("ring {ring}: {value} records were overwritten before {of} had them"),
            "They are lost upstream. More segments keep records longer; hold_for keeps them until they are had.",
        ),
        ("rings", "is_full") if value > 0 => found.wrong(
            "held ring",
            format_args!("ring {ring} is full, and producers wait"),
            "brooklet status says for whom and for which topics: bring that consumer or mirror back.",
        ),
        ("rings", "never_reported_partitions") if value > 0 => found.note(
            "holder",
            format_args!("ring {ring}: {of} never reported {value} partitions that have records"),
            "If it is held for them it will fill: does the mirror's topics setting, or the group, have them all?",
        ),
        ("", "clock_trusted") if value == 0 => found.wrong(
            "clock",
            format_args!("the broker does not trust the system's clock"),
            "Records are kept beyond retention.ms meanwhile. Set the clock, or bring NTP up.",
        ),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STATUS: &str = "\
        version: 0.1.0\nclock_trusted: 0\nrings:\n  main:\n    laps: 2\n    watch:\n        mirror:up:\n\
        \x20         overwritten_records_total: 7\n    failures:\n      is_failing: 0\ndamage:\n  records: 3\n\
        \x20 torn_commit_groups: 1\n";

    #[test]
    fn what_is_wrong_is_found_by_its_name_and_its_place() {
        let mut found = Findings::default();
        for line in lines(STATUS) {
            look_at(&line, &mut found);
        }
        let texts: Vec<&str> = found.0.iter().map(|found| found.text.as_str()).collect();
        assert_eq!(
            texts,
            [
                "the broker does not trust the system's clock",
                "ring main: 7 records were overwritten before mirror:up had them",
                "3 records were found damaged at the start",
            ]
        );
    }
}
