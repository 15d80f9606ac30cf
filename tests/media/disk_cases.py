"""A disk that fails under the broker, all of it or where one ring lies, or that is not what it should be."""

import collections
import errno
import fcntl
import struct
import time

from damage import a_file, lost_with, missing_of
from setting import (
    DATA_RINGS, METADATA, RINGS, SETTINGS, START_SECONDS_MAX, Ledger, Load, batches_of, case, checker, laps,
    load, make_topics, rawkafka, read_all, served, stack, unbroken, wanted, with_segments,
)



class FailingDisk:
    """A stack whose disk has a ring on it; for `with`."""

    def __init__(self, setting, rings=RINGS, settings=(), room=RINGS):
        """A disk with room for the rings of `room`."""
        self.stack = stack.Stack(setting.home, "ext4", setting.binary, room, setting.seed)
        broker = self.stack.broker
        self.stack.broker = stack.Broker(
            setting.binary, setting.home, broker.data, rings, [*SETTINGS, *settings]
        )
        self.stack.power_on()

    def __enter__(self):
        return self.stack

    def __exit__(self, *_):
        self.stack.close()


def failing_case(setting, faults, heal=True, kill=False):
    """Load, faults in the middle of it, load, a new start: no promise is broken. Gives the counts of
    records acknowledged before, during and after the faults."""
    with FailingDisk(setting) as made:
        made.start()
        ledger, broker = Ledger(RINGS), made.broker
        make_topics(broker.host, broker.port)
        clients = Load(broker.host, broker.port, ledger, setting.seed)
        clients.start()
        counts = [acknowledged_until(ledger, made, 300, 20)]
        made.disk.order(faults=faults)
        time.sleep(3)
        counts.append(ledger.counts["acknowledged"] - counts[0])
        wanted(broker.alive(), f"the broker ended: {broker.tail()}")
        if heal:
            made.disk.order(faults=[])
            counts.append(acknowledged_until(ledger, made, 300, 40))
        if kill:
            # The page cache may show what the medium does not have.
            broker.stop("kill")
        clients.stop()
        unbroken(ledger)
        made.disk.order(faults=[])
        if not kill:
            broker.stop("term")
        made.start()
        checker.verify(broker.host, broker.port, ledger)
        unbroken(ledger)
        ends_with_a_cut(made, broker, ledger, "none")
        return counts


def acknowledged_until(ledger, made, more, seconds, name=None):
    """Waits until so many more records were acknowledged, of one ring if it is named; gives how many there
    were."""
    def count():
        return ledger.counts["acknowledged"] if name is None else acknowledged_by(ledger)[name]

    begun, until = count(), time.monotonic() + seconds
    while count() < begun + more:
        wanted(time.monotonic() < until, f"no progress within {seconds} s: {made.broker.tail(8)}")
        time.sleep(0.05)
    return count() - begun



def ends_with_a_cut(made, broker, ledger, cut):
    """Cuts the power and looks at what is left: what this kind of cut takes was not acknowledged."""
    made.disk.order(cut=cut)
    made.await_cut(0)
    made.power_off()
    made.power_on()
    made.start()
    checker.verify(broker.host, broker.port, ledger)
    unbroken(ledger)
    made.shut_down()


@case
def a_write_fails_once(setting):
    counts = failing_case(setting, [{"op": "write", "errno": errno.EIO, "times": 1}])
    return f"acknowledged before, meanwhile and afterwards: {counts}; then a start and a power cut"


@case
def a_sync_fails_once(setting):
    counts = failing_case(setting, [{"op": "flush", "errno": errno.EIO, "times": 1}])
    return f"acknowledged before, meanwhile and afterwards: {counts}; then a start and a power cut"


@case
def a_sync_fails_once_and_the_process_is_killed(setting):
    faults = [{"op": "flush", "errno": errno.EIO, "times": 1, "after": 20}]
    counts = failing_case(setting, faults, heal=False, kill=True)
    return f"acknowledged before and meanwhile: {counts}; then a kill, a start and a power cut"


