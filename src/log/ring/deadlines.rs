//! When a ring has something to do without anything new.

use crate::clock::Mono;

/// What is due when.
#[derive(Debug, Default)]
pub(super) struct Deadlines {
    /// When the open group goes out though it is not urgent; none: it is, or it is empty.
    linger: Option<Mono>,
    /// When what was written has to be synced.
    sync: Option<Mono>,
    /// When the last group gets its seal.
    seal: Option<Mono>,
    /// It has none yet.
    unsealed: bool,
    closing: bool,
}

impl Deadlines {
    /// Something joins the open group, which was `empty` before. `linger`: it may wait until then.
    pub(super) fn joined(&mut self, empty: bool, linger: Option<Mono>) {
        let earliest = |a: Mono| linger.map(|b| a.min(b));
        self.linger = if empty { linger } else { self.linger.and_then(earliest) };
    }

    /// When the open group goes out; it is not empty.
    pub(super) fn open(&self) -> Mono {
        if self.closing { Mono(0) } else { self.linger.unwrap_or(Mono(0)) }
    }

    /// The open group goes out.
    pub(super) fn open_closed(&mut self) {
        self.linger = None;
    }

    /// A group was written and not synced, some of which has to be by then.
    pub(super) fn written(&mut self, by: Option<Mono>) {
        self.sync = self.sync.into_iter().chain(by).min();
    }

    /// Everything written is synced, or given up.
    pub(super) fn synced(&mut self) {
        self.sync = None;
    }

    /// When what was written has to be synced.
    pub(super) fn sync(&self) -> Option<Mono> {
        if self.closing { self.sync.map(|_| Mono(0)) } else { self.sync }
    }

    /// A group was written: it gets a seal unless another one follows until then.
    pub(super) fn seal_by(&mut self, by: Mono) {
        (self.seal, self.unsealed) = (Some(by), true);
    }

    /// A group was written that gets a seal at the end only. It says of those before it that they are on
    /// flash.
    pub(super) fn seal_at_the_end(&mut self) {
        (self.seal, self.unsealed) = (None, true);
    }

    /// The last group needs no seal any more.
    pub(super) fn sealed(&mut self) {
        (self.seal, self.unsealed) = (None, false);
    }

    /// When the last group gets its seal.
    pub(super) fn seal(&self) -> Option<Mono> {
        if self.closing { self.unsealed.then_some(Mono(0)) } else { self.seal }
    }

    /// Whether nothing lingers any more.
    pub(super) fn is_closing(&self) -> bool {
        self.closing
    }

    /// From now on nothing lingers.
    pub(super) fn close(&mut self) {
        self.closing = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_goes_out_when_the_most_urgent_in_it_wants_to() {
        let mut deadlines = Deadlines::default();
        deadlines.joined(true, Some(Mono(9)));
        assert_eq!(deadlines.open(), Mono(9));
        deadlines.joined(false, Some(Mono(12)));
        assert_eq!(deadlines.open(), Mono(9));
        deadlines.joined(false, None);
        assert_eq!(deadlines.open(), Mono(0));
        deadlines.joined(true, Some(Mono(20)));
        assert_eq!(deadlines.open(), Mono(20));
    }

    #[test]
    fn a_sync_comes_when_the_first_that_was_written_wants_it_and_at_once_when_it_ends() {
        let mut deadlines = Deadlines::default();
        assert_eq!(deadlines.sync(), None);
        deadlines.written(Some(Mono(70)));
        deadlines.written(None);
        deadlines.written(Some(Mono(90)));
        assert_eq!(deadlines.sync(), Some(Mono(70)));
        deadlines.seal_by(Mono(100));
        deadlines.close();
        assert_eq!((deadlines.sync(), deadlines.seal()), (Some(Mono(0)), Some(Mono(0))));
        deadlines.synced();
        deadlines.sealed();
        assert_eq!((deadlines.sync(), deadlines.seal()), (None, None));
    }

    #[test]
    fn a_group_that_is_not_worth_a_seal_gets_one_at_the_end() {
        let mut deadlines = Deadlines::default();
        deadlines.seal_by(Mono(100));
        deadlines.seal_at_the_end();
        assert_eq!(deadlines.seal(), None);
        deadlines.close();
        assert_eq!(deadlines.seal(), Some(Mono(0)));
        deadlines.sealed();
        assert_eq!(deadlines.seal(), None);
    }
}
