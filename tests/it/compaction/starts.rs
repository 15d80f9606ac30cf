//! The disk fails while a broker with compacted topics starts, and for a while after: a key that a start
//! shows is what the next one shows, and none is lost.

use std::sync::Arc;

use brooklet::log::recovery::OpenError;
use brooklet::storage::sim::{Cut, Failing, Op, SimStorage};
use brooklet::types::RingIndex;

use super::{Run, config_for};
use crate::crash::{Hint, repeats, seeds};
use crate::host::Host;

/// What came of the starts.
#[derive(Debug, Default)]
struct Starts {
    served: u64,
    refused: u64,
    carried: u64,
}

/// A start of a copy in which something fails; false: it was over before that.
fn start(run: &mut Run, disk: &SimStorage, op: Op, failing: Failing, starts: &mut Starts) -> bool {
    let _hint = Hint(format!("{op:?} {failing:?} of the start"));
    let disk = Arc::new(disk.fork(run.rng.next()));
    let before = disk.counts();
    disk.fail(op, failing);
    let opened = Host::open(Arc::clone(&disk), run.config.clone(), run.host.now);
    let failed = disk.counts().failed > before.failed;
    match opened {
        Ok(host) => {
            starts.served += u64::from(failed);
            starts.carried += go_on(run, host, op);
        }
        Err(OpenError::Unreadable(_)) => {
            assert_eq!(disk.counts().written_bytes, before.written_bytes, "it wrote");
            starts.refused += 1;
        }
        Err(OpenError::Disk(_)) if failed => starts.refused += 1,
        Err(error) => panic!("{error}"),
    }
    disk.fail(op, Failing::Never);
    disk.power_cut(Cut::ALL[run.rng.below(5) as usize]);
    let mut host = run.open(disk);
    run.model.clone().check(&mut host);
    failed
}

/// The start served: some more is stored while the disk fails, and when it works again. Gives how much
/// was carried.
fn go_on(run: &mut Run, host: Host, op: Op) -> u64 {
    let disk = Arc::clone(&host.storage);
    let before = std::mem::replace(&mut run.host, host);
    if op == Op::Read {
        disk.fail(op, Failing::Never);
    }
    run.model.check(&mut run.host);
    for _ in 0..6 {
        match run.rng.below(2) {
            0 => run.send_in_vain(),
            _ => run.fill_in_vain(),
        }
        run.settle_all();
    }
    disk.fail(op, Failing::Never);
    for _ in 0..4 {
        run.host.pass_us(31_000_000);
        run.settle_all();
        run.send();
        run.fill();
    }
    run.settle_all();
    run.model.check(&mut run.host);
    let stats = run.host.broker.log.stats(RingIndex(0));
    assert_eq!((stats.carry_damaged, stats.carry_lost), (0, 0));
    run.host = before;
    stats.carried_records
}

#[test]
fn whatever_fails_while_the_broker_starts_no_key_is_lost() {
    let mut starts = Starts::default();
    for seed in seeds(4, &[]) {
        let _hint = repeats(seed, None);
        let mut run = Run::new(seed, config_for(seed));
        for _ in 0..300 + run.rng.below(200) {
            run.step();
        }
        run.send_in_vain();
        run.work_some();
        let disk = run.host.storage.fork(seed);
        disk.power_cut(Cut::ALL[run.rng.below(5) as usize]);
        let model = run.model.clone();
        for op in [Op::Read, Op::Write, Op::Sync] {
            for how in [Failing::Once, |k| Failing::Burst(k, 3), Failing::From] {
                let mut k = 0;
                while start(&mut run, &disk, op, how(k), &mut starts) {
                    k += 1;
                    run.model = model.clone();
                }
                run.model = model.clone();
            }
        }
    }
    assert!(starts.served > 10 && starts.refused > 10 && starts.carried > 0, "{starts:?}");
}
