#!/usr/bin/env python3
"""What is served over HTTP, with a real Prometheus, docs/alerts.yml and docs/grafana.json.

    run.py [--binary PATH] [--keep] [CASE...]    parts of the names of the cases below

Each case has a broker of its own, which kcat and the bare protocol put load on.
"""

import argparse
import contextlib
import functools
import http.client
import json
import pathlib
import re
import select
import socket
import subprocess
import sys
import urllib.error
import urllib.parse
import urllib.request

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "clients"))

import brokers
import install
import programs
import rawkafka
from brokers import wait

DOCS = install.ROOT / "docs"
ALERTS, ALERTS_TEST = DOCS / "alerts.yml", DOCS / "alerts_test.yml"
DASHBOARD = DOCS / "grafana.json"
# .ci/install unpacks it, with promtool: Debian's package would start a daemon.
NEEDED = "target/prometheus/usr/bin/prometheus"
PROMETHEUS = install.TARGET / NEEDED.removeprefix("target/")
PROMTOOL = PROMETHEUS.with_name("promtool")

RING = ["ring.segments=4", "ring.segment_bytes=4 MiB", "group_initial_rebalance_delay_ms=0"]
# Everything that a broker may have: a group that it holds records for, and one that it watches.
HELD = ['ring.hold_for=["group:keepers"]', 'ring.hold_topics=["held*"]']
WATCHED = ['ring.watch_for=["group:readers"]']
RECORDS, CONSUMED = 200, 60

STEP_SECONDS_MAX = 60
# What names a metric in an expression.
METRIC = re.compile(r"\b(?:brooklet|kafka)_[a-z0-9_]+")
NOT_ENOUGH_REPLICAS = 19


