//! The pools of buffers: everything that requests and answers pass through, allocated at start.
//!
//! A pool lends to whoever asks while it has a buffer, else in the order in which they asked. Pools
//! never lend to each other, so that requests of one kind cannot hold up those of another.

use std::collections::VecDeque;

use crate::broker::ConnId;
use crate::metrics::{PoolKind, PoolMetrics};

/// How many buffers of how many bytes each pool has, by [`PoolKind`].
pub type PoolSizes = [(usize, usize); PoolKind::COUNT];

/// All pools.
pub struct Pools {
    pools: [Pool; PoolKind::COUNT],
}

struct Pool {
    /// The last one returned is lent first, so that memory that was never needed is never touched.
    free: Vec<Box<[u8]>>,
    waiting: VecDeque<ConnId>,
    metrics: PoolMetrics,
}

impl Pools {
    /// Allocates all buffers, and the waiting lists for so many connections.
    pub fn new(sizes: &PoolSizes, connections: usize) -> Pools {
        Pools {
            pools: sizes.map(|(count, bytes)| Pool {
                free: (0..count).map(|_| vec![0; bytes].into()).collect(),
                waiting: VecDeque::with_capacity(connections),
                metrics: PoolMetrics::default(),
            }),
        }
    }

    /// A buffer, unless none is free. One that is free has nobody waiting for it.
    pub fn take(&mut self, kind: PoolKind) -> Option<Box<[u8]>> {
        let pool = &mut self.pools[kind as usize];
        let buf = pool.free.pop()?;
        pool.metrics.taken();
        Some(buf)
    }

    /// Puts a connection at the end of the waiting list.
    pub fn wait(&mut self, kind: PoolKind, conn: ConnId) {
        let pool = &mut self.pools[kind as usize];
        pool.metrics.waits += 1;
        pool.waiting.push_back(conn);
    }

    /// Takes a connection off the waiting list.
    pub fn wait_end(&mut self, kind: PoolKind, conn: ConnId) {
        self.pools[kind as usize].waiting.retain(|other| *other != conn);
    }

    /// Takes a buffer back; it may go on at once to who waited longest.
    pub fn give_back(&mut self, kind: PoolKind, buf: Box<[u8]>) -> Option<(ConnId, Box<[u8]>)> {
        let pool = &mut self.pools[kind as usize];
        if let Some(conn) = pool.waiting.pop_front() {
            return Some((conn, buf));
        }
        pool.metrics.returned();
        pool.free.push(buf);
        None
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
            pools.wait(PoolKind::Fetch, ConnId(conn));
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
}
