#!/usr/bin/env python3
"""fuse.py IMAGE DIRECTORY SEED: mounts a folder with one file, `disk`, that is a `disk.Disk`.

A loop device over that file is a block device with a volatile write cache: what the kernel flushes
arrives here as FSYNC. Spoken to directly through /dev/fuse, as root, with the standard library alone.
Orders come in on the standard input (see `Disk.command`); events go out: {"event": "ready"} and
{"event": "cut", ...}. Behind a cut nobody is answered, until {"dead": true} fails all that waits with
EIO, so that the file system above can be taken down.
"""

import ctypes
import errno
import heapq
import os
import select
import stat
import struct
import sys
import time

from disk import Disk, Orders, tell

# Operations.
LOOKUP, FORGET, GETATTR, SETATTR, OPEN, READ, WRITE, STATFS = 1, 2, 3, 4, 14, 15, 16, 17
RELEASE, FSYNC, FLUSH, INIT, DESTROY, BATCH_FORGET = 18, 20, 25, 26, 38, 42
ROOT, FILE = 1, 2
WRITE_BYTES_MAX = 1 << 20
HEADER = struct.Struct("<IIQQIIIHH")
OPEN_DIRECT = 1
# ASYNC_READ, BIG_WRITES, ASYNC_DIO, MAX_PAGES.
INIT_FLAGS = 1 << 0 | 1 << 5 | 1 << 15 | 1 << 22


class Server:
    """One mounted disk."""

    def __init__(self, image, directory, seed):
        self.disk = Disk(image, seed)
        self.device = os.open("/dev/fuse", os.O_RDWR)
        self.buffer = bytearray(WRITE_BYTES_MAX + PAGE_OF_HEADERS)
        self.dead, self.withheld, self.told = False, [], False
        # Answers that a fault delays: (when, order of arrival, unique, error, payload).
        self.late = []
        mount(self.device, directory)

    def run(self):
        """Serves until it is unmounted or nobody gives orders any more."""
        orders = Orders()
        tell({"event": "ready"})
        while True:
            wait = max(0, self.late[0][0] - time.monotonic()) if self.late else None
            ready, _, _ = select.select([self.device, 0], [], [], wait)
            while self.late and self.late[0][0] <= time.monotonic():
                _, _, unique, error, payload = heapq.heappop(self.late)
                self.reply(unique, error, payload)
            if 0 in ready:
                taken = orders.take()
                if taken is None:
                    return
                for order in taken:
                    self.order(order)
            if self.device in ready and not self.serve():
                return

    def order(self, order):
        said = self.disk.command(order)
        if said is not None:
            tell(said)
        if order.get("dead"):
            self.dead = True
            for unique in self.withheld:
                self.reply(unique, errno.EIO)
        self.tell_cut()

    def tell_cut(self):
        if self.disk.is_cut and not self.told:
            self.told = True
            tell(self.disk.report)

    def serve(self):
        """One request; false: unmounted."""
        try:
            count = os.readv(self.device, [self.buffer])
        except OSError as error:
            return error.errno in (errno.EINTR, errno.EAGAIN, errno.ENOENT)
        _, op, unique, node, *_ = HEADER.unpack_from(self.buffer)
        body = memoryview(self.buffer)[HEADER.size : count]
        if op in (FORGET, BATCH_FORGET):
            return True
        if op == DESTROY:
            return False
        if op in (READ, WRITE, FSYNC):
            self.transfer(op, unique, body)
        else:
            self.control(op, unique, node, body)
        return True

    def transfer(self, op, unique, body):
        """What reaches the medium."""
        if self.disk.is_cut:
            self.silence(unique)
            return
        at, count = (0, 0) if op == FSYNC else struct.unpack_from("<QI", body, 8)
        name = {READ: "read", WRITE: "write", FSYNC: "flush"}[op]
        data = body[WRITE_HEADER : WRITE_HEADER + count] if op == WRITE else b""
        error, late_ms = self.disk.fault(name, at, count, bytes(data)) or (0, 0)
        payload = b""
        if error == 0:
            if op == READ:
                payload = self.disk.read(at, count)
            elif op == WRITE:
                alive = self.disk.write(at, data)
                payload = struct.pack("<II", count, 0)
            else:
                alive = self.disk.flush()
            if op != READ and not alive:
                self.tell_cut()
                self.silence(unique)
                return
        if late_ms:
            when = time.monotonic() + late_ms / 1000
            heapq.heappush(self.late, (when, unique, unique, error, payload))
        else:
            self.reply(unique, error, payload)

    def silence(self, unique):
        if self.dead:
            self.reply(unique, errno.EIO)
        else:
            self.withheld.append(unique)

    def control(self, op, unique, node, body):
        """What a folder with one file takes to be mounted and opened."""
        if op == INIT:
            readahead = struct.unpack_from("<I", body, 8)[0]
            pages = WRITE_BYTES_MAX // 4096
            form = "<IIIIHHIIHHI28x"
            out = (7, 31, readahead, INIT_FLAGS, 64, 48, WRITE_BYTES_MAX, 1, pages, 0, 0)
            self.reply(unique, 0, struct.pack(form, *out))
        elif op == LOOKUP:
            if node == ROOT and bytes(body).rstrip(b"\0") == b"disk":
                self.reply(unique, 0, struct.pack("<QQQQII", FILE, 0, 1, 1, 0, 0) + self.attr(FILE))
            else:
                self.reply(unique, errno.ENOENT)
        elif op in (GETATTR, SETATTR):
            self.reply(unique, 0, struct.pack("<QII", 1, 0, 0) + self.attr(node))
        elif op == OPEN:
            self.reply(unique, 0, struct.pack("<QIi", 1, OPEN_DIRECT, 0))
        elif op == STATFS:
            blocks = self.disk.bytes // 4096
            out = struct.pack("<QQQQQIII", blocks, 0, 0, 2, 0, 4096, 255, 4096)
            self.reply(unique, 0, out + bytes(28))
        elif op in (RELEASE, FLUSH):
            self.reply(unique, 0)
        else:
            # FALLOCATE among them: the kernel then writes zeroes, as to a disk that cannot discard.
            self.reply(unique, errno.ENOSYS)

    def attr(self, node):
        mode = stat.S_IFDIR | 0o755 if node == ROOT else stat.S_IFREG | 0o600
        size = 0 if node == ROOT else self.disk.bytes
        return struct.pack(
            "<QQQQQQIIIIIIIIII", node, size, size // 512, 0, 0, 0, 0, 0, 0, mode, 1, 0, 0, 0, 4096, 0
        )

    def reply(self, unique, error, payload=b""):
        header = struct.pack("<IiQ", 16 + len(payload), -error, unique)
        try:
            os.writev(self.device, [header, payload] if payload else [header])
        except OSError as failure:
            # Whoever asked was killed meanwhile, or the folder was unmounted.
            if failure.errno not in (errno.ENOENT, errno.ENODEV, errno.EINVAL):
                raise


def mount(device, directory):
    """mount(2) for a FUSE device."""
    options = f"fd={device},rootmode=40000,user_id=0,group_id=0,max_read={WRITE_BYTES_MAX}"
    libc = ctypes.CDLL(None, use_errno=True)
    done = libc.mount(b"volatile-disk", directory.encode(), b"fuse", 6, options.encode())
    if done != 0:
        raise OSError(ctypes.get_errno(), f"mount of FUSE at {directory}")


WRITE_HEADER = 40
PAGE_OF_HEADERS = 4096

if __name__ == "__main__":
    Server(sys.argv[1], sys.argv[2], int(sys.argv[3])).run()
