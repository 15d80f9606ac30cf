//! The command line's form.

use argh::FromArgs;

#[cfg(feature = "client-commands")]
use super::online::args as online;

/// A Kafka broker for small machines, over a ring on flash. Without a command it serves.
#[derive(FromArgs, Debug)]
#[argh(
    note = "Every key of the configuration is also an environment variable: BROOKLET_LISTEN and so \
            on. BROOKLET_CONFIG names the file. RUST_LOG sets what is logged.",
    error_code(1, "something failed"),
    error_code(2, "the command line or the configuration is wrong")
)]
pub struct Args {
    /// print the version
    #[argh(switch)]
    pub version: bool,

    /// the configuration file
    #[argh(option, arg_name = "file")]
    pub config: Option<String>,

    /// the address that clients connect to
    #[argh(option, arg_name = "addr")]
    pub listen: Option<String>,

    /// the data directory
    #[argh(option, arg_name = "dir")]
    pub data: Option<String>,

    /// set a key of the configuration; may be given often
    #[argh(option, arg_name = "key=value")]
    pub set: Vec<String>,

    /// what to do
    #[argh(subcommand)]
    pub command: Option<Command>,
}

/// What to do.
#[derive(FromArgs, Debug)]
#[argh(subcommand)]
pub enum Command {
    /// See [`Serve`].
    Serve(Serve),
    /// See [`Plan`].
    Plan(Plan),
    /// See [`ShowConfig`].
    Config(ShowConfig),
    /// See [`Doctor`].
    Doctor(Doctor),
    /// See [`Status`].
    Status(Status),
    /// See [`Top`].
    #[cfg(feature = "client-commands")]
    Top(Top),
    /// See [`Check`].
    Check(Check),
    /// See [`Dump`].
    Dump(Dump),
    /// See [`Export`].
    Export(Export),
    /// See [`online::Topics`].
    #[cfg(feature = "client-commands")]
    Topics(online::Topics),
    /// See [`online::Groups`].
    #[cfg(feature = "client-commands")]
    Groups(online::Groups),
    /// See [`online::Consume`].
    #[cfg(feature = "client-commands")]
    Consume(online::Consume),
    /// See [`online::Produce`].
    #[cfg(feature = "client-commands")]
    Produce(online::Produce),
}

/// Serve clients until SIGTERM or SIGINT.
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "serve")]
pub struct Serve {
    /// the configuration file
    #[argh(option, arg_name = "file")]
    pub config: Option<String>,

    /// the address that clients connect to
    #[argh(option, arg_name = "addr")]
    pub listen: Option<String>,

    /// the data directory
    #[argh(option, arg_name = "dir")]
    pub data: Option<String>,

    /// set a key of the configuration; may be given often
    #[argh(option, arg_name = "key=value")]
    pub set: Vec<String>,
}

/// Show what memory and flash the configuration takes; refuse what does not fit.
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "plan")]
pub struct Plan {
    /// the configuration file
    #[argh(option, arg_name = "file")]
    pub config: Option<String>,

    /// the data directory
    #[argh(option, arg_name = "dir")]
    pub data: Option<String>,

    /// set a key of the configuration; may be given often
    #[argh(option, arg_name = "key=value")]
    pub set: Vec<String>,
}

/// Show every key of the configuration, its value, and where that came from.
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "config")]
pub struct ShowConfig {
    /// the configuration file
    #[argh(option, arg_name = "file")]
    pub config: Option<String>,

    /// the data directory
    #[argh(option, arg_name = "dir")]
    pub data: Option<String>,

    /// set a key of the configuration; may be given often
    #[argh(option, arg_name = "key=value")]
    pub set: Vec<String>,
}

/// Look for what goes wrong on gateways, and say what to do; exit 1 if anything is wrong.
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "doctor")]
pub struct Doctor {
    /// the configuration file
    #[argh(option, arg_name = "file")]
    pub config: Option<String>,

    /// the data directory
    #[argh(option, arg_name = "dir")]
    pub data: Option<String>,

    /// set a key of the configuration; may be given often
    #[argh(option, arg_name = "key=value")]
    pub set: Vec<String>,

    /// a JSON array instead of text
    #[argh(switch)]
    pub json: bool,
}

/// Ask the running broker for its counters.
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "status")]
pub struct Status {
    /// the configuration file
    #[argh(option, arg_name = "file")]
    pub config: Option<String>,

