//! How a request that changes something is carried out: one walk over it that only looks, then, if
//! everything has its room, one that does it and writes the answer.

use super::{Request, Step, Window};
use crate::broker::Broker;
use crate::broker::refusal::Refusal;
use crate::broker::topics::{Busy, Growth};
use crate::clock::Now;
use crate::codec::{ErrorCode, Writer};
use crate::limits;
use crate::log::StageError;
use crate::types::{RingIndex, Ticket, Until};

/// What a request wants to change.
pub(super) struct Change<'r, 'f> {
    /// The request.
    pub request: &'r Request<'f>,
    /// How many topics or resources it names.
    pub items: usize,
    /// It is only to be looked at.
    pub validate_only: bool,
}

/// One walk over the request.
#[derive(Default)]
pub(super) struct Pass {
    /// The answer shall leave out what it can do without, or it does not fit.
    pub brief: bool,
    /// Topics and partitions that are created so far, or on their way.
    pub growth: Growth,
    /// Set when nothing can be done at all: the answer to everything.
    refusal: Option<Refusal>,
    /// Set when changes are staged, not only looked at.
    now: Option<Now>,
    /// What the changes take.
    meta_bytes: [usize; limits::RINGS_MAX],
    /// What the answer waits for.
    until: Until,
}

impl Change<'_, '_> {
    /// Carries it out. `settled`: whether no change is on its way of what it is about. `encode` walks
    /// over the request with [`Pass::change`] for every change, and writes the answer.
    pub fn carry_out(
        &self,
        broker: &mut Broker,
        out: Window<'_>,
        now: Now,
        settled: Result<(), Busy>,
        mut encode: impl FnMut(&mut Pass, &mut Broker, &mut Writer<'_>),
    ) -> Step {
        let mut brief = false;
        let checked = self
            .check_items()
            .and(settled)
            .and_then(|()| self.check(broker, out.buf.len(), &mut brief, &mut encode));
        let refusal = match checked.map_err(Busy::refusal) {
            Ok(()) => None,
            Err(Ok(refusal)) => Some(refusal),
            Err(Err(until)) => return Step::Again(until),
        };
        let mut pass = Pass {
            brief,
            growth: broker.growth_staged(),
            refusal,
            now: (!self.validate_only).then_some(now),
            ..Pass::default()
        };
        let bytes = self.request.answer(out, |w| encode(&mut pass, broker, w));
        if pass.until == Until::default() {
            Step::Reply { bytes }
        } else {
            Step::ReplyAfter { bytes, until: pass.until }
        }
    }

    fn check_items(&self) -> Result<(), Busy> {
        if self.items <= limits::ADMIN_ITEMS_MAX { Ok(()) } else { Err(Busy::TooMuch) }
    }

    /// The walk that only looks: whether answer and changes have their room.
    fn check(
        &self,
        broker: &mut Broker,
        window_bytes: usize,
        brief: &mut bool,
        encode: &mut impl FnMut(&mut Pass, &mut Broker, &mut Writer<'_>),
    ) -> Result<(), Busy> {
        loop {
            let mut pass =
                Pass { brief: *brief, growth: broker.growth_staged(), ..Pass::default() };
            let bytes = self.request.answer_bytes(|w| encode(&mut pass, broker, w));
            let changes = pass.meta_bytes.iter().any(|bytes| *bytes > 0);
            if self.validate_only || !changes {
                return Ok(());
            }
            if bytes > window_bytes {
                if *brief {
                    return Err(Busy::TooMuch);
                }
                *brief = true;
                continue;
            }
            for (ring, bytes) in (0..).zip(pass.meta_bytes) {
                if bytes > 0 {
                    broker.meta_room(RingIndex(ring), bytes)?;
                }
            }
            return Ok(());
        }
    }
}

impl Pass {
    /// Fails if nothing can be done at all.
    pub fn open(&self) -> Result<(), Refusal> {
        self.refusal.clone().map_or(Ok(()), Err)
    }

    /// Whether items are to be compared with each other: not when all get the same answer.
    pub fn compares(&self) -> bool {
        self.refusal.is_none()
    }

    /// Whether changes are made in this walk, not only looked at.
    pub fn is_final(&self) -> bool {
        self.now.is_some()
    }

    /// A good change, which takes so many bytes in `ring`. `stage` makes it, unless this walk only
    /// looks.
    pub fn change<T: Default>(
        &mut self,
        broker: &mut Broker,
        ring: RingIndex,
        bytes: usize,
        stage: impl FnOnce(&mut Broker, Now) -> Result<(T, Ticket), StageError>,
    ) -> Result<T, Refusal> {
        if let Some(counted) = self.meta_bytes.get_mut(usize::from(ring.0)) {
            *counted += bytes;
        }
        let Some(now) = self.now else {
            return Ok(T::default());
        };
        // There was room, so it is the disk that fails.
        let (made, ticket) = stage(broker, now).map_err(|_| {
            let why = format_args!("The broker's storage is failing.");
            Refusal::new(ErrorCode::KAFKA_STORAGE_ERROR, why)
        })?;
        self.until.add(ring, ticket);
        Ok(made)
    }
}
