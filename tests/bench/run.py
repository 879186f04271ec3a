#!/usr/bin/env python3
"""Times wpm on one machine and prints a Markdown table (and JSON with --json FILE).

    cargo build --release -p wpm
    python3 tests/bench/run.py [--wpm PROGRAM] [--puppet PROGRAM] [--json FILE] [--quick]

Every figure is the median of several runs with its least and greatest value. The machine's own limits
(executing an empty static program, spawning in a loop) are measured in the same run, so that ratios
mean something where absolute times do not. The app is the tests' puppet: its first act is to connect
to a socket of this program, which is when it counts as running. Nothing is left behind.
"""
import argparse
import json
import os
import re
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time


def built(name):
    """The release build of a program, whatever the target triple."""
    top = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "target")
    for path, _, files in os.walk(top):
        if os.path.basename(path) == "release" and name in files:
            return os.path.join(path, name)
    sys.exit(f"{name} is not built: cargo build --release -p wpm")


class Bench:
    def __init__(self, wpm, puppet):
        self.wpm, self.puppet = wpm, puppet
        self.dir = tempfile.mkdtemp(prefix="wpm-bench-")
        self.home = os.path.join(self.dir, "home")
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(os.path.join(self.dir, "p"))
        self.listener.listen(4096)
        self.listener.settimeout(60)
        self.env = {"PATH": os.environ["PATH"], "HOME": self.dir, "WPM_HOME": self.home,
                    "PUPPET": os.path.join(self.dir, "p")}
        self.live = []

    def run(self, *words):
        began = time.perf_counter()
        subprocess.run([self.wpm, *words], env=self.env, check=True,
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        return (time.perf_counter() - began) * 1000

    def spawn(self, *words):
        return subprocess.Popen([self.wpm, *words], env=self.env,
                                stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def puppets(self, count):
        """Waits for so many puppets; gives the moment of the last one."""
        for _ in range(count):
            connection, _ = self.listener.accept()
            self.live.append(connection)
        return time.perf_counter()

    def own(self):
        """Processes of wpm itself: keeper, daemon and shims of this home."""
        pids = []
        for pid in filter(str.isdigit, os.listdir("/proc")):
            try:
                line = open(f"/proc/{pid}/cmdline").read().split("\0")
            except OSError:
                continue
            if self.home in line and ("__keeper" in line or "__daemon" in line):
                pids.append(int(pid))
        return pids

    def pss_mib(self):
        total = 0
        for pid in self.own():
            for line in open(f"/proc/{pid}/smaps_rollup"):
                if line.startswith("Pss:"):
                    total += int(line.split()[1])
        return total / 1024

    def clear(self):
        self.run("delete", "all")
        for connection in self.live:
            connection.close()
        self.live = []

    def close(self):
        subprocess.run([self.wpm, "kill"], env=self.env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        shutil.rmtree(self.dir, ignore_errors=True)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--wpm")
    parser.add_argument("--puppet")
    parser.add_argument("--json")
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    wpm, puppet = options.wpm or built("wpm"), options.puppet or built("wpm-puppet")
    times = 3 if options.quick else 7
    rows = []

    def row(what, values, unit):
        values = sorted(values)
        rows.append({"what": what, "unit": unit, "median": statistics.median(values),
                     "least": values[0], "greatest": values[-1]})
        print(f"| {what} | {statistics.median(values):.2f} {unit} | {values[0]:.2f}–{values[-1]:.2f} |", flush=True)

    print("| figure | median | least–greatest |\n|---|---|---|")
    empty = []
    for _ in range(times * 3):
        began = time.perf_counter()
        subprocess.run([wpm, "__self-test"], stdout=subprocess.DEVNULL)
        empty.append((time.perf_counter() - began) * 1000)
    row("limit: this program started and ended", empty, "ms")
    loop = []
    for _ in range(times):
        began = time.perf_counter()
        pids = [os.posix_spawn("/bin/true", ["true"], {}) for _ in range(100)]
        loop.append((time.perf_counter() - began) * 1000)
        for pid in pids:
            os.waitpid(pid, 0)
    row("limit: 100 × posix_spawn", loop, "ms")

    bench = Bench(wpm, puppet)
    try:
        cold = []
        for _ in range(times):
            cold.append(bench.run("ping"))
            bench.run("kill")
        row("first command, daemon started on the way", cold, "ms")
        bench.run("ping")
        row("`ping`", [bench.run("ping") for _ in range(times * 3)], "ms")
        row("memory (PSS) without apps", [bench.pss_mib()], "MiB")

        first, crash = [], []
        for i in range(times):
            began = time.perf_counter()
            client = bench.spawn("start", puppet, "--name", f"one{i}")
            first.append((bench.puppets(1) - began) * 1000)
            client.wait()
        row("`start` → first instruction of the app", first, "ms")
        for connection in list(bench.live):
            began = time.perf_counter()
            connection.send(b"exit 1\n")
            crash.append((bench.puppets(1) - began) * 1000)
        row("crash → first instruction of the next run", crash, "ms")
        bench.clear()

        for count in (100, 500):
            began = time.perf_counter()
            client = bench.spawn("start", puppet, "--name", "many", "-i", str(count))
            row(f"{count} instances started, all running", [(bench.puppets(count) - began) * 1000], "ms")
            client.wait()
            row(f"memory (PSS) with {count}", [bench.pss_mib()], "MiB")
            row(f"`list` with {count}", [bench.run("list") for _ in range(times)], "ms")
            row(f"`jlist` with {count}", [bench.run("jlist") for _ in range(times)], "ms")
            if count == 100:
                idle(bench, row, 3 if options.quick else 10)
                restart = []
                for _ in range(times):
                    began = time.perf_counter()
                    client = bench.spawn("restart", "many")
                    restart.append((bench.puppets(count) - began) * 1000)
                    client.wait()
                row("100 restarted, all running anew", restart, "ms")
            row(f"{count} stopped, every tree gone", [bench.run("stop", "many")], "ms")
            bench.clear()

        logs = os.path.join(bench.home, "logs", "loud-out.log")
        client = bench.spawn("start", puppet, "--name", "loud", "--log-max-size", "0")
        bench.puppets(1)
        client.wait()
        lines = 2_000_000 if options.quick else 20_000_000
        began = time.perf_counter()
        bench.live[-1].send(f"count 0 {lines}\n".encode())
        bench.live[-1].settimeout(120)
        buffer = b""
        while b"done" not in buffer:
            buffer += bench.live[-1].recv(4096)
        size = os.path.getsize(logs)
        row("log throughput, app at full speed", [size / (time.perf_counter() - began) / 1e6], "MB/s")
    finally:
        bench.close()
    if options.json:
        with open(options.json, "w") as file:
            json.dump({"machine": os.uname().release, "cpus": os.cpu_count(), "rows": rows}, file, indent=1)


def idle(bench, row, seconds):
    """System calls of all of wpm's processes while nothing happens."""
    strace = shutil.which("strace")
    if not strace:
        print(f"| system calls in {seconds} idle seconds | n/a: no strace | |")
        return
    report = os.path.join(bench.dir, "strace")
    words = [strace, "-f", "-c", "-o", report]
    for pid in bench.own():
        words += ["-p", str(pid)]
    tracer = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    time.sleep(seconds)
    tracer.terminate()
    tracer.wait()
    total = re.search(r"^\s*100\.00\s+\S+\s+(?:\d+\s+)?(\d+)", open(report).read(), re.M)
    # Each thread was inside one call when it was attached, and that call is counted when it is left.
    row(f"system calls of wpm in {seconds} idle seconds, 100 apps", [int(total.group(1)) if total else 0], "")


if __name__ == "__main__":
    main()
