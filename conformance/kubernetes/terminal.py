"""Runs a program at a terminal as a person would: waits for words, types, changes the window's size, and waits for the end.

terminal.py PROGRAM ARGUMENT… <SCRIPT, a step a line:
  expect TEXT   until it has been shown since the last expect
  type TEXT     TEXT and the return key
  key HEX       bytes, such as 03 for Control-C
  size C R      the window has so many columns and rows from now on
Prints what was shown; its exit code is the program's, or 97 where an expected text never came, 98 where the terminal was not
given back as it was.
"""

import fcntl, os, pty, select, struct, subprocess, sys, termios, time

PATIENCE = 60
steps = [line.rstrip("\n").split(" ", 1) for line in sys.stdin if line.strip()]
ours, theirs = pty.openpty()
resize = lambda columns, rows: fcntl.ioctl(ours, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
resize(80, 24)
before = termios.tcgetattr(theirs)


def start():
    os.setsid()
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


program = subprocess.Popen(sys.argv[1:], stdin=theirs, stdout=theirs, stderr=theirs, preexec_fn=start)
shown = b""


def read(seconds):
    global shown
    if select.select([ours], [], [], seconds)[0]:
        shown += os.read(ours, 65536)


def leave(code):
    sys.stdout.write(shown.decode(errors="replace").replace("\r\n", "\n"))
    sys.exit(code)


at = 0
end = time.monotonic() + PATIENCE
for step, rest in steps:
    if step == "expect":
        while (found := shown.find(rest.encode(), at)) < 0:
            if time.monotonic() > end:
                program.kill()
                shown += f"\n[never shown: {rest}]\n".encode()
                leave(97)
            read(0.2)
        at = found + len(rest.encode())
    elif step == "type":
        os.write(ours, rest.encode() + b"\r")
    elif step == "key":
        os.write(ours, bytes.fromhex(rest))
    elif step == "size":
        resize(*map(int, rest.split()))
    else:
        sys.exit(f"no such step: {step}")
while program.poll() is None and time.monotonic() < end:
    read(0.05)
if program.poll() is None:
    program.kill()
    leave(97)
while select.select([ours], [], [], 0)[0]:
    read(0)
leave(program.returncode if termios.tcgetattr(theirs) == before else 98)
