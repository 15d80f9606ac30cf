//! Who has the one decompressor: a connection whose batch takes longer than a turn keeps it until the batch
//! is done.
//!
//! Its owner waits for nothing but turns, so others that want it wait only for turns as well, also while
//! compaction reads a batch.

use std::sync::Arc;

use crate::codec::batch::{
    self, BatchHeader, Check, Checked, Packed, Refusal, Rules, Unread, Walked,
};
use crate::codec::compression::{Compression, Decompressor, Shared};
use crate::limits;
use crate::types::ConnId;

/// See the module.
pub struct Unpacker {
    shared: Arc<Shared>,
    owner: Option<ConnId>,
    check: Check,
    /// The walk over a batch in which something is looked up.
    records: Option<Packed>,
    /// Work that is left in this turn.
    left: u32,
    /// Work that [`Unpacker::work`] has not given yet.
    worked: u32,
}

impl Unpacker {
    /// Of a decompressor that compaction uses as well.
    pub fn new(shared: Arc<Shared>) -> Unpacker {
        let check = Check::default();
        Unpacker { shared, owner: None, check, records: None, left: 0, worked: 0 }
    }

    /// A new turn begins.
    pub fn turn(&mut self) {
        self.left = limits::DECOMPRESSED_TURN_BYTES;
    }

    /// What was done since this was last asked, in bytes of output.
    pub fn work(&mut self) -> u32 {
        std::mem::take(&mut self.worked)
    }

    /// Checks what a client produces to a partition. None: the turn is over, or another connection has the
    /// decompressor. Then this is to be called again in another turn, or the decompressor to be given
    /// back ([`Unpacker::release`]).
    pub fn check(
        &mut self,
        conn: ConnId,
        payload: &[u8],
        rules: &Rules,
    ) -> Result<Option<Checked>, Refusal> {
        if !rules.reads() || !batch::is_packed(payload) {
            // The rules may have changed since it was kept.
            self.release(conn);
            return Check::default().go_on(payload, rules, None);
        }
        let own = self.owner == Some(conn);
        let mut check = if own { std::mem::take(&mut self.check) } else { Check::default() };
        let checked = self.with(conn, |decompressor| {
            let checked = check.go_on(payload, rules, Some(decompressor));
            let keeps = checked == Ok(None);
            (checked, keeps)
        });
        if self.owner == Some(conn) {
            self.check = check;
        }
        checked.unwrap_or(Ok(None))
    }

    /// Reads the next record of a compressed batch; the first one after [`Unpacker::release`]. While
    /// others have the decompressor it gives [`Walked::Turn`].
    pub fn record(
        &mut self,
        conn: ConnId,
        compression: Compression,
        header: BatchHeader,
        batch: &[u8],
    ) -> Result<Walked, Unread> {
        let mut records = if self.owner == Some(conn) { self.records } else { None };
        let walked = self.with(conn, |decompressor| {
            let first = || Packed::new(decompressor, compression, header, batch);
            let walk = records.get_or_insert_with(first);
            (walk.next(decompressor, batch), true)
        });
        if self.owner == Some(conn) {
            self.records = records;
        }
        walked.unwrap_or(Ok(Walked::Turn))
    }

    /// The decompressor, for a batch that is read in one go; not while it is kept.
    pub fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// Whether a connection is in the middle of a batch.
    pub fn is_kept(&self) -> bool {
        self.owner.is_some()
    }

    /// Gives the decompressor back, if this connection has it.
    pub fn release(&mut self, conn: ConnId) {
        if self.owner == Some(conn) {
            (self.owner, self.records) = (None, None);
            self.check = Check::default();
            self.shared.give_back();
        }
    }

    fn with<T>(
        &mut self,
        conn: ConnId,
        read: impl FnOnce(&mut Decompressor) -> (T, bool),
    ) -> Option<T> {
        if self.owner.is_some_and(|owner| owner != conn) {
            return None;
        }
        let (kept, left, mut worked) = (self.owner.is_some(), self.left, 0);
        let (done, keeps) = self.shared.try_with(kept, |decompressor| {
            decompressor.turn(left);
            let before = decompressor.worked();
            let (done, keeps) = read(decompressor);
            worked = (decompressor.worked() - before) as u32;
            ((done, keeps), keeps)
        })?;
        self.left = left.saturating_sub(worked);
        self.worked = self.worked.saturating_add(worked);
        self.owner = keeps.then_some(conn);
        Some(done)
    }
}
