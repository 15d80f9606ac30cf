"""The table of clients × features in a Markdown file, from what a run found.

It stands between two marker lines, which stay. A cell is ✓, ✗, or the number of the reason why the
client has not the feature.
"""

import json
import pathlib
import re

import install

BEGIN, END = "<!-- table: begin -->", "<!-- table: end -->"


def write(path, cases):
    """Puts the table into the file."""
    path = pathlib.Path(path)
    head, _, tail = parts(path.read_text())
    path.write_text(f"{head}{BEGIN}\n{render(cases)}{END}{tail}")


def is_current(path, cases):
    """Whether the file has this table."""
    return parts(pathlib.Path(path).read_text())[1] == f"\n{render(cases)}"


def is_whole(path, cases):
    """Whether the file has a table of these clients in the versions that are pinned, with these
    features, and no failure in it: what can be told without a run."""
    lines = parts(pathlib.Path(path).read_text())[1].splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if "|" in line]
    clients, features = axes(cases)
    found = versions()
    top = [["", *(client.name for client in clients)]]
    top += [["---", *([":-:"] * len(clients))]]
    top += [["*version*", *(found[client.name] for client in clients)]]
    names = [feature.replace("_", " ") for feature in features]
    complete = all(cell for row in rows[3:] for cell in row) and "✗" not in "".join(lines)
    return rows[:3] == top and [row[0] for row in rows[3:]] == names and complete


def axes(cases):
    """The clients and the features of cases, in order."""
    cases = [case for case in cases if case.client]
    clients = list(dict.fromkeys(case.client for case in cases))
    return clients, list(dict.fromkeys(case.feature for case in cases))


def parts(text):
    """What stands before, between and behind the markers."""
    head, rest = text.split(BEGIN)
    between, tail = rest.split(END)
    return head, between, tail


def render(cases):
    """The table and the reasons below it."""
    clients, features = axes(cases)
    by_cell = {(case.client, case.feature): case for case in cases}
    reasons, found = [], versions()
    lines = ["| | " + " | ".join(client.name for client in clients) + " |"]
    lines.append("| --- |" + " :-: |" * len(clients))
    lines.append("| *version* | " + " | ".join(found[client.name] for client in clients) + " |")
    for feature in features:
        cells = [cell(by_cell[client, feature], reasons) for client in clients]
        lines.append(f"| {feature.replace('_', ' ')} | " + " | ".join(cells) + " |")
    lines.append("")
    lines += [f"{number}. {reason}" for number, reason in enumerate(reasons, 1)]
    return "\n".join(lines) + "\n"


def cell(case, reasons):
    """One cell; a reason that is new is added to the list."""
    if case.outcome != "without":
        return {"passed": "✓", "failed": "✗"}[case.outcome]
    if case.text not in reasons:
        reasons.append(case.text)
    return str(reasons.index(case.text) + 1)


def versions():
    """The versions of the clients, from the files that pin them."""
    python = dict(
        line.split("==") for line in text("requirements.txt").splitlines() if "==" in line
    )
    go = dict(re.findall(r"^\t(\S+) v(\S+)", text("go/go.mod"), re.M))
    node = json.loads(text("node/package.json"))["dependencies"]
    rust = dict(re.findall(r'^(\w+) = \{ version = "=([^"]+)"', text("rust/Cargo.toml"), re.M))
    (java,) = re.findall(r"<kafka.version>(.*)</kafka.version>", text("java/pom.xml"))
    return {
        "confluent": python["confluent-kafka"],
        "kcat": "Debian's",
        "rdkafka": rust["rdkafka"],
        "java": java,
        "java-tools": java,
        "franz-go": go["github.com/twmb/franz-go"],
        "sarama": go["github.com/IBM/sarama"],
        "kafka-go": go["github.com/segmentio/kafka-go"],
        "kafka-python": python["kafka-python"],
        "aiokafka": python["aiokafka"],
        "kafkajs": node["kafkajs"],
        "rskafka": rust["rskafka"],
    }


def text(name):
    """A file beside this one."""
    return (install.HERE / name).read_text()
