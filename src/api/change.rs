//! How a request that changes something is carried out: all of it is looked at; then, if everything has
//! its room, all of it is done, with an outcome for each item; then the answer is made of the outcomes.

use log::Level;

use super::dedup::Once;
use super::outcomes::Makings;
use super::{Request, Step, Window};
use crate::broker::Broker;
use crate::broker::refusal::Refusal;
use crate::broker::topics::{Busy, Growth};
use crate::clock::Now;
use crate::codec::{ErrorCode, Writer};
use crate::limits;
use crate::log::StageError;
use crate::log_limit::{About, Names};
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

    /// Names what changes, for the log.
    fn name(&self, broker: &Broker, item: &Self::Item, new: &Self::New, names: &mut Names);

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

/// The same without its types: what is done with items is there once for all kinds of them.
pub(super) trait AnyItems {
    /// Bytes of what is made of an item.
    fn made_bytes(&self) -> usize;

    /// Hands out what each item is about.
    fn each_identity(&self, broker: &Broker, take: &mut dyn FnMut(usize, Option<u64>));

    /// Looks at each item: its place, and the ring and the bytes of what there is to change.
    fn each_wanted(
        &self,
        broker: &Broker,
        said: &Said<'_>,
        take: &mut dyn FnMut(usize, Option<(RingIndex, usize)>),
    );

    /// Stages all changes: the place, and the ring, what was made and its ticket, if the disk works. Gives
    /// the names of what changes.
    fn stage_all(
        &self,
        broker: &mut Broker,
        said: &Said<'_>,
        now: Now,
        take: &mut dyn FnMut(usize, RingIndex, Result<(Made, Ticket), StageError>),
    ) -> Names;

    /// [`Items::answer`].
    fn answer_all(&self, broker: &Broker, said: &Said<'_>, w: &mut Writer<'_>, version: i16);
}

impl<I: Items> AnyItems for I {
    fn made_bytes(&self) -> usize {
        I::MADE_BYTES
    }

    fn each_identity(&self, broker: &Broker, take: &mut dyn FnMut(usize, Option<u64>)) {
        for (place, item) in self.items().enumerate() {
            take(place, self.identity(broker, &item));
        }
    }

    fn each_wanted(
        &self,
        broker: &Broker,
        said: &Said<'_>,
        take: &mut dyn FnMut(usize, Option<(RingIndex, usize)>),
    ) {
        let mut growth = said.growth;
        for (place, item) in self.items().enumerate() {
            let checked = said.check(self, broker, &mut growth, place, &item);
            let wanted = checked.and_then(Result::ok).flatten();
            take(place, wanted.map(|wanted| (wanted.ring, wanted.bytes)));
        }
    }

    fn stage_all(
        &self,
        broker: &mut Broker,
        said: &Said<'_>,
        now: Now,
        take: &mut dyn FnMut(usize, RingIndex, Result<(Made, Ticket), StageError>),
    ) -> Names {
        let (mut growth, mut names) = (said.growth, Names::default());
        for (place, item) in self.items().enumerate() {
            let checked = said.check(self, broker, &mut growth, place, &item);
            if let Some(wanted) = checked.and_then(Result::ok).flatten() {
                self.name(broker, &item, &wanted.new, &mut names);
                take(place, wanted.ring, self.stage(broker, wanted.new, now));
            }
        }
        names
    }

    fn answer_all(&self, broker: &Broker, said: &Said<'_>, w: &mut Writer<'_>, version: i16) {
        self.answer(broker, said, w, version);
    }
}

