"""The tools: how each is configured, started, fed, and what it stores or writes.

What a reader pastes stands in docs/tools.md alone: a tool here takes that text, and adds where its
records come from and go to.
"""

import json
import os
import re
import signal
import socket
import subprocess
import time
import urllib.request

import brokers
import build
import install
import programs
import terminal
from programs import BROKER

# The topic in docs/tools.md.
TOPIC = "sensors"
SOURCES = "abcd"
STOP_SECONDS_MAX = 20
LISTEN_SECONDS_MAX = 60
SEND_SECONDS_MAX = 60
# 2023: collectd wants times that grow, and not those of now.
STAMP = 1_700_000_000


def documented(name, replaced):
    """A block of docs/tools.md, in which texts are replaced that must be there."""
    return programs.documented("tools.md", name, replaced)


def source_of(number):
    """Which of the sources sends a record; each sends every fourth."""
    return SOURCES[number % len(SOURCES)]


class Tool:
    """A tool as a process. Its subclass says what it is fed with and how its records look."""

    name = None
    # Whether records may come before there is a broker.
    takes_early = True
    # Whether records of a source that are in one partition are in the order in which they came.
    keeps_order = True
    # Finds source and number in a stored value.
    pattern = re.compile(rb"source=(\w) n=(\d+)")

    def __init__(self, home, broker):
        self.home, self.broker = home, broker
        self.address = {BROKER: broker.bootstrap}
        self.port = brokers.free_port()
        self.log = home / f"{self.name}.log"
        self.process = self.connection = None

    def command(self):
        """Writes the configuration, and gives the command."""
        raise NotImplementedError

    def environment(self):
        """What is added to the environment."""
        return {}

    def start(self):
        """Starts it; the broker need not be there."""
        command = [str(part) for part in self.command()]
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=log, stderr=log, cwd=self.home,
                env=dict(os.environ, **self.environment()), start_new_session=True,
            )

    def gave_up(self):
        """Called before there is a broker, if no records may come so early."""

    def broker_is_there(self):
        """Called when the broker was started for the first time."""

    def send(self, numbers):
        """Gives it some records: lines of text on a TCP connection, unless it wants others."""
        self.connect()
        self.connection.sendall("".join(map(self.line, numbers)).encode())

    def line(self, number):
        """A record as the tool takes it."""
        return f"source={source_of(number)} n={number}\n"

    def value(self, number):
        """A record that it consumes."""
        return self.line(number).rstrip("\n").encode()

    def connect(self):
        """Connects to where it takes records, as soon as it listens."""
        if self.connection is not None:
            return
        until = time.monotonic() + LISTEN_SECONDS_MAX
        while True:
            try:
                self.connection = self.open()
                self.connection.settimeout(SEND_SECONDS_MAX)
                return
            except OSError:
                self.check()
                if time.monotonic() > until:
                    raise AssertionError(f"{self.name} does not listen") from None
                time.sleep(0.1)

    def open(self):
        """One connection to it."""
        return socket.create_connection(("127.0.0.1", self.port), 5)

    def check(self):
        """Fails if it has ended."""
        if self.process.poll() is not None:
            raise AssertionError(f"{self.name} ended with {self.process.returncode}")

    def write(self, name, text):
        """A file in its folder."""
        path = self.home / name
        path.write_text(text)
        return path

    def stop(self):
        """Ends it by SIGTERM, and by SIGKILL if it does not end."""
        if self.connection is not None:
            self.connection.close()
        if self.process is None:
            return
        self.process.terminate()
        try:
            self.process.wait(STOP_SECONDS_MAX)
        except subprocess.TimeoutExpired:
            pass
        # With whatever it started, and left.
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.process.wait()

    def tail(self, lines=15):
        """The last lines of its log."""
        if not self.log.exists():
            return ""
        text = self.log.read_text(errors="replace").splitlines()
        return "\n".join("    | " + line[:300] for line in text[-lines:])


