"""Producers and consumers under load, with crashes."""

import subprocess
import sys
from pathlib import Path

from board import Thread, expect, missing, wait_until

HERE = Path(__file__).resolve().parent
SCENARIOS = []


def scenario(function):
    """Registers a scenario."""
    SCENARIOS.append(function)
    return function


def produce_numbers(board, topic, count, partitions=1, first=0, **options):
    """Numbered records, dealt out to partitions; gives the numbers that were acknowledged."""
    producer, acknowledged, refused = board.producer(linger_ms=5, **options), [], []

    def delivered(error, message):
        (refused if error else acknowledged).append(int(message.value()))

    for number in range(first, first + count):
        where = {"partition": number % partitions, "on_delivery": delivered}
        while True:
            try:
                producer.produce(topic, b"%d" % number, b"key", **where)
                break
            except BufferError:
                producer.poll(0.05)
        producer.poll(0)
    left = producer.flush(60)
    expect(not left and not refused, f"{left} not delivered, {len(refused)} refused")
    return acknowledged


def read_partitions(board, topic, partitions, count):
    """Consumes so many records by assignment; gives [(partition, offset, number)]."""
    from confluent_kafka import OFFSET_BEGINNING, TopicPartition

    consumer, seen = board.consumer(), []
    consumer.assign([TopicPartition(topic, one, OFFSET_BEGINNING) for one in partitions])

    def enough():
        for message in consumer.consume(500, 0.1):
            if not message.error():
                value = int(message.value())
                seen.append((message.partition(), message.offset(), value))
        return len(seen) >= count

    wait_until(f"{count} records", enough)
    return seen


def check_in_order(seen):
    """Offsets without gap, and numbers that grow, in each partition."""
    last = {}
    for partition, offset, number in seen:
        before = last.get(partition, (-1, -1))
        expect(offset == before[0] + 1, f"{partition}: offset {offset} after {before[0]}")
        expect(number > before[1], f"{partition}: number {number} after {before[1]}")
        last[partition] = (offset, number)


