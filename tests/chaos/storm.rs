//! Kill storms: every combination of wpm's processes, at random moments, under full load.
//!
//! One test for each row of the failure table. In every round the apps print while wpm is killed
//! again and again, rotations and commands go on meanwhile; then the apps halt, and nothing may be
//! missing, double, dead, wrong or left over.

use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::apps::{Apps, Flooded};
use crate::chance::Chance;
use crate::clients;
use crate::looper::Looper;
use crate::own::{self, Role};
use crate::wait::readable;
use crate::world::World;

/// Length of one round, in milliseconds.
const ROUND_MS: u64 = 1500;
/// Length of a row where nothing is said.
const SECONDS: u64 = 6;
/// Gap between two kills, in milliseconds.
const GAP_MS: (u64, u64) = (3, 50);

/// Which processes are killed at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Victims {
    Daemon,
    Shim,
    Keeper,
    KeeperAndDaemon,
    DaemonAndShims,
}

use Victims::{Daemon, DaemonAndShims, Keeper, KeeperAndDaemon, Shim};

impl Victims {
    /// Chooses them among those that live now.
    fn choose(self, world: &World, chance: &mut Chance) -> Vec<i32> {
        let own = own::all(&world.home());
        let of = |role| own.get(&role).cloned().unwrap_or_default();
        let (daemon, keeper, shims) = (of(Role::Daemon), of(Role::Keeper), of(Role::Shim));
        let shim: Vec<i32> = chance.one_of(&shims).copied().into_iter().collect();
        match self {
            Daemon => daemon,
            Shim => shim,
            Keeper => keeper,
            KeeperAndDaemon => [keeper, daemon].concat(),
            DaemonAndShims => [daemon, shims].concat(),
        }
    }
}

/// Sums of a row.
#[derive(Debug, Default)]
struct Sums {
    blows: u64,
    kills: u64,
    rounds: u64,
    flooded: Flooded,
}

fn storm(row: &str, rows: &[Victims]) {
    let (mut chance, seed) = Chance::of(row);
    println!("{row}: WPM_CHAOS_SEED={seed}");
    let world = World::new();
    let mut apps = Apps::start(&world);
    let mut looper = Looper::start(&world);
    let mut sums = Sums::default();
    let stop = AtomicBool::new(false);
    let seconds = std::env::var("WPM_CHAOS_SECONDS").ok().and_then(|s| s.parse().ok()).unwrap_or(SECONDS);
    let until = Instant::now() + Duration::from_secs(seconds);

    let answers = std::thread::scope(|threads| {
        let typing = threads.spawn(|| clients::busy(&world, &stop));
        // Whatever fails, the typist is told to stop, or the scope never ends.
        let told = Told(&stop);
        while Instant::now() < until {
            apps.flood();
            round(&world, rows, &mut chance, &mut looper, &mut sums);
            let flooded = apps.halt();
            sums.flooded.bytes += flooded.bytes;
            sums.flooded.worst = sums.flooded.worst.max(flooded.worst);
            sums.rounds += 1;
            if let Err(why) = check(&world, &mut apps, &mut looper) {
                let journal = world.read("run/journal");
                panic!(
                    "{why}\n{row}, seed {seed}, {sums:?}; journal:\n{journal}the daemon's log:\n{}",
                    world.log()
                );
            }
        }
        drop(told);
        typing.join().expect("no panic")
    });
    let answers = answers.unwrap_or_else(|why| panic!("{why}\n{row}, seed {seed}"));
    println!(
        "{row}: {} kills in {} blows, {} rounds; {} bytes printed, {} in the logs; longest write of an app \
         {} ms; {} exits of the looper, longest until it ran again {} ms; {} commands, {} failed, slowest {} ms",
        sums.kills,
        sums.blows,
        sums.rounds,
        sums.flooded.bytes,
        apps.logged(),
        sums.flooded.worst.as_millis(),
        looper.ended,
        looper.slowest.as_millis(),
        answers.count,
        answers.failed,
        answers.slowest.as_millis(),
    );
    world.run("stop all").ok();
    apps.dead();
    looper.died();
    world.run("kill").ok();
    let left: Vec<i32> = world.processes().into_iter().filter(|pid| !own::ended(*pid, 5000)).collect();
    assert!(left.is_empty(), "left over: {left:?}");
}

struct Told<'a>(&'a AtomicBool);

impl Drop for Told<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Kills, and lets the looper crash, for the time of one round.
fn round(world: &World, rows: &[Victims], chance: &mut Chance, looper: &mut Looper, sums: &mut Sums) {
    let until = Instant::now() + Duration::from_millis(ROUND_MS);
    let mut next = Instant::now();
    while Instant::now() < until {
        let gap = u64::try_from(next.saturating_duration_since(Instant::now()).as_millis()).expect("short");
        // The gap is the experiment; what happens within it is answered at once.
        let [came, told] = readable([Some(world.listener.as_fd()), looper.line().map(AsFd::as_fd)], gap);
        if told {
            looper.died();
        }
        if came {
            looper.came(world);
        }
        if Instant::now() < next {
            continue;
        }
        if chance.between(0, 3) == 0 {
            looper.crash(chance);
        }
        let victims = chance.one_of(rows).expect("some").choose(world, chance);
        let killed = victims.into_iter().filter(|pid| own::kill(*pid, &world.home())).count();
        sums.kills += u64::try_from(killed).expect("few");
        sums.blows += u64::from(killed > 0);
        next = Instant::now() + Duration::from_millis(chance.between(GAP_MS.0, GAP_MS.1));
    }
}

/// Everything that must be true after a round.
fn check(world: &World, apps: &mut Apps, looper: &mut Looper) -> Result<(), String> {
    apps.check_logs(world)?;
    looper.settle(world);
    let said = clients::limited(world, "ping")?;
    if said.0 != Some(0) {
        return Err(format!("no answer after the storm: {said:?}"));
    }
    let list = world.jlist();
    let pids = apps.pids();
    for entry in &list {
        if entry["name"] == "looper" {
            looper.check(entry)?;
            continue;
        }
        let pid = entry["pid"].as_i64().and_then(|pid| i32::try_from(pid).ok()).unwrap_or(0);
        let env = &entry["pm2_env"];
        if !pids.contains(&pid) || env["status"] != "online" || env["restart_time"] != 0 {
            return Err(format!("{}: {pid} {} {}", entry["name"], env["status"], env["restart_time"]));
        }
    }
    if list.len() != pids.len() + 1 {
        return Err(format!("{} instances are listed", list.len()));
    }
    let mut known = apps.all.clone();
    known.extend(looper.pid());
    own::await_census(world, list.len(), &known);
    Ok(())
}

#[test]
fn the_daemon() {
    storm("the daemon", &[Daemon]);
}

#[test]
fn a_shim() {
    storm("a shim", &[Shim]);
}

#[test]
fn the_keeper() {
    storm("the keeper", &[Keeper]);
}

#[test]
fn keeper_and_daemon() {
    storm("keeper and daemon", &[KeeperAndDaemon]);
}

#[test]
fn daemon_and_all_shims() {
    storm("daemon and all shims", &[DaemonAndShims]);
}
