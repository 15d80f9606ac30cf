"""A disk's life over many power cuts, whatever the broker runs in: start, read back, load, cut, again.

`native` and `run` give it a stack: something that can be powered on, started, and cut. A life has a plan:
which kind of cut comes when, and in which ring (plan.py). A cut that fell elsewhere than it was meant to is
tried again, so that a run has what it should have; a kind or a ring without a cut is a failure, and so is a
run without failing starts.
"""

import collections
import errno
import itertools
import pathlib
import random
import shutil
import tempfile
import time

import rawkafka
from checker import verify
from disk import KEEPS
from ledger import Ledger
from load import GONE, Load, commit_next, make_topics, produce_in_turn, release
from plan import KINDS, OTHER_AIMS, RINGS, START_FAULTS, Aim, plan_of, show
from rings import METADATA
from stack import CUT_SECONDS_MAX, Cut

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
SETTINGS = ("seal_after_ms=100", "memory_max=16MiB")
# Batches that are sent in turn to count what the disk sees of their syncs.
SYNCS = 20
CUTS_PER_LIFE = 22
LOAD_SECONDS_MAX, FULL_SECONDS_MAX = 8, 120
TRIES_MAX = 4
# What file systems are larger than they have to be.
SPARE_MIB = 8
# What a start takes of a ring, at the most.
START_BYTES = 256 << 10
# Kinds that strike while the broker starts, and those that wait until a held ring is full.
EARLY, FULL = ("fill", "format", "recovery"), ("hold", "release")


def lives(build, systems, seed, cuts, only=None):
    """Lives until there were so many cuts; `build(home, system, seed)` makes what each one runs in. `only`:
    the one of this number. Gives the exit code."""
    totals, started = collections.Counter(), time.monotonic()
    for number in itertools.count() if only is None else [only]:
        system = systems[number % len(systems)] if only is None else systems[0]
        wanted = min(CUTS_PER_LIFE, cuts - totals["cuts"]) if only is None else cuts
        begun = seed + number if only is None else seed
        found, counts = life(build, system, begun, wanted, number)
        totals.update(counts)
        if found:
            print(f"FAILED: --fs {system} --seed {begun} --cuts {wanted} --life {number}")
            for text in found[:20]:
                print(f"    {text}")
        if totals["cuts"] >= cuts:
            break
    never = show(totals, number + 1 if only is None else 1, time.monotonic() - started)
    failed = totals["failed"]
    if only is None:
        failed += len(never)
        for text in never:
            print(f"FAILED: {text}; more --cuts?")
    print(f"{totals['passed']} passed, {failed} failed")
    return 1 if failed else 0


def life(build, system, seed, cuts, number):
    """One disk's life; gives what was broken, and counts."""
    chance, counts = random.Random(seed), collections.Counter()
    ledger = Ledger(RINGS, checks_room=True)
    home = pathlib.Path(tempfile.mkdtemp(prefix="powercut-"))
    made = build(home, system, seed)
    found, plan, tries = [], collections.deque(plan_of(number, chance, cuts)), collections.Counter()
    turns = {"faults": collections.deque(START_FAULTS), "rings": collections.deque(RINGS.names)}
    try:
        served = False
        while plan and not ledger.broken:
            aim = plan.popleft()
            report = cycle(made, ledger, chance, aim, served, turns, counts)
            served = served or report["phase"] == "load"
            made.power_off()
            fell = fell_into(report, aim)
            tell_cut(system, seed, counts["cuts"], fell, report, ledger)
            counts.update(("cuts", ("kind", *fell), ("keep", report["keep"]), ("fs", system)))
            counts.update(("ring", ring) for ring in {part.split("/")[0] for part in report["kinds"]})
            tries[aim] += 1
            if fell != aim and aim.kind in KINDS and tries[aim] < TRIES_MAX:
                if aim.kind not in ("fill", "format"):
                    plan.append(aim)
        if not ledger.broken:
            made.power_on()
            made.start()
            read_back(made, ledger, counts)
            made.shut_down()
    except Exception as error:  # whatever it was, it is this life's failure
        found.append(f"{type(error).__name__}: {error}")
    found += ledger.broken
    for name in ("acknowledged", "keys", *(("acknowledged", ring.name) for ring in RINGS)):
        counts[name] = ledger.counts[name]
    counts["broken"] = len(found)
    # A cut passes when what it left was read back.
    counts["cuts"] = max(counts["cuts"], 1)
    counts["failed"] = max(1, counts["cuts"] - counts["passed"]) if found else 0
    made.close()
    if found:
        kept = ROOT / "target" / "powercut" / f"{system}-{seed}"
        shutil.rmtree(kept, ignore_errors=True)
        shutil.copytree(home, kept, ignore=shutil.ignore_patterns("fuse", "mount", "*.sock"))
        found.append(f"image and log are in target/powercut/{kept.name}")
    shutil.rmtree(home, ignore_errors=True)
    return found, counts


