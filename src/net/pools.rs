//! The pools of buffers: everything that requests and answers pass through, allocated at start.
//!
//! Buffers are granted first come, first served, except that requests that are already received in
//! full go first, as they give their buffers back soon. So senders that stall delay each other, and
//! nobody else. Pools never lend to each other, so that requests of one kind cannot delay those of
//! another.
//!
//! The buffers of a pool are pieces of one allocation that is never freed: an allocator writes beside
//! each of its blocks, and so would make a page or two of every unused buffer resident.

use std::collections::VecDeque;

use crate::broker::ConnId;
use crate::metrics::{PoolKind, PoolMetrics};

/// How many buffers of how many bytes each pool has, by [`PoolKind`].
pub type PoolSizes = [(usize, usize); PoolKind::COUNT];

/// A buffer of a pool.
pub type Buffer = &'static mut [u8];

/// All pools.
pub struct Pools {
    pools: [Pool; PoolKind::COUNT],
}

struct Pool {
    /// The last one returned is lent first, so that memory that was never needed stays untouched.
    free: Vec<Buffer>,
    count: usize,
    /// Those whose requests are received in full, then the others.
    waiting: VecDeque<ConnId>,
    waiting_quick: usize,
    metrics: PoolMetrics,
}

impl Pools {
    /// Allocates all buffers, and the waiting lists for this many connections.
    pub fn new(sizes: &PoolSizes, connections: usize) -> Pools {
        Pools {
            pools: sizes.map(|(count, bytes)| Pool {
                free: buffers(count, bytes),
                count,
                waiting: VecDeque::with_capacity(connections),
                waiting_quick: 0,
                metrics: PoolMetrics::default(),
            }),
        }
    }

    /// A buffer, unless none is free. One that is free has nobody waiting for it.
    pub fn take(&mut self, kind: PoolKind) -> Option<Buffer> {
        let pool = &mut self.pools[kind as usize];
        let buf = pool.free.pop()?;
        pool.metrics.taken();
        Some(buf)
    }

    /// Puts a connection on the waiting list; `quick`, if its request is received in full.
    pub fn wait(&mut self, kind: PoolKind, conn: ConnId, quick: bool) {
        let pool = &mut self.pools[kind as usize];
        pool.metrics.waits += 1;
        if quick {
            pool.waiting.insert(pool.waiting_quick, conn);
            pool.waiting_quick += 1;
        } else {
            pool.waiting.push_back(conn);
        }
    }

    /// Takes a connection off the waiting list.
    pub fn wait_end(&mut self, kind: PoolKind, conn: ConnId) {
        let pool = &mut self.pools[kind as usize];
        if let Some(place) = pool.waiting.iter().position(|other| *other == conn) {
            pool.waiting.remove(place);
            pool.waiting_quick -= usize::from(place < pool.waiting_quick);
        }
    }

    /// Takes a buffer back; it may be granted at once to the first connection that waits.
    pub fn give_back(&mut self, kind: PoolKind, buf: Buffer) -> Option<(ConnId, Buffer)> {
        let pool = &mut self.pools[kind as usize];
        if let Some(conn) = pool.waiting.pop_front() {
            pool.waiting_quick = pool.waiting_quick.saturating_sub(1);
            return Some((conn, buf));
        }
        pool.metrics.returned();
        pool.free.push(buf);
        None
    }

    /// Whether one may be lent to a connection that may keep it for long: at least half of them stay for
    /// others, or the only one.
    pub fn has_spare(&self, kind: PoolKind) -> bool {
        let pool = &self.pools[kind as usize];
        pool.free.len() > pool.count.div_ceil(2)
    }

    /// Whether anyone waits for a buffer of this kind.
    pub fn is_wanted(&self, kind: PoolKind) -> bool {
        !self.pools[kind as usize].waiting.is_empty()
    }

    /// What is counted, by [`PoolKind`].
    pub fn metrics(&self) -> [PoolMetrics; PoolKind::COUNT] {
        PoolKind::ALL.map(|kind| self.pools[kind as usize].metrics)
    }
}

fn buffers(count: usize, bytes: usize) -> Vec<Buffer> {
    let mut rest: Buffer = vec![0; count * bytes].leak();
    let buffers = (0..count).map(|_| {
        let (buffer, others) = std::mem::take(&mut rest).split_at_mut(bytes);
        rest = others;
        buffer
    });
    buffers.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pools() -> Pools {
        let mut sizes = [(0, 0); PoolKind::COUNT];
        sizes[PoolKind::Control as usize] = (2, 64);
        sizes[PoolKind::Fetch as usize] = (1, 32);
        Pools::new(&sizes, 4)
    }

    #[test]
    fn an_empty_pool_borrows_from_no_other() {
        let mut pools = pools();
        let first = pools.take(PoolKind::Control).unwrap();
        let second = pools.take(PoolKind::Control).unwrap();
        assert!(pools.take(PoolKind::Control).is_none());
        assert!(pools.take(PoolKind::ProduceSmall).is_none());
        assert_eq!(pools.take(PoolKind::Fetch).unwrap().len(), 32);
        assert!(pools.give_back(PoolKind::Control, first).is_none());
        assert!(pools.give_back(PoolKind::Control, second).is_none());
        assert_eq!(pools.metrics()[PoolKind::Control as usize].lent, 0);
        assert_eq!(pools.metrics()[PoolKind::Control as usize].lent_max, 2);
    }

    #[test]
    fn buffers_go_to_those_who_wait_in_the_order_in_which_they_came() {
        let mut pools = pools();
        let buf = pools.take(PoolKind::Fetch).unwrap();
        for conn in [3, 1, 2] {
            pools.wait(PoolKind::Fetch, ConnId(conn), false);
        }
        pools.wait_end(PoolKind::Fetch, ConnId(1));
        let (conn, buf) = pools.give_back(PoolKind::Fetch, buf).unwrap();
        assert_eq!(conn, ConnId(3));
        assert!(pools.is_wanted(PoolKind::Fetch));
        let (conn, buf) = pools.give_back(PoolKind::Fetch, buf).unwrap();
        assert_eq!(conn, ConnId(2));
        assert!(pools.give_back(PoolKind::Fetch, buf).is_none());
        assert!(pools.take(PoolKind::Fetch).is_some());
    }

    #[test]
    fn those_who_will_be_quick_go_before_those_who_may_not() {
        let mut pools = pools();
        let mut buf = pools.take(PoolKind::Fetch).unwrap();
        for (conn, quick) in [(1, false), (2, true), (3, false), (4, true), (5, true)] {
            pools.wait(PoolKind::Fetch, ConnId(conn), quick);
        }
        pools.wait_end(PoolKind::Fetch, ConnId(4));
        pools.wait_end(PoolKind::Fetch, ConnId(3));
        for expected in [2, 5, 1] {
            let (conn, next) = pools.give_back(PoolKind::Fetch, buf).unwrap();
            assert_eq!(conn, ConnId(expected));
            buf = next;
        }
        pools.wait(PoolKind::Fetch, ConnId(1), false);
        pools.wait(PoolKind::Fetch, ConnId(2), true);
        assert_eq!(pools.give_back(PoolKind::Fetch, buf).unwrap().0, ConnId(2));
    }
}
