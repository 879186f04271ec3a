"""A home of wpm for measuring: its processes, its puppets, and an end that leaves nothing behind."""
import os
import shutil
import socket
import subprocess
import tempfile
import time

QUIET = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}


class Home:
    """Runs wpm in a folder of its own. Apps are the tests' puppet: its first act is to connect here."""

    def __init__(self, wpm, puppet, work=None):
        self.wpm, self.puppet = wpm, puppet
        self.dir = tempfile.mkdtemp(prefix="wpm-bench-", dir=work)
        self.home = os.path.join(self.dir, "home")
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(os.path.join(self.dir, "p"))
        self.listener.listen(4096)
        self.listener.settimeout(120)
        self.env = {"PATH": os.environ["PATH"], "HOME": self.dir, "WPM_HOME": self.home,
                    "PUPPET": os.path.join(self.dir, "p"), "PM2_HOME": os.path.join(self.dir, "pm2")}
        self.live = []

    def run(self, *words, program=None):
        """Runs a command to its end; gives the milliseconds that it took."""
        words = [program or self.wpm, *words]
        null = os.open("/dev/null", os.O_RDWR)
        actions = [(os.POSIX_SPAWN_DUP2, null, fd) for fd in (0, 1, 2)]
        began = time.perf_counter()
        pid = os.posix_spawn(words[0], words, self.env, file_actions=actions)
        _, status = os.waitpid(pid, 0)
        took = (time.perf_counter() - began) * 1000
        os.close(null)
        if status != 0:
            raise RuntimeError(f"{' '.join(words)} ended with {os.waitstatus_to_exitcode(status)}")
        return took

    def spawn(self, *words, program=None):
        return subprocess.Popen([program or self.wpm, *words], env=self.env, stdin=subprocess.DEVNULL, **QUIET)

    def puppets(self, count):
        """Waits for so many puppets; gives the moment at which the last one said something."""
        for _ in range(count):
            connection, _ = self.listener.accept()
            self.live.append(connection)
        return time.perf_counter()

    def ask(self, connection, order, patience=300):
        """Gives a puppet an order and waits for its answer, a line."""
        connection.settimeout(patience)
        connection.send(order.encode() + b"\n")
        line = b""
        while not line.endswith(b"\n") or line.startswith(b"hello") and line.count(b"\n") == 1:
            got = connection.recv(4096)
            if not got:
                break
            line += got
        return line

    def forget(self):
        """Lets go of the puppets, which have ended, and of those that nobody has asked for."""
        for connection in self.live:
            connection.close()
        self.live = []
        self.listener.setblocking(False)
        try:
            while True:
                self.listener.accept()[0].close()
        except BlockingIOError:
            self.listener.settimeout(120)

    def own(self):
        """Processes of wpm itself: keeper, daemon and shims of this home."""
        pids = []
        for pid in filter(str.isdigit, os.listdir("/proc")):
            try:
                with open(f"/proc/{pid}/cmdline") as file:
                    line = file.read().split("\0")
            except OSError:
                continue
            if self.home in line and ("__keeper" in line or "__daemon" in line):
                pids.append(int(pid))
        return pids

    def daemon(self):
        with open(os.path.join(self.home, "daemon.pid")) as file:
            return int(file.read())

    def clear(self):
        self.run("delete", "all")
        self.forget()

    def close(self):
        self.forget()
        subprocess.run([self.wpm, "kill"], env=self.env, **QUIET)
        shutil.rmtree(self.dir, ignore_errors=True)


def built(name, profile):
    """A program that cargo has built, whatever the target triple."""
    top = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "target")
    for path, _, files in os.walk(top):
        if os.path.basename(path) == profile and name in files:
            return os.path.join(path, name)
    raise SystemExit(f"{name} is not built: cargo build -p wpm" + (" --release" if profile == "release" else ""))