def fell_into(report, aim):
    """Which kind of cut it was in the end, and in which ring."""
    if report["aim"] is None:
        return Aim("any" if aim.kind == "any" else "asked", None)
    if report["phase"] == "start" or aim.kind not in EARLY:
        return aim
    if aim.kind == "recovery" and f"{aim.ring}/group" in report["kinds"]:
        # The first group is the start's own; clients may be let in while it is written.
        return aim
    return Aim("asked", None)


def tell_cut(system, seed, number, fell, report, ledger):
    print(
        f"{system} {seed} cut {number}: {fell.kind}{f' of {fell.ring}' if fell.ring else ''}, "
        f"{'+'.join(report['kinds'])} {report['at']}, keeps "
        f"{report['keep']} ({report['sectors_kept']} of {report['sectors_pending']} sectors); "
        f"{ledger.counts['acknowledged']} acknowledged, {ledger.counts['broken']} broken",
        flush=True,
    )


def read_back(made, ledger, counts):
    """Everything that was promised is there: all cuts so far have passed."""
    verify(made.broker.host, made.broker.port, ledger)
    if not ledger.broken:
        counts["passed"] = counts["cuts"]


def cycle(made, ledger, chance, aim, served, turns, counts):
    """From power to cut: start, read back, load, cut. Gives the disk's report. `served`: a broker did so on
    this disk before."""
    made.power_on()
    keep = chance.choice(KEEPS)
    early = aim.kind in EARLY
    if early:
        part, when, most = chance.choice(KINDS[aim.kind])
        rule = {"kind": part, "ring": aim.ring, "when": when, "count": chance.randint(1, most)}
        made.disk.order(arm={**rule, "keep": keep, "aim": aim.kind})
    try:
        ledger.take_room_everywhere(START_BYTES)
        if not early and served:
            start_on_failing_disk(made, ledger, chance, turns, counts)
        else:
            made.start()
        if not served and not made.disk.is_cut():
            made.tell_ring()
        if not early and served:
            read_back(made, ledger, counts)
        make_topics(made.broker.host, made.broker.port)
        if aim.kind in FULL:
            with connected(made) as broker:
                release(broker, ledger)
    except Cut as cut:
        return {**cut.report, "phase": "start"}
    except GONE:
        # The cut came between the start and the first requests.
        return {**made.await_cut(CUT_SECONDS_MAX), "phase": "load"}
    if not early:
        count_flushes(made, ledger, turns, counts)
    if ledger.broken:
        return {**made.await_cut(0), "phase": "load"}
    return {**cut_under_load(made, ledger, chance, aim, keep), "phase": "load"}


def connected(made):
    return rawkafka.Connection(made.broker.host, made.broker.port, timeout=30)


def count_flushes(made, ledger, turns, counts):
    """What is acknowledged was flushed: the disk sees a flush for each sync, of one ring after the other."""
    def flushes():
        seen = made.disk.ask(counts=True)["counts"]
        return seen["flushes"] + seen["fua"], seen["writes"]

    ring = turns["rings"][0]
    before = flushes()
    with connected(made) as broker:
        if ring == METADATA:
            for _ in range(SYNCS):
                commit_next(broker, ledger)
        else:
            produce_in_turn(broker, ledger, RINGS.place_in(ring), SYNCS)
    flushed, written = (after - earlier for after, earlier in zip(flushes(), before))
    counts.update({"syncs": SYNCS, "flushes": flushed, "writes": written})
    if flushed < SYNCS:
        ledger.fail(f"{SYNCS} syncs of {ring} one after the other, and the disk was flushed {flushed} times")
    turns["rings"].rotate(-1)