class Prometheus(programs.Program):
    """A Prometheus that scrapes one broker every second, with the alert rules."""

    name = "prometheus"

    def __init__(self, home, target):
        super().__init__(directory=home)
        job = {"job_name": "brooklet", "static_configs": [{"targets": [target]}]}
        often = {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"}
        # JSON is YAML.
        config = {"global": often, "rule_files": [str(ALERTS)], "scrape_configs": [job]}
        self.config = self.home / "prometheus.yml"
        self.config.write_text(json.dumps(config))

    def command(self):
        storage = f"--storage.tsdb.path={self.home / 'tsdb'}"
        listen = f"--web.listen-address={self.bootstrap}"
        return [PROMETHEUS, f"--config.file={self.config}", storage, listen, "--log.level=warn"]

    def answers(self):
        try:
            return get(self.bootstrap, "/-/ready")[0] == 200
        except OSError:
            return False

    def ask(self, path, **parameters):
        """An answer of its HTTP API."""
        query = urllib.parse.urlencode(parameters)
        status, body = get(self.bootstrap, f"/api/v1/{path}?{query}")
        answer = json.loads(body)
        if status != 200 or answer["status"] != "success":
            raise AssertionError(f"{path} {parameters}: {answer.get('error', status)}")
        return answer["data"]

    def query(self, expression):
        """{labels: value} of an expression, as of now."""
        found = self.ask("query", query=expression)["result"]
        return {frozenset(one["metric"].items()): float(one["value"][1]) for one in found}

    def value(self, expression):
        """The value of an expression that has one; none while there is no such series."""
        found = self.query(expression)
        if len(found) > 1:
            raise AssertionError(f"{expression} has {len(found)} values")
        return next(iter(found.values()), None)

    def rules(self):
        """The alert rules, as it has read them."""
        return [rule for group in self.ask("rules")["groups"] for rule in group["rules"]]

    def raised(self):
        """The names of the alerts that fire, or will when they last."""
        return {rule["name"] for rule in self.rules() if rule["state"] != "inactive"}


class Bench:
    """A broker that serves HTTP, and maybe a Prometheus."""

    def __init__(self, options, settings, name, home):
        self.home = home / name
        data = self.home / "broker"
        data.mkdir(parents=True)
        self.http = f"127.0.0.1:{brokers.free_port()}"
        settings = [*RING, *settings, f"http_listen={self.http}"]
        self.broker = brokers.Brooklet(options.binary, 0, data, settings)
        self.prometheus = None

    def start(self, scraped=True):
        """Starts all of it."""
        self.broker.start()
        if scraped:
            home = self.home / "prometheus"
            home.mkdir()
            self.prometheus = Prometheus(home, self.http)
            self.prometheus.start()
        return self.prometheus

    def connect(self):
        """The Kafka protocol."""
        return rawkafka.Connection(self.broker.host, self.broker.port)

    def kcat(self, *arguments, text=""):
        """Runs kcat, and gives the lines that it printed."""
        command = ["kcat", "-q", "-b", self.broker.bootstrap, *map(str, arguments)]
        done = subprocess.run(command, input=text, capture_output=True, text=True,
                              timeout=STEP_SECONDS_MAX)
        if done.returncode:
            raise AssertionError(f"kcat {arguments}: {done.stderr.strip()[-500:]}")
        return done.stdout.splitlines()

    def produce(self, topic, count):
        """Produces as many records."""
        self.kcat("-P", "-t", topic, text="".join(f"record {at}\n" for at in range(count)))

    def consume(self, group, topic, count):
        """Consumes as a group, which commits how far it came."""
        first = ("-X", "auto.offset.reset=earliest")
        lines = self.kcat(*first, "-c", count, "-G", group, topic)
        if len(lines) != count:
            raise AssertionError(f"{group} got {len(lines)} of {count} records")

    def metrics(self):
        """What /metrics says, as text."""
        status, body = get(self.http, "/metrics")
        if status != 200:
            raise AssertionError(f"/metrics: {status}")
        return body

    def processes(self):
        return [process for process in (self.broker, self.prometheus) if process]

    def close(self):
        if self.prometheus:
            self.prometheus.stop()
        self.broker.stop("kill")


# ---- cases -------------------------------------------------------------------------------


def rules_fire_when_they_should(_):
    """The unit tests of the rules, which leave none out."""
    promtool("check", "rules", ALERTS)
    promtool("test", "rules", ALERTS_TEST)
    alerts = re.findall(r"^ +- alert: (\w+)$", ALERTS.read_text(), re.M)
    left_out = set(alerts) - set(re.findall(r'alertname="(\w+)"', ALERTS_TEST.read_text()))
    if left_out or not alerts:
        raise AssertionError(f"{ALERTS_TEST} has nothing of {sorted(left_out)}")
    page = (DOCS / "operate.md").read_text()
    for heading in re.findall(r"docs/operate\.md, ([^.\"]+)\.", ALERTS.read_text()):
        if not re.search(rf"^#+ {re.escape(heading)}$", page, re.M):
            raise AssertionError(f"docs/operate.md has no section {heading!r}")
    return f"{len(alerts)} rules"


def metrics_are_as_prometheus_wants_them(bench):
    """`promtool check metrics`, which also looks at names and help."""
    bench.start(scraped=False)
    load(bench)
    text = bench.metrics()
    said = promtool("check", "metrics", text=text)
    if said:
        raise AssertionError(said)
    return f"{sum(not line.startswith('#') for line in text.splitlines())} samples"


def what_is_scraped_is_right(bench):
    """Series and values by Prometheus' API; every metric that the rules and the dashboard name."""
    prometheus = bench.start()
    load(bench)
    scraped(bench, prometheus)
    values_are_right(bench, prometheus)
    names = set(prometheus.ask("label/__name__/values"))
    rules = prometheus.rules()
    for rule in rules:
        if rule["health"] == "err":
            raise AssertionError(f"{rule['name']}: {rule['lastError']}")
        named(names, rule["query"], rule["name"])
    expressions = dashboard()
    for title, expression in expressions:
        named(names, expression, title)
        replaced = expression.replace("$instance", bench.http)
        shown = replaced.replace("$__rate_interval", "1m").replace("[1h]", "[1m]")
        # Some are there only when something is the matter, or after a minute.
        if "> 0" in expression or RATES.intersection(METRIC.findall(expression)):
            prometheus.query(shown)
        else:
            wait(lambda: prometheus.query(shown), f"{title} shows {shown}", STEP_SECONDS_MAX)
    becomes(prometheus.raised, set(), "alerts")
    if get(bench.http, "/health") != (200, "ok"):
        raise AssertionError(f"/health: {get(bench.http, '/health')}")
    return f"{len(rules)} rules, {len(expressions)} queries of the dashboard"


def alerts_follow_what_happens(bench):
    """A held ring is full, and has room again; the broker is away, and there again."""
    prometheus = bench.start()
    with bench.connect() as producer, bench.connect() as holder:
        producer.create_topic("held")
        batch = rawkafka.batch([rawkafka.record(value=bytes(500_000))])
        while (answer := producer.produce("held", 0, batch, timeout_ms=1500))[0] == 0:
            end = answer[1] + 1
        if answer[0] != NOT_ENOUGH_REPLICAS:
            raise AssertionError(f"produce: error {answer[0]}")
        body = rawkafka.Connection.produce_body("held", 0, batch, timeout_ms=120_000)
        waiting = producer.send(rawkafka.PRODUCE, 3, body)
        full = "BrookletRingFull"
        wait(lambda: full in prometheus.raised(), f"{full} is raised", STEP_SECONDS_MAX)
        error = holder.commit_answer(holder.receive(holder.send_commit("keepers", "held", 0, end)))
        stored = producer.produce_answer(producer.receive(waiting))
        if error or stored[0]:
            raise AssertionError(f"commit: error {error}; produce: error {stored[0]}")
        wait(lambda: full not in prometheus.raised(), f"{full} has ended", STEP_SECONDS_MAX)
    away = "BrookletAway"
    bench.broker.stop()
    wait(lambda: away in prometheus.raised(), f"{away} is raised", STEP_SECONDS_MAX)
    bench.broker.start()
    wait(lambda: away not in prometheus.raised(), f"{away} has ended", STEP_SECONDS_MAX)
    return f"full at {end} records"


def slow_http_clients_leave_kafka_alone(bench):
    """HTTP clients that say nothing, half of it, or take half of their answer."""
    bench.start(scraped=False)
    with bench.connect() as broker:
        # So that an answer is longer than any socket's buffers.
        for at in range(TOPICS):
            broker.create_topic(f"{at:03}-{'x' * 200}", partitions=4)
        broker.create_topic("kept")
    bench.produce("kept", RECORDS)
    if len(bench.metrics()) < ANSWER_BYTES_MIN:
        raise AssertionError(f"/metrics has only {len(bench.metrics())} bytes")
    for attempt in range(1, ATTEMPTS_MAX + 1):
        with contextlib.ExitStack() as open_ones:
            # They take all places. The broker gives each up after the same time: the first of them,
            # first.
            begun = (b"", b"", b"GET /metr")
            silent = [open_ones.enter_context(stalled(bench, text)) for text in begun]
            middle = open_ones.enter_context(stalled(bench, b"GET /metrics HTTP/1.1\r\n\r\n"))
            middle.recv(1, socket.MSG_PEEK)
            answered = kafka_round(bench, attempt)
            undisturbed = all(is_open(stream) for stream in silent)
            # The broker ends them, and then there is room for others; of the answer its end is missing.
            for stream in silent:
                rest_of(stream)
            wait(lambda: healthy(bench), "/health is 200 again", STEP_SECONDS_MAX)
            # One that came last is given up last.
            rest_of(open_ones.enter_context(stalled(bench, b"")))
            if rest_of(middle).endswith(b"0000\r\n\r\n"):
                raise AssertionError("the whole answer was in the sockets' buffers")
        if undisturbed:
            return f"{answered} requests answered while {len(silent) + 1} stalled"
    raise AssertionError(f"HTTP clients ended before Kafka's had answers, {ATTEMPTS_MAX} times")


# ---- steps -------------------------------------------------------------------------------


def load(bench):
    """Records, groups that committed, and an answer with an error."""
    bench.produce("plain", RECORDS)
    bench.produce("held", RECORDS)
    bench.consume("readers", "plain", CONSUMED)
    bench.consume("keepers", "held", RECORDS)
    bench.consume("readers", "held", RECORDS)
    with bench.connect() as broker:
        broker.fetch("plain", 0, 10 * RECORDS)


def scraped(bench, prometheus):
    """Waits until Prometheus has each series that /metrics has, and no other but its own."""
    ours = '{job="brooklet", __name__!~"up|scrape_.*"}'

    def differ():
        has = {series_text(dict(labels)) for labels in prometheus.query(ours)}
        lines = [line for line in bench.metrics().splitlines() if line[0] != "#"]
        wants = {line.rsplit(" ", 1)[0] for line in lines}
        return has ^ wants

    becomes(differ, set(), "series that only one of them has")


def series_text(labels):
    """A series as /metrics writes it; what Prometheus adds of itself is ''."""
    name = labels["__name__"]
    own = [(key, value) for key, value in labels.items()
           if key not in ("__name__", "job", "instance")]
    order = {"ring": 0, "holder": 1, "consumergroup": 2, "partition": 3, "topic": 4}
    own.sort(key=lambda label: order.get(label[0], 9))
    inner = ",".join(f'{key}="{value}"' for key, value in own)
    return f"{name}{{{inner}}}" if inner else name


def values_are_right(bench, prometheus):
    """Offsets and lag are what the protocol says, counts what /v1/status says."""
    with bench.connect() as broker:
        expected = {"up": 1, "kafka_topic_partitions{topic='plain'}": 1}
        for topic, group in (("plain", "readers"), ("held", "keepers")):
            end = broker.list_offset(topic, 0, rawkafka.LATEST)[2]
            start = broker.list_offset(topic, 0, rawkafka.EARLIEST)[2]
            committed = broker.committed(group, topic, 0)[1]
            of = f"{{topic='{topic}', partition='0'}}"
            ours = f"{{consumergroup='{group}', topic='{topic}', partition='0'}}"
            expected |= {
                f"kafka_topic_partition_current_offset{of}": end,
                f"kafka_topic_partition_oldest_offset{of}": start,
                f"kafka_consumergroup_current_offset{ours}": committed,
                f"kafka_consumergroup_lag{ours}": end - committed,
            }
    lag = RECORDS - CONSUMED
    expected |= {
        "brooklet_watch_lag_records{holder='group:readers'}": lag,
        "brooklet_watch_overwritten_records_total{holder='group:readers'}": 0,
        "brooklet_hold_lag_records{holder='group:keepers'}": 0,
        "brooklet_errors_total{error='OFFSET_OUT_OF_RANGE'}": 1,
    }
    status = json.loads(get(bench.http, "/v1/status")[1])
    for api in ("Produce", "OffsetCommit", "JoinGroup"):
        count = status["requests_total"][api]
        expected[f"brooklet_requests_total{{api='{api}'}}"] = count
    readers = "{consumergroup='readers', topic='plain', partition='0'}"
    if expected[f"kafka_consumergroup_lag{readers}"] != lag:
        raise AssertionError(f"the group has not committed {CONSUMED} of {RECORDS}: {expected}")
    for expression, value in expected.items():
        becomes(lambda: prometheus.value(expression), value, expression)


def becomes(look, wanted, what):
    """Waits until `look` gives this, or else says what it gave last."""
    given = None

    def is_so():
        nonlocal given
        given = look()
        return given == wanted

    try:
        wait(is_so, f"{what}: {wanted}", STEP_SECONDS_MAX)
    except AssertionError as error:
        raise AssertionError(f"{error}, but {given}") from None


def named(names, expression, what):
    """Every metric of an expression is one that was scraped, or that is not known in the first minute."""
    missing = set(METRIC.findall(expression)) - names - RATES
    if missing:
        raise AssertionError(f"{what} names {sorted(missing)}, which the broker does not have")


def dashboard():
    """(title, expression) of everything that the dashboard asks for."""
    board = json.loads(DASHBOARD.read_text())
    panels = [panel for panel in board["panels"] if panel["type"] != "row"]
    asked = [(panel["title"], target["expr"]) for panel in panels for target in panel["targets"]]
    return asked + [(note["name"], note["expr"]) for note in board["annotations"]["list"]]


def kafka_round(bench, attempt):
    """What clients do, over new connections; how many requests were answered."""
    with bench.connect() as broker:
        batch = rawkafka.batch([rawkafka.record(value=b"while others stall")])
        error, offset = broker.produce("kept", 0, batch)
        stored = broker.fetch_batches("kept", 0, offset)
        found = stored[0].records()[0].value
        error = error or broker.commit_answer(
            broker.receive(broker.send_commit("round", "kept", 0, offset + attempt)))
        if error or found != b"while others stall" or not broker.metadata(["kept"])[0]:
            raise AssertionError(f"error {error}, value {found!r}")
    return 4


def stalled(bench, request):
    """An HTTP client that sends this and reads nothing, with buffers as small as can be."""
    host, port = bench.http.rsplit(":", 1)
    stream = socket.socket()
    stream.settimeout(STEP_SECONDS_MAX)
    stream.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    # The sender's buffer follows the length of segments.
    stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, 536)
    stream.connect((host, int(port)))
    stream.sendall(request)
    return stream


