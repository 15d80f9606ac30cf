"""A broker on a disk that can lose its power: image, volatile disk, loop device, file system, process.

Needs root, loop devices and FUSE. Everything is mounted in a mount namespace of this process, so
nothing is left behind when it ends, however it ends.
"""

import ctypes
import fcntl
import json
import os
import pathlib
import select
import signal
import struct
import subprocess
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "clients"))

import brokers

# Name: (mkfs, MiB that it takes itself, mount options, whether it needs a check before it is mounted
# again).
FILE_SYSTEMS = {
    "ext4": (("mkfs.ext4", "-q", "-F", "-E", "lazy_itable_init=0"), 16, "", False),
    "ext4-nojournal": (
        ("mkfs.ext4", "-q", "-F", "-O", "^has_journal", "-E", "lazy_itable_init=0"), 16, "", True,
    ),
    "xfs": (("mkfs.xfs", "-q", "-f"), 280, "", False),
    "btrfs": (("mkfs.btrfs", "-q", "-f"), 104, "nodatacow", False),
}
CUT_SECONDS_MAX = 60
FS_IOC_FIEMAP = 0xC020660B
CLONE_NEWNS, MS_REC, MS_PRIVATE = 0x20000, 16384, 1 << 18


class Cut(Exception):
    """The power went away; the report of the disk."""

    def __init__(self, report):
        super().__init__(str(report))
        self.report = report


def own_mounts():
    """A mount namespace for this process and its children."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWNS) or libc.mount(b"none", b"/", None, MS_REC | MS_PRIVATE, None):
        raise OSError(ctypes.get_errno(), "a mount namespace (root is needed)")


def run(*command):
    """Runs a command to its end; its output is in the failure's text."""
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{' '.join(map(str, command))}: {done.stdout}{done.stderr}")
    return done.stdout.strip()


def extents(file):
    """Where a file lies on its device: [from, to] of each extent, by FIEMAP."""
    most = 64
    request = bytearray(struct.pack("<QQIIII", 0, 1 << 62, 0, 0, most, 0) + bytes(56 * most))
    with open(file, "rb") as opened:
        fcntl.ioctl(opened, FS_IOC_FIEMAP, request)
    out = []
    for number in range(struct.unpack_from("<I", request, 20)[0]):
        _, physical, length = struct.unpack_from("<QQQ", request, 32 + 56 * number)
        out.append([physical, physical + length])
    return out


