#!/usr/bin/env python3
"""A member of a group that writes down each record it processed, and may be killed at any moment.

    consume.py ORDER BROKER TOPIC GROUP FILE

ORDER says what comes first: `process` (then it commits: at least once) or `commit` (then it
processes: at most once). A line of FILE is PARTITION OFFSET VALUE. SIGTERM, once it has written a
line: it leaves the group.
"""

import os
import signal
import sys

from confluent_kafka import Consumer, KafkaException

BATCH_RECORDS_MAX = 50


def main():
    """Polls, processes and commits until it is told to end."""
    order, broker, topic, group, path = sys.argv[1:]
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    consumer, going_on = consumer_of(broker, group), [True]
    signal.signal(signal.SIGTERM, lambda *_: going_on.clear())
    print("ready", flush=True)
    consumer.subscribe([topic])
    while going_on:
        messages = [one for one in consumer.consume(BATCH_RECORDS_MAX, 0.1) if not one.error()]
        if not messages:
            continue
        process = lambda: os.write(file, b"".join(map(line, messages)))
        if order == "process":
            process()
            commit(consumer)
        elif commit(consumer):
            process()
    consumer.close()


def consumer_of(broker, group):
    """A consumer whose commits are asked for, and whose death is noticed soon."""
    return Consumer(
        {
            "bootstrap.servers": broker,
            "group.id": group,
            "enable.auto.commit": False,
            "auto.offset.reset": "earliest",
            "session.timeout.ms": 6000,
            "reconnect.backoff.max.ms": 200,
            "log_level": 2,
        }
    )


def line(message):
    """One record in the file."""
    return b"%d %d %s\n" % (message.partition(), message.offset(), message.value())


def commit(consumer):
    """Commits what was consumed; False if the broker or the group would not take it."""
    try:
        consumer.commit(asynchronous=False)
    except KafkaException:
        return False
    return True


if __name__ == "__main__":
    main()
