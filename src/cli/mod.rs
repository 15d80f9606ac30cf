//! The command line: arguments, configuration, the data directory's lock; then the work is others'.

pub mod args;
mod check;
pub mod data_dir;
mod doctor;
mod dump;
mod export;
mod offline;
#[cfg(feature = "client-commands")]
pub mod online;
mod overlay;
mod progress;
mod show_config;
mod status;
#[cfg(test)]
mod tests;
#[cfg(feature = "client-commands")]
mod top;
mod utc;

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use argh::FromArgs;

use crate::clock::Clock;
use crate::config::source::{CONFIG_VARIABLE, Loaded, Sources, load};
use crate::config::value::{Bytes, Refusal};
use crate::config::{Config, RingConfig};
use crate::log::recovery::OpenError;
use crate::net::StartError;
use crate::plan::{Mib, Plan};
use crate::storage::medium::{Medium, SyncCall};
use args::{Args, Command, Common};
use utc::Utc;

/// Why the program ends without having done its work.
#[derive(Debug)]
pub enum Failure {
    /// The command line or the configuration is wrong: exit code 2.
    Usage(Refusal),
    /// Something failed: exit code 1.
    Failed(String),
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Failure {
        Failure::Usage(refusal)
    }
}

/// Runs the program and gives its exit code.
pub fn main() -> ExitCode {
    let args: Vec<String> =
        std::env::args_os().skip(1).map(|arg| arg.to_string_lossy().into_owned()).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let args = match Args::from_args(&["brooklet"], &args) {
        Ok(args) => args,
        Err(early) => return exit_early(&early),
    };
    match run(args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure::Usage(refusal)) => {
            complain(&refusal.to_string());
            ExitCode::from(2)
        }
        Err(Failure::Failed(why)) => {
            complain(&why);
            ExitCode::from(1)
        }
    }
}

fn exit_early(early: &argh::EarlyExit) -> ExitCode {
    match early.status {
        Ok(()) => {
            print(&early.output);
            ExitCode::SUCCESS
        }
        Err(()) => {
            complain(&format!("{}; brooklet --help shows what there is", early.output.trim_end()));
            ExitCode::from(2)
        }
    }
}

fn run(mut args: Args) -> Result<(), Failure> {
    if args.version {
        print(concat!("brooklet ", env!("CARGO_PKG_VERSION"), "\n"));
        return Ok(());
    }
    log_init();
    let common = args.common();
    let config = || configuration(common);
    match args.command {
        None | Some(Command::Serve(_)) => serve(config()?.config),
        Some(Command::Plan(_)) => plan(&config()?.config),
        Some(Command::Config(_)) => {
            let Loaded { config, places, .. } = config()?;
            print(&show_config::shown(&config, &places));
            Ok(())
        }
        Some(Command::Doctor(command)) => doctor::run(&config()?.config, command.json),
        Some(Command::Status(command)) => {
            status::run(&config()?.config, command.json, command.check)
        }
        #[cfg(feature = "client-commands")]
        Some(Command::Top(command)) => top::run(&config()?.config, command.every),
        Some(Command::Check(_)) => check::run(&offline::open(&config()?.config)?),
        Some(Command::Dump(_)) => dump::run(&offline::open(&config()?.config)?),
        Some(Command::Export(command)) => {
            let out = Path::new(&command.out);
            export::run(&offline::open(&config()?.config)?, &command.topic, out)
        }
        #[cfg(feature = "client-commands")]
        Some(command) => online::run(command, || Ok(config()?.config)),
    }
}

/// Brings together file, environment and arguments.
fn configuration(common: Common) -> Result<Loaded, Failure> {
    let is_flag = common.config.is_some();
    let name = common.config.or_else(|| std::env::var(CONFIG_VARIABLE).ok());
    let text = match &name {
        Some(name) => Some(std::fs::read_to_string(name).map_err(|error| {
            let from = if is_flag { "--config" } else { CONFIG_VARIABLE };
            Refusal::new(format!("the configuration {name:?} cannot be read: {error}")).at(from)
        })?),
        None => None,
    };
    let mut flags = Vec::new();
    if let Some(listen) = common.listen {
        flags.push(("--listen", "listen", listen));
    }
    if let Some(data) = common.data {
        flags.push(("--data", "data_dir", data));
    }
    let variables = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    let loaded = load(Sources {
        file: name.as_deref().zip(text.as_deref()),
        environment: variables.collect(),
        flags,
        sets: &common.set,
    })?;
    for warning in &loaded.warnings {
        log::warn!("{warning}");
    }
    Ok(loaded)
}

