//! A kill, or a full disk, at every call by which wpm writes, renames, syncs, sends or splices.
//!
//! Each case: one process is watched while something is done, and struck at its so-and-so-manieth call of
//! one kind. Afterwards nothing may be torn, lost, double or left over. How many calls there are is counted
//! first. Cases that once went wrong come first. Then, within `WPM_INJECT_SECONDS` (8 where nothing is
//! said), cases are drawn by chance; 0 takes them all, one after the other.

use std::collections::BTreeMap;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use crate::chance::Chance;
use crate::clients::{clear, limited};
use crate::lines::{Form, Log};
use crate::own::{self, Role};
use crate::strace::{Blow, CALLS, Scope, Strace};
use crate::wait::readable;
use crate::world::{Puppet, World};

/// What is done, in one home one after the other. `P` stands for the puppet.
const DEEDS: [&[&str]; 4] = [
    &["start P --name new --start-check 0 -- new", "delete new"],
    &["start P --name new --start-check 0 -- new", "restart new", "stop new", "delete new"],
    &["start P --name new --start-check 0 -i 2 -- new", "scale new 3", "reset new", "delete new"],
    &["save --force", "reloadLogs", "flush", "cleardump"],
];

/// A daemon that is killed at its start is started again at once: it may try so long.
const STARTING: Duration = Duration::from_millis(400);

/// Time for all cases of a test.
fn limit() -> Option<Duration> {
    let seconds = std::env::var("WPM_INJECT_SECONDS").ok().and_then(|s| s.parse().ok()).unwrap_or(8);
    (seconds > 0).then(|| Duration::from_secs(seconds))
}

/// One place to strike.
#[derive(Debug, Clone, Copy)]
struct Case {
    deed: usize,
    calls: &'static str,
    blow: Blow,
    at: u64,
}

/// A home with one app that has to stay as it is, and those that come and go.
struct Stage {
    world: World,
    rock: Puppet,
    new: Vec<Puppet>,
}

impl Stage {
    fn new() -> Self {
        let world = World::new();
        let rock = world.start("rock", "", 1).remove(0);
        Self { world, rock, new: vec![] }
    }

    fn the(&self, role: Role) -> i32 {
        // One that was killed in the case before may just be coming back.
        own::await_census(&self.world, 1, &[self.rock.pid]);
        *own::all(&self.world.home()).get(&role).and_then(|p| p.first()).expect("the census says so")
    }

    /// Types the commands of a deed; each has to succeed, or to say why not.
    fn act(&mut self, deed: usize, full: bool) -> Result<(), String> {
        for line in DEEDS.get(deed).copied().unwrap_or_default() {
            let line = line.replacen('P', &crate::world::puppet().display().to_string(), 1);
            let (code, err) = limited(&self.world, &line)?;
            // After a failure the next one may rightly find nothing to do, or an app of that name.
            let known = full || matches!(code, Some(1 | 3 | 4));
            if code != Some(0) && !(known && err.contains("error[E") && !err.contains("panicked")) {
                clear(&line, code, &err)?;
            }
        }
        Ok(())
    }

    /// Takes those in that have come; of the copies of an instance all but the last must be dead.
    fn meet(&mut self) {
        while readable([Some(self.world.listener.as_fd())], 0) == [true] {
            let puppet = self.world.puppet();
            assert_eq!(puppet.name, "new", "{}", self.world.log());
            let (same, others): (Vec<_>, Vec<_>) =
                std::mem::take(&mut self.new).into_iter().partition(|p| p.index == puppet.index);
            self.new = others;
            // They have until the test's patience is over to be gone; a live one would never be.
            same.into_iter().for_each(Puppet::dead);
            self.new.push(puppet);
        }
    }

