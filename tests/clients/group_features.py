"""What every client must be able to do in a consumer group; registered beside `features.py`'s.

Members are processes of their own (`client.member`), so that one can be killed. What they hold is
asked of the broker by a raw DescribeGroups, or ConsumerGroupDescribe. A client that commits by itself
only (no `explicit_commit`) may see a record twice when a group changes; no client may miss one.
"""

import rawkafka
from client import Rec
from clients import Confluent
from features import feature, plain
from harness import Skip, equal

# The shortest session that Kafka takes by default: how long a killed member is missed.
SESSION_MS = 6000
# A group settles when each member's next heartbeat was answered (every 3 s), and a killed member
# is missed for a session before that.
SETTLE_SECONDS = 60
# The protocol of KIP-848: the broker assigns.
NEW = "consumer"


def settled(t, group, members, partitions, protocol=None):
    """Waits until the group is stable, has so many members, and each partition is at one of
    them; gives the numbers of partitions they hold."""
    with t.raw() as broker:
        last = []

        def done():
            describe = broker.describe_consumer_group if protocol else broker.describe_group
            error, state, held = describe(group)
            shares = [sum(of.values(), []) for of in held.values()]
            last[:] = [(error, state, shares)]
            whole = sorted(sum(shares, [])) == list(range(partitions))
            return (error, state) == (0, "Stable") and len(held) == members and whole

        try:
            t.wait_until("a stable group", done, SETTLE_SECONDS)
        except AssertionError as error:
            raise AssertionError(f"{error}: {last}") from None
        return sorted(len(share) for share in last[0][2])


class Feed:
    """Numbered records in all partitions of a topic, and what has arrived of them."""

    def __init__(self, t, topic, partitions):
        self.t, self.topic, self.partitions = t, topic, partitions
        self.sent = {}

    def produce(self, count):
        """So many more records to each partition."""
        records = []
        for partition in range(self.partitions):
            start = len(self.sent.setdefault(partition, []))
            for number in range(start, start + count):
                value = b"%d of %d" % (number, partition)
                record = Rec(b"k%d" % number, value, (("n", b"%d" % number),), None, partition)
                self.sent[partition].append(record)
                records.append(record)
        Confluent(self.t).produce(self.topic, records)

    def arrived(self, members, since=None):
        """Waits until the members together have every record, from some offsets on."""
        wanted = {
            (partition, offset)
            for partition, records in self.sent.items()
            for offset in range((since or {}).get(partition, 0), len(records))
        }
        have = lambda: {(got.partition, got.offset) for one in members for got in one.records}
        try:
            self.t.wait_until("all records", lambda: wanted <= have(), SETTLE_SECONDS)
        except AssertionError as error:
            missing = sorted(wanted - have())
            raise AssertionError(f"{error}: {len(missing)} missing: {missing[:10]}") from None

    def check(self, members, once=True):
        """Each record is what was sent; in order at each member, and each once in the group."""
        seen = []
        for one in members:
            last = {}
            for got in list(one.records):
                want = self.sent[got.partition][got.offset]
                equal((got.key, got.value), (want.key, want.value), "record")
                equal(got.headers, want.headers, "headers")
                if once and got.offset <= last.get(got.partition, -1):
                    raise AssertionError(f"{got.partition}: {got.offset} after {last}")
                last[got.partition] = got.offset
                seen.append((got.partition, got.offset))
        if once:
            equal(len(seen), len(set(seen)), "records, each once")


def _shares(t, client, **options):
    topic, group = t.topic(partitions=6), t.group_name()
    members, feed = [client.member(group, topic, **options) for _ in range(3)], Feed(t, topic, 6)
    equal(settled(t, group, 3, 6, **options), [2, 2, 2], "partitions of each member")
    feed.produce(10)
    feed.arrived(members)
    feed.check(members)
    equal([bool(one.records) for one in members], [True] * 3, "whether each got some")
    for one in members:
        one.leave()


@feature("member")
def shares_partitions_in_a_group_of_three(t, client):
    _shares(t, client)


def _new(function):
    """The same by the new protocol, as a feature of its own."""

    def by_the_new_protocol(t, client):
        with t.raw() as broker:
            if rawkafka.CONSUMER_GROUP_HEARTBEAT not in broker.api_versions():
                raise Skip("the broker under test has no ConsumerGroupHeartbeat")
        function(t, client, protocol=NEW)

    return by_the_new_protocol


@feature("member", "consumer_protocol")
def shares_partitions_by_the_new_protocol(t, client):
    _new(_shares)(t, client)


