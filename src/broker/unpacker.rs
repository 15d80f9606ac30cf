//! The one decompressor, and whose it is: what takes longer than a turn keeps it until it is done.
//!
//! Who has it waits for nothing but other turns, and so does everybody who wants it meanwhile.

use crate::codec::batch::{
    self, BatchHeader, Check, Checked, Packed, Refusal, Rules, Unread, Walked,
};
use crate::codec::compression::{Compression, Decompressor};
use crate::limits;
use crate::types::ConnId;

/// See the module.
pub struct Unpacker {
    decompressor: Decompressor,
    owner: Option<ConnId>,
    check: Check,
    /// The walk over a batch in which something is looked up.
    records: Option<Packed>,
    /// What was told of its work so far.
    told: u64,
}

impl Unpacker {
    /// Allocates all that it will ever need.
    pub fn new() -> Unpacker {
        Unpacker {
            decompressor: Decompressor::new(limits::DECOMPRESSION_WINDOW_BYTES),
            owner: None,
            check: Check::default(),
            records: None,
            told: 0,
        }
    }

    /// Everybody else had a turn.
    pub fn turn(&mut self) {
        self.decompressor.turn(limits::DECOMPRESSED_TURN_BYTES);
    }

    /// What was done since this was last asked, in bytes of output.
    pub fn work(&mut self) -> u32 {
        let worked = self.decompressor.worked();
        (worked - std::mem::replace(&mut self.told, worked)) as u32
    }

    /// Checks what a client produces to a partition. None: the turn is over, or somebody else has the
    /// decompressor. Then the same is to be asked again in another turn, or it is to be given back
    /// ([`Unpacker::release`]).
    pub fn check(
        &mut self,
        conn: ConnId,
        payload: &[u8],
        rules: &Rules,
    ) -> Result<Option<Checked>, Refusal> {
        if !rules.records_read || !batch::is_packed(payload) {
            return Check::default().go_on(payload, rules, &mut self.decompressor);
        }
        if self.is_taken(conn) {
            return Ok(None);
        }
        self.owner = Some(conn);
        let checked = self.check.go_on(payload, rules, &mut self.decompressor);
        if checked != Ok(None) {
            self.release(conn);
        }
        checked
    }

    /// Goes on to the next record of a compressed batch: to the first one after it was given back. Where
    /// others have the decompressor the turn is over.
    pub fn record(
        &mut self,
        conn: ConnId,
        compression: Compression,
        header: BatchHeader,
        batch: &[u8],
    ) -> Result<Walked, Unread> {
        if self.is_taken(conn) {
            return Ok(Walked::Turn);
        }
        self.owner = Some(conn);
        let decompressor = &mut self.decompressor;
        let first = || Packed::new(decompressor, compression, header, batch);
        let mut records = self.records.take().unwrap_or_else(first);
        let walked = records.next(&mut self.decompressor, batch);
        self.records = Some(records);
        walked
    }

    /// This connection needs it no more, if it has it.
    pub fn release(&mut self, conn: ConnId) {
        if self.owner == Some(conn) {
            (self.owner, self.records) = (None, None);
            self.check = Check::default();
        }
    }

    fn is_taken(&self, conn: ConnId) -> bool {
        self.owner.is_some_and(|owner| owner != conn)
    }
}
