//! From a broker to a running server, and to its clean end.

use std::fmt;
use std::future::Future;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use async_signal::{Signal, Signals};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use smol::future::FutureExt as _;
use smol::stream::StreamExt as _;
use smol::{Async, LocalExecutor, Task, Timer};

use super::Net;
use super::core::Core;
use super::notify::Notify;
use super::setup::Setup;
use super::{bind, committer, http, listener, status, timers};
use crate::broker::Broker;
use crate::clock::{Clock, Now, Synchronised};
use crate::config::{Config, RingConfig};
use crate::log::recovery::{Damage, OpenError, Opening};
use crate::log::state::Topic;
use crate::log::{Log, LogConfig};
use crate::process;
use crate::storage::FileStorage;
use crate::types::RingIndex;

/// Why a server did not start.
#[derive(Debug)]
pub enum StartError {
    /// The ring cannot be opened.
    Open(OpenError),
    /// The address cannot be listened on, and why.
    Listen(SocketAddr, String),
    /// What was tried, and its error.
    System(String, io::Error),
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StartError::Open(error) => write!(f, "cannot open the ring: {error}"),
            StartError::Listen(address, why) => write!(f, "cannot listen on {address}: {why}"),
            StartError::System(doing, error) => write!(f, "cannot {doing}: {error}"),
        }
    }
}

impl std::error::Error for StartError {}

/// Opens the rings in the data directory, or makes them (`filled` learns how many bytes of how many
/// are there), and serves clients until SIGTERM or SIGINT. False: the ring could not be sealed in
/// time; nothing that was acknowledged is lost by that.
pub fn run(config: Config, filled: &mut dyn FnMut(u64, u64)) -> Result<bool, StartError> {
    let clock = Clock::start();
    let setup = Setup::from(&config);
    allow_files(&config);
    no_core_dumps();
    // Before the ring is opened, so that a signal while its files are made is not lost.
    let mut signals = Signals::new([Signal::Term, Signal::Int])
        .map_err(|error| StartError::System("wait for signals".to_string(), error))?;
    // Before the ring as well, so that none is made or changed if the port is in use.
    let bound = bind::bound(setup.listen).map_err(|error| cannot_listen(setup.listen, &error))?;
    let mut notify = Notify::from_env();
    notify.starting(format_args!("opening the rings"));
    let log = open(&config, clock, &mut |step| {
        match step {
            Waiting::Filled(done, total) => {
                filled(done, total);
                notify.filled(done, total, clock.mono());
            }
            Waiting::Disk => {
                notify.starting(format_args!("waiting for the disk"));
                std::thread::sleep(READ_AGAIN);
            }
        }
        exit_if_asked(&mut signals);
    });
    let log = log.map_err(StartError::Open)?;
    log_elsewhere(&config, &log);
    let damage = log.damage();
    log_damage(&damage);
    let boot = log.state().boot.0;
    let broker = Broker::new(config, log);
    let stop = async {
        let name = match signals.next().await {
            Some(Ok(Signal::Int)) => "SIGINT",
            _ => "SIGTERM",
        };
        log::info!("stopping on {name}");
        notify.say(format_args!("STOPPING=1\nSTATUS=stopping on {name}"));
    };
    let stop = stop.or(notify.watched());
    let whose = if bound.inherited { ", a socket that systemd made" } else { "" };
    let sealed = serve_on(bound.listener, broker, setup, clock, stop, |address| {
        log::info!("listening on {address}{whose}; start {boot} of the ring");
        notify.say(format_args!("READY=1\nSTATUS=listening on {address}{whose}"));
    })?;
    log::info!("{}", if sealed { "stopped" } else { "stopped before the rings were sealed" });
    Ok(sealed)
}

/// Logs which topics are in another ring than their names would get now.
fn log_elsewhere(config: &Config, log: &Log) {
    let elsewhere = |topic: &Topic| topic.ring != config.ring_of(&topic.name);
    let name_of = |ring: RingIndex| config.rings[usize::from(ring.0)].name.as_str();
    let topics = log.state().topics().map(|(_, topic)| topic).filter(|topic| elsewhere(topic));
    let count = topics.clone().count();
    for topic in topics.take(ELSEWHERE_NAMED) {
        log::warn!(
            "topic {} stays in ring {}, where it was created, though it would go to ring {} now",
            topic.name,
            name_of(topic.ring),
            name_of(config.ring_of(&topic.name))
        );
    }
    if count > ELSEWHERE_NAMED {
        log::warn!(
            "{} more topics are in other rings than they would go to now",
            count - ELSEWHERE_NAMED
        );
    }
}

/// How many topics are named before the others are counted.
const ELSEWHERE_NAMED: usize = 5;

