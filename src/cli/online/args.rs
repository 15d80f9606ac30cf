//! The form of the commands that ask a running broker.

use argh::FromArgs;

/// List, describe, create, alter and delete topics of a running broker.
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "topics")]
pub struct Topics {
    /// list, which can be left out, or describe, create, alter or delete and a topic
    #[argh(positional)]
    pub what: Vec<String>,

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

/// List and describe consumer groups of a running broker.
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "groups")]
pub struct Groups {
    /// list, which can be left out, or describe and a group
    #[argh(positional)]
    pub what: Vec<String>,

    /// the broker, host:port; the local one of the configuration if nothing is said
    #[argh(option, arg_name = "addr")]
    pub broker: Option<String>,
}
