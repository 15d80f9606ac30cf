//! The form of the commands that ask a running broker.

use argh::FromArgs;

/// List, describe, create, alter and delete topics of a running broker.
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "topics")]
pub struct Topics {
    /// list, which can be left out, or describe, create, alter or delete and a topic
    #[argh(positional)]
    pub what: Vec<String>,

    /// list: a JSON object for each topic
    #[argh(switch)]
    pub json: bool,

    /// how many partitions it has; the broker's num_partitions if it is created without
    #[argh(option, arg_name = "n")]
    pub partitions: Option<i32>,

    /// a setting of it; key= is back to the default; may be given often
    #[argh(option, arg_name = "key=value")]
    pub config: Vec<String>,

    /// the broker, host:port; the local one of the configuration if nothing is said
    #[argh(option, arg_name = "addr")]
    pub broker: Option<String>,
}

/// List, describe, reset and delete consumer groups of a running broker.
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "groups")]
pub struct Groups {
    /// list, which can be left out, or describe, reset or delete and a group
    #[argh(positional)]
    pub what: Vec<String>,

    /// reset: the topic, or topic:partition
    #[argh(option, arg_name = "topic")]
    pub topic: Option<String>,

    /// reset: earliest, latest, an offset, or a time as consume takes it
    #[argh(option, arg_name = "where")]
    pub to: Option<String>,

    /// reset: do it; else it is only shown
    #[argh(switch)]
    pub execute: bool,

    /// the broker, host:port; the local one of the configuration if nothing is said
    #[argh(option, arg_name = "addr")]
    pub broker: Option<String>,
}

/// Print the records of a topic of a running broker.
#[derive(FromArgs, Debug)]
#[argh(
    subcommand,
    name = "consume",
    note = "A format has %t topic, %p partition, %o offset, %T timestamp, %k key, %s value, %h headers, \
            %K and %S bytes of key and value (-1: null), %% for %, \\n and \\t."
)]
pub struct Consume {
    /// the topic
    #[argh(positional)]
    pub topic: String,

    /// start (if nothing is said), end, an offset, -n for the last n of each partition, how long ago (-30s,
    /// -15m, -2h, -7d) or a time (2026-02-28T12:00:59Z, @ms since 1970)
    #[argh(option, arg_name = "where", default = "\"start\".to_string()")]
    pub from: String,

    /// wait for more at the end
    #[argh(switch, short = 'f')]
    pub follow: bool,

    /// this partition only
    #[argh(option, arg_name = "n")]
    pub partition: Option<i32>,

    /// end after so many records
    #[argh(option, arg_name = "n")]
    pub count: Option<u64>,

    /// begin where this consumer group, which must have no members, is, and commit what was printed
    #[argh(option, arg_name = "name")]
    pub group: Option<String>,

    /// what is printed of each record; "%s\n" if nothing is said
    #[argh(option, arg_name = "string")]
    pub format: Option<String>,

    /// a JSON object for each record
    #[argh(switch)]
    pub json: bool,

    /// the broker, host:port; the local one of the configuration if nothing is said
    #[argh(option, arg_name = "addr")]
    pub broker: Option<String>,
}

/// Send lines of the standard input to a topic of a running broker, a record each.
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "produce")]
pub struct Produce {
    /// the topic
    #[argh(positional)]
    pub topic: String,

    /// this file as one record, instead of lines; may be given often
    #[argh(option, arg_name = "file")]
    pub file: Vec<String>,

    /// what stands in front of this in a line is the key
    #[argh(option, arg_name = "s")]
    pub key_separator: Option<String>,

    /// at most so many records a second
    #[argh(option, arg_name = "n")]
    pub rate: Option<u32>,

    /// a header of each record; may be given often
    #[argh(option, arg_name = "key=value")]
    pub header: Vec<String>,

    /// to this partition; else by the key, or in turn
    #[argh(option, arg_name = "n")]
    pub partition: Option<i32>,

    /// the broker, host:port; the local one of the configuration if nothing is said
    #[argh(option, arg_name = "addr")]
    pub broker: Option<String>,
}
