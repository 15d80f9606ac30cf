"""The emulated board of `run`: qemu with the arm64 binary in its initial RAM disk, on an NBD disk.

The same life as in `stack.py`, with a kernel of its own between broker and disk: what the machine has in
its page cache is gone with it.
"""

import os
import pathlib
import re
import subprocess
import time

import brokers
from stack import FILE_SYSTEMS, HERE, Cut, DiskProcess, run

MEMORY_MIB = 128
SPARE_MIB = 8
BOOT_SECONDS_MAX = 180
STOP_SECONDS_MAX = 60


class Endpoint:
    """Where the broker in the machine is reached."""

    def __init__(self):
        self.host, self.port = "127.0.0.1", brokers.free_port()


class Machine:
    """One disk's life in an emulated machine."""

    def __init__(self, home, file_system, made, rings, seed, settings=()):
        """`made` is the folder with kernel and initrd; rings and settings are on the kernel's command line."""
        self.home, self.made, self.seed = pathlib.Path(home), made, seed
        self.rings, self.settings = rings, [*rings.settings, *settings]
        mkfs, mib, _, self.needs_check = FILE_SYSTEMS[file_system]
        self.image, self.socket = self.home / "image", self.home / "disk.sock"
        with open(self.image, "wb") as image:
            image.truncate((mib + rings.mib + SPARE_MIB) << 20)
        run(*mkfs, self.image)
        self.broker, self.powered = Endpoint(), 0
        self.disk = self.process = None
        self.console = self.home / "broker.log"

    def power_on(self):
        """The disk; the machine is switched on by `start`."""
        self.powered += 1
        self.socket.unlink(missing_ok=True)
        self.check()
        self.disk = DiskProcess(
            HERE / "nbd.py", self.image, self.socket, self.seed * 1000 + self.powered
        )
        self.tell_ring()

    def tell_ring(self):
        """Tells the disk where the ring's files lie, as far as the image on its own says it."""
        ring = []
        for folder in ("metadata", *(f"ring-{number}" for number in range(len(self.rings)))):
            for number in range(8):
                ring += extents(self.image, f"/ring/{folder}/segment-{number:04}")
        if ring:
            self.disk.order(ring=ring)

    def start(self):
        """Boots; raises `Cut` if the power goes away before the broker listens."""
        with open(self.console, "ab") as console:
            marks = console.tell()
            self.process = subprocess.Popen(
                self.command(), stdin=subprocess.DEVNULL, stdout=console, stderr=console,
                start_new_session=True,
            )
        until = time.monotonic() + BOOT_SECONDS_MAX
        while b"listening on" not in (said := self.said(marks)):
            if self.disk.is_cut():
                raise Cut(self.disk.report)
            gone = b"MACHINE: the" in said or self.process.poll() is not None
            if gone or time.monotonic() > until:
                tail = said.decode(errors="replace")[-1500:]
                raise RuntimeError(f"no start ({self.process.poll()}):\n{tail}")
            time.sleep(0.05)

    def said(self, marks):
        """What the console shows since then."""
        with open(self.console, "rb") as console:
            console.seek(marks)
            return console.read()

    def tail(self):
        """What the console showed last."""
        return self.said(0)[-1500:].decode(errors="replace")

    def kill(self):
        """The machine is reset: what it had not written is gone, the disk keeps its power."""
        self.silence()
        if self.needs_check:
            self.disk.ask(settle=True)
            self.check()

    def check(self):
        """What a boot does first with a file system that has no journal."""
        if self.needs_check:
            check = subprocess.run(["e2fsck", "-fy", self.image], capture_output=True, text=True)
            if check.returncode > 2:
                raise RuntimeError(f"e2fsck: {check.returncode}: {check.stdout}{check.stderr}")

    def command(self):
        """qemu's command line."""
        words = [f"ring={ring.name}" for ring in self.rings]
        words += [f"set={setting}" for setting in self.settings]
        return [
            "qemu-system-aarch64", "-M", "virt,gic-version=2", "-cpu", "cortex-a53", "-smp", "1",
            "-m", f"{MEMORY_MIB}", "-nographic", "-no-reboot", "-nodefaults", "-serial", "stdio",
            "-kernel", str(self.made / "kernel"), "-initrd", str(self.made / "initrd"),
            "-append", "console=ttyAMA0 quiet panic=-1 " + " ".join(words),
            "-drive", f"if=none,id=disk,format=raw,cache=writeback,file=nbd:unix:{self.socket}",
            "-device", "virtio-blk-device,drive=disk",
            "-netdev",
            f"user,id=net,restrict=on,hostfwd=tcp:127.0.0.1:{self.broker.port}-:9092",
            "-device", "virtio-net-device,netdev=net",
        ]  # fmt: skip

    def await_cut(self, seconds):
        """Waits for the armed cut; after `seconds` the power goes away at once."""
        if not self.disk.is_cut(seconds):
            self.disk.order(cut="subset")
            if not self.disk.is_cut(20):
                raise RuntimeError("the disk does not say that it is cut")
        return self.disk.report

    def silence(self):
        """The machine has no power either."""
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def power_off(self):
        """Takes everything down after a cut."""
        self.silence()
        self.disk.end()
        self.disk = None

    def shut_down(self):
        """The image holds all that was flushed; there is no need for a graceful end."""
        self.power_off()

    def close(self):
        """Ends what still runs, after a failure."""
        self.silence()
        if self.disk is not None:
            self.disk.end()
            self.disk = None


def extents(image, path):
    """Where a file of an ext4 image lies in it: [from, to] of each extent."""
    shown = subprocess.run(
        ["debugfs", "-R", f"ex {path}", image], capture_output=True, text=True,
        env=dict(os.environ, DEBUGFS_PAGER="cat"),
    ).stdout  # fmt: skip
    blocks = re.search(r"Block size: +(\d+)", run("dumpe2fs", "-h", image))
    size = int(blocks.group(1))
    out = []
    for line in shown.splitlines():
        # Level, entry, logical range, physical range, length; only leaves have a length behind it.
        numbers = re.match(r" *(\d+)/ *(\d+) +\d+/ *\d+ +\d+ - +\d+ +(\d+) - +(\d+) +\d+", line)
        if numbers and numbers.group(1) == numbers.group(2):
            first, last = int(numbers.group(3)), int(numbers.group(4))
            out.append([first * size, (last + 1) * size])
    return out
