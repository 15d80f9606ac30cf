//! Who may change what: `admin_from`, and each address's share of topics that are created by being used. A
//! protection against mistakes, on a network whose addresses can be trusted.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use log::Level;

use super::Broker;
use super::refusal::Refusal;
use crate::clock::Now;
use crate::codec::ErrorCode;
use crate::log_limit::About;

/// Who asks for something, and for what.
#[derive(Debug, Clone, Copy)]
pub struct Caller<'a> {
    /// Kafka's number of the request.
    pub key: i16,
    /// Kafka's name of it.
    pub request: &'static str,
    /// What the client calls itself.
    pub client: &'a str,
    /// Its address.
    pub remote: SocketAddr,
}

/// What was created for whom.
#[derive(Debug, Default)]
pub struct Allowed {
    /// How many topics were created since the start because an address used them, for the addresses that
    /// did so last.
    created: heapless::Vec<(IpAddr, usize), ADDRESSES>,
}

/// Why a topic is not created by being used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotCreated {
    /// The configuration does not want it.
    Configured,
    /// No room is left in the tables.
    Full,
    /// What is left in the tables is for other addresses.
    Share,
}

impl fmt::Display for Caller<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Caller { request, client, remote, .. } = self;
        match *client {
            "" => write!(f, "{request} from {remote}"),
            client => write!(f, "{request} by client {client:?} at {remote}"),
        }
    }
}

impl Broker {
    /// Refuses a request that changes something if `admin_from` does not allow the client's address.
    #[inline(never)]
    pub fn admin_refusal(&mut self, caller: &Caller<'_>, now: Now) -> Option<Refusal> {
        let remote = caller.remote.ip().to_canonical();
        if self.config.admin_from.iter().any(|network| network.has(remote)) {
            return None;
        }
        let code = match caller.key {
            DELETE_GROUPS | OFFSET_DELETE => ErrorCode::GROUP_AUTHORIZATION_FAILED,
            _ => ErrorCode::TOPIC_AUTHORIZATION_FAILED,
        };
        let text = format_args!("{caller} is refused: its address is not in admin_from");
        let about = About::kind("admin_from").from(remote);
        self.lines.say(Level::Warn, about, now.mono, text);
        Some(Refusal::new(code, format_args!("admin_from does not allow this from {remote}.")))
    }

    /// Whether a topic of this name may be created because the client uses it.
    pub fn auto_create_check(&self, name: &str, remote: IpAddr) -> Result<(), NotCreated> {
        if !self.config.auto_creates(name) {
            return Err(NotCreated::Configured);
        }
        let (max, len) = (self.config.topics_max, self.log.state().topics_len());
        let share = max / OTHERS;
        if max.saturating_sub(len) <= share && self.allowed.created_for(remote) >= share.max(1) {
            return Err(NotCreated::Share);
        }
        Ok(())
    }

    /// A topic is created because the client used it.
    pub fn auto_created(&mut self, name: &str, caller: &Caller<'_>, now: Now) {
        let (partitions, remote) = (self.config.num_partitions, caller.remote.ip());
        let about = About::kind("changed").each();
        let text =
            format_args!("{caller}: topic {name:?} with {partitions} partitions, by its use");
        self.lines.say(Level::Info, about, now.mono, text);
        let created = &mut self.allowed.created;
        let place = created.iter().position(|(address, _)| *address == remote);
        let count = place.map_or(0, |place| created.remove(place).1);
        if created.is_full() {
            created.remove(0);
        }
        let _ = created.push((remote, count + 1));
    }

    /// Logs that a topic is not created, and the keys to change.
    #[inline(never)]
    pub fn auto_create_refused(
        &mut self,
        name: &str,
        caller: &Caller<'_>,
        why: NotCreated,
        now: Now,
    ) {
        let (topics, partitions) = (self.config.topics_max, self.config.partitions_max);
        let Caller { client, remote, .. } = caller;
        let why = match why {
            NotCreated::Configured => "auto_create_topics does not allow it",
            NotCreated::Full => "there is no room left",
            NotCreated::Share => "the last places are for clients at other addresses",
        };
        let text = format_args!(
            "topic {name:?}, which client {client:?} at {remote} uses, is not created: {why} \
             (topics_max = {topics}, partitions_max = {partitions})"
        );
        let about = About::kind("not created").from(remote.ip());
        self.lines.say(Level::Warn, about, now.mono, text);
    }
}

impl Allowed {
    fn created_for(&self, remote: IpAddr) -> usize {
        let own = self.created.iter().find(|(address, _)| *address == remote);
        own.map_or(0, |(_, count)| *count)
    }
}

/// Kafka's numbers of requests that are about groups.
const DELETE_GROUPS: i16 = 42;
const OFFSET_DELETE: i16 = 47;

/// One of this many parts of the topics' table is for addresses that have not created as much yet.
const OTHERS: usize = 8;

/// Addresses that are remembered for the topics that were created for them.
const ADDRESSES: usize = 16;