def is_open(stream):
    """Whether the other side has neither said anything nor ended."""
    return not select.select([stream], [], [], 0)[0]


def rest_of(stream):
    """What comes until the other side ends the connection."""
    parts = []
    try:
        while part := stream.recv(65536):
            parts.append(part)
    except ConnectionError:
        pass
    return b"".join(parts)


def healthy(bench):
    """Whether /health is 200."""
    try:
        return get(bench.http, "/health") == (200, "ok")
    except (OSError, http.client.HTTPException):
        return False


def get(address, path):
    """(status, body) of a GET."""
    try:
        with urllib.request.urlopen(f"http://{address}{path}", timeout=20) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def promtool(*arguments, text=None):
    """Runs promtool, and gives what it complained about."""
    done = subprocess.run([PROMTOOL, *arguments], input=text, capture_output=True, text=True,
                          timeout=STEP_SECONDS_MAX)
    if done.returncode:
        raise AssertionError(f"promtool {arguments[:2]}: {(done.stderr + done.stdout)[-1500:]}")
    return done.stderr.strip()


# docs/status.md says the same of them.
RATES = {
    f"brooklet_ring_{name}"
    for name in (
        "bytes_per_second", "seconds_to_overwrite", "hold_seconds_to_full", "wear_seconds_to_wear_out",
    )
}
TOPICS, ANSWER_BYTES_MIN = 100, 300_000
ATTEMPTS_MAX = 5
# Each with the broker's settings.
CASES = {
    rules_fire_when_they_should: [],
    metrics_are_as_prometheus_wants_them: [*HELD, *WATCHED],
    what_is_scraped_is_right: [*HELD, *WATCHED],
    alerts_follow_what_happens: HELD,
    slow_http_clients_leave_kafka_alone: [],
}


def main():
    """Runs the cases; the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--binary", default=install.TARGET / "release" / "brooklet")
    parser.add_argument("--keep", action="store_true", help="keep all directories")
    parser.add_argument("cases", nargs="*", metavar="CASE")
    options = parser.parse_args()
    install._need("kcat", NEEDED)
    cases = {
        case.__name__: (case, functools.partial(Bench, options, settings, case.__name__))
        for case, settings in CASES.items()
    }
    return programs.run_cases(cases, options, "http")


if __name__ == "__main__":
    sys.exit(main())
