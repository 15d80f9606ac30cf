"""Runs cases in lanes: processes with a broker each, which take the next case when one is done.

A lane ends its broker when the process that started it ends, however that comes about.
"""

import json
import os
import select
import signal
import socket
import sys
import time
import traceback

import harness


def run(cases, make_broker, count, logs, keep=False):
    """Runs the cases; fills in their `outcome`, `text` and `broker_died`, and says each."""
    sys.stdout.flush()
    waiting, lanes = list(range(len(cases))), []
    for _ in range(min(count, len(cases))):
        ours, theirs = socket.socketpair()
        child = os.fork()
        if child == 0:
            ours.close()
            # Whatever happens, a lane does not go on as its parent.
            code = 1
            try:
                code = _lane(cases, make_broker, logs, keep, theirs)
            finally:
                os._exit(code)
        theirs.close()
        lanes.append((child, ours))
        _hand_out(waiting, ours)
    try:
        busy = [ours for _, ours in lanes]
        while busy:
            for ours in select.select(busy, [], [])[0]:
                told = json.loads(harness.read_line(ours))
                _say(cases[told.pop("case")], told, logs)
                if not _hand_out(waiting, ours):
                    busy.remove(ours)
    except EOFError:
        raise SystemExit("clients: a lane ended by itself; its reason stands above") from None
    finally:
        for child, ours in lanes:
            ours.close()
            os.waitpid(child, 0)


def _hand_out(waiting, lane):
    """Sends a lane its next case; whether there was one."""
    if not waiting:
        lane.shutdown(socket.SHUT_WR)
        return False
    lane.sendall(b"%d\n" % waiting.pop(0))
    return True


def _say(case, told, logs):
    """Keeps what a lane found of a case, and prints it."""
    case.outcome, case.text, case.broker_died = told["outcome"], told["text"], told["died"]
    because = f"  ({case.text})" if case.outcome == "without" else ""
    print(f"{case.outcome:7} {case.name} {told['seconds']:.1f} s{because}", flush=True)
    if case.outcome != "failed":
        return
    tail = harness.log_tail(logs / f"{case.name}.log")
    # A case that raised has its reason in its log already.
    if case.text.splitlines()[0] not in tail:
        print("\n".join("    " + line for line in case.text.splitlines()[:40]))
    print(tail)
    print(f"the broker's last lines:\n{told['broker']}", flush=True)


# ---- a lane ------------------------------------------------------------------------------


def _lane(cases, make_broker, logs, keep, control):
    """Serves until no case is left; gives its exit code."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended by SIGTERM"))
    broker = make_broker()
    try:
        broker.start()
        while True:
            try:
                number = int(harness.read_line(control))
            except EOFError:
                return 0
            told = _run_one(cases[number], broker, logs)
            control.sendall(json.dumps({"case": number, **told}).encode() + b"\n")
    except (BrokenPipeError, SystemExit):
        return 1
    except BaseException:
        traceback.print_exc()
        return 1
    finally:
        broker.stop("kill")
        if keep:
            print(f"kept: {broker.home}", flush=True)
        else:
            broker.remove()


def _run_one(case, broker, logs):
    """One case; a broker that died of it is started again for the next."""
    started = time.monotonic()
    log, name = logs / f"{case.name}.log", case.name.replace(".", "-")
    outcome, text = harness.run_case(name, case.function, broker, log)
    tail, died = broker.tail(), not broker.alive()
    if died:
        outcome, text = "failed", f"the broker died\n{text}"
        broker.start()
    return {
        "outcome": outcome,
        "text": text,
        "died": died,
        "broker": tail,
        "seconds": time.monotonic() - started,
    }
