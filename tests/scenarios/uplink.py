"""A held ring whose uplink is away for weeks: what matters is the number of rings that are filled."""

from board import Thread, expect, missing, wait_until

SCENARIOS = []
OUTAGES = 3
VALUE_BYTES = 4000
PARTITIONS = 3


def scenario(function):
    """Registers a scenario."""
    SCENARIOS.append(function)
    return function


def readings(thread, board, topic, acknowledged):
    """Produces numbers without end, at most a few hundred ahead of what is acknowledged."""
    producer = board.producer(
        enable_idempotence=True, linger_ms=5, queue_buffering_max_messages=300
    )
    number = 0

    def delivered(error, message):
        expect(not error, f"not delivered: {error}")
        acknowledged.append(int(message.value().split()[0]))

    while thread.going_on():
        value = (b"%d " % number).ljust(VALUE_BYTES, b".")
        try:
            producer.produce(
                topic, value, b"key", partition=number % PARTITIONS, on_delivery=delivered
            )
            number += 1
        except BufferError:
            producer.poll(0.05)
        producer.poll(0)
    expect(not producer.flush(60), "records are left")
    return number


class Uplink:
    """What stands for the mirror: a group that takes everything, when it is there."""

    def __init__(self, board, topic):
        self.board, self.topic, self.seen, self.thread = board, topic, [], None

    def comes(self):
        """It consumes and commits from now on."""
        self.thread = Thread(self._run)

    def goes(self):
        """It leaves."""
        self.thread.end()

    def _run(self, thread):
        consumer = self.board.consumer("uplink")
        consumer.subscribe([self.topic])
        while thread.going_on():
            messages = [one for one in consumer.consume(500, 0.1) if not one.error()]
            if messages:
                taken = [(m.partition(), m.offset(), int(m.value().split()[0])) for m in messages]
                consumer.commit(asynchronous=False)
                self.seen += taken
        consumer.close()


@scenario
def weeks_without_an_uplink(board):
    """The ring fills and producers wait; everything else goes on, also over a kill; when the uplink
    is there again it gets all, while producers go on by themselves."""
    topic = board.start("ring.hold_for=group:uplink").topic("readings", PARTITIONS)
    hold = lambda: board.status()["rings"]["main"]["hold"]
    uplink, acknowledged = Uplink(board, topic), []
    producer = Thread(readings, board, topic, acknowledged)
    filled = []
    for outage in range(OUTAGES):
        wait_until("a full ring", lambda: producer.alive() and hold()["is_full"])
        reached = len(acknowledged)
        filled.append(reached)
        goes_on_while_full(board, topic, f"other-{outage}")
        if outage == 1:
            board.broker.restart("kill")
            wait_until("a full ring after the kill", lambda: hold()["is_full"])
        uplink.comes()
        more = lambda reached=reached: len(acknowledged) > reached + 1000
        wait_until("producers go on by themselves", more)
        uplink.goes()
    uplink.comes()
    sent = producer.end()
    expect(sorted(acknowledged) == list(range(sent)), "not each was acknowledged once")
    numbers = lambda: {number for *_, number in uplink.seen}
    wait_until("the uplink has everything", lambda: len(numbers()) >= sent)
    uplink.goes()
    lost = missing(range(sent), numbers())
    expect(not lost, lost)
    laps = board.status()["rings"]["main"]["laps"]
    expect(laps >= 1, "the ring did not come round")
    return f"{sent} records, the ring was full after {filled} of them, {laps} laps, none lost"


def goes_on_while_full(board, topic, group):
    """Metadata, fetches, commits, a topic's creation and deletion work on a full held ring."""
    import rawkafka

    other = board.topic(f"while-full-{group}")
    with board.raw() as raw:
        error, _, start = raw.list_offset(topic, 0, rawkafka.EARLIEST)
        expect(error == 0, f"ListOffsets: {error}")
        error, _, data = raw.fetch(topic, 0, start, max_bytes=100_000)
        expect(error == 0 and rawkafka.parse_batches(data), f"Fetch: {error}")
        error = raw.commit_answer(raw.receive(raw.send_commit(group, topic, 0, start)))
        expect(error == 0, f"OffsetCommit: {error}")
        raw.delete_topic(other)
    expect(board.committed(group, topic) == start, "the commit is not there")
