//! Commands that run through a whole storm: `logs`, which follows, and `list --watch`.
//!
//! Both have to carry on. What `logs` prints is every line of a writer, once and in order, over
//! rotations and whatever is killed.

use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::world::World;

/// How long the reader may be behind once the writer has halted.
const BEHIND: Duration = Duration::from_secs(60);

/// What the reader knows.
#[derive(Default)]
struct Read {
    /// Lines so far; of a writer, the number that is due next.
    due: u64,
    wrong: Option<String>,
    ended: bool,
}

/// A command whose lines are read by a thread.
struct Running {
    name: &'static str,
    child: Child,
    reader: Option<JoinHandle<()>>,
    read: Arc<(Mutex<Read>, Condvar)>,
}

impl Running {
    /// `check` is given each line and what is due, and gives what is due next.
    fn start(
        world: &World,
        name: &'static str,
        check: impl Fn(&[u8], u64) -> Result<u64, String> + Send + 'static,
    ) -> Self {
        let mut child = world
            .command(name.split_whitespace())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .expect("the binary runs");
        let out = BufReader::with_capacity(1 << 18, child.stdout.take().expect("piped"));
        let read: Arc<(Mutex<Read>, Condvar)> = Arc::default();
        let shared = Arc::clone(&read);
        let reader = std::thread::spawn(move || {
            for line in out.split(b'\n') {
                let mut read = shared.0.lock().expect("no panic");
                let due = read.due;
                match line.map_err(|e| e.to_string()).and_then(|line| check(&line, due)) {
                    Ok(next) => read.due = next,
                    Err(why) => {
                        read.wrong = Some(why);
                        break;
                    }
                }
                shared.1.notify_all();
            }
            shared.0.lock().expect("no panic").ended = true;
            shared.1.notify_all();
        });
        Self { name, child, reader: Some(reader), read }
    }

    /// Waits until so much has been printed.
    fn reaches(&self, due: u64) -> Result<(), String> {
        let until = Instant::now() + BEHIND;
        let mut read = self.read.0.lock().expect("no panic");
        while read.due < due {
            let left = until.saturating_duration_since(Instant::now());
            if let Some(why) = &read.wrong {
                return Err(format!("`wpm {}`: line {}: {why}", self.name, read.due));
            }
            if read.ended || left.is_zero() {
                return Err(format!("`wpm {}` is at line {} of {due}", self.name, read.due));
            }
            read = self.read.1.wait_timeout(read, left).expect("no panic").0;
        }
        Ok(())
    }

    fn due(&self) -> u64 {
        self.read.0.lock().expect("no panic").due
    }

    /// It runs still; ends it.
    fn finish(mut self) -> Result<(), String> {
        let ended = self.child.try_wait().map_err(|e| e.to_string())?;
        self.child.kill().map_err(|e| e.to_string())?;
        let _ = self.child.wait().map_err(|e| e.to_string())?;
        drop(self.reader.take().map(JoinHandle::join));
        match ended {
            None => Ok(()),
            Some(status) => Err(format!("`wpm {}` ended with {status}", self.name)),
        }
    }
}

/// Both of them.
pub(crate) struct Watchers {
    logs: Running,
    list: Running,
}

impl Watchers {
    /// Starts them. What `logs` prints first is where it begins.
    pub(crate) fn start(world: &World) -> Self {
        let logs = Running::start(world, "logs pair --err --raw --lines 0", |line, due| {
            let line = String::from_utf8_lossy(line);
            let number =
                line.strip_prefix("pair/0/e ").and_then(|l| l.split(' ').next()?.parse::<u64>().ok());
            match number {
                Some(n) if n == due || due == 0 => Ok(n + 1),
                _ => Err(format!("{line:.80}")),
            }
        });
        let list = Running::start(world, "list --watch --json", |_, due| Ok(due + 1));
        Self { logs, list }
    }

    /// Waits until both are at work: what is printed before that is none of theirs.
    pub(crate) fn have_begun(&self) -> Result<(), String> {
        self.logs.reaches(1)?;
        self.list.reaches(1)
    }

    /// Waits until `logs` has printed what its writer has, and `list` has looked once more.
    pub(crate) fn check(&self, printed: u64) -> Result<(), String> {
        self.logs.reaches(printed)?;
        self.list.reaches(self.list.due() + 1)
    }

    /// Both run still; ends them.
    pub(crate) fn finish(self) -> Result<(), String> {
        self.logs.finish().and(self.list.finish())
    }
}
