//! Rings that are watched: what is overwritten before somebody had it is counted, and nobody waits.

use brooklet::config::Holder;
use brooklet::storage::sim::Cut;

use super::rig::{RING, Rig, config};
use crate::host::{NOON_MS, PLAIN, keyed_batch};
use crate::produce::{create_topic, produce};

struct Watched {
    rig: Rig,
    /// By watcher: what it misses.
    missed: [i64; 2],
    had: [i64; 2],
    start: i64,
}

const WATCHERS: [&str; 2] = ["mirror:up", "group:g"];

impl Watched {
    fn new() -> Watched {
        let mut config = config(&[]);
        config.rings[0].watch_for = WATCHERS.map(|text| Holder::from_text(text).unwrap()).to_vec();
        let mut rig = Rig::with(config);
        create_topic(&mut rig.host, "c", 1, &[("cleanup.policy", "compact")]);
        create_topic(&mut rig.host, "x.internal", 1, &[]);
        Watched { rig, missed: [0; 2], had: [0; 2], start: 0 }
    }

    /// Records until the ring overwrote some more.
    fn lap(&mut self) {
        for _ in 0..40 {
            self.rig.send("t", 0);
            self.rig.send("x.internal", 0);
            // What is compacted is carried, and not counted.
            let keyed = keyed_batch(PLAIN, NOON_MS, &[(Some(b"k"), Some(&[7; 3000]))]);
            let sent = self.rig.produce(&produce(-1, "c", &[(0, Some(keyed))]));
            assert_eq!(sent.map(|(code, _)| code), Some(0));
            let start = self.rig.bounds("t", 0).0;
            for (missed, had) in self.missed.iter_mut().zip(self.had) {
                *missed += (start - self.start.max(had)).max(0);
            }
            self.start = start;
        }
        self.check();
    }

    fn mirrored(&mut self, offset: i64) {
        self.rig.report("t", 0, offset - 1).unwrap();
        self.had[0] = offset;
    }

    fn committed(&mut self, offset: i64) {
        assert_eq!(self.rig.commit("g", "t", 0, offset), 0);
        self.had[1] = offset;
    }

    fn check(&self) {
        let state = self.rig.host.broker.log.state();
        let found = WATCHERS.map(|text| {
            let holder = Holder::from_text(text).unwrap();
            state.missed.records(RING, &holder).cast_signed()
        });
        assert_eq!(found, self.missed);
    }
}

#[test]
fn what_is_overwritten_before_it_was_had_is_counted_and_stays_so() {
    let mut watched = Watched::new();
    watched.lap();
    assert!(watched.start > 10 && watched.missed == [watched.start; 2], "it never reported");
    let (start, end) = watched.rig.bounds("t", 0);
    watched.mirrored(end);
    watched.committed(start + 3);
    watched.lap();
    assert!(watched.missed[0] < watched.missed[1], "{:?}", watched.missed);
    watched.rig.host.close();
    watched.rig.reopen();
    watched.check();
    let end = watched.rig.bounds("t", 0).1;
    watched.committed(end);
    watched.mirrored(end - 2);
    watched.lap();
    watched.rig.host.storage.power_cut(Cut::ALL[0]);
    watched.rig.reopen();
    watched.check();
    watched.lap();
}

#[test]
fn who_is_not_watched_for_any_more_is_forgotten_and_begins_anew() {
    let mut watched = Watched::new();
    watched.lap();
    watched.rig.host.close();
    let watch_for = std::mem::take(&mut watched.rig.config.rings[0].watch_for);
    watched.rig.reopen();
    watched.missed = [0; 2];
    watched.check();
    // Whatever overwrites the head that has the count.
    for _ in 0..100 {
        watched.rig.send("t", 0);
    }
    watched.rig.host.close();
    watched.rig.config.rings[0].watch_for = watch_for;
    let before = watched.rig.bounds("t", 0).0;
    watched.rig.reopen();
    watched.start = watched.rig.bounds("t", 0).0;
    // A start begins a segment as well.
    watched.missed = [watched.start - before; 2];
    watched.check();
    watched.lap();
}