@feature("member")
def goes_on_when_one_joins_and_one_is_killed(t, client):
    _goes_on(t, client, session_ms=SESSION_MS)


@feature("member", "consumer_protocol")
def goes_on_by_the_new_protocol(t, client):
    _new(_goes_on)(t, client)


# Slow ones: at every change they are tried with one of the clients that can.
goes_on_by_the_new_protocol.every_change = ["confluent"]


def _goes_on(t, client, protocol=None, **options):
    topic, group = t.topic(partitions=6), t.group_name()
    commits = "explicit_commit" not in client.lacks
    join = lambda: client.member(group, topic, protocol=protocol or "", **options)
    members, feed = [join()], Feed(t, topic, 6)
    members.append(join())
    settled(t, group, 2, 6, protocol)

    def produced():
        feed.produce(5)
        feed.arrived(members)
        if commits:
            for one in alive:
                one.commit()

    alive = list(members)
    produced()
    members.append(join())
    alive = list(members)
    equal(settled(t, group, 3, 6, protocol), [2, 2, 2], "partitions of each member")
    produced()
    killed = members[0]
    killed.kill()
    equal(settled(t, group, 2, 6, protocol), [3, 3], "partitions of each that is left")
    alive = members[1:]
    before = {partition: len(records) for partition, records in feed.sent.items()}
    feed.produce(5)
    feed.arrived(alive, since=before)
    # Everything was committed before each change: nothing comes twice.
    feed.check(members, once=commits)
    for one in alive:
        one.leave()


@feature("member", "consumer_protocol")
def shares_a_group_of_both_protocols(t, client):
    _new(_both)(t, client)


shares_a_group_of_both_protocols.every_change = ["java"]


def _both(t, client, protocol):
    """A group goes to the new protocol member by member, and back."""
    topic, group = t.topic(partitions=6), t.group_name()
    commits = "explicit_commit" not in client.lacks
    join = lambda protocol="": client.member(group, topic, protocol=protocol)
    members, feed = [join(), join()], Feed(t, topic, 6)
    alive = list(members)

    def produced():
        feed.produce(5)
        feed.arrived(members)
        if commits:
            for one in alive:
                one.commit()

    def joins(protocol):
        alive.append(join(protocol))
        members.append(alive[-1])

    equal(settled(t, group, 2, 6), [3, 3], "partitions of each of the old protocol")
    produced()
    joins(protocol)
    equal(settled(t, group, 3, 6, protocol), [2, 2, 2], "with one of the new protocol")
    produced()
    alive.pop(0).leave()
    joins(protocol)
    equal(settled(t, group, 3, 6, protocol), [2, 2, 2], "with one of the old protocol left")
    produced()
    alive.pop(0).leave()
    equal(settled(t, group, 2, 6, protocol), [3, 3], "with the new protocol alone")
    produced()
    joins("")
    equal(settled(t, group, 3, 6, protocol), [2, 2, 2], "with one of the old protocol again")
    produced()
    for one in alive[:2]:
        one.leave()
    del alive[:2]
    equal(settled(t, group, 1, 6), [6], "with the old protocol alone")
    produced()
    # Everything was committed before each change, and who joins may come before the others gave back.
    feed.check(members, once=False)
    alive[0].leave()


@feature("member", "explicit_commit")
def resumes_where_it_committed(t, client):
    _resumes(t, client)


@feature("member", "explicit_commit", "consumer_protocol")
def resumes_by_the_new_protocol(t, client):
    _new(_resumes)(t, client)


def _resumes(t, client, **options):
    topic, group = t.topic(partitions=2), t.group_name()
    first, feed = client.member(group, topic, **options), Feed(t, topic, 2)
    feed.produce(10)
    feed.arrived([first])
    first.commit()
    feed.produce(10)
    feed.arrived([first])
    first.leave()
    with t.raw() as broker:
        for partition in (0, 1):
            equal(broker.committed(group, topic, partition), (0, 10), "committed offset")
    # What was received and not committed comes again, what was committed does not.
    second = client.member(group, topic, **options)
    feed.arrived([second], since={0: 10, 1: 10})
    feed.check([second])
    equal(min(got.offset for got in second.records), 10, "first offset")
    second.leave()


@feature("member")
def commits_by_itself(t, client):
    topic, group = t.topic(), t.group_name()
    member, feed = client.member(group, topic, auto_commit=True), Feed(t, topic, 1)
    feed.produce(10)
    feed.arrived([member])
    member.leave()
    with t.raw() as broker:
        equal(broker.committed(group, topic, 0), (0, 10), "committed offset")


