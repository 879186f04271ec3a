//! How long it takes until everything is as before: one blow at a time, and a clock.
//!
//! Healed is who serves again: the daemon has put its socket in place, and a line that each app prints
//! after the blow is in its log. Where everything was killed the clock starts with the next command.

use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::fs::inotify::{self, CreateFlags, WatchFlags};

use crate::chance::Chance;
use crate::own;
use crate::victims::Victims;
use crate::wait::readable;
use crate::world::{Puppet, World, await_text};

/// Blows of each row.
const BLOWS: u32 = 4;
/// Longest time that is waited for.
const LIMIT: Duration = Duration::from_secs(30);
/// Apps.
const APPS: usize = 4;

/// Waits until the daemon's socket was put in place.
struct Socket(OwnedFd);

impl Socket {
    fn watch(world: &World) -> Self {
        let watch = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK).expect("inotify");
        let _ = inotify::add_watch(&watch, world.home(), WatchFlags::MOVED_TO).expect("the home is there");
        Self(watch)
    }

    #[track_caller]
    fn await_new(&self, world: &World) {
        let until = Instant::now() + LIMIT;
        loop {
            let mut buffer = [std::mem::MaybeUninit::uninit(); 4096];
            let mut events = inotify::Reader::new(&self.0, &mut buffer);
            while let Ok(event) = events.next() {
                let name = event.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
                if name.ends_with(".sock") {
                    return;
                }
            }
            let left = until.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "no new daemon; the daemon's log:\n{}", world.log());
            let _ = readable([Some(self.0.as_fd())], u64::try_from(left.as_millis()).expect("short") + 1);
        }
    }
}

#[track_caller]
fn all_print(world: &World, puppets: &mut [Puppet], text: &str) {
    for p in puppets.iter_mut() {
        assert_eq!(p.tell(&format!("print {text}")), "done");
    }
    for p in puppets {
        await_text(&world.home().join(format!("logs/rock-out-{}.log", p.index)), text);
    }
}

#[test]
fn each_row_is_healed_soon() {
    let (mut chance, _) = Chance::of("heal");
    let world = World::new();
    let mut puppets = world.start("rock", &format!("-i {APPS}"), APPS);
    all_print(&world, &mut puppets, "before");
    for row in Victims::ALL {
        let (mut worst, mut sum) = (Duration::ZERO, Duration::ZERO);
        for blow in 0..BLOWS {
            let known: Vec<i32> = puppets.iter().map(|p| p.pid).collect();
            own::await_census(&world, APPS, &known);
            let socket = Socket::watch(&world);
            let victims = row.choose(&world, &mut chance);
            assert!(own::kill_together(&victims, &world.home()), "{row:?}");
            assert!(victims.iter().all(|pid| own::ended(*pid, 10_000)), "{row:?}");
            let began = Instant::now();
            if row == Victims::Everything {
                world.run("ping").ok();
            } else if row != Victims::Shim {
                socket.await_new(&world);
            }
            all_print(&world, &mut puppets, &format!("after blow {blow} of {}", row.name()));
            let took = began.elapsed();
            (worst, sum) = (worst.max(took), sum + took);
        }
        println!(
            "{}: healed after {} ms, {} ms at worst",
            row.name(),
            (sum / BLOWS).as_millis(),
            worst.as_millis()
        );
        assert!(worst < LIMIT, "{row:?} took {worst:?}");
    }
    let list = world.jlist();
    let pids: Vec<i64> = list.iter().filter_map(|e| e["pid"].as_i64()).collect();
    assert!(puppets.iter().all(|p| pids.contains(&i64::from(p.pid))), "{pids:?}");
    assert!(list.iter().all(|e| e["pm2_env"]["restart_time"] == 0));
}