impl Change<'_, '_> {
    /// Carries it out. `settled`: whether no change is on its way of what it is about.
    pub fn carry_out(
        &self,
        broker: &mut Broker,
        items: &dyn AnyItems,
        out: Window<'_>,
        now: Now,
        settled: Result<(), Busy>,
    ) -> Step {
        let growth = broker.growth_staged();
        let twins = Twins::default();
        let mut said = Said { brief: false, refusal: None, growth, twins, made: None };
        said.refusal = broker.admin_refusal(&self.request.caller(), now);
        if said.refusal.is_some() {
            return self.reply(broker, items, &said, out, Until::default());
        }
        let looked = self.check_items().and(settled);
        let looked = looked.and_then(|()| {
            said.twins = Twins::of(items, broker, out.buf);
            self.look(broker, items, &mut said, out.buf.len())
        });
        let count = match looked.map_err(Busy::refusal) {
            Ok(Some(count)) => count,
            Ok(None) => return self.reply(broker, items, &said, out, Until::default()),
            Err(Ok(refusal)) => {
                (said.brief, said.refusal) = (false, Some(refusal));
                return self.reply(broker, items, &said, out, Until::default());
            }
            Err(Err(until)) => return Step::Again(until),
        };
        let (mut made, out) = Makings::split(out, count, items.made_bytes());
        let mut until = Until::default();
        // There was room, so that it is the disk if one fails.
        let names = items.stage_all(broker, &said, now, &mut |place, ring, staged| match staged {
            Ok((new, ticket)) => {
                made.set(place, Ok(new));
                until.add(ring, ticket);
            }
            Err(_) => made.set(place, Err(())),
        });
        said.made = Some(made);
        // What is staged is stored, if not at once, then when the disk works again.
        let (caller, about) = (self.request.caller(), About::kind("changed").each());
        broker.lines.say(Level::Info, about, now.mono, format_args!("{caller}: {names}"));
        broker.held_tell(&caller, now);
        self.reply(broker, items, &said, out, until)
    }

    fn check_items(&self) -> Result<(), Busy> {
        if self.items <= limits::ADMIN_ITEMS_MAX { Ok(()) } else { Err(Busy::TooMuch) }
    }

    /// How many items there are, if there is anything to change; everything has its room then.
    fn look(
        &self,
        broker: &Broker,
        items: &dyn AnyItems,
        said: &mut Said<'_>,
        window_bytes: usize,
    ) -> Result<Option<usize>, Busy> {
        let mut rings = [None; limits::RINGS_MAX];
        let mut count = 0;
        items.each_wanted(broker, said, &mut |_, wanted| {
            count += 1;
            if let Some((ring, bytes)) = wanted
                && let Some(ring) = rings.get_mut(usize::from(ring.0))
            {
                *ring = Some(ring.unwrap_or(0) + bytes);
            }
        });
        if self.validate_only || rings.iter().all(Option::is_none) {
            return Ok(None);
        }
        let room = window_bytes.checked_sub(Makings::bytes(count, items.made_bytes()));
        let room = room.ok_or(Busy::TooMuch)?;
        let version = self.request.version;
        let answer_bytes = |said: &Said<'_>| {
            self.request.answer_bytes(|w| items.answer_all(broker, said, w, version))
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
        Ok(Some(count))
    }

    fn reply(
        &self,
        broker: &Broker,
        items: &dyn AnyItems,
        said: &Said<'_>,
        out: Window<'_>,
        until: Until,
    ) -> Step {
        let version = self.request.version;
        self.request.reply_after(out, until, |w| items.answer_all(broker, said, w, version))
    }
}

impl Twins {
    /// Compares all items with each other, with `scratch` for what they are about.
    fn of(items: &dyn AnyItems, broker: &Broker, scratch: &mut [u8]) -> Twins {
        let mut twins = Twins::default();
        let (seen, _) = scratch.as_chunks_mut::<8>();
        items.each_identity(broker, &mut |place, identity| {
            let Some(identity) = identity.filter(|_| place < limits::ADMIN_ITEMS_MAX) else {
                return;
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
        });
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
            let outcome = self.outcome(items, broker, &mut growth, place, &item)?;
            Some((item, outcome))
        })
    }

    #[inline(never)]
    fn outcome<I: Items>(
        &self,
        items: &I,
        broker: &Broker,
        growth: &mut Growth,
        place: usize,
        item: &I::Item,
    ) -> Option<Outcome<I::New>> {
        if let Some(refusal) = &self.refusal {
            // All get the same answer, so that they need not be compared with each other.
            return Some(Err(refusal.clone()));
        }
        let checked = self.check(items, broker, growth, place, item)?;
        let made = self.made.as_ref().and_then(|made| made.get(place));
        Some(match (made, checked) {
            (Some(Err(())), _) => {
                let why = format_args!("{STORAGE_FAILS}");
                Err(Refusal::new(ErrorCode::KAFKA_STORAGE_ERROR, why))
            }
            (Some(Ok(made)), checked) => Ok((made, checked.ok().flatten().map(|c| c.new))),
            (None, checked) => checked.map(|c| (Made::default(), c.map(|c| c.new))),
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
