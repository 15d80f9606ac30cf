//! `brooklet doctor`: what goes wrong on gateways, looked for before and while the broker runs, each with
//! what to do about it. It changes nothing but for a file of 160 KiB that it writes, syncs and removes.

mod disk;
mod machine;
mod running;

use std::fmt::{self, Write as _};

use super::{Failure, print};
use crate::config::Config;
use crate::plan::Plan;
use crate::report::JsonText;

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// As it should be.
    Well,
    /// It works, and could be better.
    Note,
    /// It will not work, or records may be lost.
    Wrong,
}

/// What was found of one thing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// How bad it is.
    pub level: Level,
    /// What was looked at.
    pub of: &'static str,
    /// What is there.
    pub text: String,
    /// What to do; empty: nothing.
    pub remedy: &'static str,
}

/// All findings, in the order in which they were made.
#[derive(Debug, Default)]
pub struct Findings(Vec<Finding>);

impl Findings {
    /// Adds that something is as it should be.
    pub fn well(&mut self, of: &'static str, text: fmt::Arguments<'_>) {
        self.add(Level::Well, of, text, "");
    }

    /// Adds what could be better.
    pub fn note(&mut self, of: &'static str, text: fmt::Arguments<'_>, remedy: &'static str) {
        self.add(Level::Note, of, text, remedy);
    }

    /// Adds what is wrong.
    pub fn wrong(&mut self, of: &'static str, text: fmt::Arguments<'_>, remedy: &'static str) {
        self.add(Level::Wrong, of, text, remedy);
    }

    fn add(
        &mut self,
        level: Level,
        of: &'static str,
        text: fmt::Arguments<'_>,
        remedy: &'static str,
    ) {
        self.0.push(Finding { level, of, text: text.to_string(), remedy });
    }

    fn wrong_count(&self) -> usize {
        self.0.iter().filter(|found| found.level == Level::Wrong).count()
    }
}

/// Looks at everything and prints what it found.
pub fn run(config: &Config, json: bool) -> Result<(), Failure> {
    let mut found = Findings::default();
    let plan = Plan::of(config);
    let is_running = running::look(config, &mut found);
    machine::look(config, &plan, is_running, &mut found);
    disk::look(config, &plan, &mut found);
    print(&if json { as_json(&found) } else { found.to_string() });
    match found.wrong_count() {
        0 => Ok(()),
        1 => Err(Failure::Failed("one thing is wrong".to_string())),
        count => Err(Failure::Failed(format!("{count} things are wrong"))),
    }
}

impl fmt::Display for Findings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Finding { level, of, text, remedy } in &self.0 {
            let level = match level {
                Level::Well => "ok   ",
                Level::Note => "note ",
                Level::Wrong => "WRONG",
            };
            writeln!(f, "{level}  {of}: {text}")?;
            if !remedy.is_empty() {
                writeln!(f, "       {remedy}")?;
            }
        }
        Ok(())
    }
}

fn as_json(found: &Findings) -> String {
    let mut out = String::from("[");
    for (at, Finding { level, of, text, remedy }) in found.0.iter().enumerate() {
        let level = match level {
            Level::Well => "ok",
            Level::Note => "note",
            Level::Wrong => "wrong",
        };
        let (comma, text) = (if at == 0 { "" } else { "," }, JsonText(text));
        let _ = write!(
            out,
            "{comma}{{\"level\":\"{level}\",\"of\":\"{of}\",\"text\":\"{text}\",\"remedy\":\"{}\"}}",
            JsonText(remedy)
        );
    }
    out.push_str("]\n");
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn findings_are_lines_for_people_and_objects_for_programs() {
        let mut found = Findings::default();
        found.well("clock", format_args!("fine"));
        found.wrong("port", format_args!("\"x\" has it"), "End it.");
        assert_eq!(
            found.to_string(),
            "ok     clock: fine\nWRONG  port: \"x\" has it\n       End it.\n"
        );
        let json: serde_json::Value = serde_json::from_str(&as_json(&found)).unwrap();
        assert_eq!(json[1]["level"], "wrong");
        assert_eq!(json[1]["text"], "\"x\" has it");
        assert_eq!((json[0]["remedy"].as_str(), found.wrong_count()), (Some(""), 1));
    }
}