class Receiver(Tool):
    """A tool that consumes; it writes what it got to a file."""

    def __init__(self, home, broker):
        super().__init__(home, broker)
        self.out = home / "received"

    def received(self):
        """What is in the file: (source, number) of each record."""
        if not self.out.exists():
            return []
        return [(source.decode(), int(number))
                for source, number in self.pattern.findall(self.out.read_bytes())]


# ---- Telegraf ----------------------------------------------------------------------------


class TelegrafOutput(Tool):
    name = "telegraf-output"
    # When a batch of it fails in part, all of that batch is sent again.
    keeps_order = False
    pattern = re.compile(rb"host=(\w) n=(\d+)i")

    def command(self):
        given = documented("telegraf-output.conf", self.address)
        source = f'[[inputs.socket_listener]]\n  service_address = "tcp://127.0.0.1:{self.port}"\n'
        source += '  data_format = "influx"\n'
        return [build.TOOLS / "telegraf", self.write("telegraf.conf", given + source)]

    def line(self, number):
        return f"m,host={source_of(number)} n={number}i {STAMP * 10**9 + number}\n"


class TelegrafInput(Receiver):
    name = "telegraf-input"
    pattern = re.compile(rb"host=(\w) n=(\d+)i")

    def command(self):
        given = documented("telegraf-input.conf", self.address)
        sink = f'[[outputs.file]]\n  files = ["{self.out}"]\n  data_format = "influx"\n'
        agent = '[agent]\n  flush_interval = "1s"\n'
        return [build.TOOLS / "telegraf", self.write("telegraf.conf", agent + given + sink)]

    def line(self, number):
        return f"m,host={source_of(number)} n={number}i {STAMP * 10**9 + number}\n"


# ---- the OpenTelemetry Collector ---------------------------------------------------------

# Its own metrics would be served on a port that is always the same.
OTEL_SERVICE = """
service:
  telemetry:
    metrics:
      level: none
  pipelines:
    logs:
      receivers: [{receiver}]
      exporters: [{exporter}]
"""


class OtelExporter(Tool):
    name = "otel-exporter"
    # Its queue has ten consumers.
    keeps_order = False

    def command(self):
        given = documented("otel-exporter.yaml", self.address)
        source = "receivers:\n  otlp:\n    protocols:\n      http:\n"
        source += f"        endpoint: 127.0.0.1:{self.port}\n"
        service = OTEL_SERVICE.format(receiver="otlp", exporter="kafka")
        path = self.write("otelcol.yaml", given + source + service)
        return [build.TOOLS / "otelcol", f"--config=file:{path}"]

    def send(self, numbers):
        self.connect()
        records = [{"body": {"stringValue": self.line(number).strip()}} for number in numbers]
        told = {"resourceLogs": [{"scopeLogs": [{"logRecords": records}]}]}
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}/v1/logs", json.dumps(told).encode(),
            {"Content-Type": "application/json"},
        )
        urllib.request.urlopen(request, timeout=SEND_SECONDS_MAX).read()


class OtelReceiver(Receiver):
    name = "otel-receiver"

    def command(self):
        given = documented("otel-receiver.yaml", self.address)
        sink = f"exporters:\n  file:\n    path: {self.out}\n"
        service = OTEL_SERVICE.format(receiver="kafka", exporter="file")
        path = self.write("otelcol.yaml", given + sink + service)
        return [build.TOOLS / "otelcol", f"--config=file:{path}"]


# ---- Node-RED ----------------------------------------------------------------------------


class NodeRed(Tool):
    """Node-RED without its editor: nodes of docs/tools.md in a flow with a source or a sink."""

    def flow(self, given):
        """The command for a flow, with the packages that a reader is told to install."""
        packages = json.loads((build.HERE / "node-red" / "package.json").read_text())
        for what, wanted in json.loads(documented("node-red-package.json", {})).items():
            if not wanted.items() <= packages[what].items():
                raise AssertionError(f"docs/tools.md and package.json differ in {what}")
        self.write("flows.json", json.dumps(given))
        settings = "module.exports = { httpAdminRoot: false, httpNodeRoot: false, "
        settings += f"uiHost: '127.0.0.1', uiPort: {brokers.free_port()}, flowFile: 'flows.json', "
        nodes = build.NODE_RED / "node_modules" / "node-red-contrib-kafkajs"
        settings += f"nodesDir: '{nodes}' }};\n"
        script = build.NODE_RED / "node_modules" / "node-red" / "red.js"
        settings = self.write("settings.js", settings)
        return [build.node(), script, "--userDir", self.home, "--settings", settings]


