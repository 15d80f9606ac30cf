//! Who may change what, beyond what the tables have room for: a fence against mistakes on a network whose
//! addresses are trusted.

use std::net::{IpAddr, SocketAddr};

use super::Broker;
use super::refusal::Refusal;
use crate::clock::{Mono, Now};
use crate::codec::ErrorCode;

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

/// What was created for whom, and what was said of it.
#[derive(Debug, Default)]
pub struct Allowed {
    /// Topics that were created since the start because an address used them; the addresses that did it
    /// last.
    created: heapless::Vec<(IpAddr, usize), ADDRESSES>,
    /// When it was last said that somebody may not do something, by [`Said`].
    said: [Option<Mono>; 2],
}

/// What is said.
#[derive(Clone, Copy)]
enum Said {
    Admin,
    Topics,
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

impl Broker {
    /// Why the client may not change anything with such a request, if so.
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
        if self.allowed.may_say(Said::Admin, now) {
            log::warn!(
                "{} from client {:?} at {remote} is refused: admin_from does not have its address",
                caller.request,
                caller.client
            );
        }
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
    pub fn auto_created(&mut self, remote: IpAddr) {
        let created = &mut self.allowed.created;
        let place = created.iter().position(|(address, _)| *address == remote);
        let count = place.map_or(0, |place| created.remove(place).1);
        if created.is_full() {
            created.remove(0);
        }
        let _ = created.push((remote, count + 1));
    }

    /// Says that a topic is not created, and what to do about it.
    #[inline(never)]
    pub fn auto_create_refused(
        &mut self,
        name: &str,
        caller: &Caller<'_>,
        why: NotCreated,
        now: Now,
    ) {
        if !self.allowed.may_say(Said::Topics, now) {
            return;
        }
        let (topics, partitions) = (self.config.topics_max, self.config.partitions_max);
        let Caller { client, remote, .. } = caller;
        let why = match why {
            NotCreated::Configured => "auto_create_topics does not have it",
            NotCreated::Full => "there is no room left",
            NotCreated::Share => "the last places are for clients at other addresses",
        };
        log::warn!(
            "topic {name:?}, which client {client:?} at {remote} uses, is not created: {why} \
             (topics_max = {topics}, partitions_max = {partitions})"
        );
    }
}

impl Allowed {
    fn created_for(&self, remote: IpAddr) -> usize {
        let own = self.created.iter().find(|(address, _)| *address == remote);
        own.map_or(0, |(_, count)| *count)
    }

    /// Clients try again and again: that is worth a line a minute.
    fn may_say(&mut self, what: Said, now: Now) -> bool {
        let said = &mut self.said[what as usize];
        let may = said.is_none_or(|said| said.plus_ms(SAY_MS) <= now.mono);
        if may {
            *said = Some(now.mono);
        }
        may
    }
}

/// Kafka's numbers of requests that are about groups.
const DELETE_GROUPS: i16 = 42;
const OFFSET_DELETE: i16 = 47;

/// Of so many parts of the topics' table, one is for addresses that have not created as much yet.
const OTHERS: usize = 8;

/// So many addresses are known that had topics created.
const ADDRESSES: usize = 16;

const SAY_MS: u64 = 60_000;