@feature("member", "list_groups", "describe_group")
def lists_and_describes_groups(t, client):
    topic, group = t.topic(partitions=4), t.group_name()
    members = [client.member(group, topic) for _ in range(2)]
    settled(t, group, 2, 4)
    if group not in client.list_groups():
        raise AssertionError("the group is not listed")
    told = client.describe_group(group, topic)
    equal(told["state"].lower(), "stable", "state")
    equal(sorted(len(held) for held in told["members"]), [2, 2], "partitions of each member")
    equal(sorted(sum(told["members"], [])), [0, 1, 2, 3], "partitions")
    # A group of which nothing was ever committed is gone with its last member.
    feed = Feed(t, topic, 4)
    feed.produce(1)
    feed.arrived(members)
    for one in members:
        if "explicit_commit" not in client.lacks:
            one.commit()
        one.leave()
    told = client.describe_group(group, topic)
    equal((told["state"].lower(), told["members"]), ("empty", []), "when all have left")


@feature("delete_group", "commit", "committed", "list_groups")
def deletes_a_group(t, client):
    topic, group = t.topic(), t.group_name()
    member, feed = Confluent(t).member(group, topic), Feed(t, topic, 1)
    feed.produce(5)
    feed.arrived([member])
    member.commit()
    try:
        client.delete_group(group)
    except Exception as error:
        if "nonempty" not in plain(error) and "notempty" not in plain(error):
            raise
    else:
        raise AssertionError("a group with a member was deleted")
    member.leave()
    equal(client.committed(group, topic), 5, "committed offset")
    client.delete_group(group)
    if group in client.list_groups():
        raise AssertionError("the group is still listed")
    with t.raw() as broker:
        equal(broker.committed(group, topic, 0), (0, -1), "committed offset")


@feature("member", "static_member")
def static_member_comes_back_to_its_partitions(t, client):
    _comes_back(t, client, session_ms=30_000)


@feature("member", "static_member", "consumer_protocol", "static_leave")
def static_member_comes_back_by_the_new_protocol(t, client):
    _new(_comes_back)(t, client)


def _comes_back(t, client, protocol=None, **options):
    topic, group = t.topic(partitions=4), t.group_name()
    options["protocol"] = protocol or ""
    join = lambda name: client.member(group, topic, instance=name, **options)
    members, feed = [join("one"), join("two")], Feed(t, topic, 4)
    settled(t, group, 2, 4, protocol)
    # Members learn last, and a cooperative rebalance has two rounds.
    held = lambda: sorted(sum((one.assigned or [] for one in members), []))
    if client.tells_assignment:
        t.wait_until("all partitions at the members", lambda: held() == [0, 1, 2, 3])
    feed.produce(2)
    feed.arrived(members)
    mine = lambda one: sorted({got.partition for got in one.records})
    held, changes = mine(members[0]), members[1].changes
    # By the new protocol, only who says that it will be back leaves its instance id to another.
    members[0].leave() if protocol else members[0].kill()
    back = join("one")
    settled(t, group, 2, 4, protocol)
    feed.produce(2)
    feed.arrived([members[1], back], since={partition: 2 for partition in range(4)})
    equal(mine(back), held, "partitions of the one that came back")
    equal(members[1].changes, changes, "assignments of the other one")
    for one in (members[1], back):
        one.leave()


@feature("member")
def group_lives_through_a_kill_of_the_broker(t, client):
    _lives(t, client)


@feature("member", "consumer_protocol")
def group_of_the_new_protocol_lives_through_a_kill(t, client):
    _new(_lives)(t, client)


def _lives(t, client, protocol=None):
    topic, group = t.topic(partitions=4), t.group_name()
    commits = "explicit_commit" not in client.lacks
    join = lambda: client.member(group, topic, protocol=protocol or "")
    members, feed = [join() for _ in range(2)], Feed(t, topic, 4)
    settled(t, group, 2, 4, protocol)
    feed.produce(5)
    feed.arrived(members)
    if commits:
        for one in members:
            one.commit()
    t.restart("kill")
    feed.produce(5)
    feed.arrived(members)
    settled(t, group, 2, 4, protocol)
    feed.produce(5)
    feed.arrived(members)
    # Members that join anew go on where the group committed.
    feed.check(members, once=False)
    early = [(got.partition, got.offset) for one in members for got in one.records]
    early = [where for where in early if commits and where[1] < 5]
    equal(len(early), len(set(early)), "records that were committed, each once")
    for one in members:
        one.leave()
