"""Programs beside the broker: what they are installed from and configured by, how they run and are
fed, and the cases that they are part of."""

import pathlib
import re
import shutil
import tempfile
import threading
import time

import brokers
import install
from brokers import wait

# What stands in the pages of docs/ for the broker.
BROKER = "edge.example:9092"


class Program(brokers.Broker):
    """A process of its own. Unless its class knows better, it is ready as soon as it runs."""

    name = "program"
    # The JVM's own code for a shutdown by signal.
    exit_codes = (0, 143)

    def answers(self):
        return self.alive()


def jvm(libs, main, *arguments, level="WARN"):
    """The command that runs a class out of jars; it logs to standard error."""
    options = ("-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Xmx512m")
    logging = f"-Dlog4j2.configurationFile={install.HERE / 'java' / 'log4j2.xml'}"
    return ["java", *options, logging, f"-Dtests.level={level}", "-cp", libs, main, *arguments]


def jars(name, pom, libs):
    """Brings the jars of a pom.xml into a folder, once per version."""

    def step():
        install._need("mvn")
        shutil.rmtree(libs, ignore_errors=True)
        goal = ["dependency:copy-dependencies", f"-DoutputDirectory={libs}"]
        install._run(["mvn", "-q", "-B", "-f", pom, *goal])

    made(name, libs, [pom], step)


def made(name, result, sources, step):
    """Runs `step` unless what it makes is there, of these very sources."""
    if not result.exists():
        (install.CACHE / f"{name}.stamp").unlink(missing_ok=True)
    install._once(name, sources, step)


def documented(page, name, replaced):
    """A block of a page in docs/, in which texts are replaced that must be there."""
    path = install.ROOT / "docs" / page
    found = re.search(rf"<!-- {re.escape(name)} -->\n```\w*\n(.*?)```", path.read_text(), re.S)
    if not found:
        raise AssertionError(f"{path} has no {name}")
    block = found.group(1)
    for old, new in replaced.items():
        if old not in block:
            raise AssertionError(f"{name} in {path} has no {old}")
        block = block.replace(old, str(new))
    return block


class Feed:
    """Gives records to something that takes them, up to a limit that is raised step by step."""

    # So many at a time, and so many a second.
    PORTION, RATE = 50, 2_000

    def __init__(self, send, total):
        self.send, self.total, self.fed, self.limit, self.error = send, total, 0, 0, None
        self.raised, self.stopped = threading.Condition(), False
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self):
        try:
            while self.fed < self.total:
                with self.raised:
                    while self.fed >= self.limit and not self.stopped:
                        self.raised.wait()
                if self.stopped:
                    return
                numbers = range(self.fed, min(self.fed + self.PORTION, self.limit))
                self.send(numbers)
                self.fed = numbers.stop
                # A pace, so that there is a middle.
                time.sleep(self.PORTION / self.RATE)
        except Exception as error:
            self.error = error

    def up_to(self, limit):
        """Lets it go on, without waiting."""
        with self.raised:
            self.limit = limit
            self.raised.notify()

    def through(self, limit):
        """Lets it go on, and waits until that many were taken."""
        self.up_to(limit)
        wait(lambda: self.fed >= limit or self.error, f"{limit} records taken")
        if self.error:
            raise AssertionError(f"after {self.fed} records: {self.error!r}")

    def stop(self):
        with self.raised:
            self.stopped = True
            self.raised.notify()


def run_cases(cases, options, prefix):
    """Runs those of {name: (case, bench of a folder)} that the options name by parts, each over a
    bench of its own; sums up, and gives the exit code. A bench has `processes` and `close`."""
    home = pathlib.Path(tempfile.mkdtemp(prefix=f"{prefix}-"))
    passed = failed = 0
    try:
        for name, (case, bench) in cases.items():
            if options.cases and not any(part in name for part in options.cases):
                continue
            ok = run_case(name, case, bench(home))
            passed, failed = passed + ok, failed + (not ok)
    finally:
        if options.keep or failed:
            print(f"kept: {home}")
        else:
            shutil.rmtree(home, ignore_errors=True)
    print(f"{passed} passed, {failed} failed")
    return 1 if failed or not passed else 0


def run_case(name, case, bench):
    """One case, which may say what it counted; whether it passed."""
    started = time.monotonic()
    try:
        said = case(bench)
    except Exception as error:
        print(f"failed  {name}: {type(error).__name__}: {error}", flush=True)
        for process in bench.processes():
            print(process.tail(12), flush=True)
        return False
    finally:
        bench.close()
    said = f": {said}" if said else ""
    print(f"passed  {name} {time.monotonic() - started:.0f} s{said}", flush=True)
    return True
