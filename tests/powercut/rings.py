"""The rings that a broker under test has, and the topics that the load writes to.

A ring takes the topics that its globs match, the first one that does and else the last, as in the broker's
configuration. The metadata ring is nobody's choice: 3 segments and a spare.
"""

import collections
import fnmatch

METADATA = "metadata"
METADATA_FILES, METADATA_SEGMENT_BYTES = 4, 4 << 20

# Topic, partitions, settings; the relaxed one is acknowledged before its sync, so its
# acknowledgements promise nothing, and what was seen of it does.
TOPICS = (
    ("plain", 3, {}),
    ("once", 2, {}),
    ("relaxed", 1, {"flush.ms": "20"}),
    ("keyed", 2, {"cleanup.policy": "compact"}),
    ("alarms", 2, {}),
    ("held", 2, {}),
    ("held-not", 1, {}),
)
PLACES = [(topic, index) for topic, count, _ in TOPICS for index in range(count)]
COMPACTED = {topic for topic, _, settings in TOPICS if "cleanup.policy" in settings}
# What idempotent producers write to: nothing of it is missing in between.
ONCE = {("once", 0), ("once", 1), ("alarms", 1), ("held", 1)}


class Ring(collections.namedtuple("Ring", "name topics segments segment_mib spares holder kept",
                                  defaults=(None, ()))):
    """One data ring. `holder`: the group that it is held for, `kept`: what of."""

    @property
    def capacity_bytes(self):
        """How many bytes of groups it holds at the least before it evicts: all segments but the oldest,
        and of those not what heads, feet, the notes of starts and carried records take."""
        apart = 2 if self.segment_mib > 4 else 1
        return 0 if self.holder else (self.segments - 1) * (self.segment_mib - apart << 20)

    def settings(self):
        """What `--set` has of it."""
        text = {
            "topics": ",".join(self.topics),
            "segments": self.segments,
            "segment_bytes": f"{self.segment_mib}MiB",
            "spares": self.spares,
        }
        if self.holder:
            text.update(hold_for=f"group:{self.holder}", hold_topics=",".join(self.kept))
        return [f"ring.{self.name}.{key}={value}" for key, value in text.items()]


class Rings(tuple):
    """The data rings of one configuration, in the order of their tables."""

    @property
    def names(self):
        """All rings, the metadata ring first."""
        return [METADATA, *(ring.name for ring in self)]

    @property
    def mib(self):
        """What all files take."""
        own = sum(ring.segment_mib * (ring.segments + ring.spares) for ring in self)
        return own + METADATA_FILES * (METADATA_SEGMENT_BYTES >> 20)

    @property
    def settings(self):
        """All of it, for `--set`."""
        return [setting for ring in self for setting in ring.settings()]

    @property
    def tables(self):
        """The configuration's file: tables for `--set` to fill in."""
        return "".join(f'[[ring]]\nname = "{ring.name}"\n' for ring in self)

    def of(self, topic):
        """The ring that takes a topic."""
        for ring in self:
            if any(fnmatch.fnmatchcase(topic, glob) for glob in ring.topics):
                return ring
        return self[-1]

    def is_kept(self, topic):
        """Whether a topic's records are held for somebody."""
        ring = self.of(topic)
        return any(fnmatch.fnmatchcase(topic, glob) for glob in ring.kept)

    def gives_way(self, topic):
        """Whether a topic is nobody's in a ring that is held."""
        return self.of(topic).holder is not None and not self.is_kept(topic)

    @property
    def held_places(self):
        """The partitions of which somebody has to commit."""
        return [place for place in PLACES if self.is_kept(place[0])]

    def place_in(self, name):
        """A partition whose records nobody has to wait for, in a data ring."""
        return next(
            place for place in PLACES
            if self.of(place[0]).name == name and not self.is_kept(place[0])
        )