class NodeRedProducer(NodeRed):
    name = "node-red-producer"
    # Its node has every record of its own in flight, and tries each again by itself.
    keeps_order = False

    def command(self):
        given = json.loads(documented("node-red-producer.json", self.address))
        source = {
            "id": "source", "type": "tcp in", "z": "flow", "x": 120, "y": 80,
            "server": "server", "host": "",
            "port": str(self.port), "datamode": "stream", "datatype": "utf8", "newline": "\\n",
            "topic": "", "trim": False, "base64": False, "tls": "", "wires": [["hold"]],
        }
        return self.flow([*given, source])


class NodeRedConsumer(NodeRed, Receiver):
    name = "node-red-consumer"

    def command(self):
        given = json.loads(documented("node-red-consumer.json", self.address))
        sink = {
            "id": "sink", "type": "file", "z": "flow", "x": 540, "y": 80, "filename": str(self.out),
            "filenameType": "str", "appendNewline": True, "createDir": False,
            "overwriteFile": "false", "encoding": "none", "wires": [[]],
        }
        return self.flow([*given, sink])


# ---- Home Assistant ----------------------------------------------------------------------


class HomeAssistant(Tool):
    """The producer of its integration apache_kafka, with what that gives it."""

    name = "home-assistant"
    # Every event is a task of its own, and those that wait for room go on in any order.
    keeps_order = False
    # It connects once, when it starts.
    takes_early = False

    def command(self):
        host, port = BROKER.split(":")
        replaced = {f": {host}": f": {self.broker.host}", f": {port}": f": {self.broker.port}"}
        given = documented("home-assistant.yaml", replaced)
        settings = dict(re.findall(r"(\w+): (\S+)", given))
        address = f"{settings['ip_address']}:{settings['port']}"
        program = build.HERE / "home_assistant.py"
        return [install.VENV_PYTHON, program, address, settings["topic"]]

    def gave_up(self):
        if self.process.wait(LISTEN_SECONDS_MAX) == 0:
            raise AssertionError(f"{self.name} ended without a broker, and says nothing of it")

    def broker_is_there(self):
        self.start()

    def send(self, numbers):
        self.check()
        self.process.stdin.write("".join(map(self.line, numbers)).encode())
        self.process.stdin.flush()


# ---- Debian's ----------------------------------------------------------------------------


class Debian(Tool):
    """A daemon that .ci/install unpacked, beside the libraries that it came with."""

    def __init__(self, home, broker):
        super().__init__(home, broker)
        self.usr = build.UNPACKED / "usr"
        (self.libraries,) = {path.parent for path in self.usr.glob("lib/*/libestr.so.0")}

    def environment(self):
        others = build.UNPACKED / "lib" / self.libraries.name
        return {"LD_LIBRARY_PATH": f"{self.libraries}:{others}"}

    def daemon(self, name, *options):
        """The command of a daemon."""
        return [self.usr / "sbin" / name, *options]


class Rsyslog(Debian):
    name = "rsyslog"

    def command(self):
        failed = {"/var/spool/rsyslog/kafka": self.home / "failed"}
        given = documented("rsyslog.conf", {**self.address, **failed})
        source = 'module(load="imtcp")\n'
        source += f'input(type="imtcp" address="127.0.0.1" port="{self.port}")\n'
        path = self.write("rsyslog.conf", source + given)
        modules = ("-M", self.libraries / "rsyslog")
        return self.daemon("rsyslogd", "-n", "-f", path, "-i", self.home / "pid", *modules)

    def line(self, number):
        return f"<13>Nov 14 22:13:20 edge test: source={source_of(number)} n={number}\n"


