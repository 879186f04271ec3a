#!/usr/bin/env python3
"""Counts what a few everyday acts cost in system calls, and compares with the budgets beside this file.

    tests/bench/budgets.py [--wpm PROGRAM] [--puppet PROGRAM] [--write]

Counts do not depend on how busy the machine is, so this can stand in a test run where times cannot. Wall
times are in run.py. Calls are told by strace: those of the client from its start, those of keeper, daemon,
shims and children up to the exec of the app. `--write` sets the budgets to what was measured and a quarter more.
"""
import argparse
import json
import os
import re
import subprocess
import sys
import time

from home import Home, built

FILE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "budgets.json")
APPS = 20
# Beyond what was measured, for another kernel or C library.
ROOM = 1.25
SPARE = 5
CALL = re.compile(r"^(\d+) +(\w+)\(")
# Calls of which a client makes some for each process of the machine.
LOOKS = {"openat", "read", "close", "fcntl"}


def calls(lines, but=()):
    """System calls in strace's words. A process that has become an app counts no more."""
    total, apps = 0, set()
    for line in lines:
        match = CALL.match(line)
        if not match or match[1] in apps or match[2] in but:
            continue
        total += 1
        if match[2] == "execve":
            apps.add(match[1])
    return total


class Watch:
    """strace at every process of a home."""

    def __init__(self, home):
        self.log = os.path.join(home.dir, "strace")
        words = ["strace", "-f", "-qq", "-s", "64", "-o", self.log]
        for pid in home.own():
            words += ["-p", str(pid)]
        self.tracer = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for pid in home.own():
            while "TracerPid:\t0\n" in open(f"/proc/{pid}/status").read():
                time.sleep(0.01)
        self.settle()

    def settle(self):
        """Waits until nothing is written any more; gives the length of the log."""
        before = -1
        while before != os.path.getsize(self.log):
            before = os.path.getsize(self.log)
            time.sleep(0.3)
        return before

    def count(self, act):
        """System calls of everything that is watched while something is done."""
        begin = self.settle()
        act()
        self.settle()
        with open(self.log) as file:
            file.seek(begin)
            return calls(file)

    def close(self):
        self.tracer.terminate()
        self.tracer.wait()


def client(home, *words):
    """System calls of a client but for those with which it looks at processes."""
    log = os.path.join(home.dir, "client")
    subprocess.run(["strace", "-f", "-qq", "-o", log, home.wpm, *words], env=home.env, check=True,
                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    with open(log) as file:
        # The first call of a client is its own exec.
        lines = file.readlines()[1:]
    return calls(lines, LOOKS)


def measure(home):
    found = {}
    home.run("start", home.puppet, "--name", "many", "-i", str(APPS))
    home.puppets(APPS)
    home.run("list")
    found["list: the client"] = client(home, "list")
    watch = Watch(home)
    found["list: the daemon"] = watch.count(lambda: home.run("list"))
    found["an idle second"] = watch.count(lambda: time.sleep(1))
    found["start of one"] = watch.count(lambda: home.run("start", home.puppet, "--name", "one"))
    home.puppets(1)
    found["restart of one"] = watch.count(lambda: home.run("restart", "one"))
    home.puppets(1)
    one = home.live[-1]
    found["a crash and the next run"] = watch.count(lambda: (one.send(b"exit 1\n"), home.puppets(1)))
    watch.close()
    # Under strace of its own: a pipe that has been full stays wide.
    watch = Watch(home)
    # Each of them by itself would be some 8000 calls.
    found["a thousand lines, one by one"] = watch.count(lambda: home.ask(home.live[-1], "lines 1000"))
    mib = 8
    found["a MiB of output"] = watch.count(lambda: home.ask(home.live[-1], f"pour {mib}")) // mib
    found["stop of one"] = watch.count(lambda: home.run("stop", "one"))
    watch.close()
    return found


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--wpm")
    parser.add_argument("--puppet")
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    wpm, puppet = options.wpm or built("wpm", "debug"), options.puppet or built("wpm-puppet", "debug")
    home = Home(wpm, puppet)
    try:
        found = measure(home)
    finally:
        home.close()
    if options.write:
        with open(FILE, "w") as file:
            json.dump({what: count and int(count * ROOM) + SPARE for what, count in found.items()}, file, indent=2)
            file.write("\n")
    with open(FILE) as file:
        budgets = json.load(file)
    failed = 0
    for what, count in found.items():
        budget = budgets.get(what)
        good = budget is not None and count <= budget
        failed += not good
        print(f"{'ok' if good else 'FAILED'}: {what}: {count} system calls, budget {budget}")
    print(f"budgets: {len(found) - failed} passed, {failed} failed")
    if failed:
        print("a budget is raised by hand in tests/bench/budgets.json, with the reason in the commit")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
