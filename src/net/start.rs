//! From a broker to a running server, and to its clean end.

use std::future::Future;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::rc::Rc;
use std::time::Duration;

use smol::future::FutureExt as _;
use smol::{Async, LocalExecutor, Task, Timer};

use super::Net;
use super::core::Core;
use super::setup::Setup;
use super::{committer, listener, status, timers};
use crate::clock::Clock;
use crate::types::RingIndex;

/// Why a server did not start.
#[derive(Debug)]
pub struct StartError {
    /// What was tried.
    pub doing: String,
    /// What came of it.
    pub error: io::Error,
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
    let failed = |doing: &str| {
        let doing = doing.to_string();
        move |error| StartError { doing, error }
    };
    let listen = setup.listen;
    let net = Net::new(core, setup, clock).map_err(failed("start the threads"))?;
    let net = Rc::new(net);
    let executor = Rc::new(LocalExecutor::new());
    smol::block_on(executor.run(async {
        let committers = (0..net.setup.rings)
            .map(|ring| executor.spawn(committer::commit(Rc::clone(&net), RingIndex(ring as u8))));
        let committers: Vec<Task<()>> = committers.collect();
        let bound = Async::<TcpListener>::bind(listen);
        let bound = bound.map_err(failed(&format!("listen on {listen}")))?;
        let address = bound.get_ref().local_addr();
        let address = address.map_err(failed("ask for the address"))?;
        let mut tasks = vec![
            executor.spawn(timers::check_stalls(Rc::clone(&net))),
            executor.spawn(timers::check_idle(Rc::clone(&net))),
        ];
        if let Some(path) = &net.setup.status_socket {
            let socket = status::bind(path);
            let socket = socket.map_err(failed(&format!("make {}", path.display())))?;
            tasks.push(executor.spawn(status::serve(Rc::clone(&net), socket)));
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

/// Answers what is owed, ends the connections, seals the rings. Whether all of it was done in time.
async fn end<C: Core>(net: &Net<C>) -> bool {
    net.core.borrow_mut().close();
    net.hub.stop();
    let stopped = net.hub.clock.mono();
    loop {
        let waited_ms = net.hub.clock.mono().since_us(stopped) / 1000;
        let open = net.hub.slots.borrow().open_len();
        // Clients that do not read what they are owed are not waited for; the ring is.
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

/// How long clients may take to read their last answers.
const CLIENTS_END_MS_MAX: u64 = 700;

/// A card that is busy with itself may take this long for the last syncs.
const SEAL_MS_MAX: u64 = 10_000;

const END_CHECK: Duration = Duration::from_millis(50);
