"""Every subcommand of the `rucio` and `rucio-admin` programs. The unmodified programs run in children of a process that has
their library loaded already, because a fresh Python needs a second for each."""

import os
import runpy
import sys

import command_new
import command_old

# A program that takes longer is stopped.
LONGEST = 60


def run(program, arguments, output):
    """Runs a program with arguments; answers its status and what it wrote."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            import signal
            signal.alarm(LONGEST)
            file = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            os.dup2(file, 1)
            os.dup2(file, 2)
            sys.argv = [program, *arguments]
            sys.stdout = os.fdopen(1, "w")
            sys.stderr = os.fdopen(2, "w")
            try:
                runpy.run_path(os.path.join(sys.prefix, "bin", program), run_name="__main__")
                status = 0
            except SystemExit as end:
                status = end.code if isinstance(end.code, int) else (0 if end.code is None else 1)
            except BaseException as error:  # noqa: BLE001 - what kills the program is its outcome
                print(f"{type(error).__name__}: {error}")
            sys.stdout.flush()
            sys.stderr.flush()
        finally:
            os._exit(status)
    _, status = os.waitpid(child, 0)
    with open(output, encoding="utf-8", errors="replace") as file:
        return os.waitstatus_to_exitcode(status), file.read()


def subcommands(version):
    """All subcommands that the programs of this version name themselves."""
    if version.startswith("35."):
        return command_old.listed()
    return command_new.listed()


def walk(version, world):
    module = command_old if version.startswith("35.") else command_new
    module.prepare(world)
    output = f"{world.work}/output"
    results, last = {}, {}
    everything = subcommands(version)
    for name, arguments, wanted in module.steps(world, last):
        if name not in everything:
            continue
        program = "rucio-admin" if name.startswith("admin ") else "rucio"
        try:
            filled = [part() if callable(part) else part for part in arguments]
            status, text = run(program, [*name.removeprefix("admin ").split(), *filled], output)
        except Exception as error:  # noqa: BLE001 - an argument that cannot be made is the outcome
            results.setdefault(name, f"fails: {type(error).__name__}: {error}")
            continue
        last["text"] = text
        flat = " ".join(text.split())
        if status != 0:
            results[name] = f"fails: {flat[-160:]}"
        elif wanted and wanted not in text:
            results[name] = f"fails: {wanted!r} is not in {flat[-160:]!r}"
        else:
            results.setdefault(name, "works")
    return [(name, results.get(name, "not exercised")) for name in sorted(everything)]