class DiskProcess:
    """`fuse.py` or `nbd.py` as a process: orders go in, events come out."""

    def __init__(self, *command):
        self.process = subprocess.Popen(
            [sys.executable, *map(str, command)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        self.received, self.report = b"", None
        self.wait("event", 10)

    def order(self, **order):
        """Gives an order."""
        self.process.stdin.write(json.dumps(order).encode() + b"\n")
        self.process.stdin.flush()

    def ask(self, **order):
        """Gives an order that is answered."""
        self.order(**order)
        return self.wait(next(iter(order)), 20)

    def wait(self, key, seconds):
        """The next event with this key; a cut is remembered on the way. None after `seconds`."""
        until = time.monotonic() + seconds
        while True:
            while b"\n" in self.received:
                line, self.received = self.received.split(b"\n", 1)
                event = json.loads(line)
                if event.get("event") == "cut":
                    self.report = event
                if key in event:
                    return event
            left = max(0, until - time.monotonic())
            if not select.select([self.process.stdout], [], [], left)[0]:
                return None
            part = os.read(self.process.stdout.fileno(), 1 << 16)
            if not part:
                raise RuntimeError(f"the disk process ended: {self.process.wait()}")
            self.received += part

    def is_cut(self, seconds=0):
        """Whether the power has gone away."""
        if self.report is None:
            self.wait("event", seconds)
        return self.report is not None

    def end(self):
        """Ends the process."""
        self.process.stdin.close()
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


class Broker(brokers.Brooklet):
    """brooklet on the mounted disk; its log and its configuration stay outside."""

    def __init__(self, binary, home, data, rings, settings=()):
        super().__init__(binary, directory=home, settings=[*rings.settings, *settings])
        self.data, self.marks = data, 0
        self.tables = self.home / "brooklet.toml"
        self.tables.write_text(rings.tables)

    def command(self):
        command = [self.binary, "serve", "--config", self.tables]
        command += ["--listen", self.bootstrap, "--data", self.data]
        for setting in self.settings:
            command += ["--set", setting]
        return command

    def spawn(self):
        """Starts the process without waiting for it."""
        with open(self.log, "ab") as log:
            self.marks = log.tell()
            self.process = subprocess.Popen(
                [str(part) for part in self.command()],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                env=self.environment(),
            )

    def listens(self):
        """Whether it serves: its port is open before the rings are, and clients wait."""
        with open(self.log, "rb") as log:
            log.seek(self.marks)
            return b"listening on" in log.read()


class Stack:
    """One disk's life, over many power cuts."""

    def __init__(self, home, file_system, binary, rings, seed, settings=(), spare_mib=0):
        """A disk with room for these rings, on which there is nothing but a file system yet."""
        self.home = pathlib.Path(home)
        self.mkfs, mib, self.options, self.needs_check = FILE_SYSTEMS[file_system]
        self.kind = file_system.split("-")[0]
        self.image = self.home / "image"
        self.fuse, self.mount = self.home / "fuse", self.home / "mount"
        for folder in (self.fuse, self.mount):
            folder.mkdir()
        with open(self.image, "wb") as image:
            image.truncate((mib + rings.mib + spare_mib) << 20)
        run(*self.mkfs, self.image)
        self.broker = Broker(binary, self.home, self.mount / "data", rings, settings)
        self.seed, self.powered, self.disk, self.device = seed, 0, None, None

    def power_on(self):
        """The disk and the file system on it."""
        self.powered += 1
        self.disk = DiskProcess(
            HERE / "fuse.py", self.image, self.fuse, self.seed * 1000 + self.powered
        )
        direct = ("--direct-io=on", "-f", "--show", self.fuse / "disk")
        self.device = run("losetup", *direct)
        if self.needs_check:
            check = subprocess.run(["e2fsck", "-fy", self.device], capture_output=True, text=True)
            if check.returncode > 2:
                raise RuntimeError(f"e2fsck: {check.returncode}: {check.stdout}{check.stderr}")
        options = ("-o", self.options) if self.options else ()
        run("mount", "-t", self.kind, *options, self.device, self.mount)
        self.tell_ring()

    def tell_ring(self):
        """Tells the disk where the ring's files lie: only there may a cut leave rubbish, since no
        file system promises to survive that in its own structures."""
        # btrfs has addresses of its own, which are not the device's.
        if self.kind != "btrfs":
            files = sorted(self.broker.data.glob("*/segment-????"))
            self.disk.order(ring=[place for file in files for place in extents(file)])

    def start(self):
        """Starts the broker; raises `Cut` if the power goes away meanwhile."""
        self.broker.spawn()
        until = time.monotonic() + CUT_SECONDS_MAX
        while not self.broker.listens():
            if self.disk.is_cut():
                raise Cut(self.disk.report)
            if self.broker.process.poll() is not None:
                raise RuntimeError(
                    f"the start was refused: {self.broker.process.returncode}\n{self.broker.tail()}"
                )
            if time.monotonic() > until:
                raise RuntimeError(f"no start within {CUT_SECONDS_MAX} s\n{self.broker.tail()}")
            time.sleep(0.01)

    def kill(self):
        """Ends the broker without a chance, and nothing else."""
        self.broker.stop("kill")

    def tail(self):
        """What the broker said last."""
        return self.broker.tail()

    def await_cut(self, seconds):
        """Waits for the armed cut; after `seconds` the power goes away at once."""
        if not self.disk.is_cut(seconds):
            self.disk.order(cut="subset")
            if not self.disk.is_cut(CUT_SECONDS_MAX):
                raise RuntimeError("the disk does not say that it is cut")
        return self.disk.report

    def silence(self):
        """Ends the broker after a cut."""
        # The process goes before its requests fail: it must not see errors instead of a silence.
        if self.broker.alive():
            self.broker.process.send_signal(signal.SIGKILL)
        self.disk.order(dead=True)
        if self.broker.process is not None:
            self.broker.process.wait()

    def power_off(self):
        """Takes everything down after a cut."""
        self.silence()
        self._unmount()
        # What a failure is looked into with: the images as the last starts found them.
        for old, new in (("image-1", "image-2"), ("image", "image-1")):
            if (self.home / old).exists():
                run("cp", "--sparse=always", self.home / old, self.home / new)

    def shut_down(self):
        """Stops broker, file system and disk in good order."""
        self.broker.stop("term")
        self._unmount()

    def _unmount(self):
        until = time.monotonic() + 20
        while subprocess.run(["umount", self.mount], capture_output=True).returncode:
            if time.monotonic() > until:
                run("umount", "-l", self.mount)
                break
            time.sleep(0.05)
        run("losetup", "-d", self.device)
        # The kernel lets go of the device in its own time.
        while subprocess.run(["umount", self.fuse], capture_output=True).returncode:
            if time.monotonic() > until:
                run("umount", "-l", self.fuse)
                break
            time.sleep(0.02)
        self.disk.end()
        self.disk = self.device = None

    def close(self):
        """Ends what still runs, after a failure."""
        if self.broker.alive():
            self.broker.process.kill()
        if self.disk is not None:
            try:
                self.disk.order(dead=True)
                self._unmount()
            except (OSError, RuntimeError) as error:
                print(f"    not taken down cleanly: {error}", file=sys.stderr)
