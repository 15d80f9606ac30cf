"""A disk with a volatile write cache, in memory, over an image file: what a power cut can be aimed at.

A write is *pending* until a flush (or with FUA), sector by sector; the image holds what is durable. A
cut lets some of the pending sectors reach the image, and from then on the disk is silent, as a disk
without power is. `fuse.py` and `nbd.py` put one of these behind a file and behind a socket.

The disk looks at what is written, by the magics that FORMAT.md names, and so knows which part of which
ring a write was: a cut can wait for the second foot of one ring, and says where it fell. Such a part is
called RING/PART, by the ring's name in its anchors; what is none is "fill" or the file system's own, "fs".
"""

import collections
import json
import mmap
import os
import random
import struct

SECTOR, PAGE = 512, 4096
KEEPS = ("none", "all", "prefix", "subset", "garble")
# Anchors (FORMAT.md): the ring's id behind magic, version and CRC, the kind behind that; further on the
# ring's name.
ANCHOR_MAGIC, ANCHOR_KINDS = b"brooklet", {1: "head", 2: "foot", 3: "twin"}
ANCHOR_ID, ANCHOR_KIND_AT, ANCHOR_NAME = slice(16, 32), 32, slice(136, 168)
# Commit groups: the ring's id behind magic and CRC, then segment, sequence, position, boot and flags.
GROUP_MAGIC, GROUP_FLAGS = b"bkGr", {0: "group", 1: "seal", 4: "carried"}
GROUP_ID, GROUP_FLAGS_AT = slice(8, 24), 52
# How many places are remembered at which ring writes ended: each ring's writer has one.
ENDS_MAX = 16
# Zeroes of this length are a segment file that is being filled.
FILL_BYTES_MIN = 32 << 10


