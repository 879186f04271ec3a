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
use crate::clients::{self, Updates};
use crate::late::Late;
use crate::looper::Looper;
use crate::own;
use crate::victims::Victims::{
    self, Daemon, DaemonAndShims, Everything, Keeper, KeeperAndDaemon, KeeperAndShim, Shim,
};
use crate::wait::readable;
use crate::watchers::Watchers;
use crate::world::World;

/// Length of one round, in milliseconds.
const ROUND_MS: u64 = 1500;
/// Length of a row where nothing is said.
const SECONDS: u64 = 6;
/// Gap between two kills, in milliseconds.
const GAP_MS: (u64, u64) = (3, 50);

/// What is done to wpm.
#[derive(Debug, Clone, Copy)]
struct Row {
    name: &'static str,
    victims: &'static [Victims],
    /// Whether its program is changed all the time, too.
    updates: bool,
}

/// Sums of a row.
#[derive(Debug, Default)]
struct Sums {
    blows: u64,
    kills: u64,
    rounds: u64,
    flooded: Flooded,
}

fn storm(row: Row) {
    let Row { name, victims, updates } = row;
    let (mut chance, seed) = Chance::of(name);
    println!("{name}: WPM_CHAOS_SEED={seed}");
    let world = World::new();
    let mut apps = Apps::start(&world);
    let mut looper = Looper::start(&world);
    let mut late = Late::default();
    let watchers = Watchers::start(&world);
    let mut sums = Sums::default();
    let stop = AtomicBool::new(false);
    let seconds = std::env::var("WPM_CHAOS_SECONDS").ok().and_then(|s| s.parse().ok()).unwrap_or(SECONDS);
    let until = Instant::now() + Duration::from_secs(seconds);

    let (answers, updated) = std::thread::scope(|threads| {
        let typing = threads.spawn(|| clients::busy(&world, &stop));
        let updating = updates.then(|| threads.spawn(|| clients::update(&world, &stop, victims.is_empty())));
        // Whatever fails, the typists are told to stop, or the scope never ends.
        let told = Told(&stop);
        while Instant::now() < until {
            apps.flood();
            let begun = watchers.have_begun().and_then(|()| late.start(&world));
            round(&world, victims, &mut chance, (&mut looper, &mut late), &mut sums);
            let flooded = apps.halt();
            sums.flooded.bytes += flooded.bytes;
            sums.flooded.worst = sums.flooded.worst.max(flooded.worst);
            sums.rounds += 1;
            let unseen = victims.iter().any(|v| v.leaves_nobody());
            let checked = begun
                .and_then(|()| check(&world, &mut apps, (&mut looper, &mut late), unseen))
                .and_then(|()| watchers.check(apps.printed()));
            if let Err(why) = checked {
                let journal = world.read("run/journal");
                panic!(
                    "{why}\n{name}, seed {seed}, {sums:?}; journal:\n{journal}the daemon's log:\n{}",
                    world.log()
                );
            }
        }
        drop(told);
        let updated = updating.map_or(Ok(Updates::default()), |u| u.join().expect("no panic"));
        (typing.join().expect("no panic"), updated)
    });
    let failed = |why: String| -> ! { panic!("{why}\n{name}, seed {seed}") };
    let (answers, updated) = (answers.unwrap_or_else(|e| failed(e)), updated.unwrap_or_else(|e| failed(e)));
    watchers.finish().unwrap_or_else(|e| failed(e));
    println!(
        "{name}: {} kills in {} blows, {} updates ({} taken back or given up, slowest {} ms), {} rounds; {} \
         bytes printed, {} in the logs; longest write of an app {} ms; {} exits of the looper, {} of them \
         unknown, longest until it ran again {} ms; {} commands, {} failed, slowest {} ms; {} waiting starts \
         answered, {} given up",
        sums.kills,
        sums.blows,
        updated.done,
        updated.failed,
        updated.slowest.as_millis(),
        sums.rounds,
        sums.flooded.bytes,
        apps.logged(),
        sums.flooded.worst.as_millis(),
        looper.ended,
        looper.unknown,
        looper.slowest.as_millis(),
        answers.count,
        answers.failed,
        answers.slowest.as_millis(),
        late.answered,
        late.given_up,
    );
    if victims.is_empty() {
        assert_eq!((answers.failed, late.given_up), (0, 0), "commands failed although nothing was killed");
    }
    // On a machine that is too busy to kill in time it says so; the end is what counts.
    drop(world.run("stop all"));
    apps.dead();
    looper.died();
    world.run("kill").ok();
    let left: Vec<i32> = world.processes().into_iter().filter(|pid| !own::ended(*pid, 30_000)).collect();
    let left: Vec<String> = left.into_iter().map(own::describe).collect();
    assert!(left.is_empty(), "left over: {left:?}\n{name}, seed {seed}; the daemon's log:\n{}", world.log());
}

struct Told<'a>(&'a AtomicBool);

impl Drop for Told<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Kills, and lets the looper crash, for the time of one round.
fn round(
    world: &World,
    rows: &[Victims],
    chance: &mut Chance,
    (looper, late): (&mut Looper, &mut Late),
    sums: &mut Sums,
) {
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
            late.meet(world.puppet(), looper, world);
        }
        if Instant::now() < next {
            continue;
        }
        if chance.between(0, 3) == 0 {
            looper.crash(chance);
        }
        let victims = chance.one_of(rows).map(|row| row.choose(world, chance)).unwrap_or_default();
        let killed = victims.into_iter().filter(|pid| own::kill(*pid, &world.home())).count();
        sums.kills += u64::try_from(killed).expect("few");
        sums.blows += u64::from(killed > 0);
        next = Instant::now() + Duration::from_millis(chance.between(GAP_MS.0, GAP_MS.1));
    }
}

/// Everything that must be true after a round.
fn check(
    world: &World,
    apps: &mut Apps,
    (looper, late): (&mut Looper, &mut Late),
    unseen: bool,
) -> Result<(), String> {
    apps.check_logs(world)?;
    late.finish(looper, world)?;
    looper.settle(world);
    let said = clients::limited(world, "ping")?;
    if said.0 != Some(0) {
        return Err(format!("no answer after the storm: {said:?}"));
    }
    let list = world.jlist();
    let pids = apps.pids();
    for entry in &list {
        if entry["name"] == "looper" {
            looper.check(entry, unseen)?;
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

fn storm_of(victims: &'static [Victims; 1]) {
    storm(Row { name: victims[0].name(), victims, updates: false });
}

#[test]
fn the_daemon() {
    storm_of(&[Daemon]);
}

#[test]
fn a_shim() {
    storm_of(&[Shim]);
}

#[test]
fn the_keeper() {
    storm_of(&[Keeper]);
}

#[test]
fn keeper_and_daemon() {
    storm_of(&[KeeperAndDaemon]);
}

#[test]
fn daemon_and_all_shims() {
    storm_of(&[DaemonAndShims]);
}

#[test]
fn keeper_and_a_shim() {
    storm_of(&[KeeperAndShim]);
}

#[test]
fn everything() {
    storm_of(&[Everything]);
}

#[test]
fn updates_alone() {
    storm(Row { name: "updates", victims: &[], updates: true });
}

#[test]
fn all_rows_and_updates() {
    storm(Row { name: "all rows and updates", victims: &Victims::ALL, updates: true });
}