/// Ends the program at a signal while files are made, which may take minutes: there is nothing to
/// seal yet, and the next start completes the file that is interrupted here.
fn exit_if_asked(signals: &mut Signals) {
    let signal = smol::block_on(smol::future::poll_once(signals.next()));
    if let Some(Some(signal)) = signal {
        log::info!("stopping: {signal:?}; the next start goes on here");
        std::process::exit(0);
    }
}

/// Asks for as many file descriptors as there may be connections and segment files.
fn allow_files(config: &Config) {
    let files = |ring: &RingConfig| usize::from(ring.segments + ring.spares);
    let files: usize = config.rings.iter().map(files).sum();
    let wanted = (config.max_connections + files + FILES_OTHERWISE) as u64;
    let limit = getrlimit(Resource::Nofile);
    if limit.current.is_none_or(|current| current >= wanted) {
        return;
    }
    let current = limit.maximum.map_or(wanted, |maximum| maximum.min(wanted));
    let raised = Rlimit { current: Some(current), ..limit };
    if setrlimit(Resource::Nofile, raised).is_err() || current < wanted {
        log::warn!(
            "only {current} files may be open at a time, too few for max_connections = {} and the segments: \
             raise the limit (ulimit -n, or LimitNOFILE in a unit) to {wanted}",
            config.max_connections
        );
    }
}

/// A core dump would contain clients' records, and could fill the card.
fn no_core_dumps() {
    let none = Rlimit { current: Some(0), maximum: Some(0) };
    if let Err(error) = setrlimit(Resource::Core, none) {
        log::debug!("core dumps cannot be switched off: {error}");
    }
}

/// What the start waits for.
enum Waiting {
    /// Files to be made: how many bytes are filled, of how many.
    Filled(u64, u64),
    /// The disk, before it is read again.
    Disk,
}

/// Opens the rings. If something cannot be read, this is tried again for a while: a card may not be
/// ready yet. After that it counts as damaged, where the ring can do without it.
fn open(config: &Config, clock: Clock, waits: &mut dyn FnMut(Waiting)) -> Result<Log, OpenError> {
    for attempt in 0..READ_AGAIN_MAX {
        match open_once(config, clock, waits, false) {
            Err(error @ OpenError::Unreadable(_)) => {
                if attempt == 0 {
                    log::warn!("{error}; it is tried again for 8 s");
                }
                waits(Waiting::Disk);
            }
            done => return done,
        }
    }
    open_once(config, clock, waits, true)
}

fn open_once(
    config: &Config,
    clock: Clock,
    waits: &mut dyn FnMut(Waiting),
    unreadable_is_damaged: bool,
) -> Result<Log, OpenError> {
    let storage = FileStorage::open(&config.data_dir)?;
    let now = clock.now();
    let synchronised = Synchronised::by(config.clock_synchronised_file.clone());
    let mut opening = Opening {
        now: Now { wall_synchronised: synchronised.at(now.mono), ..now },
        entropy: &mut |buf| {
            let flags = rustix::rand::GetRandomFlags::empty();
            let got = rustix::rand::getrandom(&mut *buf, flags);
            assert_eq!(got, Ok(buf.len()), "the kernel has no random bytes");
        },
        progress: &mut |bytes, of| waits(Waiting::Filled(bytes, of)),
        unreadable_is_damaged,
    };
    Log::open(&LogConfig::of(config), Arc::new(storage), &mut opening)
}

/// Serves clients until `stop` is done, then ends cleanly: no new requests, what is staged is
/// synced and answered, the ring sealed. `ready` learns the address once clients may connect.
/// False: the ring could not be sealed in time.
pub fn serve<C: Core>(
    core: C,
    setup: Setup,
    clock: Clock,
    stop: impl Future<Output = ()>,
    ready: impl FnOnce(SocketAddr),
) -> Result<bool, StartError> {
    let bound = bind::bound(setup.listen).map_err(|error| cannot_listen(setup.listen, &error))?;
    serve_on(bound.listener, core, setup, clock, stop, ready)
}

#[inline(never)]
fn cannot_listen(address: SocketAddr, error: &io::Error) -> StartError {
    let why = match error.kind() {
        io::ErrorKind::AddrInUse => {
            let other = process::listening_on(address.port()).map(process::named);
            format!("{} has this port", other.as_deref().unwrap_or("another process"))
        }
        io::ErrorKind::AddrNotAvailable => format!(
            "this machine has no such address; listen = \"[::]:{}\" takes all it has",
            address.port()
        ),
        _ => error.to_string(),
    };
    StartError::Listen(address, why)
}