fn serve(config: Config) -> Result<(), Failure> {
    let plan = Plan::of(&config);
    plan.check(&config)?;
    log::info!("brooklet {}", env!("CARGO_PKG_VERSION"));
    for ring in &config.rings {
        log_ring(ring);
    }
    log::info!("memory plan: {}, {}", Mib(plan.memory_bytes()), MemoryMax(config.memory_max));
    let _lock = data_dir::open_to_serve(&config, &plan)?;
    let medium = Medium::of(&config.data_dir);
    log::info!("data_dir {} is on {medium}", data_dir::absolute(&config.data_dir).display());
    if let Some(doubt) = medium.doubt {
        log::warn!(
            "acknowledged records in {} may be lost at a power cut: {doubt}",
            config.data_dir.display()
        );
    } else if medium.sync == SyncCall::FileSystem {
        let is_certain = medium.journal == Some(false);
        log::warn!(
            "before Linux 6.5, ext4 without a journal does not flush the device's cache when a file is \
             synced, {}, so the whole file system is synced: slower, and more is written",
            if is_certain {
                "and tune2fs -O has_journal makes a journal"
            } else {
                "and it cannot be told whether this is one"
            }
        );
    }
    if !config.listen.ip().is_loopback() {
        log::warn!(
            "no passwords: any client that can reach {} can read and write all topics",
            config.listen
        );
    }
    if rustix::process::geteuid().is_root() {
        log::warn!(
            "brooklet runs as root and does not need to: any user who owns data_dir will do"
        );
    }
    let mut progress = progress::Progress::new();
    let clock = Clock::start();
    run_broker(config, &mut |done, total| progress.update(done, total, clock.mono()))
}

fn run_broker(config: Config, filled: &mut dyn FnMut(u64, u64)) -> Result<(), Failure> {
    match crate::net::run(config, filled) {
        Ok(true) => Ok(()),
        Ok(false) => Err(Failure::Failed(
            "the disk was too slow to seal the rings within 10 s; no acknowledged record is lost"
                .to_string(),
        )),
        Err(error @ StartError::Open(OpenError::Config { .. } | OpenError::Rings(_))) => {
            Err(Failure::Usage(Refusal::new(error.to_string())))
        }
        Err(error) => Err(Failure::Failed(error.to_string())),
    }
}

fn log_ring(ring: &RingConfig) {
    let RingConfig { name, segments, spares, segment_bytes, topics, hold_for, watch_for, .. } =
        ring;
    log::info!(
        "ring {name}: {segments} segments of {} and {spares} spare, for topics {}",
        Bytes(*segment_bytes as i64),
        topics.join(", ")
    );
    for holder in hold_for {
        let (kept, topics) = (ring.data_segments(), ring.hold_topics.join(", "));
        log::info!(
            "ring {name}: up to {kept} segments of topics {topics} are held until {holder} has had them"
        );
    }
    for holder in watch_for {
        log::info!(
            "ring {name}: records that are overwritten before {holder} had them are counted"
        );
    }
}

/// `brooklet plan`.
fn plan(config: &Config) -> Result<(), Failure> {
    let plan = Plan::of(config);
    print(&plan.to_string());
    plan.check(config)?;
    let space = data_dir::space(config)?;
    space.check(config, &plan)?;
    print(&format!(
        "\n{} of flash free in {}, {} of the rings there already; {}\n",
        Mib(space.free_bytes),
        space.at.display(),
        Mib(space.present_bytes),
        MemoryMax(config.memory_max)
    ));
    Ok(())
}

/// The bound that the plan was held to.
struct MemoryMax(u64);

impl std::fmt::Display for MemoryMax {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            0 => f.write_str("memory_max is not set"),
            bytes => write!(f, "memory_max is {}", Mib(bytes)),
        }
    }
}

fn log_init() {
    let default = env_logger::Env::default().default_filter_or("info");
    env_logger::Builder::from_env(default)
        .format(|out, record| {
            writeln!(out, "{} {:5} {}", Utc::now(), record.level(), record.args())
        })
        .init();
}

/// To the standard output; a reader that went away is no failure of ours.
fn print(text: &str) {
    let _ = std::io::stdout().write_all(text.as_bytes());
}

fn complain(text: &str) {
    let _ = writeln!(std::io::stderr(), "brooklet: {text}");
}
