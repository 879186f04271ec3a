#!/usr/bin/env python3
"""Times wpm beside the limits of the machine, and beside pm2 where that is installed.

    cargo build --release -p wpm
    tests/bench/run.py [--wpm PROGRAM] [--puppet PROGRAM] [--json FILE] [--work DIR] [--quick] [--grow N]

Prints a Markdown table; with --json the same as JSON. Each figure is the median of several runs, with its
least and greatest value. Every target is a ratio to what the machine does alone, measured in the same run:
executing an empty static program, spawning the same apps in a loop, copying output with cat. The app is the
tests' puppet: its first act is to connect to a socket of this program, which is when it counts as running.

On a shared machine run it as `chrt -r 1 tests/bench/run.py`: then it comes before everything else. The
scratch folder is in /dev/shm where that exists, so that disks do not decide. Nothing is left behind.
"""
import argparse
import json
import os
import shutil
import statistics
import subprocess
import time

import acts
from home import QUIET, Home, built


class Table:
    """Rows as they are measured."""

    def __init__(self):
        self.rows = []
        print("| figure | median | least–greatest | target |\n|---|---|---|---|")

    def row(self, what, values, unit, target=None):
        """Adds a row; `target` is the greatest allowed value, with a minus sign the least one. Gives the median."""
        values = sorted(values)
        middle = statistics.median(values)
        good = None if target is None else (middle >= -target if target < 0 else middle <= target)
        self.rows.append({"what": what, "unit": unit, "median": middle, "least": values[0],
                          "greatest": values[-1], "runs": len(values), "target": target, "reached": good})
        verdict = "" if target is None else f"{'≥' if target < 0 else '≤'} {number(abs(target))}: {'yes' if good else 'no'}"
        print(f"| {what} | {number(middle)} {unit} | {number(values[0])}–{number(values[-1])} | {verdict} |", flush=True)
        return middle


def number(value):
    return f"{value:.0f}" if abs(value) >= 100 or value == int(value) else f"{value:.2f}"


def empty_program(folder):
    """A static program that does nothing; /bin/true where there is no compiler."""
    source, program = os.path.join(folder, "empty.c"), os.path.join(folder, "empty")
    with open(source, "w") as file:
        file.write("int main(void) { return 0; }\n")
    words = [os.environ.get("CC", "cc"), "-O2", "-static", "-o", program, source]
    try:
        subprocess.run(words, check=True, **QUIET)
    except (OSError, subprocess.CalledProcessError):
        return "/bin/true"
    return program


def limits(home, table, times, mib):
    """What the machine does without a manager."""
    empty = empty_program(home.dir)
    home.run(program=empty)
    execution = table.row("limit: empty static program, started and ended",
                          [home.run(program=empty) for _ in range(times * 5)], "ms")
    loops = {}
    for count in (100, 500):
        loops[count] = table.row(f"limit: {count} × posix_spawn, all running",
                                 [acts.loop(home, count) for _ in range(times)], "ms")
    cat = table.row("limit: output of an app through `cat >`",
                    [acts.poured(home, mib, "cat") for _ in range(times + 1)][1:], "MB/s")
    table.row("limit: output of an app straight into a file",
              [acts.poured(home, mib, "direct") for _ in range(times)], "MB/s")
    return execution, loops, cat


def first_steps(home, table, times, execution):
    cold = []
    for _ in range(times):
        began = time.perf_counter()
        client = home.spawn("start", home.puppet, "--name", "first")
        cold.append((home.puppets(1) - began) * 1000)
        client.wait()
        home.run("delete", "all")
        home.forget()
        home.run("kill")
    table.row("`start` without a daemon → first instruction of the app", cold, "ms", 10)
    home.run("ping")
    table.row("memory (PSS), no apps", [acts.pss(home)], "MiB", 3)
    table.row("`ping`", [home.run("ping") for _ in range(times * 3)], "ms")
    first = []
    for i in range(times):
        began = time.perf_counter()
        client = home.spawn("start", home.puppet, "--name", f"one{i}", "--restart-delay", "0")
        first.append((home.puppets(1) - began) * 1000)
        client.wait()
    table.row("`start` → first instruction of the app", first, "ms", 4 * execution)
    table.row("crash → first instruction of the next run", acts.crashes(home), "ms", 3 * execution)
    home.clear()


