"""A Debian system with a real systemd, in a container that has no network."""

import os
import pathlib
import re
import shutil
import socket
import subprocess
import time

PACKAGES = "systemd,systemd-sysv,dbus"
SUITE = "bookworm"
BOOT_SECONDS_MAX = 120
WAIT_SECONDS_MAX = 60


def make_root(archive):
    """Debian's smallest system with systemd, as an archive that is kept."""
    if archive.exists():
        return
    archive.parent.mkdir(parents=True, exist_ok=True)
    part = archive.with_suffix(".part.tar")
    command = ["mmdebstrap", "--quiet", "--variant=minbase", f"--include={PACKAGES}", SUITE, str(part)]
    subprocess.run(command, check=True)
    part.rename(archive)


class Machine:
    """Boots at the beginning of the `with`, and is gone at its end."""

    def __init__(self, home, archive, packages):
        self.home, self.archive, self.packages = pathlib.Path(home), archive, packages
        self.root = self.home / "root"

    def __enter__(self):
        self.root.mkdir()
        subprocess.run(["tar", "-C", self.root, "-xf", self.archive], check=True)
        told = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        told.bind(str(self.home / "notify.sock"))
        told.settimeout(BOOT_SECONDS_MAX)
        self.console = open(self.home / "console", "wb")
        self.process = subprocess.Popen(
            ["systemd-nspawn", "--quiet", "-D", self.root, "--boot", "--register=no", "--keep-unit",
             "--private-network", "--notify-ready=yes", "--console=pipe", f"--bind-ro={self.packages}:/packages"],
            stdin=subprocess.DEVNULL, stdout=self.console, stderr=self.console,
            env=dict(os.environ, NOTIFY_SOCKET=str(self.home / "notify.sock")),
        )  # fmt: skip
        self.leader, ready = None, False
        try:
            while not (ready and self.leader):
                text = told.recv(4096).decode()
                leader = re.search(r"^X_NSPAWN_LEADER_PID=(\d+)$", text, re.M)
                self.leader = int(leader.group(1)) if leader else self.leader
                ready = ready or "READY=1" in text.splitlines()
        except TimeoutError:
            self.__exit__()
            raise RuntimeError("the machine does not boot:\n" + (self.home / "console").read_text()[-3000:])
        told.close()
        return self

    def __exit__(self, *_):
        # SIGTERM twice ends it at once.
        for _ in range(2):
            if self.process.poll() is None:
                self.process.terminate()
                try:
                    self.process.wait(20)
                except subprocess.TimeoutExpired:
                    pass
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self.console.close()
        shutil.rmtree(self.root, ignore_errors=True)

    def run(self, *words, code=0, given=None):
        """Runs a command as root in the machine; gives what it said."""
        done = subprocess.run(
            ["nsenter", "--target", str(self.leader), "--all", "--wdns=/", "env", "-i",
             "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C", "DEBIAN_FRONTEND=noninteractive", *words],
            input=given, capture_output=True, text=True, timeout=300,
        )  # fmt: skip
        said = done.stdout + done.stderr
        if code is not None and done.returncode != code:
            raise AssertionError(f"{' '.join(words)}: exit code {done.returncode}, not {code}:\n{said}")
        return said

    def sh(self, script, code=0):
        """The same of a line of shell."""
        return self.run("sh", "-ec", script, code=code)

    def shown(self, *names, unit="brooklet.service"):
        """Properties of a unit."""
        said = self.run("systemctl", "show", unit, *(f"--property={name}" for name in names))
        return dict(line.split("=", 1) for line in said.splitlines())

    def wait_until(self, what, check):
        """Until it is so."""
        until = time.monotonic() + WAIT_SECONDS_MAX
        while not check():
            if time.monotonic() > until:
                raise AssertionError(f"{what} did not come:\n{self.run('systemctl', 'status', 'brooklet', code=None)}")
            time.sleep(0.1)