class Disk:
    """The disk. `answer` of a request that came after the cut is for the caller to withhold."""

    def __init__(self, image, seed=0):
        self.image = os.open(image, os.O_RDWR)
        self.bytes = os.fstat(self.image).st_size
        self.random = random.Random(seed)
        # (position, bytes, kinds) in order of arrival, and the newest contents by sector.
        self.pending, self.live = [], {}
        self.counts = {"reads": 0, "writes": 0, "flushes": 0, "fua": 0, "flushes_ignored": 0, "faults": 0}
        # Where the last ring writes ended, for pieces of them that follow without a magic.
        self.ends = {}
        # The names of the rings that are there, by id.
        self.names = names_in(self.image)
        # Where the ring's files lie, as (from, to); empty as long as nobody said.
        self.ring = []
        self.rule, self.lies, self.is_cut = None, False, False
        self.faults = []

    # ---- what the host asks ----

    def read(self, at, count):
        """The newest contents, durable or not."""
        self.counts["reads"] += 1
        data = os.pread(self.image, count, at)
        if not self.live:
            return data
        data = bytearray(data)
        for sector in range(at // SECTOR, -(-(at + count) // SECTOR)):
            newest = self.live.get(sector)
            if newest is not None:
                place = sector * SECTOR - at
                data[place : place + SECTOR] = newest
        return bytes(data)

    def write(self, at, data, fua=False):
        """Takes a write of whole sectors; false: the power went away, and nobody may be answered."""
        data = bytes(data)
        self.counts["writes"] += 1
        kinds = self._kinds_of(at, data)
        self.pending.append((at, data, kinds))
        for place in range(0, len(data), SECTOR):
            self.live[(at + place) // SECTOR] = data[place : place + SECTOR]
        if self._strikes("write", kinds):
            return False
        if fua:
            self.counts["fua"] += 1
            # A disk may always keep more than it must.
            self._persist_all()
        return True

    def flush(self):
        """Makes everything durable; false: the power went away."""
        self.counts["flushes"] += 1
        kinds = frozenset().union(*(entry[2] for entry in self.pending))
        if self._strikes("flush", kinds):
            return False
        if self.lies:
            self.counts["flushes_ignored"] += 1
        else:
            self._persist_all()
        return not self._strikes("flushed", kinds)

    # ---- what the test asks ----

    def command(self, order):
        """Carries out one order, a dict; gives what there is to say, or None."""
        if "arm" in order:
            self.rule = dict(order["arm"])
        if "lie" in order:
            self.lies = order["lie"]
        if "ring" in order:
            self.ring = order["ring"]
        if "faults" in order:
            self.faults = order["faults"]
        if "cut" in order and not self.is_cut:
            self.cut(order["cut"], "asked", frozenset(), None)
        if "settle" in order:
            # The host was reset, and takes what it finds for durable before it writes again.
            self._persist_all()
            return {"settle": True}
        if "counts" in order:
            return {"counts": self.counts}
        return None

    def fault(self, op, at, count, data=b""):
        """What an order of faults says about this operation: None, or (errno or 0, milliseconds).
        `kind`: only what has this part of a ring in it, or for "ring" any part; `ring`: of this one.
        `arm`: from when it strikes, this rule holds."""
        for fault in self.faults:
            low, high = fault.get("range", (0, self.bytes))
            if fault["op"] != op or (op != "flush" and (at >= high or at + count <= low)):
                continue
            if "kind" in fault and not self._is_of(fault, op, at, count, data):
                continue
            if fault.get("after", 0) > 0:
                fault["after"] -= 1
                continue
            if fault.get("times", 1) == 0:
                continue
            fault["times"] = fault.get("times", -1) - 1
            self.counts["faults"] += 1
            if "arm" in fault:
                self.rule = dict(fault["arm"])
            return fault.get("errno", 0), fault.get("ms", 0)
        return None

    def cut(self, keep, at, kinds, aim):
        """The power goes away: decides what of the pending sectors is on the medium. `aim`: what the
        rule that struck was for."""
        self.is_cut = True
        # A ring may find any sector old, new or garbled; file systems count on whole pages.
        sectors = [
            (position + place, data[place : place + unit], entry_kinds)
            for position, data, entry_kinds in self.pending
            for unit in [PAGE if "fs" in entry_kinds else SECTOR]
            for place in range(0, len(data), unit)
        ]
        kept = self._survivors(keep, sectors)
        for position, data, _ in kept:
            os.pwrite(self.image, data, position)
        garbled = 0
        if keep == "garble":
            # Only what belongs to a ring: no file system promises to survive a garbled journal.
            # A page may hold sectors that were flushed before: file systems' blocks can be smaller.
            pages = collections.defaultdict(set)
            for position, data, _ in sectors:
                if self._in_ring(position):
                    pages[position // PAGE].add((position, len(data)))
            for page in sorted(pages):
                if self.random.random() < 0.25:
                    for position, count in sorted(pages[page]):
                        os.pwrite(self.image, self.random.randbytes(count), position)
                    garbled += 1
        self.report = {
            "event": "cut",
            "keep": keep,
            "at": at,
            "aim": aim,
            "ring": self.rule.get("ring") if aim else None,
            "kinds": sorted(kinds or frozenset().union(*(entry[2] for entry in self.pending))),
            "sectors_pending": sum(len(data) for _, data, _ in sectors) // SECTOR,
            "sectors_kept": sum(len(data) for _, data, _ in kept) // SECTOR,
            "pages_garbled": garbled,
            **self.counts,
        }

    # ---- helpers ----

    def _survivors(self, keep, sectors):
        if keep == "none":
            return []
        if keep == "all":
            return sectors
        if keep == "prefix":
            return sectors[: self.random.randint(0, len(sectors))]
        chance = self.random.choice((0.1, 0.5, 0.9))
        # A sector that was written twice keeps one of both, or what it had.
        return [sector for sector in sectors if self.random.random() < chance]

    def _is_of(self, fault, op, at, count, data):
        """Whether an operation is of such a part of a ring. A flush is of what was written last."""
        if op == "flush":
            kinds = self.pending[-1][2] - {"fs"} if self.pending else frozenset()
        else:
            kinds = kinds_in(self.read(at, count) if op == "read" else data, self.names)
        if fault["kind"] == "ring" and "ring" not in fault:
            return bool(kinds)
        return are_wanted(kinds, fault)

    def _in_ring(self, at):
        return any(low <= at < high for low, high in self.ring)

    def _persist_all(self):
        for at, data, _ in self.pending:
            os.pwrite(self.image, data, at)
        self.pending.clear()
        self.live.clear()

    def _strikes(self, when, kinds):
        """Whether the rule says that the power goes away now."""
        rule = self.rule
        if self.is_cut:
            return True
        if not rule or rule.get("when", "write") != when:
            return False
        if rule.get("kind") and not are_wanted(kinds, rule):
            return False
        rule["count"] = rule.get("count", 1) - 1
        if rule["count"] > 0:
            return False
        self.cut(rule.get("keep", "none"), when, kinds, rule.get("aim"))
        return True

    def _kinds_of(self, at, data):
        """Which parts of a ring a write has; {"fs"}: none, it is the file system's own."""
        kinds = kinds_in(data, self.names)
        if not kinds and at in self.ends and (self._in_ring(at) or not self.ring):
            kinds = self.ends.pop(at)
        if not kinds and len(data) >= FILL_BYTES_MIN and not any(data):
            kinds = {"fill"}
        if kinds:
            self.ends[at + len(data)] = kinds
            if len(self.ends) > ENDS_MAX:
                del self.ends[next(iter(self.ends))]
        return frozenset(kinds or {"fs"})


def kinds_in(data, names):
    """Which parts of rings begin in it; the names of rings that are new are learnt."""
    kinds = set()
    for place in range(0, len(data), PAGE):
        if data.startswith(ANCHOR_MAGIC, place):
            page = data[place : place + PAGE]
            ring = names[page[ANCHOR_ID]] = page[ANCHOR_NAME].rstrip(b"\0").decode(errors="replace")
            kind = ANCHOR_KINDS.get(struct.unpack_from("<I", page, ANCHOR_KIND_AT)[0], "head")
            kinds.add(f"{ring}/{kind}")
        elif data.startswith(GROUP_MAGIC, place):
            page = data[place : place + SECTOR]
            flags = struct.unpack_from("<H", page, GROUP_FLAGS_AT)[0]
            kinds.add(f"{names.get(page[GROUP_ID], '?')}/{GROUP_FLAGS.get(flags, 'copy')}")
    return kinds


def are_wanted(kinds, rule):
    """Whether one of them is of the kind and of the ring that a rule names; "ring" is any kind."""
    for kind in kinds:
        ring, _, part = kind.rpartition("/")
        right = rule["kind"] == part or rule["kind"] == "ring" and ring
        if right and rule.get("ring") in (None, ring):
            return True
    return False


def names_in(image):
    """The names of the rings in an image, by id."""
    names = {}
    with mmap.mmap(image, 0, prot=mmap.PROT_READ) as data:
        at = data.find(ANCHOR_MAGIC)
        while at >= 0:
            # File systems' blocks can be smaller than pages.
            if at % SECTOR == 0:
                kinds_in(data[at : at + PAGE], names)
            at = data.find(ANCHOR_MAGIC, at + 1)
    return names


def tell(event):
    """One event to whoever started this process."""
    os.write(1, json.dumps(event).encode() + b"\n")


class Orders:
    """Orders from the standard input, one JSON object a line, for a loop that selects on it."""

    def __init__(self):
        self.received = b""

    def take(self):
        """The orders that have arrived; None: whoever gave them is gone."""
        part = os.read(0, 1 << 16)
        if not part:
            return None
        *lines, self.received = (self.received + part).split(b"\n")
        return [json.loads(line) for line in lines]