@scenario
def one_producer_and_fixed_consumers(board):
    """Everything once and in order, at consumers that read while it is written."""
    count, topic = 40_000, board.start().topic("readings", 4)
    before = board.wear()
    readers = [
        Thread(lambda _, of: read_partitions(board, topic, of, count // 2), of)
        for of in ((0, 1), (2, 3))
    ]
    acknowledged = produce_numbers(board, topic, count, 4, enable_idempotence=True)
    seen = sum((reader.join() for reader in readers), [])
    expect(sorted(acknowledged) == list(range(count)), "not each was acknowledged once")
    expect(sorted(number for *_, number in seen) == list(range(count)), "not each came once")
    check_in_order(seen)
    wear = board.wear()
    payload, written = (wear[k] - before[k] for k in ("payload_bytes_total", "written_bytes_total"))
    expect(written < 3 * payload, f"{written} bytes written for {payload} of payload")
    return f"{count} records, {written / payload:.2f} bytes written per byte of payload"


@scenario
def many_producers(board):
    """Forty producers, each on its own connection, share the syncs."""
    producers, count = 40, 250
    topic = board.start().topic("readings", 8)
    before = board.wear()
    threads = [
        Thread(lambda _, n: produce_numbers(board, topic, count, 8, n * count), n)
        for n in range(producers)
    ]
    acknowledged = sum((thread.join() for thread in threads), [])
    wear, total = board.wear(), producers * count
    expect(sorted(acknowledged) == list(range(total)), "not each was acknowledged once")
    seen = read_partitions(board, topic, range(8), total)
    expect(sorted(number for *_, number in seen) == list(range(total)), "not each came once")
    syncs = wear["syncs_total"] - before["syncs_total"]
    expect(syncs < total / 2, f"{syncs} syncs for {total} records")
    return f"{total} records of {producers} producers in {syncs} syncs"


class Crew:
    """Members of one group in processes of their own, and what they have written down."""

    def __init__(self, board, order, topic):
        self.board, self.order, self.topic, self.members = board, order, topic, []
        self.file = board.broker.home / "processed"
        board.closing.append(lambda: [one.kill() for one in self.members])

    def join(self):
        """One more member."""
        program = [sys.executable, HERE / "consume.py", self.order, self.board.broker.bootstrap]
        program += [self.topic, "crew", self.file]
        program = [str(part) for part in program]
        self.members.append(subprocess.Popen(program, stdout=subprocess.PIPE))

    def kill(self, which):
        """SIGKILL."""
        member = self.members.pop(which)
        member.kill()
        member.wait()

    def leave(self, which):
        """SIGTERM: it leaves in good order."""
        member = self.members.pop(which)
        member.stdout.readline()
        member.terminate()
        expect(member.wait(60) == 0, "a member failed")

    def processed(self):
        """[(partition, offset, number)] in the order of the file; a torn last line is left out."""
        if not self.file.exists():
            return []
        lines = self.file.read_bytes().split(b"\n")[:-1]
        return [tuple(map(int, line.split())) for line in lines]

    def went_on(self, count):
        """Waits until so many more records were processed."""
        reached = len(self.processed()) + count
        wait_until(f"{count} more records", lambda: len(self.processed()) >= reached)


def stream(thread, board, topic, partitions, **options):
    """Produces numbers until the thread is ended; gives (sent, acknowledged)."""
    producer, acknowledged, number = board.producer(linger_ms=2, **options), [], 0

    def delivered(error, message):
        if not error:
            acknowledged.append(int(message.value()))

    while thread.going_on():
        where = {"partition": number % partitions, "on_delivery": delivered}
        producer.produce(topic, b"%d" % number, b"key", **where)
        number += 1
        producer.poll(0.001)
    expect(not producer.flush(60), "records are left")
    return number, acknowledged


@scenario
def consumers_join_and_leave(board):
    """Members come, go and are killed while records flow: none is missed."""
    topic = board.start().topic("readings", 6)
    crew = Crew(board, "process", topic)
    crew.join()
    producer = Thread(stream, board, topic, 6)
    crew.went_on(50)
    changes = {"join": 0, "leave": 0, "kill": 0}
    for _ in range(9):
        possible = ["join"] if len(crew.members) < 2 else ["join", "leave", "kill"]
        change = board.random.choice(possible if len(crew.members) < 4 else possible[1:])
        changes[change] += 1
        if change == "join":
            crew.join()
        else:
            getattr(crew, change)(board.random.randrange(len(crew.members)))
        crew.went_on(100)
    sent, acknowledged = producer.end()
    expect(len(acknowledged) == sent, f"{len(acknowledged)} of {sent} were acknowledged")
    numbers = lambda: [number for *_, number in crew.processed()]
    wait_until("everything processed", lambda: set(numbers()) >= set(acknowledged))
    for partition in range(6):
        end = board.end(topic, partition)
        where = lambda partition=partition: board.committed("crew", topic, partition)
        wait_until("the commits", lambda end=end: where() == end)
    again = len(numbers()) - sent
    return f"{sent} records, {changes}, {again} came again, none missed"


@scenario
def at_least_once(board):
    """The broker is killed under load: what was acknowledged is there, once, and is processed."""
    topic, kills = board.start().topic("readings", 3), 6
    crew = Crew(board, "process", topic)
    crew.join()
    crew.join()
    producer = Thread(stream, board, topic, 3, enable_idempotence=True)
    for _ in range(kills):
        crew.went_on(board.random.randrange(50, 300))
        board.broker.restart("kill")
    crew.went_on(100)
    sent, acknowledged = producer.end()
    expect(len(acknowledged) == sent, f"{len(acknowledged)} of {sent} were acknowledged")
    stored = [int(one.value) for part in range(3) for one in board.stored(topic, part)]
    lost = missing(acknowledged, stored)
    expect(not lost, f"acknowledged and not stored: {lost}")
    expect(len(stored) == len(set(stored)), "a record is stored twice")
    numbers = lambda: {number for *_, number in crew.processed()}
    wait_until("everything processed", lambda: numbers() >= set(acknowledged))
    again = len(crew.processed()) - len(numbers())
    return f"{sent} records over {kills} kills of the broker, none lost, {again} processed again"


@scenario
def at_most_once(board):
    """acks=0, and commits before processing; broker and consumers are killed: nothing comes twice."""
    topic, kills = board.start().topic("readings", 2), 6
    crew = Crew(board, "commit", topic)
    crew.join()
    producer = Thread(stream, board, topic, 2, acks=0, retries=0)
    for number in range(kills):
        crew.went_on(board.random.randrange(50, 200))
        if number % 2:
            board.broker.restart("kill")
        else:
            crew.join()
            crew.kill(0)
    crew.went_on(100)
    sent, _ = producer.end()
    stored = [int(one.value) for part in range(2) for one in board.stored(topic, part)]
    expect(len(stored) == len(set(stored)), "a record is stored twice")
    done = lambda: all(board.committed("crew", topic, p) == board.end(topic, p) for p in (0, 1))
    wait_until("the commits at the end", done)
    crew.leave(0)
    numbers = [number for *_, number in crew.processed()]
    expect(len(numbers) == len(set(numbers)), "a record was processed twice")
    expect(set(numbers) <= set(stored), "a record was processed that is not stored")
    return (
        f"{sent} sent, {len(stored)} stored, {len(numbers)} processed over {kills} kills: "
        "none of them twice"
    )


