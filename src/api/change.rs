//! How a request that changes something is carried out: all of it is looked at; then, if everything has
//! its room, all of it is done, with an outcome for each item; then the answer is made of the outcomes.

use super::once::Once;
use super::outcomes::Makings;
use super::{Request, Step, Window};
use crate::broker::Broker;
use crate::broker::refusal::Refusal;
use crate::broker::topics::{Busy, Growth};
use crate::clock::Now;
use crate::codec::{ErrorCode, Writer};
use crate::limits;
use crate::log::StageError;
use crate::types::{RingIndex, Ticket, Until};

/// A request that wants to change something, item by item.
pub(super) trait Items {
    /// What it names: a topic, a resource, a partition.
    type Item;
    /// What is to be staged for one.
    type New;
    /// The bytes of what is known of a change only when it was made, such as a new id; at most
    /// [`Made`] has.
    const MADE_BYTES: usize = 0;
    /// Whether each of the items that are about the same is answered, not only the first.
    const ANSWERS_ALL: bool = false;

    /// Every item, in the order of the request.
    fn items(&self) -> impl Iterator<Item = Self::Item>;

    /// What an item is about, if items are not to be about the same: a digest of that.
    fn identity(&self, _broker: &Broker, _item: &Self::Item) -> Option<u64> {
        None
    }

    /// What there is to change for an item, if anything, or why it is refused. `growth` counts what those
    /// before it add to the tables; `twice`: another item is about the same. As long as nothing is
    /// synced, it finds the same again.
    fn check(
        &self,
        broker: &Broker,
        growth: &mut Growth,
        twice: bool,
        item: &Self::Item,
    ) -> Result<Option<Wanted<Self::New>>, Refusal>;

    /// Stages a change.
    fn stage(
        &self,
        broker: &mut Broker,
        new: Self::New,
        now: Now,
    ) -> Result<(Made, Ticket), StageError>;

    /// Writes the answer.
    fn answer(&self, broker: &Broker, said: &Said<'_>, w: &mut Writer<'_>, version: i16);
}

/// A good change.
pub(super) struct Wanted<T> {
    /// Where it is kept.
    pub ring: RingIndex,
    /// What it takes there.
    pub bytes: usize,
    /// What it is.
    pub new: T,
}

/// What is known of a change only when it was made; the first bytes of it count.
pub(super) type Made = [u8; 16];

/// How a request is carried out.
pub(super) struct Change<'r, 'f> {
    /// The request.
    pub request: &'r Request<'f>,
    /// How many topics or resources it names.
    pub items: usize,
    /// It is only to be looked at.
    pub validate_only: bool,
}

/// What is to be answered.
pub(super) struct Said<'a> {
    /// The answer leaves out what it can do without, or it does not fit.
    pub brief: bool,
    /// When nothing can be done at all: the answer to everything.
    pub refusal: Option<Refusal>,
    /// What is created already, or on its way.
    growth: Growth,
    twins: Twins,
    made: Option<Makings<'a>>,
}

/// Which items are about the same as others, by their places.
#[derive(Default)]
struct Twins {
    /// As an earlier one.
    earlier: Places,
    /// As a later one.
    later: Places,
}

type Places = Once<{ limits::ADMIN_ITEMS_MAX.div_ceil(64) }>;

/// What became of an item: what was made, and the change if it is one.
pub(super) type Outcome<T> = Result<(Made, Option<T>), Refusal>;

impl Change<'_, '_> {
    /// Carries it out. `settled`: whether no change is on its way of what it is about.
    pub fn carry_out<I: Items>(
        &self,
        broker: &mut Broker,
        items: &I,
        out: Window<'_>,
        now: Now,
        settled: Result<(), Busy>,
    ) -> Step {
        let growth = broker.growth_staged();
        let twins = Twins::default();
        let mut said = Said { brief: false, refusal: None, growth, twins, made: None };
        let looked = self.check_items().and(settled);
        let looked = looked.and_then(|()| {
            said.twins = Twins::of(items, broker, out.buf);
            self.look(broker, items, &mut said, out.buf.len())
        });
        match looked.map_err(Busy::refusal) {
            Ok(true) => {}
            Ok(false) => return self.reply(broker, items, &said, out, Until::default()),
            Err(Ok(refusal)) => {
                (said.brief, said.refusal) = (false, Some(refusal));
                return self.reply(broker, items, &said, out, Until::default());
            }
            Err(Err(until)) => return Step::Again(until),
        }
        let count = items.items().count();
        let (mut made, out) = Makings::split(out, count, I::MADE_BYTES);
        let until = do_all(broker, items, &said, &mut made, now);
        said.made = Some(made);
        self.reply(broker, items, &said, out, until)
    }

    fn check_items(&self) -> Result<(), Busy> {
        if self.items <= limits::ADMIN_ITEMS_MAX { Ok(()) } else { Err(Busy::TooMuch) }
    }

