//! The form of the commands.

use crate::cli::{brooklet, err, out};

#[test]
fn each_command_has_a_help() {
    for command in ["topics", "groups", "consume", "produce"] {
        let output = brooklet(&[command, "--help"]);
        assert_eq!(output.status.code(), Some(0), "{command}");
        assert!(out(&output).starts_with("Usage: brooklet"), "{command}");
    }
}

#[test]
fn a_wrong_command_exits_2_and_asks_no_broker() {
    for args in [
        &["topics", "bogus", "a"][..],
        &["topics", "list", "a"],
        &["topics", "create"],
        &["topics", "create", "a", "b"],
        &["topics", "create", "a", "--config", "no-equals"],
        &["topics", "alter", "a"],
        &["topics", "delete", "a", "--partitions", "2"],
        &["topics", "describe", "a", "--json"],
        &["groups", "describe"],
        &["groups", "reset", "g", "--topic", "t"],
        &["groups", "reset", "g", "--topic", "t", "--to", "-1"],
        &["groups", "reset", "g", "--topic", "t:x", "--to", "latest"],
        &["groups", "reset", "g", "--topic", "t", "--to", "2026-02-29T00:00:00Z"],
        &["groups", "delete", "g", "--execute"],
        &["consume"],
        &["consume", "a", "--json", "--format", "%s"],
        &["consume", "a", "--format", "%x"],
        &["consume", "a", "--from", "yesterday"],
        &["produce"],
        &["produce", "a", "--header", "no-equals"],
        &["produce", "a", "--rate", "0"],
        &["produce", "a", "--key-separator", ""],
    ] {
        let output = brooklet(args);
        assert_eq!(output.status.code(), Some(2), "{args:?}: {}", err(&output));
        assert!(err(&output).starts_with("brooklet: "), "{args:?}: {}", err(&output));
    }
}