    /// Everything that must be true after a case.
    fn check(&mut self) -> Result<(), String> {
        let said = limited(&self.world, "delete new")?;
        if !matches!(said.0, Some(0 | 4)) {
            return Err(format!("`wpm delete new`: {said:?}"));
        }
        self.meet();
        std::mem::take(&mut self.new).into_iter().for_each(Puppet::dead);
        let list = self.world.jlist();
        let [entry] = list.as_slice() else { return Err(format!("{} entries", list.len())) };
        let env = &entry["pm2_env"];
        let said = (entry["pid"].as_i64(), env["status"].as_str(), env["restart_time"].as_u64());
        if said != (Some(self.rock.pid.into()), Some("online"), Some(0)) {
            return Err(format!("the app that nobody touched: {said:?}"));
        }
        let state = self.world.read("state.json");
        let parsed: Result<serde_json::Value, _> = serde_json::from_str(&state);
        if let Err(e) = parsed {
            return Err(format!("the state does not parse: {e}"));
        }
        for entry in std::fs::read_dir(self.world.home()).into_iter().flatten().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            if name.contains("corrupt") {
                return Err(format!("{name} was set aside"));
            }
        }
        own::await_census(&self.world, 1, &[self.rock.pid]);
        Ok(())
    }
}

/// What [`Strace::detach`] gives.
type Struck = (BTreeMap<&'static str, u64>, bool);

/// Sums of a test.
#[derive(Debug, Default)]
struct Sums {
    cases: u32,
    struck: u32,
}

/// Cases of a daemon that starts and cannot open a file of the home: the list was set aside as damaged, and
/// a folder of runs or a journal that could not be read was taken for an empty one.
fn cannot_open() -> Vec<Case> {
    (1..=8).map(|at| Case { deed: DEEDS.len(), calls: CALLS[7], blow: Blow::NoSpace, at }).collect()
}

/// Takes the cases that come `first`; then draws and takes cases until the time is over, or takes them all.
fn each(
    name: &str,
    counts: &[(usize, &'static str, u64)],
    blows: &[Blow],
    first: &[Case],
    mut take: impl FnMut(Case) -> Result<bool, String>,
) {
    let (mut chance, seed) = Chance::of(name);
    let all: Vec<(usize, &'static str, u64)> = counts.iter().copied().filter(|(.., n)| *n > 0).collect();
    println!("{name}: WPM_CHAOS_SEED={seed}; calls {all:?}");
    let mut sums = Sums::default();
    let mut run = |case: Case| {
        let struck = take(case).unwrap_or_else(|why| panic!("{why}\n{name}, seed {seed}, {case:?}"));
        sums.cases += 1;
        sums.struck += u32::from(struck);
    };
    first.iter().copied().for_each(&mut run);
    match limit() {
        Some(limit) => {
            let until = Instant::now() + limit;
            while Instant::now() < until {
                let (deed, calls, most) = *chance.one_of(&all).expect("some");
                let blow = *chance.one_of(blows).expect("some");
                run(Case { deed, calls, blow, at: chance.between(1, most) });
            }
        }
        None => {
            for (deed, calls, most) in all {
                for blow in blows {
                    (1..=most).for_each(|at| run(Case { deed, calls, blow: *blow, at }));
                }
            }
        }
    }
    println!("{name}: {} cases, struck in {}", sums.cases, sums.struck);
    assert!(sums.struck > 0, "no blow fell");
}

/// Kinds of blows.
const BOTH: [Blow; 2] = [Blow::Kill, Blow::NoSpace];

/// Strikes whoever `scope` gives while commands are carried out.
fn during_commands(name: &str, blows: &[Blow], scope: fn(&Stage) -> Scope) {
    let mut stage = Stage::new();
    let mut counts = Vec::new();
    for deed in 0..DEEDS.len() {
        let Some(strace) = Strace::attach(&stage.world, scope(&stage), &CALLS.join(","), None) else {
            println!("{name}: not run, the kernel lets nobody trace here (kernel.yama.ptrace_scope)");
            return;
        };
        stage.act(deed, false).expect("nothing was struck");
        let (most, _) = strace.detach();
        stage.check().expect("nothing was struck");
        counts.extend(most.into_iter().map(|(calls, most)| (deed, calls, most)));
    }
    each(name, &counts, blows, &[], |case| {
        let scope = scope(&stage);
        let strace = Strace::attach(&stage.world, scope, case.calls, Some((case.blow, case.at)));
        let strace = strace.ok_or("strace attaches no more")?;
        let acted = stage.act(case.deed, case.blow == Blow::NoSpace);
        let (_, struck) = strace.detach();
        acted?;
        stage.check()?;
        Ok(struck)
    });
}

#[test]
fn the_daemon_at_any_call() {
    during_commands("inject daemon", &BOTH, |stage| Scope::Process(stage.the(Role::Daemon)));
}

#[test]
fn the_keeper_and_new_shims_at_any_call() {
    during_commands("inject keeper", &[Blow::Kill], |stage| Scope::Forks(stage.the(Role::Keeper)));
}

#[test]
fn a_daemon_that_starts_at_any_call() {
    let mut stage = Stage::new();
    let blow = |stage: &Stage, calls: &str, blow| -> Result<Option<Struck>, String> {
        let daemon = stage.the(Role::Daemon);
        let keeper = stage.the(Role::Keeper);
        let Some(strace) = Strace::attach(&stage.world, Scope::Programs(keeper), calls, blow) else {
            return Ok(None);
        };
        assert!(own::kill(daemon, &stage.world.home()));
        // It dies again and again meanwhile, or has come through.
        let _ = own::ended(keeper, u64::try_from(STARTING.as_millis()).expect("short"));
        let done = strace.detach();
        let said = limited(&stage.world, "ping")?;
        if said.0 != Some(0) {
            return Err(format!("no daemon: {said:?}"));
        }
        Ok(Some(done))
    };
    let Some((most, _)) = blow(&stage, &CALLS.join(","), None).expect("nothing was struck") else {
        println!("inject start: not run, the kernel lets nobody trace here");
        return;
    };
    let counts: Vec<_> = most.into_iter().map(|(calls, most)| (DEEDS.len(), calls, most)).collect();
    each("inject start", &counts, &BOTH, &cannot_open(), |case| {
        let struck = blow(&stage, case.calls, Some((case.blow, case.at)))?;
        stage.check()?;
        Ok(struck.is_some_and(|s| s.1))
    });
}

#[test]
fn a_shim_that_moves_output_at_any_call() {
    let world = World::new();
    let rotation = "--log-max-size 100k --log-retain 100000";
    let mut writers: Vec<(Puppet, Log)> = [("raw", "", Form::Raw), ("stamped", "--time", Form::Stamped)]
        .into_iter()
        .map(|(name, options, form)| {
            let puppet = world.start(name, &format!("{options} {rotation}"), 1).remove(0);
            (puppet, Log::new(world.home().join(format!("logs/{name}-out.log")), form))
        })
        .collect();
    let shims = || own::all(&world.home()).remove(&Role::Shim).unwrap_or_default();
    let title = |pid: i32| std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    let known: Vec<i32> = writers.iter().map(|(p, _)| p.pid).collect();
    // `deed` is the writer.
    let mut blow = |deed: usize, calls: &str, blow| -> Result<Option<Struck>, String> {
        own::await_census(&world, known.len(), &known);
        let (puppet, log) = &mut writers[deed];
        let name = puppet.name.clone();
        let shim = shims().into_iter().find(|pid| title(*pid).trim_end() == format!("wpm:{name}"));
        let shim = shim.ok_or("no shim")?;
        let Some(strace) = Strace::attach(&world, Scope::Process(shim), calls, blow) else {
            return Ok(None);
        };
        assert_eq!(puppet.tell(&format!("flood {name}/0 2")), "flooding");
        let _ = own::ended(shim, 200);
        let answer = puppet.tell("halt");
        let done = strace.detach();
        let printed = answer.split_whitespace().nth(1).and_then(|n| n.parse().ok()).ok_or(answer.clone())?;
        let wanted = BTreeMap::from([(format!("{name}/0/o"), printed)]);
        let until = Instant::now() + Duration::from_secs(30);
        while !log.read_on(&wanted)? {
            if Instant::now() > until {
                return Err(format!("{name}: {:?} of {wanted:?} came", log.progress()));
            }
            // Another command, another look: the last bytes are on their way.
            limited(&world, "ping")?;
        }
        log.tidy();
        Ok(Some(done))
    };
    let mut counts = Vec::new();
    for deed in 0..2 {
        let Some((most, _)) = blow(deed, &CALLS.join(","), None).expect("nothing was struck") else {
            println!("inject shim: not run, the kernel lets nobody trace here");
            return;
        };
        counts.extend(most.into_iter().map(|(calls, most)| (deed, calls, most)));
    }
    each("inject shim", &counts, &BOTH, &[], |case| {
        Ok(blow(case.deed, case.calls, Some((case.blow, case.at)))?.is_some_and(|s| s.1))
    });
    let list = world.jlist();
    assert!(list.iter().all(|e| e["pm2_env"]["restart_time"] == 0 && e["pm2_env"]["status"] == "online"));
}