@case
def one_ring_fails_and_the_others_go_on(setting):
    """Writes to one ring fail, for seconds; who writes to another one is acknowledged all the while."""
    told = []
    with FailingDisk(setting) as made:
        made.start()
        ledger, broker = Ledger(RINGS), made.broker
        make_topics(broker.host, broker.port)
        clients = Load(broker.host, broker.port, ledger, setting.seed)
        clients.start()
        for ring in RINGS.names:
            for name in RINGS.names:
                # Tries that failed are followed by longer and longer pauses.
                acknowledged_until(ledger, made, 1, 40, name)
            fault = {"op": "write", "kind": "ring", "ring": ring, "errno": errno.EIO, "times": -1}
            made.disk.order(faults=[fault])
            # What was on its way has its answer.
            time.sleep(0.5)
            before = acknowledged_by(ledger)
            time.sleep(1.5)
            counts = {name: count - before[name] for name, count in acknowledged_by(ledger).items()}
            still = [name for name, count in counts.items() if (count > 0) == (name == ring)]
            wanted(not still, f"writes to {ring} fail; acknowledged meanwhile: {counts}")
            made.disk.order(faults=[])
            told.append(f"{ring} failed: {counts}")
        for name in RINGS.names:
            acknowledged_until(ledger, made, 1, 40, name)
        clients.stop()
        unbroken(ledger)
        broker.stop("term")
        made.start()
        checker.verify(broker.host, broker.port, ledger)
        unbroken(ledger)
        made.shut_down()
    return "; ".join(told)


def acknowledged_by(ledger):
    """How much of each ring was acknowledged; of the metadata ring it is commits."""
    commits = sum(acknowledged for acknowledged, _ in ledger.commits.values())
    return {METADATA: commits, **{name: ledger.counts["acknowledged", name] for name in DATA_RINGS}}


@case
def the_disk_fails_while_the_broker_starts(setting):
    """A read, a write or a flush of the ring fails in a start, early or late, once or for as long as
    that start lives; then the disk works, and another start follows, and a power cut."""
    served = collections.Counter()
    with FailingDisk(setting) as made:
        made.start()
        ledger, broker = Ledger(RINGS), made.broker
        load(broker, ledger, setting.seed, until=lambda: laps(broker) > 1.2)
        # What cannot be read for eight seconds counts as damaged: reads fail for a moment only.
        for op, times in (("read", 1), ("read", 3), ("write", 1), ("write", -1), ("flush", 1), ("flush", -1)):
            for after in (0, 1):
                broker.stop("kill")
                # Out of the page cache: only then does the disk get to fail.
                made.disk.order(cut="subset")
                made.await_cut(0)
                made.power_off()
                made.power_on()
                fault = {"op": op, "kind": "ring", "errno": errno.EIO, "times": times, "after": after}
                made.disk.order(faults=[fault])
                served[op, failing_start(setting, made, ledger)] += 1
                unbroken(ledger)
                struck = made.disk.ask(counts=True)["counts"]["faults"]
                wanted(struck or after, f"no {op} of a start failed")
                made.disk.order(faults=[])
                broker.stop("kill")
                made.start()
                checker.verify(broker.host, broker.port, ledger)
                unbroken(ledger)
                # Now and then without a roll between them: failures use up the spares.
                lap = laps(broker) + (0.6 if after else 0)
                load(broker, ledger, setting.seed + len(served), until=lambda lap=lap: laps(broker) > lap)
        made.shut_down()
    told = [f"{op}s: {served[op, True]} served, {served[op, False]} gave up" for op in ("read", "write")]
    return "; ".join([*told, f"flushes: {served['flush', True]} served, {served['flush', False]} gave up"])


def failing_start(setting, made, ledger):
    """Whether a start on a failing disk serves; what it shows is looked at then."""
    try:
        made.start()
    except RuntimeError:
        wanted(made.broker.process.returncode == 1, f"exit code {made.broker.process.returncode}")
        return False
    finally:
        setting.processes.append(made.broker.process)
    checker.verify(made.broker.host, made.broker.port, ledger, made.tail())
    return True


@case
def reads_fail_in_one_segment(setting):
    with FailingDisk(setting) as made:
        made.start()
        ledger, broker = Ledger(RINGS), made.broker
        load(broker, ledger, setting.seed, until=lambda: laps(broker) > 1.5)
        broker.stop("term")
        before_batches = batches_of(broker.data)
        made.start()
        before = read_all(broker, ledger)
        broker.stop("term")
        ring = setting.chance.choice(DATA_RINGS)
        file = a_file(setting, broker.data, before_batches, ring)
        places = stack.extents(file)
        # Out of the page cache: only then does the disk get to fail.
        made.shut_down()
        made.power_on()
        made.disk.order(faults=[{"op": "read", "errno": errno.EIO, "range": place} for place in places])
        made.start()
        found = read_all(broker, ledger)
        served(broker)
        may = lost_with(before_batches, broker.data, file)
        missing = missing_of(before, found)
        other = [key for key in missing if key not in may]
        wanted(not other, f"{len(other)} records of other files are lost: {other[:3]}")
        broker.stop("term")
        made.disk.order(faults=[])
        made.start()
        healed = sum(len(offsets) for offsets in read_all(broker, ledger).values())
        made.shut_down()
        told = f"{file.name} of {ring} could not be read: {len(missing)} records of it missing"
        return f"{told}; {healed} afterwards"


