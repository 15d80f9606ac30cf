"""A disk's life over many power cuts, whatever the broker runs in: start, read back, load, cut, again.

`native` and `run` give it a stack: something that can be powered on, started, and cut.
"""

import collections
import pathlib
import random
import shutil
import tempfile
import time

from checker import GONE, Ledger, Load, make_topics, verify
from disk import KEEPS
from stack import CUT_SECONDS_MAX, Cut

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
SEGMENTS, SEGMENT_BYTES = 3, 4 << 20
SETTINGS = (
    f"ring.main.segments={SEGMENTS}",
    "ring.main.segment_bytes=4MiB",
    "ring.main.spares=1",
    "seal_after_ms=100",
)
# What a ring of that size keeps at the least: all segments but the oldest, and of those not what
# heads, feet and the notes of starts take.
CAPACITY_BYTES = (SEGMENTS - 1) * (SEGMENT_BYTES - (1 << 20))
CUTS_PER_LIFE = 20
LOAD_SECONDS_MAX = 5
# What a cut waits for: (kind of write or None for any, before which moment, at most how many of it).
AIMS = (
    ("group", "write", 200),
    ("group", "flush", 200),
    ("group", "flushed", 200),
    ("head", "write", 1),
    ("head", "flush", 1),
    ("head", "flushed", 1),
    ("foot", "write", 1),
    ("foot", "flush", 1),
    ("foot", "flushed", 1),
    (None, "write", 400),
    ("fs", "write", 6),
)


def show(totals, lives, seconds):
    """What was tried."""
    print(
        f"{totals['cuts']} cuts in {lives} lives, {seconds:.0f} s; records acknowledged "
        f"{totals['acknowledged']:,}, broken promises {totals['broken']}"
    )
    for title in ("at", "phase", "keep", "fs"):
        parts = [(key[1], count) for key, count in totals.items() if key[0] == title]
        print(f"  by {title}: " + ", ".join(f"{name} {count}" for name, count in sorted(parts)))


def lives(build, systems, seed, cuts):
    """Lives until there were so many cuts; `build(home, system, seed)` makes what each one runs in.
    Gives the exit code."""
    totals, failures, number, started = collections.Counter(), 0, 0, time.monotonic()
    while totals["cuts"] < cuts:
        system = systems[number % len(systems)]
        wanted = min(CUTS_PER_LIFE, cuts - totals["cuts"])
        found, counts = life(build, system, seed + number, wanted)
        totals.update(counts)
        if found:
            failures += 1
            print(f"FAILED: --fs {system} --seed {seed + number} --cuts {wanted}")
            for text in found[:20]:
                print(f"    {text}")
        number += 1
    show(totals, number, time.monotonic() - started)
    print(f"{totals['cuts'] - failures} passed, {failures} failed")
    return 1 if failures else 0


def life(build, system, seed, cuts):
    """One disk's life; gives what was broken, and counts."""
    chance, ledger, counts = random.Random(seed), Ledger(CAPACITY_BYTES), collections.Counter()
    home = pathlib.Path(tempfile.mkdtemp(prefix="powercut-"))
    made = build(home, system, seed)
    found = []
    try:
        for number in range(cuts):
            report = cycle(made, ledger, chance, number)
            made.power_off()
            counts["cuts"] += 1
            for key in where(report):
                counts[key] += 1
            counts["fs", system] += 1
            print(
                f"{system} {seed} cut {number + 1}: {report['phase']}, {'+'.join(report['kinds'])} "
                f"{report['at']}, keeps {report['keep']} ({report['sectors_kept']} of "
                f"{report['sectors_pending']} sectors); {ledger.counts['acknowledged']} acknowledged, "
                f"{ledger.counts['broken']} broken",
                flush=True,
            )
            if ledger.broken:
                break
        made.power_on()
        made.start()
        verify(made.broker.host, made.broker.port, ledger)
        made.shut_down()
    except Exception as error:  # whatever it was, it is this life's failure
        found.append(f"{type(error).__name__}: {error}")
    found += ledger.broken
    counts["acknowledged"], counts["broken"] = ledger.counts["acknowledged"], len(found)
    counts["cuts"] = max(counts["cuts"], 1)
    made.close()
    if found:
        kept = ROOT / "target" / "powercut" / f"{system}-{seed}"
        shutil.rmtree(kept, ignore_errors=True)
        shutil.copytree(home, kept, ignore=shutil.ignore_patterns("fuse", "mount"))
        found.append(f"image and log are in target/powercut/{kept.name}")
    shutil.rmtree(home, ignore_errors=True)
    return found, counts


