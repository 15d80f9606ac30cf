#!/usr/bin/env python3
"""Whole days of a board in a minute: load, crashes, wrong clocks, weeks without an uplink, counted.

    run.py                     all scenarios, one after the other
    run.py at_least_once …     parts of the names of some
    run.py --binary PATH       another binary than the release build
    run.py --seed N            the same choices as a run that printed this seed
    run.py --list              their names

Each scenario starts a broker of its own over an empty ring, drives it with real clients, and checks
numbers: what was acknowledged, what was seen, what was written. Its line says what was counted.
"""

import argparse
import functools
import os
import pathlib
import random
import signal
import sys

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "clients")]

import board
import clock
import install
import load
import programs
import uplink

SCENARIOS = [*load.SCENARIOS, *uplink.SCENARIOS, *clock.SCENARIOS]


def main():
    """Runs what was asked for, sums up."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("cases", nargs="*", metavar="NAME")
    parser.add_argument("--binary", default=install.TARGET / "release" / "brooklet")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32))
    parser.add_argument("--list", action="store_true", help="name the scenarios and end")
    parser.add_argument("--keep", action="store_true", help="keep the rings and the brokers' logs")
    options = parser.parse_args()
    if options.list:
        print("\n".join(one.__name__ for one in SCENARIOS))
        return 0
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended by SIGTERM"))
    install.install({"python"})
    if pathlib.Path(sys.prefix).resolve() != (install.CACHE / "venv").resolve():
        os.execv(install.VENV_PYTHON, [str(install.VENV_PYTHON), *sys.argv])
    print(f"--seed {options.seed}")
    cases = {
        one.__name__: (one, functools.partial(board.Board, options, one.__name__))
        for one in SCENARIOS
    }
    return programs.run_cases(cases, options, "scenarios")


if __name__ == "__main__":
    sys.exit(main())