def start_on_failing_disk(made, ledger, chance, turns, counts):
    """A start in which the disk fails; then it works again, and the broker is started once more. What
    the first one showed is in the ledger, if it served."""
    op, ring = turns["faults"][0], chance.choice(RINGS.names)
    times = chance.choice(START_FAULTS[op])
    # A start reads each file of a ring and writes one group to it.
    after = chance.choice((0, 1, 3)) if op == "read" else 0
    fault = {"op": op, "kind": "ring", "ring": ring, "errno": errno.EIO, "after": after}
    made.disk.order(faults=[{**fault, "times": -1 if times is None else times}])
    before = made.disk.ask(counts=True)["counts"]["faults"]
    served = True
    try:
        made.start()
    except RuntimeError:
        served = False
    struck = made.disk.ask(counts=True)["counts"]["faults"] > before
    made.disk.order(faults=[])
    if struck:
        turns["faults"].rotate(-1)
        if op != "read":
            # What is left of a segment that is given up has no use, and two starts may each do that.
            lose_segments(ledger, ring, 2)
        counts.update((("start", op), ("start of", ring)))
        counts["served"] += served
    elif not served:
        raise RuntimeError(f"no start, and nothing failed\n{made.tail()}")
    if served:
        verify(made.broker.host, made.broker.port, ledger, made.tail() if struck else None)
        made.kill()
    ledger.take_room_everywhere(START_BYTES)
    made.start()


def lose_segments(ledger, name, count):
    """So many segments of a ring are given up before they are full."""
    for ring in RINGS:
        if ring.name == name:
            with ledger.lock:
                ledger.take_room(name, count * ring.segment_mib << 20)


def cut_under_load(made, ledger, chance, aim, keep):
    """Clients at work, until the cut."""
    busy = None if aim.kind in EARLY else aim.ring
    load = Load(made.broker.host, made.broker.port, ledger, chance.random(), busy, aim.kind in FULL)
    load.start()
    before = ledger.counts["acknowledged"]
    if aim.kind in FULL and not load.full.wait(FULL_SECONDS_MAX):
        ledger.fail(f"the ring does not fill within {FULL_SECONDS_MAX} s", "held")
    if aim.kind == "seal":
        # Silence is what a seal follows.
        time.sleep(chance.uniform(0, 0.3))
    if aim.kind not in EARLY:
        aim_at(made, ledger, chance, aim, keep)
    if aim.kind == "seal":
        load.stopping.set()
    if aim.kind == "release":
        load.released.set()
    # What was to strike while the rings are made has missed them.
    missed = aim.kind in ("fill", "format")
    report = made.await_cut(1 if missed else LOAD_SECONDS_MAX)
    if report["at"] == "asked" and aim.kind not in ("seal", "any"):
        if ledger.counts["acknowledged"] == before:
            ledger.fail(f"nothing was acknowledged within {LOAD_SECONDS_MAX} s")
    made.silence()
    load.stop()
    return report


def aim_at(made, ledger, chance, aim, keep):
    """Tells the disk what to wait for."""
    if aim.kind == "any":
        time.sleep(chance.uniform(0, 1))
        made.disk.order(cut=keep)
        return
    part, when, most = chance.choice((KINDS | OTHER_AIMS)[aim.kind])
    count = chance.randint(1, most)
    of_ring = {"kind": part, "ring": aim.ring}
    rule = {**of_ring, "when": when, "count": count, "keep": keep, "aim": aim.kind}
    if aim.kind != "failover":
        made.disk.order(arm=rule)
        return
    lose_segments(ledger, aim.ring, 1)
    fault = {"op": "write", "kind": "group", "ring": aim.ring, "errno": errno.EIO, "times": 1, "arm": rule}
    made.disk.order(faults=[{**fault, "after": chance.randint(0, 50)}])


def control(build, system, seed):
    """A disk that ignores flushes must lose what was acknowledged, in each ring."""
    home = pathlib.Path(tempfile.mkdtemp(prefix="powercut-"))
    ledger = Ledger(RINGS)
    made = build(home, system, seed)
    try:
        made.power_on()
        made.start()
        make_topics(made.broker.host, made.broker.port)
        made.disk.order(lie=True)
        load = Load(made.broker.host, made.broker.port, ledger, seed)
        load.start()
        time.sleep(1)
        made.disk.order(cut="none")
        made.await_cut(0)
        made.silence()
        load.stop()
        made.power_off()
        made.power_on()
        made.start()
        verify(made.broker.host, made.broker.port, ledger)
        made.shut_down()
    finally:
        made.close()
        shutil.rmtree(home, ignore_errors=True)
    caught = {ring: ledger.counts["broken", ring] for ring in RINGS.names}
    acknowledged = ledger.counts["acknowledged"]
    told = ", ".join(f"{ring} {count}" for ring, count in caught.items())
    print(f"control: {acknowledged} acknowledged on a disk that ignores flushes; promises broken: {told}")
    for text in ledger.broken[:3]:
        print(f"    {text}")
    blind = [ring for ring, count in caught.items() if not count]
    print(f"0 passed, 1 failed: nothing was found to be lost of {', '.join(blind)}" if blind
          else "1 passed, 0 failed")
    return 1 if blind else 0
