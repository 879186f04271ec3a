"""Single acts and what they take; run.py puts them together."""
import json
import os
import re
import resource
import shutil
import subprocess
import time

from home import QUIET


def loop(home, count):
    """Starts so many puppets with bare posix_spawn; gives the milliseconds until all of them run."""
    null = os.open("/dev/null", os.O_RDWR)
    actions = [(os.POSIX_SPAWN_DUP2, null, fd) for fd in (0, 1, 2)]
    began = time.perf_counter()
    pids = [os.posix_spawn(home.puppet, [home.puppet], home.env, file_actions=actions) for _ in range(count)]
    took = (home.puppets(count) - began) * 1000
    os.close(null)
    home.forget()
    for pid in pids:
        os.waitpid(pid, 0)
    return took


def all_running(home, count, *words):
    """Milliseconds from a command to the first instruction of the last of so many puppets."""
    # A puppet whose connection is closed ends: that is left to wpm.
    before, home.live = home.live, []
    began = time.perf_counter()
    client = home.spawn(*words)
    took = (home.puppets(count) - began) * 1000
    client.wait()
    for connection in before:
        connection.close()
    return took


def crashes(home):
    """Lets every puppet end; gives the milliseconds until the next run of each."""
    found = []
    for connection in list(home.live):
        began = time.perf_counter()
        connection.send(b"exit 1\n")
        found.append((home.puppets(1) - began) * 1000)
    return found


def crashes_among(home, name, times=5):
    """The same for the app with this argument, whose puppet is told from others by its first line."""
    found, theirs = [], None
    while theirs is None:
        home.puppets(1)
        if says(home.live[-1], name):
            theirs = home.live[-1]
    for _ in range(times):
        began = time.perf_counter()
        theirs.send(b"exit 1\n")
        while True:
            moment = home.puppets(1)
            if says(home.live[-1], name):
                break
        theirs = home.live[-1]
        found.append((moment - began) * 1000)
        # A run that was up for so long is no crash loop.
        time.sleep(1.1)
    return found


def says(connection, name):
    """Whether the puppet at the other end has this argument."""
    connection.settimeout(60)
    return connection.recv(4096).split()[3:] == [name.encode()]


def pss(home):
    """Proportional memory of all of wpm's processes in MiB, at rest: the daemon gives back what a command needed
    a quarter of a second later."""
    time.sleep(0.5)
    total = 0
    for pid in home.own():
        with open(f"/proc/{pid}/smaps_rollup") as file:
            total += sum(int(line.split()[1]) for line in file if line.startswith("Pss:"))
    return total / 1024


def cpu_ms(pids):
    """CPU time of processes, all their threads, in milliseconds."""
    total = 0
    for pid in pids:
        try:
            for thread in os.listdir(f"/proc/{pid}/task"):
                with open(f"/proc/{pid}/task/{thread}/schedstat") as file:
                    total += int(file.read().split()[0])
        except OSError:
            continue
    return total / 1e6


def idle_calls(home, seconds):
    """System calls of all of wpm's processes while nothing happens; None without strace."""
    strace = shutil.which("strace")
    if not strace:
        return None
    # Memory is given back a quarter of a second after the last command.
    time.sleep(0.5)
    report = os.path.join(home.dir, "strace")
    words = [strace, "-f", "-c", "-o", report]
    for pid in home.own():
        words += ["-p", str(pid)]
    tracer = subprocess.Popen(words, **QUIET)
    time.sleep(seconds)
    tracer.terminate()
    tracer.wait()
    with open(report) as file:
        total = re.search(r"^\s*100\.00\s+\S+\s+(?:\S+\s+)?(\d+)\s", file.read(), re.M)
    return int(total.group(1)) if total else 0


