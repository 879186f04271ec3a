#!/usr/bin/env python3
"""Times a port that two Node workers share and prints a Markdown table (and JSON with --json FILE).

    cargo build --release -p wpm
    python3 tests/bench/ports.py [--pm2 PROGRAM] [--rounds N] [--seconds N] [--nice N] [--json FILE]

The same program runs under wpm with both policies, under Node's own cluster with both policies, and
under pm2 where it is installed, one after the other in each round, so that a disturbance of the machine
falls on all alike. `wrk` asks, once with a new connection for every request and once with connections
that are kept. Figures are medians of the rounds with their least and greatest. Nothing is left behind.
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
import urllib.request

from run import built

WORKERS = 2
APP = """
require('http').createServer((request, response) => response.end('hello'))
  .listen(+process.env.PORT, '127.0.0.1');
"""
OWN_CLUSTER = """
const cluster = require('cluster');
if (cluster.isMaster) { for (let n = 0; n < %d; n += 1) cluster.fork(); } else require('./app.js');
""" % WORKERS


class Bench:
    def __init__(self, options):
        self.options = options
        self.dir = tempfile.mkdtemp(prefix="wpm-bench-")
        self.app = os.path.join(self.dir, "app.js")
        self.own = os.path.join(self.dir, "cluster.js")
        for path, text in [(self.app, APP), (self.own, OWN_CLUSTER)]:
            with open(path, "w") as file:
                file.write(text)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.env = {"PATH": os.environ["PATH"], "HOME": self.dir, "PORT": str(self.port),
                    "WPM_HOME": os.path.join(self.dir, "wpm"), "PM2_HOME": os.path.join(self.dir, "pm2")}

    def run(self, *words):
        subprocess.run(words, env=self.env, check=True, cwd=self.dir,
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def await_answer(self):
        for _ in range(600):
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{self.port}/", timeout=5).read()
                return
            except OSError:
                time.sleep(0.05)
        sys.exit("nobody answers")

    def prefer(self):
        """Gives the processes of the measurement a nice value, and the groups of their sessions, too."""
        if self.options.nice is None:
            return
        for pid in filter(str.isdigit, os.listdir("/proc")):
            try:
                with open(f"/proc/{pid}/environ") as file:
                    if self.dir not in file.read():
                        continue
                os.setpriority(os.PRIO_PROCESS, int(pid), self.options.nice)
                with open(f"/proc/{pid}/autogroup", "w") as file:
                    file.write(str(self.options.nice))
            except OSError:
                continue

    def under_wpm(self, policy):
        wpm = self.options.wpm
        self.run(wpm, "start", self.app, "-i", str(WORKERS), "--balance", policy)
        return lambda: self.run(wpm, "delete", "all")

    def under_node(self, policy):
        env = {**self.env, "NODE_CLUSTER_SCHED_POLICY": policy}
        primary = subprocess.Popen(["node", self.own], env=env, cwd=self.dir)

        def end():
            primary.kill()
            primary.wait()
        return end

    def under_pm2(self):
        self.run(self.options.pm2, "start", self.app, "-i", str(WORKERS))
        return lambda: self.run(self.options.pm2, "delete", "all")

    def ask(self, header, seconds=None):
        said = subprocess.run(
            ["wrk", "-t1", "-c32", f"-d{seconds or self.options.seconds}s", *header, f"http://127.0.0.1:{self.port}/"],
            check=True, capture_output=True, text=True, env=self.env).stdout
        failed = re.search(r"Socket errors: (.*)", said)
        return float(re.search(r"Requests/sec: +([\d.]+)", said)[1]), failed and failed[1]

    def close(self):
        subprocess.run([self.options.wpm, "kill"], env=self.env, capture_output=True)
        if self.options.pm2:
            subprocess.run([self.options.pm2, "kill"], env=self.env, capture_output=True)
        shutil.rmtree(self.dir, ignore_errors=True)


KINDS = [("new", ["-H", "Connection: close"]), ("kept", [])]


def measure(bench, contenders, rounds):
    figures = {name: {kind: [] for kind, _ in KINDS} for name in contenders}
    for number in range(rounds):
        for name, start in contenders.items():
            end = start()
            try:
                bench.await_answer()
                bench.prefer()
                # Compiled by now what is worth compiling.
                for _, header in KINDS:
                    bench.ask(header, 1)
                for kind, header in KINDS:
                    rate, failed = bench.ask(header)
                    figures[name][kind].append(rate)
                    print(f"round {number + 1} {name} {kind}: {rate:.0f}/s {failed or ''}", file=sys.stderr)
            finally:
                end()
    return figures


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--wpm")
    parser.add_argument("--pm2", default=shutil.which("pm2"))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=4)
    parser.add_argument("--nice", type=int, help="for every process, against a busy machine (root)")
    parser.add_argument("--json")
    parser.add_argument("--only", help="names of contenders that contain this")
    options = parser.parse_args()
    options.wpm = os.path.abspath(options.wpm or built("wpm"))
    if not shutil.which("wrk"):
        sys.exit("wrk is needed: apt-get install wrk")
    if options.nice is not None:
        os.setpriority(os.PRIO_PROCESS, 0, options.nice)
        with open("/proc/self/autogroup", "w") as file:
            file.write(str(options.nice))
    bench = Bench(options)
    contenders = {
        "wpm shared": lambda: bench.under_wpm("shared"),
        "Node's cluster, SCHED_NONE": lambda: bench.under_node("none"),
        "wpm round-robin": lambda: bench.under_wpm("round-robin"),
        "Node's cluster, SCHED_RR": lambda: bench.under_node("rr"),
    }
    if options.pm2:
        contenders["pm2 -i 2"] = bench.under_pm2
    if options.only:
        contenders = {name: start for name, start in contenders.items() if options.only in name}
    try:
        figures = measure(bench, contenders, options.rounds)
    finally:
        bench.close()
    print("| who shares the port | new connection for each request | kept connections |\n|---|---|---|")
    for name, kinds in figures.items():
        cells = [f"{statistics.median(rates):,.0f} ({min(rates):,.0f}–{max(rates):,.0f})"
                 for rates in kinds.values()]
        print(f"| {name} | {cells[0]} | {cells[1]} |")
    if options.json:
        with open(options.json, "w") as file:
            json.dump({"unit": "requests/s", "workers": WORKERS, "figures": figures}, file, indent=1)


if __name__ == "__main__":
    main()