@case
def the_disk_is_too_small(setting):
    with FailingDisk(setting, with_segments("main", 40), ["memory_max=16MiB"]) as made:
        said = setting.refused(made.broker)
        wanted("no room" in said, said[-500:])
        return "refused before anything is written: " + said.strip().splitlines()[-1][:120]


@case
def the_disk_fills_up_while_the_ring_is_made(setting):
    with FailingDisk(setting) as made:
        made.broker.spawn()
        setting.processes.append(made.broker.process)
        ballast = made.mount / "ballast"
        with open(ballast, "wb", buffering=0) as opened:
            try:
                while True:
                    opened.write(bytes(1 << 20))
            except OSError:
                pass
        code = made.broker.process.wait(START_SECONDS_MAX) if not made.broker.listens() else None
        first = made.broker.log.read_text().strip().splitlines()[-1]
        if code is None:
            made.broker.stop("term")
        ballast.unlink()
        made.start()
        served(made.broker)
        made.shut_down()
        return f"the first start ended with {code} ({first[:100]}); the next one goes on"


@case
def the_file_system_is_read_only(setting):
    with FailingDisk(setting) as made:
        made.start()
        served(made.broker)
        made.broker.stop("term")
        stack.run("mount", "-o", "remount,ro", made.mount)
        said = setting.refused(made.broker)
        wanted("is mounted read-only" in said, said[-500:])
        read_offline(setting, made.broker.data)
        stack.run("mount", "-o", "remount,rw", made.mount)
        made.start()
        served(made.broker)
        made.shut_down()
        return "refused: " + said.strip().splitlines()[-1][:120]


def read_offline(setting, data):
    """All offline commands read what there is."""
    code, said = setting.run("check", "--data", data)
    wanted(code == 0, f"check: {code}: {said[-500:]}")
    code, said = setting.run("dump", "--data", data)
    wanted(code == 0 and "segment" in said, f"dump: {code}: {said[-500:]}")
    out = setting.home / "exported"
    code, said = setting.run("export", "--data", data, "--topic", "after", "--out", out)
    wanted(code == 0 and any(out.glob("after-*/*.log")), f"export: {code}: {said[-500:]}")


@case
def the_file_system_goes_away_under_the_broker(setting):
    """ext4 stops all writes after an error in its journal; here it is told to."""
    with FailingDisk(setting) as made:
        made.start()
        ledger, broker = Ledger(RINGS), made.broker
        load(broker, ledger, setting.seed, until=lambda: ledger.counts["acknowledged"] > 500)
        with open(made.mount / "data" / "LOCK", "rb") as opened:
            # FS_IOC_SHUTDOWN, without flushing the journal.
            fcntl.ioctl(opened, 0x8004587D, struct.pack("I", 2))
        with rawkafka.Connection(broker.host, broker.port, timeout=20) as client:
            error, _ = client.produce("plain", 0, rawkafka.batch([rawkafka.record(None, b"x")]))
            wanted(error == 56, f"a produce is answered with {error}, not KAFKA_STORAGE_ERROR")
            _, _, end = client.list_offset("plain", 0, rawkafka.LATEST)
            error, high_watermark, _ = client.fetch("plain", 0, end - 1)
            wanted((error, high_watermark) == (0, end), f"a fetch is answered with {error}")
        broker.stop("kill")
        ends_with_a_cut(made, broker, ledger, "all")
        return f"producers get KAFKA_STORAGE_ERROR, consumers an answer; {ledger.counts['acknowledged']} kept"


@case
def the_medium_is_not_mounted(setting):
    mount = setting.home / "card"
    mount.mkdir()
    fstab = setting.home / "fstab"
    fstab.write_text(f"/dev/mmcblk0p9 {mount} ext4 defaults 0 2\n")
    stack.run("mount", "--bind", fstab, "/etc/fstab")
    try:
        said = setting.refused(setting.broker(mount / "data"))
    finally:
        stack.run("umount", "/etc/fstab")
    wanted("mounted" in said, said[-500:])
    wanted(not list(mount.iterdir()), "something was made on the wrong medium")
    never = setting.refused(setting.broker(setting.home / "none", RINGS, ["create=never"]))
    wanted("never" in never and not (setting.home / "none").exists(), never[-500:])
    return "refused by /etc/fstab and by create = never; nothing was made"


if __name__ == "__main__":
    sys.exit(main())
