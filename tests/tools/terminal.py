"""A program that wants a terminal, in one: what it drew, and keys for it."""

import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import termios
import time

ROWS, COLUMNS = 40, 160
STOP_SECONDS_MAX = 10
# What terminals are told that is no text.
ESCAPES = re.compile(
    rb"\x1b(\[[0-9;?<>=!$ ]*[a-zA-Z@`~]|\][^\x07\x1b]*(\x07|\x1b\\)|[()][0-9A-B]|P[^\x1b]*\x1b\\|.)"
)


class Terminal:
    """A process in a pseudo terminal."""

    def __init__(self, command, environment, folder):
        ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
        self.process = subprocess.Popen(
            [str(part) for part in command], stdin=theirs, stdout=theirs, stderr=theirs,
            cwd=folder, start_new_session=True,
            env=dict(os.environ, TERM="xterm-256color", **environment),
        )
        os.close(theirs)
        self.file, self.drawn = ours, b""

    def text(self):
        """What it drew since `forget`, without colours and places."""
        while select.select([self.file], [], [], 0)[0]:
            try:
                part = os.read(self.file, 1 << 16)
            except OSError:
                break
            if not part:
                break
            self.drawn += part
        return ESCAPES.sub(b" ", self.drawn).decode(errors="replace")

    def forget(self):
        """Only what is drawn from now on counts."""
        self.text()
        self.drawn = b""

    def press(self, keys):
        """Types keys."""
        os.write(self.file, keys.encode())

    def close(self):
        """Ends the process."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            until = time.monotonic() + STOP_SECONDS_MAX
            while self.process.poll() is None and time.monotonic() < until:
                # A full terminal would hold it up.
                self.text()
                time.sleep(0.05)
            if self.process.poll() is None:
                self.process.kill()
            self.process.wait()
        os.close(self.file)
