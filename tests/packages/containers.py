"""Cases of the image, the Kubernetes manifest and the Helm chart."""

import os
import pathlib
import re
import subprocess
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
TARGET = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
VENV = TARGET / "packages-venv/bin"
HELM = TARGET / "tools-in-use/helm"
MANIFEST = ROOT / "packages/kubernetes.yaml"
CHART = ROOT / "packages/helm/brooklet"


def the_manifest_and_the_chart_hold_against_kubernetes_schemas(_):
    assert_valid(MANIFEST.read_text(), 2)
    assert_valid(chart(""), 2)
    assert_valid(chart("nodePort: 30092\nstorageClass: local-path\nsettings: {RING_SEGMENTS: '32'}\n"), 3)


def the_chart_is_the_manifest_with_values(_):
    made = chart("")
    for there, here in (("  name: brooklet\n", "  name: gateway\n"), ("serviceName: brooklet", "serviceName: gateway")):
        assert here in made
        made = made.replace(here, there)
    made = made.replace(", app.kubernetes.io/instance: gateway", "")
    assert lines(made) == lines(MANIFEST.read_text())
    made = chart("settings: {RING_SEGMENTS: '32'}\nstorage: 17Gi\nmemory: 64Mi\n")
    for said in ('{name: BROOKLET_RING_SEGMENTS, value: "32"}', "{storage: 17Gi}", "limits: {memory: 64Mi}"):
        assert said in made, made


def a_value_that_the_chart_does_not_have_is_refused(_):
    for values in ("segments: 3\n", "settings: {ring_segments: '3'}\n", "memory: much\n"):
        chart(values, code=1)


def an_image_is_made_for_each_platform_and_one_serves_and_knows_its_health(folder):
    context, platforms = folder / "image", ("linux/amd64", "linux/arm64", "linux/arm/v7", "linux/arm/v6")
    subprocess.run([ROOT / "packages/image-context", context], check=True, stdout=subprocess.DEVNULL)
    with tempfile.TemporaryDirectory() as store:
        buildah = ["buildah", "--storage-driver", "vfs", "--root", f"{store}/root", "--runroot", f"{store}/run"]

        def run(*words):
            done = subprocess.run([*buildah, *words], cwd=context, capture_output=True, text=True)
            assert done.returncode == 0, f"{' '.join(words)}:\n{done.stderr}"
            return done.stdout

        for platform in platforms:
            name = f"localhost/brooklet:{platform.replace('/', '-')}"
            run("build", "--format", "docker", "--isolation", "chroot", "--platform", platform, "-t", name, ".")
            shown = "{{.OCIv1.Architecture}} {{.Docker.Config.User}} {{.Docker.Config.Healthcheck}}"
            said = run("inspect", "--type", "image", "--format", shown, name)
            wanted = f"{platform.split('/')[1]} 65532:65532 {{[CMD /brooklet status --check] "
            assert said.startswith(wanted), said
        container = run("from", "localhost/brooklet:linux-amd64").strip()
        words = [*buildah, "run", "--isolation", "chroot", container, "/brooklet"]
        ring = ["--listen", "127.0.0.1:0", "--set", "http_listen=", "--set", "ring.segments=3"]
        broker = subprocess.Popen([*words, *ring], stderr=subprocess.PIPE, text=True)
        try:
            said = next(line for line in broker.stderr if " listening on " in line or "brooklet: " in line)
            assert " listening on " in said, said
            assert run(*words[len(buildah):], "status", "--check") == "ok\n"
        finally:
            broker.terminate()
            broker.communicate()
            run("rm", "--all")


def assert_valid(text, resources):
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
        file.write(text)
        file.flush()
        done = subprocess.run(
            [VENV / "kubernetes-validate", "--strict", file.name], capture_output=True, text=True
        )
    said = done.stdout + done.stderr
    assert done.returncode == 0 and said.count(" passed for resource ") == resources, said


def chart(values, code=0):
    """What Helm makes of the chart."""
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
        file.write(values)
        file.flush()
        done = subprocess.run([HELM, CHART, file.name], capture_output=True, text=True)
    assert done.returncode == code, f"{values}: {done.returncode}: {done.stdout}{done.stderr}"
    return done.stdout


def lines(text):
    return [line for line in text.splitlines() if not re.fullmatch(r"(---|\s*#.*|)", line)]


CASES = [
    the_manifest_and_the_chart_hold_against_kubernetes_schemas,
    the_chart_is_the_manifest_with_values,
    a_value_that_the_chart_does_not_have_is_refused,
    an_image_is_made_for_each_platform_and_one_serves_and_knows_its_health,
]