def cycle(made, ledger, chance, number):
    """From power to cut: start, read back, load, cut. Gives the disk's report."""
    made.power_on()
    keep = chance.choice(KEEPS)
    first = number == 0
    # Into the start itself: always the first one, which makes the ring, and every third later on.
    early = first or chance.random() < 0.3
    if early:
        count = chance.randint(1, 40) if first else chance.choice((1, 1, 2, 2, 3, 4))
        made.disk.order(arm={"count": count, "keep": keep, "when": chance.choice(("write", "flush"))})
    try:
        with_room(ledger, 256 << 10)
        made.start()
        if first and not made.disk.is_cut():
            made.tell_ring()
        if not early:
            verify(made.broker.host, made.broker.port, ledger)
        make_topics(made.broker.host, made.broker.port)
    except Cut as cut:
        return {**cut.report, "phase": "format" if first else "recovery"}
    except GONE:
        # The cut came between the start and the first requests.
        return {**made.await_cut(CUT_SECONDS_MAX), "phase": "load"}
    if ledger.broken:
        return {**made.await_cut(0), "phase": "load"}
    load = Load(made.broker.host, made.broker.port, ledger, chance.random())
    load.start()
    aim = chance.choice((*AIMS, "seal", "any"))
    if not early:
        aim_at(made, chance, aim, keep)
    if aim == "seal":
        # Silence is what a seal follows.
        time.sleep(chance.uniform(0, 0.3))
        load.stopping.set()
    before = ledger.counts["acknowledged"]
    report = made.await_cut(LOAD_SECONDS_MAX)
    if report["at"] == "asked" and aim not in ("seal", "any"):
        if ledger.counts["acknowledged"] == before:
            ledger.fail(f"nothing was acknowledged within {LOAD_SECONDS_MAX} s")
    made.silence()
    load.stop()
    return {**report, "phase": "load"}


def with_room(ledger, count):
    """A start takes room too."""
    with ledger.lock:
        ledger.take_room(count)


def aim_at(made, chance, aim, keep):
    """Tells the disk what to wait for."""
    if aim == "any":
        time.sleep(chance.uniform(0, 1))
        made.disk.order(cut=keep)
    elif aim == "seal":
        when = chance.choice(("write", "flush", "flushed"))
        made.disk.order(arm={"kind": "seal", "when": when, "keep": keep})
    else:
        kind, when, most = aim
        count = chance.randint(1, most)
        made.disk.order(arm={"kind": kind, "when": when, "count": count, "keep": keep})


def where(report):
    """What a report counts as."""
    kinds = [kind for kind in report["kinds"] if kind != "fs"] or ["file system"]
    return [("at", kind) for kind in kinds] + [("phase", report["phase"]), ("keep", report["keep"])]


def control(build, system, seed):
    """A disk that ignores flushes must lose what was acknowledged."""
    home = pathlib.Path(tempfile.mkdtemp(prefix="powercut-"))
    ledger = Ledger()
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
    caught = ledger.counts["broken"]
    acknowledged = ledger.counts["acknowledged"]
    print(f"control: {acknowledged} acknowledged on a disk that ignores flushes, {caught} promises broken")
    for text in ledger.broken[:3]:
        print(f"    {text}")
    print("1 passed, 0 failed" if caught else "0 passed, 1 failed: nothing was found to be lost")
    return 0 if caught else 1


