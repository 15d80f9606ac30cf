"""A disk's life over many power cuts, whatever the broker runs in: start, read back, load, cut, again.

`native` and `run` give it a stack: something that can be powered on, started, and cut. A life has a plan:
which kind of cut comes when. A cut that fell elsewhere than it was meant to is tried again, so that a run
has cuts of each kind of `KINDS`; one without is a failure, and so is one without failing starts.
"""

import collections
import errno
import itertools
import pathlib
import random
import shutil
import tempfile
import time

from checker import GONE, Ledger, Load, make_topics, produce_in_turn, release, verify
from disk import KEEPS
from stack import CUT_SECONDS_MAX, Cut

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
SEGMENTS, SEGMENT_BYTES = 3, 4 << 20
SETTINGS = (
    f"ring.main.segments={SEGMENTS}",
    "ring.main.segment_bytes=4MiB",
    "seal_after_ms=100",
    "memory_max=10MiB",
)
# Starts that fail one after the other each take one until the next roll, and may use them up.
ORDINARY_SETTINGS = (*SETTINGS, "ring.main.spares=1")
HELD_SETTINGS = (*SETTINGS, "ring.main.spares=3", "ring.main.hold_for=group:keeper")
# What a ring of that size keeps at the least: all segments but the oldest, and of those not what
# heads, feet and the notes of starts take.
CAPACITY_BYTES = (SEGMENTS - 1) * (SEGMENT_BYTES - (1 << 20))
# Batches that are sent in turn to count what the disk sees of their syncs.
SYNCS = 20
CUTS_PER_LIFE, CUTS_PER_HELD_LIFE = 18, 4
LOAD_SECONDS_MAX, FULL_SECONDS_MAX = 5, 120
TRIES_MAX = 4
# What file systems are larger than they have to be.
SPARE_MIB = 8
# Where a cut can fall. Of each kind what it waits for: (part of the ring that is written, or None for any,
# before which moment, at most how many of it).
KINDS = {
    # While the ring is made, and while a broker starts over one.
    "format": ((None, "write", 10), (None, "flush", 3)),
    "recovery": (("group", "write", 1), ("group", "flush", 1), (None, "write", 3), (None, "flush", 2)),
    "group": (("group", "write", 200), ("group", "flush", 200), ("group", "flushed", 200)),
    "foot": (("foot", "write", 1), ("foot", "flush", 1)),
    "head": (("head", "write", 1), ("head", "flush", 1)),
    # Between a foot and the next head, and between that and the first group.
    "roll": (("foot", "flushed", 1), ("head", "flushed", 1)),
    # Behind a group whose write failed, on its way to a spare.
    "failover": (
        ("head", "write", 1), ("head", "flush", 1), ("head", "flushed", 1),
        ("group", "write", 1), ("group", "flush", 1),
    ),
    # In a held ring that is full, while its producers wait.
    "hold": (("group", "write", 20), ("group", "flush", 20), ("group", "flushed", 20)),
}
# More of the kinds of which every life has one, and what else a cut may wait for.
OTHERS = ("seal", "any", "fs", "write")
OTHER_AIMS = {
    "seal": (("seal", "write", 1), ("seal", "flush", 1), ("seal", "flushed", 1)),
    "fs": (("fs", "write", 6),),
    "write": ((None, "write", 400),),
}
# What fails in a start before the disk works again: how often at the most; None: until then. A page that
# cannot be read for eight seconds counts as damaged, so reads fail for a moment only.
START_FAULTS = {"read": (1, 2, 3), "write": (1, 2, None), "flush": (1, 2, None)}


def plan_of(chance, held, cuts):
    """The kinds of a life's cuts, in their order."""
    if held:
        return ["format", *(["hold"] * max(1, cuts - 2)), "recovery"][: max(cuts, 2)]
    wanted = [kind for kind in KINDS if kind not in ("format", "hold")]
    more = [*wanted, *OTHERS, *OTHERS]
    chance.shuffle(wanted)
    chance.shuffle(more)
    return ["format", *wanted, *itertools.islice(itertools.cycle(more), max(0, cuts - 1 - len(wanted)))]


def show(totals, lives, seconds):
    """What was tried; gives what was not."""
    print(
        f"{totals['cuts']} cuts in {lives} lives, {seconds:.0f} s; records acknowledged "
        f"{totals['acknowledged']:,}, broken promises {totals['broken']}"
    )
    parts = [(f"into a {kind}", totals["kind", kind]) for kind in KINDS]
    parts += [(f"elsewhere ({kind})", totals["kind", kind]) for kind in (*OTHERS, "asked")]
    print("  cuts: " + ", ".join(f"{name} {count}" for name, count in parts))
    starts = [(op, totals["start", op]) for op in START_FAULTS]
    print("  starts on a failing disk: " + ", ".join(f"{op} {count}" for op, count in starts))
    served = totals["served"]
    print(f"    of these {served} served all the same, {sum(n for _, n in starts) - served} gave up")
    if totals["syncs"]:
        each = [f"{name} {totals[name] / totals['syncs']:.2f}" for name in ("flushes", "writes")]
        print(f"  what the disk sees of each of {totals['syncs']} syncs: " + ", ".join(each))
    for title in ("keep", "fs"):
        named = [(key[1], count) for key, count in totals.items() if key[0] == title]
        print(f"  by {title}: " + ", ".join(f"{name} {count}" for name, count in sorted(named)))
    never = [f"no cut into a {kind}" for kind in KINDS if not totals["kind", kind]]
    return never + [f"no start in which a {op} fails" for op, count in starts if not count]