def crowd(home, table, times, count, execution, loop):
    """Figures with so many instances."""
    started, stopped, restarted = [], [], []
    for _ in range(times if count == 100 else max(3, times // 2)):
        started.append(acts.all_running(home, count, "start", home.puppet, "--name", "many", "-i", str(count)))
        if len(started) == 1:
            table.row(f"memory (PSS), {count} apps", [acts.pss(home)], "MiB", 7 if count == 100 else 20)
        restarted.append(acts.all_running(home, count, "restart", "many"))
        stopped.append(home.run("stop", "many"))
        home.clear()
    table.row(f"{count} started, all running", started, "ms", 1.5 * loop)
    table.row(f"{count} restarted, all running anew", restarted, "ms", 2 * loop)
    table.row(f"{count} stopped, every tree gone", stopped, "ms", 50 if count == 100 else None)
    home.run("start", home.puppet, "--name", "many", "-i", str(count))
    home.puppets(count)
    target = 2.5 * execution + 0.002 * count
    home.run("list")
    for verb in ("list", "jlist"):
        table.row(f"`{verb}`, {count} apps", [home.run(verb) for _ in range(times * 3)], "ms", target)
    before = acts.cpu_ms([home.daemon()])
    for _ in range(20):
        home.run("list")
    table.row(f"CPU of the daemon for one `list`, {count} apps", [(acts.cpu_ms([home.daemon()]) - before) / 20],
              "ms", 1 if count == 100 else None)
    if count == 100:
        idle = acts.idle_calls(home, 20 if times > 3 else 3)
        if idle is not None:
            table.row("system calls of all of wpm in 20 idle seconds, 100 apps", [idle], "", 0)
        other = home.spawn("reload", "many")
        home.run("start", home.puppet, "--name", "apart", "--restart-delay", "0", "--", "apart")
        table.row("crash → next run, while 100 others reload", acts.crashes_among(home, "apart"), "ms",
                  3 * execution)
        other.wait()
    home.run("delete", "all")
    home.forget()


def output(home, table, times, mib, cat):
    for what, words, least, most in (("as it comes", [], cat, 0.3), ("with timestamps", ["--time"], None, 1.2)):
        rate, cpu = [], []
        for _ in range(times + 1):
            one = acts.poured(home, mib, "wpm", *words)
            rate.append(one[0])
            cpu.append(one[1])
        table.row(f"output of an app through wpm, {what}", rate[1:], "MB/s", least and -least)
        table.row(f"CPU of wpm for it, {what}", cpu[1:], "s/GiB", most)


def apps(home, count):
    """An app file with so many instances, in apps of at most 500: one may not have more than 1000."""
    path = os.path.join(home.dir, "apps.json")
    sizes = [min(500, count - at) for at in range(0, count, 500)]
    with open(path, "w") as file:
        json.dump({"apps": [{"name": f"many{i}", "script": home.puppet, "interpreter": "none", "instances": size,
                             "exec_mode": "fork"} for i, size in enumerate(sizes)]}, file)
    return path


def growth(home, table, most):
    """Milliseconds for each app, at more and more apps: linear when it stays."""
    count = 10
    while count <= most:
        start = acts.all_running(home, count, "start", apps(home, count))
        home.run("list")
        look = statistics.median(home.run("list") for _ in range(5))
        home.run("start", home.puppet, "--name", "apart", "--restart-delay", "0", "--", "apart")
        crash = statistics.median(acts.crashes_among(home, "apart"))
        restart = acts.all_running(home, count, "restart", "/many/")
        stop = home.run("stop", "/many/")
        for what, value in (("start", start), ("restart", restart), ("stop", stop), ("list", look)):
            table.row(f"growth: {what} of {count}, for each", [value / count], "ms")
        table.row(f"growth: crash of one among {count}", [crash], "ms")
        home.clear()
        count = count * 10 if count < 1000 else count * 2


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--wpm")
    parser.add_argument("--puppet")
    parser.add_argument("--json")
    parser.add_argument("--work", default="/dev/shm" if os.path.isdir("/dev/shm") else None)
    parser.add_argument("--quick", action="store_true", help="fewer runs")
    parser.add_argument("--grow", type=int, default=1000, help="apps at which growth ends; 0 = not at all")
    options = parser.parse_args()
    wpm, puppet = options.wpm or built("wpm", "release"), options.puppet or built("wpm-puppet", "release")
    times, mib = (3, 64) if options.quick else (7, 512)
    table = Table()
    home = Home(wpm, puppet, options.work)
    try:
        execution, loops, cat = limits(home, table, times, mib)
        first_steps(home, table, times, execution)
        for count in (100, 500):
            crowd(home, table, times, count, execution, loops[count])
        output(home, table, times, mib, cat)
        acts.crash_loop(home, table, 2.5 * execution + 0.2, 3 * execution)
        acts.churn(home, table, 300 if options.quick else 3000)
        growth(home, table, options.grow)
        pm2 = shutil.which("pm2")
        if pm2:
            import peer
            peer.measure(home, table, pm2, 3)
    finally:
        home.close()
    if options.json:
        with open(options.json, "w") as file:
            json.dump({"kernel": os.uname().release, "cpus": os.cpu_count(), "load": os.getloadavg(),
                       "rows": table.rows}, file, indent=1, ensure_ascii=False)


if __name__ == "__main__":
    main()
