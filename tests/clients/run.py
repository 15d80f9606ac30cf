#!/usr/bin/env python3
"""Real clients against the broker, as black-box tests.

    run.py                      the release binary (built by `cargo build --release`)
    run.py --binary PATH        another binary
    run.py --kafka              a real Kafka, started here: proves what the tests expect
    run.py --broker HOST:PORT   a broker that runs already (nothing is restarted)

    run.py --only java --only commit     cases whose name contains one of the words
    run.py --list                        the cases

What the clients need is installed into target/clients. Each case is one line; the last line is
`N passed, N failed`, and the exit code is 1 when anything failed.
"""

import argparse
import os
import pathlib
import signal
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

import brokers
import clients
import extras
import features
import harness
import hostile  # registers its cases with those of `extras`
import install

# A ring that is zero-filled in a moment, takes what one case produces, and laps during a run.
BROOKLET_SETTINGS = ("ring.segments=16", "ring.segment_bytes=4 MiB")


def main():
    """Installs, starts, runs, sums up."""
    options = arguments()
    cases = [case for case in all_cases() if wanted(case[0], options.only)]
    if options.list:
        print("\n".join(name for name, _, _ in cases))
        return 0
    needs = {need for _, need, _ in cases} | ({"java"} if options.kafka else set())
    install.install(needs)
    # The cases run in forks of this process, so it must be the Python that has the clients.
    if pathlib.Path(sys.prefix).resolve() != (install.CACHE / "venv").resolve():
        os.execv(install.VENV_PYTHON, [str(install.VENV_PYTHON), *sys.argv])
    broker = broker_of(options)
    # Whoever ends this process by a signal wants the broker ended with it.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended by SIGTERM"))
    try:
        broker.start()
        return run_all(cases, broker)
    finally:
        broker.stop("kill")
        if options.keep:
            print(f"kept: {broker.home}")
        else:
            broker.remove()


def arguments():
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--binary", default=install.TARGET / "release" / "brooklet")
    which.add_argument("--kafka", action="store_true", help="start a real Kafka")
    which.add_argument("--broker", metavar="HOST:PORT", help="use a broker that runs already")
    parser.add_argument("--port", type=int, default=0, help="port of the broker started here")
    parser.add_argument("--only", action="append", default=[], metavar="WORD")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", dest="settings")
    parser.add_argument("--list", action="store_true", help="name the cases and end")
    parser.add_argument("--keep", action="store_true", help="keep the broker's data and log")
    return parser.parse_args()


def all_cases():
    """(name, what must be installed, function) of every case."""
    needs = {"kcat": "kcat", "franz-go": "franz", "java": "java"}
    out = list(extras.CASES)
    for client in clients.ALL:
        for name, methods, function in features.FEATURES:
            if all(hasattr(client, method) for method in methods):
                need = needs.get(client.name, "python")
                out.append((f"{client.name}.{name}", need, bind(function, client)))
    return out


def bind(function, client):
    """A case of one feature and one client."""
    return lambda context: function(context, client(context))


def wanted(name, words):
    """Whether a case was asked for."""
    return not words or any(word in name for word in words)


def broker_of(options):
    """The broker under test."""
    if options.broker:
        return brokers.External(options.broker)
    if options.kafka:
        return brokers.Kafka(options.port, settings=options.settings)
    binary = pathlib.Path(options.binary)
    if not binary.exists():
        raise SystemExit(f"{binary} is not there: cargo build --release")
    settings = [*BROOKLET_SETTINGS, *options.settings]
    return brokers.Brooklet(binary, options.port, settings=settings)


def run_all(cases, broker):
    """Runs the cases one after the other; a broker that died is started again for the next."""
    logs = install.CACHE / "logs"
    logs.mkdir(exist_ok=True)
    counts = {"passed": 0, "failed": 0, "skipped": 0}
    failures = []
    for name, _, function in cases:
        started = time.monotonic()
        log = logs / f"{name}.log"
        outcome, text = harness.run_case(name.replace(".", "-"), function, broker, log)
        if not broker.alive():
            outcome, text = "failed", f"the broker died\n{broker.tail()}\n{text}"
            broker.start()
        counts[outcome] += 1
        seconds = time.monotonic() - started
        because = f"  ({text})" if outcome == "skipped" else ""
        print(f"{outcome:7} {name} {seconds:.1f} s{because}", flush=True)
        if outcome == "failed":
            failures.append(name)
            tail = harness.log_tail(log)
            # A case that raised has its reason in its log already.
            if text.splitlines()[0] not in tail:
                print("\n".join("    " + line for line in text.splitlines()[:40]))
            print(tail, flush=True)
    if failures:
        print("failed: " + " ".join(failures))
        print(f"the broker's last lines:\n{broker.tail()}")
    if counts["skipped"]:
        print(f"{counts['skipped']} skipped")
    print(f"{counts['passed']} passed, {counts['failed']} failed")
    return 1 if counts["failed"] or not counts["passed"] else 0


if __name__ == "__main__":
    sys.exit(main())
