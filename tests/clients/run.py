#!/usr/bin/env python3
"""Real clients against the broker, as black-box tests.

    run.py                      the release binary (built by `cargo build --release`)
    run.py --binary PATH        another binary
    run.py --kafka              a real Kafka, started here: proves what the tests expect
    run.py --broker HOST:PORT   a broker that runs already (nothing is restarted)

    run.py --fast                        the clients that every change is tried with, not all
    run.py --only java --only commit     cases whose name contains one of the words
    run.py --list                        the cases
    run.py --table FILE                  writes clients × features into FILE, between its markers
    run.py --check-table FILE            fails if that is not what stands there

What the clients need is installed into target/clients. Each case is one line; the last line is
`N passed, N failed`, and the exit code is 1 when anything failed. What a client has not is a line
too, `without`, with the reason.
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
import group_features  # registers its features with the others
import harness
import hostile  # registers its cases with those of `extras`
import install
import table
import tool_cases  # registers its cases with those of `extras`

# A ring that is zero-filled in a moment, takes what one case produces, and laps during a run.
BROOKLET_SETTINGS = ("ring.segments=16", "ring.segment_bytes=4 MiB")
# As the real Kafka is started here: a group of one need not wait for company.
GROUP_SETTINGS = ("group_initial_rebalance_delay_ms=0",)


def main():
    """Installs, starts, runs, sums up."""
    options = arguments()
    cases = [case for case in all_cases(options.fast) if wanted(case.name, options.only)]
    if options.list:
        print("\n".join(case.name for case in cases))
        return 0
    needs = {case.need for case in cases} | ({"java"} if options.kafka else set())
    install.install(needs)
    # The cases run in forks of this process, so it must be the Python that has the clients.
    if pathlib.Path(sys.prefix).resolve() != (install.CACHE / "venv").resolve():
        os.execv(install.VENV_PYTHON, [str(install.VENV_PYTHON), *sys.argv])
    broker = broker_of(options)
    # Whoever ends this process by a signal wants the broker ended with it.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended by SIGTERM"))
    try:
        broker.start()
        failed = run_all(cases, broker)
    finally:
        broker.stop("kill")
        if options.keep:
            print(f"kept: {broker.home}")
        else:
            broker.remove()
    if options.table:
        table.write(options.table, cases)
    if options.check_table and not table.is_current(options.check_table, cases):
        print(f"the table in {options.check_table} is not what this run found: --table writes it")
        failed += 1
    passed = sum(case.outcome == "passed" for case in cases)
    print(f"{passed} passed, {failed} failed")
    return 1 if failed or not passed else 0


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
    parser.add_argument("--fast", action="store_true", help="the clients of every change")
    parser.add_argument("--table", metavar="FILE", help="write the table into FILE")
    parser.add_argument("--check-table", metavar="FILE", help="compare the table in FILE")
    parser.add_argument("--only", action="append", default=[], metavar="WORD")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", dest="settings")
    parser.add_argument("--list", action="store_true", help="name the cases and end")
    parser.add_argument("--keep", action="store_true", help="keep the broker's data and log")
    return parser.parse_args()


class Case:
    """One line of the output: a feature of a client, or a case of its own."""

    def __init__(self, name, need, function, client=None, feature=None, without=None):
        self.name, self.need, self.function = name, need, function
        self.client, self.feature = client, feature
        self.outcome, self.text = ("without", without) if without else (None, "")


def all_cases(fast):
    """Every case: with `fast`, those of every change."""
    chosen = clients.FAST if fast else clients.ALL
    needs = {client.need for client in chosen} | {"python"}
    out = [Case(*case) for case in extras.CASES if case[1] in needs]
    for client in chosen:
        for name, methods, function in features.FEATURES:
            without = client.missing(methods)
            body = bind(function, client)
            full = f"{client.name}.{name}"
            if fast and full in clients.NOT_FAST:
                continue
            out.append(Case(full, client.need, body, client, name, without))
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
    settings = [*BROOKLET_SETTINGS, *GROUP_SETTINGS, *options.settings]
    return brokers.Brooklet(binary, options.port, settings=settings)


def run_all(cases, broker):
    """Runs the cases one after the other, and gives how many failed; a broker that died is started
    again for the next."""
    logs = install.CACHE / "logs"
    logs.mkdir(exist_ok=True)
    for case in cases:
        if case.outcome == "without":
            print(f"without {case.name} ({case.text})", flush=True)
            continue
        started = time.monotonic()
        log = logs / f"{case.name}.log"
        name = case.name.replace(".", "-")
        case.outcome, case.text = harness.run_case(name, case.function, broker, log)
        if not broker.alive():
            case.outcome, case.text = "failed", f"the broker died\n{broker.tail()}\n{case.text}"
            broker.start()
        seconds = time.monotonic() - started
        because = f"  ({case.text})" if case.outcome == "without" else ""
        print(f"{case.outcome:7} {case.name} {seconds:.1f} s{because}", flush=True)
        if case.outcome == "failed":
            tail = harness.log_tail(log)
            # A case that raised has its reason in its log already.
            if case.text.splitlines()[0] not in tail:
                print("\n".join("    " + line for line in case.text.splitlines()[:40]))
            print(tail, flush=True)
    failures = [case.name for case in cases if case.outcome == "failed"]
    if failures:
        print("failed: " + " ".join(failures))
        print(f"the broker's last lines:\n{broker.tail()}")
    return len(failures)


if __name__ == "__main__":
    sys.exit(main())
