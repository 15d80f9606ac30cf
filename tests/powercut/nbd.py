#!/usr/bin/env python3
"""nbd.py IMAGE SOCKET SEED: serves a `disk.Disk` over NBD at a Unix socket, for an emulated machine.

Orders come in on the standard input and events go out, as with `fuse.py`. Behind a cut nothing is
answered any more. Standard library only.
"""

import select
import socket
import struct
import sys

from disk import SECTOR, Disk, Orders, tell

GREETING, OPTION_REPLY = b"NBDMAGICIHAVEOPT", 0x3E889045565A9
REQUEST_MAGIC, REPLY_MAGIC = 0x25609513, 0x67446698
READ, WRITE, DISCONNECT, FLUSH, TRIM, ZEROES = 0, 1, 2, 3, 4, 6
OPS = {READ: "read", WRITE: "write", ZEROES: "write", FLUSH: "flush"}
FUA = 1
# Has flags, sends FLUSH, sends FUA, writes zeroes.
FLAGS = 1 | 4 | 8 | 64


class Server:
    """One disk, one client at a time."""

    def __init__(self, image, path, seed):
        self.disk, self.told = Disk(image, seed), False
        self.orders = Orders()
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(path)
        self.listener.listen(1)

    def run(self):
        """Serves until nobody gives orders any more."""
        tell({"event": "ready"})
        client = None
        while True:
            waits_for = client or self.listener
            ready, _, _ = select.select([waits_for, 0], [], [])
            if 0 in ready:
                taken = self.orders.take()
                if taken is None:
                    return
                for order in taken:
                    said = self.disk.command(order)
                    if said is not None:
                        tell(said)
                self.tell_cut()
            if waits_for not in ready:
                continue
            try:
                if client is None:
                    client, _ = self.listener.accept()
                    self.negotiate(client)
                elif not self.serve(client):
                    client = None
            except (EOFError, ConnectionError):
                client = None

    def tell_cut(self):
        if self.disk.is_cut and not self.told:
            self.told = True
            tell(self.disk.report)

    def negotiate(self, client):
        """The fixed newstyle handshake, up to the export's size."""
        client.sendall(GREETING + struct.pack(">H", 3))
        receive(client, 4)
        while True:
            _, option, length = struct.unpack(">8sII", receive(client, 16))
            receive(client, length)

            def reply(kind, payload=b"", option=option):
                head = struct.pack(">QIII", OPTION_REPLY, option, kind, len(payload))
                client.sendall(head + payload)

            if option == 1:
                client.sendall(struct.pack(">QH", self.disk.bytes, FLAGS))
                return
            if option in (6, 7):
                reply(3, struct.pack(">HQH", 0, self.disk.bytes, FLAGS))
                reply(3, struct.pack(">HIII", 3, SECTOR, 4096, 1 << 25))
                reply(1)
                if option == 7:
                    return
            elif option == 2:
                reply(1)
                raise EOFError
            else:
                reply(0x80000001)

    def serve(self, client):
        """One request; false: the client is gone."""
        magic, flags, kind, handle, at, count = struct.unpack(">IHHQQI", receive(client, 28))
        if magic != REQUEST_MAGIC or kind == DISCONNECT:
            return False
        payload, alive = b"", not self.disk.is_cut
        data = receive(client, count) if kind == WRITE else bytes(count if kind == ZEROES else 0)
        error, _ = (alive and self.disk.fault(OPS.get(kind), at, count, data)) or (0, 0)
        if error:
            client.sendall(struct.pack(">IIQ", REPLY_MAGIC, error, handle))
            return True
        if kind in (WRITE, ZEROES):
            alive = alive and self.disk.write(at, data, bool(flags & FUA))
        elif kind == FLUSH:
            alive = alive and self.disk.flush()
        elif kind == READ and alive:
            payload = self.disk.read(at, count)
        if alive:
            client.sendall(struct.pack(">IIQ", REPLY_MAGIC, 0, handle) + payload)
        else:
            self.tell_cut()
        return True


def receive(client, count):
    """Exactly so many bytes, or EOFError."""
    out = bytearray()
    while len(out) < count:
        part = client.recv(min(count - len(out), 1 << 20))
        if not part:
            raise EOFError
        out += part
    return bytes(out)


if __name__ == "__main__":
    Server(sys.argv[1], sys.argv[2], int(sys.argv[3])).run()
