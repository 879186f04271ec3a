//! The eight apps of a storm, and what is expected of them.

use std::collections::BTreeMap;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use rustix::fs::inotify;

use crate::lines::{Form, Log};
use crate::own;
use crate::wait::readable;
use crate::world::{Puppet, World};

/// Longest time that a log may take to be complete after its writer has halted.
const COMPLETE: Duration = Duration::from_secs(30);

/// One app that writes: its instances and its logs.
struct Writer {
    name: &'static str,
    both: bool,
    puppets: Vec<Puppet>,
    logs: Vec<Log>,
    /// Lines that each stream has printed.
    wanted: BTreeMap<String, u64>,
}

/// What a flood was like.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Flooded {
    /// Bytes printed.
    pub(crate) bytes: u64,
    /// Longest write of an app.
    pub(crate) worst: Duration,
}

/// All apps but the one that crashes.
pub(crate) struct Apps {
    writers: Vec<Writer>,
    silent: Puppet,
    /// One with a grandchild in a session of its own.
    forker: Puppet,
    /// Every process of them, those of no puppet included.
    pub(crate) all: Vec<i32>,
    /// Mebibytes that each writer prints in a second; 0 = as many as it can.
    rate: u64,
}

impl Apps {
    /// Starts them. Logs are rotated at a size that a fast writer reaches several times a second.
    pub(crate) fn start(world: &World) -> Self {
        let rate = std::env::var("WPM_CHAOS_RATE").ok().and_then(|r| r.parse().ok()).unwrap_or(8);
        let rotation = "--log-max-size 1500k --log-retain 100000";
        let one = |name, options: &str, form, both: bool| {
            let puppets = world.start(name, &format!("{options} {rotation}"), 1);
            let log = |stream| Log::new(world.home().join(format!("logs/{name}-{stream}.log")), form);
            let mut logs = vec![log("out")];
            logs.extend(both.then(|| log("error")));
            Writer { name, both, puppets, logs, wanted: BTreeMap::new() }
        };
        let writers = vec![
            one("raw", "", Form::Raw, false),
            one("pair", "", Form::Raw, true),
            one("stamped", "--time", Form::Stamped, false),
            one("json", "--log-type json", Form::Json, false),
            Writer {
                name: "merged",
                both: false,
                puppets: world.start("merged", &format!("-i 2 --merge-logs {rotation}"), 2),
                logs: vec![Log::new(world.home().join("logs/merged-out.log"), Form::Raw)],
                wanted: BTreeMap::new(),
            },
        ];
        let silent = world.start("silent", "", 1).remove(0);
        let mut forker = world.start("forker", "", 1).remove(0);
        assert_eq!(forker.tell("daemon"), "done");
        Self { writers, silent, forker, all: own::apps(world), rate }
    }

    /// Process ids by name and instance.
    pub(crate) fn pids(&self) -> Vec<i32> {
        let writers = self.writers.iter().flat_map(|w| &w.puppets);
        writers.chain([&self.silent, &self.forker]).map(|p| p.pid).collect()
    }

    /// Begins to print.
    pub(crate) fn flood(&mut self) {
        for w in &mut self.writers {
            let both = if w.both { " both" } else { "" };
            for p in &mut w.puppets {
                let tag = format!("{}/{}", w.name, p.index);
                assert_eq!(p.tell(&format!("flood {tag} {}{both}", self.rate)), "flooding");
            }
        }
    }

    /// Ends printing.
    #[track_caller]
    pub(crate) fn halt(&mut self) -> Flooded {
        let mut sum = Flooded::default();
        for w in &mut self.writers {
            for p in &mut w.puppets {
                let answer = p.tell("halt");
                let numbers: Vec<u64> =
                    answer.split_whitespace().skip(1).map(|n| n.parse().expect("a number")).collect();
                let [out, err, worst, bytes] = numbers[..] else { panic!("{}: {answer:?}", w.name) };
                w.wanted.insert(format!("{}/{}/o", w.name, p.index), out);
                if w.both {
                    w.wanted.insert(format!("{}/{}/e", w.name, p.index), err);
                }
                sum.bytes += bytes;
                sum.worst = sum.worst.max(Duration::from_micros(worst));
            }
        }
        assert_eq!(self.silent.tell("env NOTHING"), "env (unset)");
        sum
    }

    /// Waits until every log holds every line once and in order; removes what was read.
    pub(crate) fn check_logs(&mut self, world: &World) -> Result<(), String> {
        let watch =
            inotify::init(inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK).expect("inotify");
        let what = inotify::WatchFlags::MODIFY | inotify::WatchFlags::CREATE | inotify::WatchFlags::MOVED_TO;
        let _ = inotify::add_watch(&watch, world.home().join("logs"), what).expect("the folder is there");
        let deadline = Instant::now() + COMPLETE;
        for w in &mut self.writers {
            for log in &mut w.logs {
                let stream = if log.is_error() { "/e" } else { "/o" };
                let wanted: BTreeMap<String, u64> = w
                    .wanted
                    .iter()
                    .filter(|(tag, _)| tag.ends_with(stream))
                    .map(|(t, n)| (t.clone(), *n))
                    .collect();
                while !log.read_on(&wanted)? {
                    let left = deadline.saturating_duration_since(Instant::now());
                    if left.is_zero() {
                        return Err(format!("{}: {:?} of {wanted:?} came", w.name, log.progress()));
                    }
                    // A change between reading and waiting is in the queue already.
                    let _ = readable([Some(watch.as_fd())], u64::try_from(left.as_millis()).expect("short"));
                    let mut buffer = [std::mem::MaybeUninit::uninit(); 4096];
                    let _ = inotify::Reader::new(&watch, &mut buffer).next();
                }
                if *log.progress() != wanted {
                    return Err(format!("{}: {:?} instead of {wanted:?}", w.name, log.progress()));
                }
                log.tidy();
            }
        }
        Ok(())
    }

    /// Lines that `pair` has printed to stderr.
    pub(crate) fn printed(&self) -> u64 {
        self.writers.iter().filter_map(|w| w.wanted.get("pair/0/e")).sum()
    }

    /// Bytes that were read from the logs.
    pub(crate) fn logged(&self) -> u64 {
        self.writers.iter().flat_map(|w| &w.logs).map(|l| l.bytes).sum()
    }

    /// Waits until all of them and all their children are dead.
    pub(crate) fn dead(self) {
        self.writers.into_iter().flat_map(|w| w.puppets).for_each(Puppet::dead);
        self.silent.dead();
        self.forker.dead();
    }
}