    /// the data directory
    #[argh(option, arg_name = "dir")]
    pub data: Option<String>,

    /// set a key of the configuration; may be given often
    #[argh(option, arg_name = "key=value")]
    pub set: Vec<String>,

    /// one JSON object instead of text
    #[argh(switch)]
    pub json: bool,

    /// only say whether it serves, or why not: exit code 0 or 1, for probes
    #[argh(switch)]
    pub check: bool,
}

/// Show how the running broker is, anew every few seconds; once where the output is no terminal.
#[cfg(feature = "client-commands")]
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "top")]
pub struct Top {
    /// the configuration file
    #[argh(option, arg_name = "file")]
    pub config: Option<String>,

    /// the data directory
    #[argh(option, arg_name = "dir")]
    pub data: Option<String>,

    /// set a key of the configuration; may be given often
    #[argh(option, arg_name = "key=value")]
    pub set: Vec<String>,

    /// seconds from one look to the next, 2 by default
    #[argh(option, default = "2", arg_name = "seconds")]
    pub every: u64,
}

/// Walk every segment, group and batch; exit 1 if anything is damaged. Not beside a running broker.
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "check")]
pub struct Check {
    /// the configuration file
    #[argh(option, arg_name = "file")]
    pub config: Option<String>,

    /// the data directory
    #[argh(option, arg_name = "dir")]
    pub data: Option<String>,

    /// set a key of the configuration; may be given often
    #[argh(option, arg_name = "key=value")]
    pub set: Vec<String>,
}

/// Print what is in the rings. Not beside a running broker.
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "dump")]
pub struct Dump {
    /// the configuration file
    #[argh(option, arg_name = "file")]
    pub config: Option<String>,

    /// the data directory
    #[argh(option, arg_name = "dir")]
    pub data: Option<String>,

    /// set a key of the configuration; may be given often
    #[argh(option, arg_name = "key=value")]
    pub set: Vec<String>,
}

/// Write a topic as Kafka log directories. Not beside a running broker.
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "export")]
pub struct Export {
    /// the configuration file
    #[argh(option, arg_name = "file")]
    pub config: Option<String>,

    /// the data directory
    #[argh(option, arg_name = "dir")]
    pub data: Option<String>,

    /// set a key of the configuration; may be given often
    #[argh(option, arg_name = "key=value")]
    pub set: Vec<String>,

    /// the topic
    #[argh(option)]
    pub topic: String,

    /// the directory to write to; it is made if it is not there
    #[argh(option, arg_name = "dir")]
    pub out: String,
}

/// What the command line says about the configuration, from before and behind the command.
#[derive(Debug, Default)]
pub struct Common {
    /// See [`Args::config`].
    pub config: Option<String>,
    /// See [`Args::listen`].
    pub listen: Option<String>,
    /// See [`Args::data`].
    pub data: Option<String>,
    /// See [`Args::set`].
    pub set: Vec<String>,
}

impl Args {
    /// Takes what concerns the configuration out of the arguments; behind the command goes before.
    pub fn common(&mut self) -> Common {
        let mut common = Common {
            config: self.config.take(),
            listen: self.listen.take(),
            data: self.data.take(),
            set: std::mem::take(&mut self.set),
        };
        let (config, listen, data, set) = match &mut self.command {
            Some(Command::Serve(c)) => (&mut c.config, c.listen.take(), &mut c.data, &mut c.set),
            Some(Command::Plan(c)) => (&mut c.config, None, &mut c.data, &mut c.set),
            Some(Command::Config(c)) => (&mut c.config, None, &mut c.data, &mut c.set),
            Some(Command::Doctor(c)) => (&mut c.config, None, &mut c.data, &mut c.set),
            Some(Command::Status(c)) => (&mut c.config, None, &mut c.data, &mut c.set),
            #[cfg(feature = "client-commands")]
            Some(Command::Top(c)) => (&mut c.config, None, &mut c.data, &mut c.set),
            Some(Command::Check(c)) => (&mut c.config, None, &mut c.data, &mut c.set),
            Some(Command::Dump(c)) => (&mut c.config, None, &mut c.data, &mut c.set),
            Some(Command::Export(c)) => (&mut c.config, None, &mut c.data, &mut c.set),
            _ => return common,
        };
        common.config = config.take().or(common.config);
        common.listen = listen.or(common.listen);
        common.data = data.take().or(common.data);
        common.set.append(set);
        common
    }
}
