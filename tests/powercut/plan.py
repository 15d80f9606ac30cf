"""Where cuts can fall: their kinds, which of them a life has, and what was hit in the end.

A kind is tried in each ring that can have it. A run of enough cuts has each kind in each ring, a shorter
one each kind and each ring.
"""

import collections
import itertools
import math

from rings import METADATA, Ring, Rings

HOLDER = "keeper"
RINGS = Rings((
    Ring("alarms", ("alarm*",), segments=3, segment_mib=4, spares=2),
    Ring("held", ("held*",), segments=3, segment_mib=4, spares=3, holder=HOLDER, kept=("held",)),
    # Starts that fail one after the other each take one until the next roll, and may use them up.
    Ring("main", ("*",), segments=3, segment_mib=8, spares=1),
))
# Of each kind what a cut waits for: (part of the ring that is written, before which moment, at most how many
# of it).
KINDS = {
    # While the files are filled with zeroes, while the ring is made in them, and while a broker starts over it.
    "fill": (("fill", "write", 30), ("fill", "flush", 3)),
    "format": (
        ("head", "write", 1), ("head", "flush", 1), ("head", "flushed", 1), ("group", "write", 1),
        ("group", "flush", 1), ("twin", "write", 1), ("twin", "flush", 1),
    ),
    "recovery": (("group", "write", 1), ("group", "flush", 1)),
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
    # In a held ring that is full, while its producers wait and what nobody holds is overwritten; and when its
    # holder has come further.
    "hold": (
        ("group", "write", 20), ("group", "flush", 20), ("group", "flushed", 20), ("head", "write", 1),
        ("head", "flush", 1), ("head", "flushed", 1), ("foot", "flush", 1),
    ),
    "release": (
        ("group", "write", 3), ("group", "flush", 3), ("group", "flushed", 3), ("head", "write", 1),
        ("head", "flush", 1), ("head", "flushed", 1), ("foot", "flush", 1), ("foot", "flushed", 1),
    ),
    # While the newest records of keys are written once more.
    "carry": (("carried", "write", 5), ("carried", "flush", 5), ("carried", "flushed", 5)),
}
EVERYWHERE = ("group", "foot", "head", "roll", "failover", "recovery")
SOMEWHERE = (("hold", "held"), ("release", "held"), ("carry", "main"))
# What else a cut may wait for.
OTHERS = ("seal", "any", "fs", "write")
OTHER_AIMS = {
    "seal": (("seal", "write", 1), ("seal", "flush", 1), ("seal", "flushed", 1)),
    "fs": (("fs", "write", 6),),
    "write": ((None, "write", 400),),
}
# What fails in a start before the disk works again: how often at the most; None: until then. A page that
# cannot be read for eight seconds counts as damaged, so reads fail for a moment only.
START_FAULTS = {"read": (1, 2, 3), "write": (1, 2, None), "flush": (1, 2, None)}
# Which rings are made while the power goes away, in which lives. The metadata ring is made first, then the
# others from the last table on.
MADE = ((METADATA, "held"), ("main", "alarms"))

Aim = collections.namedtuple("Aim", "kind ring")
ALL = [
    Aim("fill", None),
    *(Aim("format", ring) for ring in RINGS.names),
    *(Aim(kind, ring) for kind in EVERYWHERE for ring in RINGS.names),
    *(Aim(*pair) for pair in SOMEWHERE),
]
# How many cuts it takes for all of them, with some that fall elsewhere.
CUTS_FOR_ALL = 44


def in_turn():
    """All kinds that each ring has, in all rings: kinds and rings take turns."""
    kinds, rings = len(EVERYWHERE), len(RINGS.names)
    for number in range(kinds * rings):
        again = number // math.lcm(kinds, rings)
        yield Aim(EVERYWHERE[number % kinds], RINGS.names[(number + again) % rings])


def plan_of(number, chance, cuts):
    """What the cuts of a life are aimed at, in their order; `number`: which life of its run it is."""
    made = [Aim("format", ring) for ring in MADE[number % len(MADE)]]
    begin = [Aim("fill", None), *made] if cuts > 2 * len(SOMEWHERE) + len(EVERYWHERE) else made[:1]
    first = [Aim(*pair) for pair in SOMEWHERE]
    others = [Aim(kind, None) for kind in OTHERS] if len(begin) > 1 else []
    wanted = max(0, cuts - len(begin) - len(first) - len(others))
    turns = itertools.cycle(in_turn())
    rest = list(itertools.islice(turns, number * wanted, (number + 1) * wanted))
    rest += first + others
    chance.shuffle(rest)
    return [*begin, *rest][:cuts]


def never_hit(totals):
    """What a run should have cut into and did not, as text."""
    if totals["cuts"] >= CUTS_FOR_ALL:
        return [
            f"no cut into a {aim.kind}" + (f" of {aim.ring}" if aim.ring else "")
            for aim in ALL if not totals["kind", aim.kind, aim.ring]
        ]
    kinds = {key[1] for key in totals if key[0] == "kind"}
    return [
        *(f"no cut into a {kind}" for kind in KINDS if kind != "fill" and kind not in kinds),
        *(f"no cut into {ring}" for ring in RINGS.names if not totals["ring", ring]),
    ]


def show(totals, lives, seconds):
    """What was tried; gives what was not."""
    print(
        f"{totals['cuts']} cuts in {lives} lives, {seconds:.0f} s; records acknowledged "
        f"{totals['acknowledged']:,}, broken promises {totals['broken']}"
    )
    rings = RINGS.names
    print("  cuts into a" + "".join(f"{ring:>10}" for ring in rings))
    for kind in KINDS:
        if kind == "fill":
            continue
        of_each = [totals["kind", kind, ring] if Aim(kind, ring) in ALL else "-" for ring in rings]
        print(f"    {kind:9}" + "".join(f"{count:>10}" for count in of_each))
    hit = ", ".join(f"{ring} {totals['ring', ring]}" for ring in rings)
    print(f"  with something of a ring not yet on the medium: {hit}")
    parts = [(kind, totals["kind", kind, None]) for kind in ("fill", *OTHERS, "asked")]
    print("  cuts elsewhere: " + ", ".join(f"{name} {count}" for name, count in parts))
    print("  records acknowledged: " + ", ".join(
        f"{ring.name} {totals['acknowledged', ring.name]:,}" for ring in RINGS
    ) + f"; newest records of keys found {totals['keys']:,}")
    starts = [(op, totals["start", op]) for op in START_FAULTS]
    print("  starts on a failing disk: " + ", ".join(f"{op} {count}" for op, count in starts))
    served = totals["served"]
    print(f"    of these {served} served all the same, {sum(n for _, n in starts) - served} gave up; by the "
          "ring that failed: " + ", ".join(f"{ring} {totals['start of', ring]}" for ring in rings))
    if totals["syncs"]:
        each = [f"{name} {totals[name] / totals['syncs']:.2f}" for name in ("flushes", "writes")]
        print(f"  what the disk sees of each of {totals['syncs']} syncs: " + ", ".join(each))
    for title in ("keep", "fs"):
        named = [(key[1], count) for key, count in totals.items() if key[0] == title]
        print(f"  by {title}: " + ", ".join(f"{name} {count}" for name, count in sorted(named)))
    return never_hit(totals) + [f"no start in which a {op} fails" for op, count in starts if not count]
