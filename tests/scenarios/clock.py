"""A board without a clock of its own: it starts in 1970, and jumps when the network is there."""

import pathlib
import time

from board import Thread, expect, wait_until
from load import produce_numbers

SCENARIOS = []
HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS


def scenario(function):
    """Registers a scenario."""
    SCENARIOS.append(function)
    return function


class FakeClock:
    """The wall clock of the broker alone; its timers stay the kernel's monotonic ones."""

    def __init__(self, board):
        libraries = list(pathlib.Path("/usr/lib").glob("*/faketime/libfaketime.so.1"))
        if not libraries:
            raise AssertionError("libfaketime is not there: .ci/install scenarios")
        self.file = board.broker.home / "clock"
        self.environment = {
            "LD_PRELOAD": str(libraries[0]),
            "FAKETIME_TIMESTAMP_FILE": str(self.file),
            "FAKETIME_NO_CACHE": "1",
            "DONT_FAKE_MONOTONIC": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }

    def set(self, text):
        """`@YYYY-MM-DD hh:mm:ss` starts the clock there, `+0` is the machine's own time."""
        new = self.file.with_suffix(".new")
        new.write_text(text + "\n")
        new.rename(self.file)


def member(thread, consumer, topic, seen):
    """A member of a group, which polls all the time."""
    consumer.subscribe([topic])
    while thread.going_on():
        for message in consumer.consume(100, 0.1):
            if not message.error():
                seen.append(int(message.value()))


def heartbeats(board):
    """How many heartbeats the broker has answered."""
    return board.status()["requests_total"].get("Heartbeat", 0)


@scenario
def clock_starts_in_1970_and_jumps(board):
    """The broker's clock jumps forward and back under a group of two and a topic that keeps an hour: no
    record is hidden for it, no member expires, and stamps never run backwards while it is wrong."""
    clock, count, seen = FakeClock(board), 300, []
    clock.set("@1970-01-01 00:00:30")
    marker = board.broker.home / "synchronised"
    board.start(f"clock_synchronised_file={marker}", environment=clock.environment)
    topic = board.topic(
        "readings", 1, message_timestamp_type="LogAppendTime", retention_ms=str(HOUR_MS)
    )
    consumers = [board.consumer("watchers", session_timeout_ms=6000) for _ in range(2)]
    watchers = [Thread(member, consumer, topic, seen) for consumer in consumers]
    board.closing += [watcher.end for watcher in watchers]

    def members_met():
        """Waits until both members are in, and each has sent heartbeats; gives what is counted of groups."""
        wait_until("both are members", lambda: board.status()["tables"]["group_members"]["used"] == 2)
        before = heartbeats(board)
        wait_until("heartbeats", lambda: heartbeats(board) >= before + 4)
        return board.status()["consumer_groups"]

    def produced(number):
        """So many records in step `number`; gives their stamps, when the group has them."""
        first = number * count
        acknowledged = produce_numbers(board, topic, count, first=first)
        expect(sorted(acknowledged) == list(range(first, first + count)), "acknowledged")
        wait_until("the group has them", lambda: len(set(seen)) == first + count)
        return [one.timestamp for one in board.stored(topic)][first:]

    in_1970 = produced(0)
    expect(max(in_1970) < DAY_MS, f"not stamped in 1970: {max(in_1970)}")
    members = members_met()

    def nobody_went(jump):
        """No session ended by a jump, and nobody had to join again."""
        after = members_met()
        for counted in ("rebalances_total", "members_expired_total"):
            expect(after[counted] == members[counted], f"{jump}: {counted}: {members} became {after}")

    clock.set("+0")
    nobody_went("forward")
    now = produced(1)
    machine = time.time() * 1000
    expect(max(abs(stamp - machine) for stamp in now) < HOUR_MS, f"not stamped now: {now[0]}")
    clock.set("@1970-01-02 00:00:30")
    nobody_went("back")
    back = produced(2)
    expect(min(back) >= max(now), f"stamps ran backwards: {min(back)} after {max(now)}")
    # A start with a clock that is behind what is on flash, as after every power cut.
    clock.set("@1970-01-01 00:00:05")
    board.broker.restart("kill")
    still = produced(3)
    # On flash is the moment at which a group was closed, in memory the one at which it was there.
    expect(min(still) >= max(back), f"stamps ran backwards: {min(still)} after {max(back)}")
    # The network is there, and says so.
    members = members_met()
    marker.write_text("")
    clock.set("+0")
    nobody_went("the network's time")
    produced(4)
    for watcher in watchers:
        watcher.end()
    numbers = [int(one.value) for one in board.stored(topic)]
    # What was stamped in 1970 may go once the clock is right, nothing else.
    expect(numbers[-4 * count :] == list(range(count, 5 * count)), "records are hidden")
    return f"{5 * count} records over 4 jumps and a kill; {len(numbers)} are still shown"
