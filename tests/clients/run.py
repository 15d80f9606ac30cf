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
    run.py --check-table FILE            fails if that is not what stands there; with --fast, if it is
                                         not whole or has other versions

Two cases run at a time, each on a broker of its own. A case of a foreign client that fails is tried
once more by itself; those that needed it are counted and named.

What the clients need is installed into target/clients. Each case is one line; the last line is
`N passed, N failed`, and the exit code is 1 when anything failed. What a client has not is a line
too, `without`, with the reason.
"""

import argparse
import os
import pathlib
import signal
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

import brokers
import clients
import extras
import features
import field_cases  # registers its cases with those of `extras`
import group_features  # registers its features with the others
import harness
import hole_features  # registers its features with the others
import hostile  # registers its cases with those of `extras`
import install
import lanes
import table
import tool_cases  # registers its cases with those of `extras`

# A ring that is zero-filled in a moment, takes what one case produces, and laps during a run.
BROOKLET_SETTINGS = ("ring.segments=16", "ring.segment_bytes=4 MiB")
# As the real Kafka is started here: a group of one need not wait for company.
GROUP_SETTINGS = (
    "group_initial_rebalance_delay_ms=0",
    f"group_consumer_session_timeout_ms={brokers.CONSUMER_SESSION_MS}",
    "group_consumer_heartbeat_interval_ms=1000",
)
# More than these that fail are no accident.
SECOND_TRIES_MAX = 10


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
    # Whoever ends this process by a signal wants the brokers ended with it.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended by SIGTERM"))
    failed = run_all(cases, options)
    if options.table:
        table.write(options.table, cases)
    if options.check_table and not table_stands(options, cases):
        print(f"the table in {options.check_table} is not what clients do: --table writes it anew")
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
    parser.add_argument("--lanes", type=int, default=2, help="cases at a time, a broker each")
    parser.add_argument("--fast", action="store_true", help="the clients of every change")
    parser.add_argument("--table", metavar="FILE", help="write the table into FILE")
    parser.add_argument("--check-table", metavar="FILE", help="compare the table in FILE")
    parser.add_argument("--only", action="append", default=[], metavar="WORD")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", dest="settings")
    parser.add_argument("--list", action="store_true", help="name the cases and end")
    parser.add_argument("--keep", action="store_true", help="keep the broker's data and log")
    options = parser.parse_args()
    if options.broker or options.port:
        options.lanes = 1
    return options


def table_stands(options, cases):
    """Whether the table is what this run found; if the run has few clients, whether it can be."""
    if options.fast or options.only:
        return table.is_whole(options.check_table, all_cases(fast=False))
    return table.is_current(options.check_table, cases)


class Case:
    """One line of the output: a feature of a client, or a case of its own."""

    def __init__(self, name, need, function, client=None, feature=None, without=None):
        self.name, self.need, self.function = name, need, function
        self.client, self.feature = client, feature
        self.outcome, self.text = ("without", without) if without else (None, "")
        self.broker_died = False

    @property
    def is_foreign(self):
        """Whether somebody else's client takes part, which may have faults of its own."""
        return not self.name.startswith(("raw.", "hostile."))


def all_cases(fast):
    """Every case: with `fast`, those of every change."""
    chosen = clients.FAST if fast else clients.ALL
    needs = {client.need for client in chosen} | {"python"}
    out = [Case(*case) for case in extras.CASES if case[1] in needs]
    # Those that take more than a moment are no cases of every change.
    out = [one for one in out if not (fast and getattr(one.function, "nightly", False))]
    for client in chosen:
        for name, methods, function in features.FEATURES:
            if fast and client.name not in getattr(function, "every_change", [client.name]):
                continue
            without = client.missing(methods)
            body = bind(function, client)
            full = f"{client.name}.{name}"
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


def run_all(cases, options):
    """Runs the cases, those of a foreign client that failed once more by themselves; gives how many
    failed in the end. When the broker died of it, nothing is tried again."""
    logs = install.CACHE / "logs"
    logs.mkdir(exist_ok=True)
    for case in cases:
        if case.outcome == "without":
            print(f"without {case.name} ({case.text})", flush=True)
    make = lambda: broker_of(options)
    lanes.run([case for case in cases if not case.outcome], make, options.lanes, logs, options.keep)
    again = [case for case in cases if case.outcome == "failed" and case.is_foreign]
    again = [case for case in again if not case.broker_died][:SECOND_TRIES_MAX]
    if again:
        print(f"once more: {len(again)}", flush=True)
        lanes.run(again, make, 1, logs, options.keep)
    late = [case.name for case in again if case.outcome == "passed"]
    if late:
        print(f"passed only when tried once more: {len(late)}: {' '.join(late)}")
    failures = [case.name for case in cases if case.outcome == "failed"]
    if failures:
        print("failed: " + " ".join(failures))
    return len(failures)


if __name__ == "__main__":
    sys.exit(main())