class SyslogNg(Debian):
    name = "syslog-ng"

    def environment(self):
        (own,) = {path.parent for path in self.usr.glob("lib/*/libsyslog-ng-3*.so.0")}
        return {"LD_LIBRARY_PATH": f"{super().environment()['LD_LIBRARY_PATH']}:{own}"}

    def command(self):
        given = documented("syslog-ng.conf", self.address)
        source = f'network(ip("127.0.0.1") port({self.port}) transport("tcp") log-iw-size(1000))'
        text = f"@version: 3.38\nsource s_network {{ {source}; }};\n{given}"
        text += "log { source(s_network); destination(d_kafka); flags(flow-control); };\n"
        path = self.write("syslog-ng.conf", text)
        state = [f"--{what}={self.home / what}" for what in ("persist-file", "pidfile", "control")]
        (modules,) = self.usr.glob("lib/syslog-ng/*/")
        return self.daemon("syslog-ng", "-F", "-f", path, f"--module-path={modules}", *state)

    def line(self, number):
        source = source_of(number)
        return f"<13>Nov 14 22:13:20 {source} test: source={source} n={number}\n"


class Collectd(Debian):
    name = "collectd"
    pattern = re.compile(rb'"values":\[(?P<n>\d+)\].*?"host":"(?P<source>\w)"')

    def command(self):
        given = documented("collectd.conf", self.address)
        # Its write threads would overtake each other.
        text = f'WriteThreads 1\nBaseDir "{self.home}"\nPIDFile "{self.home}/pid"\n'
        text += f'Hostname "edge"\nPluginDir "{self.usr}/lib/collectd"\n'
        text += f'TypesDB "{self.usr}/share/collectd/types.db"\n'
        text += f'LoadPlugin unixsock\n<Plugin unixsock>\n  SocketFile "{self.home}/socket"\n'
        text += "</Plugin>\n"
        path = self.write("collectd.conf", text + given)
        return self.daemon("collectd", "-f", "-C", path)

    def open(self):
        connection = socket.socket(socket.AF_UNIX)
        connection.connect(str(self.home / "socket"))
        return connection

    def line(self, number):
        stamp = STAMP + number / 1000
        return f"PUTVAL {source_of(number)}/test/gauge interval=1 {stamp:.3f}:{number}\n"

    def send(self, numbers):
        super().send(numbers)
        # It answers each line.
        answers = b""
        while answers.count(b"\n") < len(numbers):
            answers += self.connection.recv(1 << 16)
        if answers.count(b"0 Success") != len(numbers):
            raise AssertionError(f"collectd: {answers[:300]}")


# ---- kaskade -----------------------------------------------------------------------------


class Kaskade(Tool):
    """A terminal interface, in a terminal of its own: for topics, or for the records of one."""

    name = "kaskade"

    def open_in(self, block):
        """Starts it as a command of docs/tools.md says."""
        program, *rest = documented(block, self.address).split()
        folder = self.home / block
        folder.mkdir()
        self.connection = terminal.Terminal(
            [build.VENV / program, *rest], {"HOME": str(folder)}, folder
        )
        return self.connection

    def close(self):
        """Ends it."""
        self.connection.close()
        self.connection = None

    def tail(self, lines=15):
        """What it drew last."""
        if self.connection is None:
            return ""
        drawn = [line for line in self.connection.text().splitlines() if line.strip()]
        return "\n".join("    | " + line[:300] for line in drawn[-lines:])

    def numbers(self):
        """The numbers of the records that are on the screen, or were."""
        return {int(number) for _, number in self.pattern.findall(self.connection.text().encode())}


SENDERS = (
    TelegrafOutput, OtelExporter, NodeRedProducer, HomeAssistant, Rsyslog, SyslogNg, Collectd,
)
RECEIVERS = (TelegrafInput, OtelReceiver, NodeRedConsumer)