def poured(home, mib, way, *options):
    """Lets an app print so many MiB. Gives MB/s; through wpm also the CPU of its shim in seconds a GiB."""
    file = os.path.join(home.dir, "poured.log")
    if way == "wpm":
        client = home.spawn("start", home.puppet, "--name", "loud", "--log-max-size", "0", *options)
        home.puppets(1)
        client.wait()
        file = os.path.join(home.home, "logs", "loud-out.log")
    else:
        words = [home.puppet, "|", "cat", ">", file] if way == "cat" else [home.puppet, ">", file]
        client = subprocess.Popen(["sh", "-c", " ".join(words)], env=home.env, stdin=subprocess.DEVNULL)
        home.puppets(1)
    app = home.live[-1]
    app.settimeout(60)
    pid = int(app.recv(4096).split()[1])
    with open(f"/proc/{pid}/status") as status:
        shim = int(re.search(r"PPid:\s+(\d+)", status.read())[1])
    before, began = cpu_ms([shim]), time.perf_counter()
    home.ask(app, f"pour {mib}")
    while os.path.getsize(file) < mib << 20:
        time.sleep(0.0005)
    rate = mib * 1.048576 / (time.perf_counter() - began)
    used = (cpu_ms([shim]) - before) / 1000 * 1024 / mib
    if way == "wpm":
        home.run("delete", "loud")
        home.forget()
        os.unlink(file)
        return rate, used
    home.forget()
    client.wait()
    os.unlink(file)
    return rate


def crash_loop(home, table, look, crash):
    """100 apps that end at once, for 10 seconds; then the crash of another app beside them."""
    home.run("ping")
    alone = cost_of("/bin/false")
    before = cpu_ms(home.own())
    # The shims of short runs are gone when one looks: what they used is in their parent's children.
    keeper = int(open(os.path.join(home.home, "keeper.pid")).read())
    reaped = children_ms(keeper)
    client = home.spawn("start", "/bin/false", "--name", "falls", "-i", "100")
    time.sleep(6)
    lists = [home.run("list") for _ in range(5)]
    time.sleep(4)
    client.wait()
    used = cpu_ms(home.own()) - before + children_ms(keeper) - reaped
    listed = subprocess.run([home.wpm, "jlist"], env=home.env, stdout=subprocess.PIPE, check=True).stdout
    runs = 100 + sum(app["pm2_env"]["restart_time"] for app in json.loads(listed))
    table.row("CPU for 100 apps that end at once, 10 s, starts and apps included", [used], "ms", 200)
    table.row("runs of those apps meanwhile", [runs], "")
    table.row("CPU of wpm alone for them", [used - runs * alone], "ms")
    table.row("`list` meanwhile", lists, "ms", look)
    home.run("delete", "all")
    home.run("start", home.puppet, "--name", "apart", "--restart-delay", "0", "--", "apart")
    client = home.spawn("start", "/bin/false", "--name", "falls", "-i", "100")
    table.row("crash → next run, while 100 others crash-loop", crashes_among(home, "apart", 7), "ms", crash)
    client.wait()
    home.clear()


def cost_of(program, times=200):
    """CPU time of one run of a program, its exec included, in milliseconds."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    for _ in range(times):
        subprocess.run([program], check=False)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return (after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime) * 1000 / times


def children_ms(pid):
    """CPU time of the children that a process has waited for, in milliseconds."""
    with open(f"/proc/{pid}/stat") as file:
        fields = file.read().rsplit(")", 1)[1].split()
    return (int(fields[13]) + int(fields[14])) * 1000 / os.sysconf("SC_CLK_TCK")


def churn(home, table, starts):
    """Memory before and after many starts."""
    home.run("start", home.puppet, "--name", "churn", "-i", "50")
    home.puppets(50)
    all_running(home, 50, "restart", "churn")
    before = pss(home)
    for _ in range(starts // 50):
        all_running(home, 50, "restart", "churn")
    table.row(f"memory after {starts} starts, beyond before", [pss(home) - before], "MiB", 0.5)
    home.clear()