def lives(build, systems, seed, cuts, only=None):
    """Lives until there were so many cuts; `build(home, system, seed, settings)` makes what each one runs
    in. `only`: one life, with a held ring or without. Gives the exit code."""
    totals, number, started = collections.Counter(), 0, time.monotonic()
    while totals["cuts"] < cuts:
        system, held = systems[number // 2 % len(systems)], number % 2 == 1
        held = held if only is None else only == "held"
        wanted = CUTS_PER_HELD_LIFE if held else CUTS_PER_LIFE
        if only is not None:
            wanted = cuts
        found, counts = life(build, system, seed + number, wanted, held)
        totals.update(counts)
        if found:
            word = "held" if held else "plain"
            print(f"FAILED: --fs {system} --seed {seed + number} --cuts {wanted} --life {word}")
            for text in found[:20]:
                print(f"    {text}")
        number += 1
        if only is not None:
            break
    never = show(totals, number, time.monotonic() - started)
    failed = totals["failed"]
    if only is None:
        failed += len(never)
        for text in never:
            print(f"FAILED: {text}; more --cuts?")
    print(f"{totals['passed']} passed, {failed} failed")
    return 1 if failed else 0


def life(build, system, seed, cuts, held):
    """One disk's life; gives what was broken, and counts."""
    chance, counts = random.Random(seed), collections.Counter()
    ledger = Ledger(0 if held else CAPACITY_BYTES, held)
    home = pathlib.Path(tempfile.mkdtemp(prefix="powercut-"))
    made = build(home, system, seed, HELD_SETTINGS if held else ORDINARY_SETTINGS)
    found, plan, tries = [], collections.deque(plan_of(chance, held, cuts)), collections.Counter()
    faults = collections.deque(START_FAULTS)
    try:
        number = 0
        while plan and not ledger.broken:
            kind = plan.popleft()
            report = cycle(made, ledger, chance, kind, number == 0, faults, counts)
            made.power_off()
            number += 1
            fell = fell_into(report, kind)
            tell_cut(system, seed, number, fell, report, ledger)
            counts.update(("cuts", ("kind", fell), ("keep", report["keep"]), ("fs", system)))
            tries[kind] += 1
            if fell != kind and kind in KINDS and kind != "format" and tries[kind] < TRIES_MAX:
                plan.append(kind)
        if not ledger.broken:
            made.power_on()
            made.start()
            read_back(made, ledger, counts)
            made.shut_down()
    except Exception as error:  # whatever it was, it is this life's failure
        found.append(f"{type(error).__name__}: {error}")
    found += ledger.broken
    counts["acknowledged"], counts["broken"] = ledger.counts["acknowledged"], len(found)
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


def fell_into(report, kind):
    """Which kind of cut it was in the end."""
    if report["phase"] != "load":
        return report["phase"]
    if report["aim"] is None:
        return kind if kind == "any" else "asked"
    if report["aim"] == "recovery" and "group" in report["kinds"]:
        # The first group is the start's own; clients may be let in while it is written.
        return "recovery"
    return report["aim"] if report["aim"] not in ("format", "recovery") else "asked"


def tell_cut(system, seed, number, fell, report, ledger):
    print(
        f"{system} {seed} cut {number}: {fell}, {'+'.join(report['kinds'])} {report['at']}, keeps "
        f"{report['keep']} ({report['sectors_kept']} of {report['sectors_pending']} sectors); "
        f"{ledger.counts['acknowledged']} acknowledged, {ledger.counts['broken']} broken",
        flush=True,
    )


def read_back(made, ledger, counts):
    """Everything that was promised is there: all cuts so far have passed."""
    verify(made.broker.host, made.broker.port, ledger)
    if not ledger.broken:
        counts["passed"] = counts["cuts"]


def cycle(made, ledger, chance, kind, first, faults, counts):
    """From power to cut: start, read back, load, cut. Gives the disk's report."""
    made.power_on()
    keep = chance.choice(KEEPS)
    early = kind in ("format", "recovery")
    if early:
        part, when, most = chance.choice(KINDS[kind])
        rule = {"kind": part, "when": when, "count": chance.randint(1, most), "keep": keep}
        made.disk.order(arm={**rule, "aim": kind})
    try:
        with_room(ledger, 256 << 10)
        if not early and not first:
            start_on_failing_disk(made, ledger, chance, faults, counts)
        else:
            made.start()
        if first and not made.disk.is_cut():
            made.tell_ring()
        if not early:
            read_back(made, ledger, counts)
        make_topics(made.broker.host, made.broker.port)
        if kind == "hold":
            release(made.broker.host, made.broker.port, ledger)
    except Cut as cut:
        return {**cut.report, "phase": "format" if first else "recovery"}
    except GONE:
        # The cut came between the start and the first requests.
        return {**made.await_cut(CUT_SECONDS_MAX), "phase": "load"}
    if not early and kind != "hold":
        count_flushes(made, ledger, counts)
    if ledger.broken:
        return {**made.await_cut(0), "phase": "load"}
    return {**cut_under_load(made, ledger, chance, kind, keep, early), "phase": "load"}


def count_flushes(made, ledger, counts):
    """What is acknowledged was flushed: the disk sees a flush for each sync."""
    def flushes():
        seen = made.disk.ask(counts=True)["counts"]
        return seen["flushes"] + seen["fua"], seen["writes"]

    before = flushes()
    produce_in_turn(made.broker.host, made.broker.port, ledger, SYNCS)
    flushed, written = (after - earlier for after, earlier in zip(flushes(), before))
    counts.update({"syncs": SYNCS, "flushes": flushed, "writes": written})
    if flushed < SYNCS:
        ledger.fail(f"{SYNCS} syncs one after the other, and the disk was flushed {flushed} times")


def start_on_failing_disk(made, ledger, chance, faults, counts):
    """A start in which the disk fails; then it works again, and the broker is started once more. What
    the first one showed is in the ledger, if it served."""
    op = faults[0]
    times = chance.choice(START_FAULTS[op])
    fault = {"op": op, "kind": "ring", "errno": errno.EIO, "after": chance.choice((0, 0, 1, 3))}
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
        faults.rotate(-1)
        if op != "read":
            # What is left of a segment that is given up has no use, and two starts may each do that.
            with_room(ledger, 2 * SEGMENT_BYTES)
        counts["start", op] += 1
        counts["served"] += served
    elif not served:
        raise RuntimeError(f"no start, and nothing failed\n{made.tail()}")
    if served:
        verify(made.broker.host, made.broker.port, ledger, made.tail() if struck else None)
        made.kill()
    with_room(ledger, 256 << 10)
    made.start()


def cut_under_load(made, ledger, chance, kind, keep, early):
    """Clients at work, until the cut."""
    load = Load(made.broker.host, made.broker.port, ledger, chance.random())
    load.start()
    before = ledger.counts["acknowledged"]
    if kind == "hold" and not load.full.wait(FULL_SECONDS_MAX):
        ledger.fail(f"the ring does not fill within {FULL_SECONDS_MAX} s")
    if kind == "seal":
        # Silence is what a seal follows.
        time.sleep(chance.uniform(0, 0.3))
    if not early:
        aim_at(made, ledger, chance, kind, keep)
    if kind == "seal":
        load.stopping.set()
    report = made.await_cut(LOAD_SECONDS_MAX)
    if report["at"] == "asked" and kind not in ("seal", "any"):
        if ledger.counts["acknowledged"] == before:
            ledger.fail(f"nothing was acknowledged within {LOAD_SECONDS_MAX} s")
    made.silence()
    load.stop()
    return report


def with_room(ledger, count):
    """A start takes room too, and so does a failure."""
    with ledger.lock:
        ledger.take_room(count)


def aim_at(made, ledger, chance, kind, keep):
    """Tells the disk what to wait for."""
    if kind == "any":
        time.sleep(chance.uniform(0, 1))
        made.disk.order(cut=keep)
        return
    part, when, most = chance.choice((KINDS | OTHER_AIMS)[kind])
    count = chance.randint(1, most)
    rule = {"kind": part, "when": when, "count": count, "keep": keep, "aim": kind}
    if kind != "failover":
        made.disk.order(arm=rule)
        return
    with_room(ledger, SEGMENT_BYTES)
    fault = {"op": "write", "kind": "group", "errno": errno.EIO, "times": 1, "arm": rule}
    made.disk.order(faults=[{**fault, "after": chance.randint(0, 50)}])


def control(build, system, seed):
    """A disk that ignores flushes must lose what was acknowledged."""
    home = pathlib.Path(tempfile.mkdtemp(prefix="powercut-"))
    ledger = Ledger()
    made = build(home, system, seed, ORDINARY_SETTINGS)
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
    caught = ledger.counts["broken"]
    acknowledged = ledger.counts["acknowledged"]
    print(f"control: {acknowledged} acknowledged on a disk that ignores flushes, {caught} promises broken")
    for text in ledger.broken[:3]:
        print(f"    {text}")
    print("1 passed, 0 failed" if caught else "0 passed, 1 failed: nothing was found to be lost")
    return 0 if caught else 1


