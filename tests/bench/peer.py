"""pm2 on the same work, where it is installed."""
import json
import os
import subprocess
import time

import acts
from home import QUIET


def own(home):
    """pm2's daemon of this home."""
    with open(os.path.join(home.dir, "pm2", "pm2.pid")) as file:
        return [int(file.read())]


def measure(home, table, pm2, times):
    """The rows of pm2."""
    def run(*words):
        began = time.perf_counter()
        subprocess.run([pm2, *words], env=home.env, check=True, stdin=subprocess.DEVNULL, **QUIET)
        return (time.perf_counter() - began) * 1000

    def running(count, *words):
        before, home.live = home.live, []
        began = time.perf_counter()
        client = subprocess.Popen([pm2, *words], env=home.env, stdin=subprocess.DEVNULL, **QUIET)
        took = (home.puppets(count) - began) * 1000
        client.wait()
        for connection in before:
            connection.close()
        return took

    def memory():
        with open(f"/proc/{own(home)[0]}/smaps_rollup") as file:
            return sum(int(line.split()[1]) for line in file if line.startswith("Pss:")) / 1024

    file = os.path.join(home.dir, "many.json")
    with open(file, "w") as out:
        json.dump({"apps": [{"name": "many", "script": home.puppet, "interpreter": "none", "instances": 100,
                             "exec_mode": "fork"}]}, out)
    run("ping")
    try:
        table.row("pm2: memory (PSS), no apps", [memory()], "MiB")
        first = [running(1, "start", home.puppet, "--interpreter", "none", "--name", f"one{i}")
                 for i in range(times)]
        table.row("pm2: `start` → first instruction of the app", first, "ms")
        run("delete", "all")
        started, restarted, stopped = [], [], []
        for _ in range(times):
            started.append(running(100, "start", file))
            restarted.append(running(100, "restart", "many"))
            stopped.append(run("stop", "many"))
            run("delete", "all")
        table.row("pm2: 100 started, all running", started, "ms")
        table.row("pm2: 100 restarted, all running anew", restarted, "ms")
        table.row("pm2: 100 stopped", stopped, "ms")
        running(100, "start", file)
        table.row("pm2: memory (PSS), 100 apps", [memory()], "MiB")
        for verb in ("list", "jlist"):
            table.row(f"pm2: `{verb}`, 100 apps", [run(verb) for _ in range(times)], "ms")
        run("delete", "all")
        home.forget()
        running(1, "start", home.puppet, "--interpreter", "none", "--name", "loud")
        home.live[-1].recv(4096)
        mib, began = 64, time.perf_counter()
        home.ask(home.live[-1], f"pour {mib}")
        log = os.path.join(home.dir, "pm2", "logs", "loud-out.log")
        while os.path.getsize(log) < mib << 20:
            time.sleep(0.001)
        table.row("pm2: output of an app", [mib * 1.048576 / (time.perf_counter() - began)], "MB/s")
    finally:
        subprocess.run([pm2, "kill"], env=home.env, stdin=subprocess.DEVNULL, **QUIET)