    /// Whether there is anything to change; everything has its room then.
    fn look<I: Items>(
        &self,
        broker: &Broker,
        items: &I,
        said: &mut Said<'_>,
        window_bytes: usize,
    ) -> Result<bool, Busy> {
        let mut growth = said.growth;
        let mut rings = [None; limits::RINGS_MAX];
        let mut count = 0;
        for (place, item) in items.items().enumerate() {
            count += 1;
            let checked = said.check(items, broker, &mut growth, place, &item);
            if let Some(Ok(Some(wanted))) = checked
                && let Some(ring) = rings.get_mut(usize::from(wanted.ring.0))
            {
                *ring = Some(ring.unwrap_or(0) + wanted.bytes);
            }
        }
        if self.validate_only || rings.iter().all(Option::is_none) {
            return Ok(false);
        }
        let room = window_bytes.checked_sub(Makings::bytes(count, I::MADE_BYTES));
        let room = room.ok_or(Busy::TooMuch)?;
        let answer_bytes = |said: &Said<'_>| {
            self.request.answer_bytes(|w| items.answer(broker, said, w, self.request.version))
        };
        // A disk that fails has its say, too.
        said.brief = answer_bytes(said) + count * STORAGE_FAILS.len() > room;
        if said.brief && answer_bytes(said) > room {
            return Err(Busy::TooMuch);
        }
        for (ring, bytes) in (0..).zip(rings) {
            if let Some(bytes) = bytes.filter(|bytes| *bytes > 0) {
                broker.meta_room(RingIndex(ring), bytes)?;
            }
        }
        Ok(true)
    }

    fn reply<I: Items>(
        &self,
        broker: &Broker,
        items: &I,
        said: &Said<'_>,
        out: Window<'_>,
        until: Until,
    ) -> Step {
        let version = self.request.version;
        self.request.reply_after(out, until, |w| items.answer(broker, said, w, version))
    }
}

/// Stages all changes, and notes what was made; what the answer waits for.
fn do_all<I: Items>(
    broker: &mut Broker,
    items: &I,
    said: &Said<'_>,
    made: &mut Makings<'_>,
    now: Now,
) -> Until {
    let mut growth = said.growth;
    let mut until = Until::default();
    for (place, item) in items.items().enumerate() {
        let checked = said.check(items, broker, &mut growth, place, &item);
        let Some(Ok(Some(wanted))) = checked else {
            continue;
        };
        // There was room, so that it is the disk if this fails.
        match items.stage(broker, wanted.new, now) {
            Ok((new, ticket)) => {
                made.set(place, Ok(new));
                until.add(wanted.ring, ticket);
            }
            Err(_) => made.set(place, Err(())),
        }
    }
    until
}

impl Twins {
    /// Compares all items with each other, with `scratch` for what they are about.
    fn of<I: Items>(items: &I, broker: &Broker, scratch: &mut [u8]) -> Twins {
        let mut twins = Twins::default();
        let (seen, _) = scratch.as_chunks_mut::<8>();
        for (place, item) in items.items().enumerate().take(limits::ADMIN_ITEMS_MAX) {
            let Some(identity) = items.identity(broker, &item) else {
                return twins;
            };
            let identity = identity.to_ne_bytes();
            let (before, rest) = seen.split_at_mut(place.min(seen.len()));
            if let Some(first) = before.iter().position(|other| *other == identity) {
                twins.later.first(first as u16);
                twins.earlier.first(place as u16);
            }
            if let Some(own) = rest.first_mut() {
                *own = identity;
            }
        }
        twins
    }
}

impl Said<'_> {
    /// What there is to change for an item; none: an earlier one answers for it. It is asked in three
    /// places, and long.
    #[inline(never)]
    fn check<I: Items>(
        &self,
        items: &I,
        broker: &Broker,
        growth: &mut Growth,
        place: usize,
        item: &I::Item,
    ) -> Option<Result<Option<Wanted<I::New>>, Refusal>> {
        let place = place as u16;
        let (earlier, later) = (self.twins.earlier.has(place), self.twins.later.has(place));
        (!earlier || I::ANSWERS_ALL).then(|| items.check(broker, growth, earlier || later, item))
    }

    /// Each item that the answer shows, with what became of it.
    pub fn outcomes<'s, I: Items>(
        &'s self,
        items: &'s I,
        broker: &'s Broker,
    ) -> impl Iterator<Item = (I::Item, Outcome<I::New>)> + 's {
        let mut growth = self.growth;
        items.items().enumerate().filter_map(move |(place, item)| {
            if let Some(refusal) = &self.refusal {
                // All get the same answer, so that they need not be compared with each other.
                return Some((item, Err(refusal.clone())));
            }
            let checked = self.check(items, broker, &mut growth, place, &item)?;
            let made = self.made.as_ref().and_then(|made| made.get(place));
            let outcome = match (made, checked) {
                (Some(Err(())), _) => {
                    let why = format_args!("{STORAGE_FAILS}");
                    Err(Refusal::new(ErrorCode::KAFKA_STORAGE_ERROR, why))
                }
                (Some(Ok(made)), checked) => Ok((made, checked.ok().flatten().map(|c| c.new))),
                (None, checked) => checked.map(|c| (Made::default(), c.map(|c| c.new))),
            };
            Some((item, outcome))
        })
    }

    /// What the answer says of a refusal, if it has room for that.
    pub fn message<'r>(&self, refusal: &'r Refusal) -> Option<&'r str> {
        (!self.brief).then_some(refusal.message.as_str())
    }
}

/// A digest of what an item is about.
pub(super) fn identity_of(parts: &[&[u8]]) -> Option<u64> {
    let mut w = Writer::counting();
    for part in parts {
        w.raw(part);
        w.raw(&part.len().to_ne_bytes());
    }
    Some(w.digest())
}

const STORAGE_FAILS: &str = "The broker's storage is failing.";
