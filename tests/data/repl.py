"""Plays a person at a terminal: runs a program on a pseudo-terminal and follows a script.

usage: repl.py STEPS PROGRAM [ARGUMENT]...

STEPS is a JSON list of [wait, type] pairs: wait until the text `wait` shows up after what the last step waited for,
then type `type` (no newline is added, and it may be empty). A line editor draws its prompt again at every key: wait for
the answer to a line before waiting for the next prompt. Prints what the terminal showed; exits 0 when every step was
met and the program ended with 0.
"""
import json
import os
import pty
import select
import sys
import time

PATIENCE_S = 60

steps = json.loads(sys.argv[1])
pid, terminal = pty.fork()
if pid == 0:
    os.execv(sys.argv[2], sys.argv[2:])

seen = b""
everything = b""


def read(until):
    """Reads what comes within a moment; False at the program's end."""
    global seen, everything
    if time.monotonic() > until:
        os.kill(pid, 9)
        sys.stdout.buffer.write(everything)
        sys.exit(f"\ntimed out; waiting for {wait!r}")
    if not select.select([terminal], [], [], 0.1)[0]:
        return True
    try:
        data = os.read(terminal, 65536)
    except OSError:
        data = b""
    # a terminal answers when it is asked where its cursor is
    for _ in range(data.count(b"\x1b[6n")):
        os.write(terminal, b"\x1b[1;1R")
    seen += data
    everything += data
    return bool(data)


for wait, keys in steps:
    until = time.monotonic() + PATIENCE_S
    while wait.encode() not in seen:
        if not read(until):
            sys.stdout.buffer.write(everything)
            sys.exit(f"\nthe program ended before {wait!r} showed up")
    seen = seen.split(wait.encode(), 1)[1]
    os.write(terminal, keys.encode())

wait = "the end of the program"
until = time.monotonic() + PATIENCE_S
while read(until):
    pass
status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
sys.stdout.buffer.write(everything)
sys.stdout.flush()
sys.exit(status)