fn serve_on<C: Core>(
    listener: TcpListener,
    core: C,
    setup: Setup,
    clock: Clock,
    stop: impl Future<Output = ()>,
    ready: impl FnOnce(SocketAddr),
) -> Result<bool, StartError> {
    let failed = |doing: &str| {
        let doing = doing.to_string();
        move |error| StartError::System(doing, error)
    };
    let net = Net::new(core, setup, clock).map_err(failed("start the threads"))?;
    let net = Rc::new(net);
    let executor = Rc::new(LocalExecutor::new());
    smol::block_on(executor.run(async {
        let committers = (0..net.setup.rings.len())
            .map(|ring| executor.spawn(committer::commit(Rc::clone(&net), RingIndex(ring as u8))));
        let committers: Vec<Task<()>> = committers.collect();
        let bound = Async::new(listener).map_err(failed("wait for connections"))?;
        let address = bound.get_ref().local_addr();
        let address = address.map_err(failed("ask for the address"))?;
        let mut tasks = vec![
            executor.spawn(timers::check_stalls(Rc::clone(&net))),
            executor.spawn(timers::check_idle(Rc::clone(&net))),
            executor.spawn(timers::tick(Rc::clone(&net))),
        ];
        if let Some(path) = &net.setup.status_socket {
            let socket = status::bind(path);
            let socket = socket.map_err(failed(&format!("make {}", path.display())))?;
            tasks.push(executor.spawn(status::serve(Rc::clone(&net), socket)));
        }
        if let Some(task) = http_begin(&net, &executor).await {
            tasks.push(task);
        }
        let accepting = listener::listen(Rc::clone(&net), Rc::clone(&executor), bound);
        let accepting = executor.spawn(accepting);
        ready(address);
        stop.await;
        drop(accepting);
        let sealed = end(&net).await;
        if let Some(path) = &net.setup.status_socket {
            let _ = std::fs::remove_file(path);
        }
        drop((tasks, committers));
        Ok(sealed)
    }))
}

/// Serves HTTP, if it is configured. If it cannot, the broker runs all the same.
async fn http_begin<C: Core>(
    net: &Rc<Net<C>>,
    executor: &Rc<LocalExecutor<'static>>,
) -> Option<Task<()>> {
    let address = net.setup.http_listen?;
    match async_net::TcpListener::bind(address).await {
        Ok(listener) => {
            let at = listener.local_addr().unwrap_or(address);
            log::info!("http://{at}/ has a page, /metrics and /health");
            if !address.ip().is_loopback() {
                log::warn!(
                    "http_listen: whoever can reach {at} sees the names and numbers of topics and groups"
                );
            }
            Some(executor.spawn(http::serve(Rc::clone(net), Rc::clone(executor), listener)))
        }
        Err(error) => {
            let why = cannot_listen(address, &error);
            log::warn!("http_listen: {why}; nothing is served there");
            None
        }
    }
}

/// Sends pending answers, ends the connections, seals the rings. Whether the rings were sealed in time.
async fn end<C: Core>(net: &Net<C>) -> bool {
    net.core.borrow_mut().close();
    net.hub.stop();
    let stopped = net.hub.clock.mono();
    loop {
        let waited_ms = net.hub.clock.mono().since_us(stopped) / 1000;
        let open = net.hub.slots.borrow().open_len();
        // Clients that do not read their answers are not waited for; the ring is.
        let closed = net.core.borrow().is_closed();
        if closed && (open == 0 || waited_ms >= CLIENTS_END_MS_MAX) || waited_ms >= SEAL_MS_MAX {
            return closed;
        }
        let tick = async {
            Timer::after(END_CHECK).await;
        };
        net.hub.ended.rung().or(tick).await;
    }
}

/// The poller, the listener, signals, standard streams, and what is open for a moment.
const FILES_OTHERWISE: usize = 32;

/// How often, and after which pause, an unreadable ring is opened again: for eight seconds.
const READ_AGAIN_MAX: u32 = 32;
const READ_AGAIN: Duration = Duration::from_millis(250);

/// How long clients may take to read their last answers.
const CLIENTS_END_MS_MAX: u64 = 700;

/// A card that collects garbage may take this long for the last syncs.
const SEAL_MS_MAX: u64 = 10_000;

const END_CHECK: Duration = Duration::from_millis(50);

/// Logs the damage that the start found.
fn log_damage(damage: &Damage) {
    if damage.groups + damage.segments > 0 {
        log::warn!(
            "the medium is damaged: {} commit groups, {} batches, {} segments; at least {} acknowledged \
             records are lost, named above; see `brooklet check`",
            damage.groups,
            damage.batches,
            damage.segments,
            damage.records
        );
    }
    if damage.torn + damage.unproven > 0 {
        log::info!(
            "unclean shutdown: {} commit groups were synced again, {} torn ones dropped; no acknowledged \
             record is lost",
            damage.unproven,
            damage.torn
        );
    }
}
