#!/usr/bin/env python3
"""home_assistant.py HOST:PORT TOPIC: what Home Assistant's integration apache_kafka does.

The producer has the settings that the integration gives it. It is started once, and when that fails
the integration stays away; every event then is a task that sends one record and waits for it. Here
each line of the standard input is an event, with the source as the entity.
"""

import asyncio
import re
import sys

from aiokafka import AIOKafkaProducer


async def main(bootstrap, topic):
    producer = AIOKafkaProducer(
        bootstrap_servers=bootstrap,
        compression_type="gzip",
        security_protocol="PLAINTEXT",
        ssl_context=None,
        sasl_mechanism="PLAIN",
        sasl_plain_username=None,
        sasl_plain_password=None,
    )
    try:
        await producer.start()
    except Exception as error:
        await producer.stop()
        raise SystemExit(f"start: {error!r}") from None
    lines, events = asyncio.StreamReader(), set()
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(lines), sys.stdin
    )

    async def write(event):
        key = re.search(rb"source=(\w)", event).group(1)
        try:
            await producer.send_and_wait(topic, event, key)
        except Exception as error:
            print(f"lost: {event!r}: {error!r}", flush=True)

    while line := await lines.readline():
        event = asyncio.create_task(write(line.rstrip(b"\n")))
        events.add(event)
        event.add_done_callback(events.discard)
    await asyncio.gather(*events)
    await producer.stop()


asyncio.run(main(*sys.argv[1:]))
