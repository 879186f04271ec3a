//! Steps of the core among more and more apps: the handling of one must not depend on their number.

use divan::Bencher;
use wpm_core::{
    Action, Command, Core, Event, Exit, Input, InstanceId, Millis, Now, RunId, Selector, Spec, SpecChange,
    Start, StartApp, Ticket,
};

fn main() {
    divan::main();
}

const COUNTS: [u32; 4] = [1, 10, 100, 1000];

/// A core whose host does at once whatever it is told to.
struct Host {
    core: Core,
    now: u64,
    last: RunId,
    tickets: u64,
}

impl Host {
    /// One app with so many instances, all up.
    fn with(instances: u32) -> Self {
        let mut host = Self { core: Core::new(RunId(1)), now: 1_000_000, last: RunId(0), tickets: 0 };
        let mut spec = Spec::new("web", "/srv/web.js", "/srv");
        spec.instances = instances;
        host.command(Command::Start(Start { apps: vec![StartApp { spec, start_now: true }], force: false }));
        host
    }

    fn command(&mut self, command: Command) {
        self.tickets += 1;
        self.input(Input::Command(Ticket(self.tickets), command));
    }

    fn input(&mut self, input: Input) {
        self.now += 2000;
        let now = Now { mono: Millis(self.now), wall_ms: self.now };
        self.core.handle(now, input);
        self.core.handle(now, Input::Tick);
        while let Some(action) = self.core.poll_action() {
            match action {
                Action::Spawn { run, .. } => {
                    self.last = run;
                    let event = Event::Registered { pid: 2, start_time: 3 };
                    self.core.handle(now, Input::Event(run, event));
                }
                Action::Go { run } => self.core.handle(now, Input::Event(run, Event::Launched)),
                Action::Signal { run, .. } | Action::KillTree { run } => self.ends(run, now),
                _ => {}
            }
        }
    }

    fn ends(&mut self, run: RunId, now: Now) {
        let event = Event::Exited { exit: Exit::Code(1), tree_gone: true, ran_ms: Some(60_000) };
        self.core.handle(now, Input::Event(run, event));
    }

    /// One instance ends, and its next run is up.
    fn crash(&mut self) {
        let event = Event::Exited { exit: Exit::Code(1), tree_gone: true, ran_ms: Some(60_000) };
        self.input(Input::Event(self.last, event));
    }
}

#[divan::bench(args = COUNTS)]
fn crash_of_one(bencher: Bencher<'_, '_>, among: u32) {
    let mut host = Host::with(among);
    bencher.bench_local(|| host.crash());
    assert!(host.core.instance(InstanceId(0)).is_some(), "it is there still");
}

#[divan::bench(args = COUNTS)]
fn start(bencher: Bencher<'_, '_>, instances: u32) {
    bencher.bench_local(|| Host::with(instances));
}

#[divan::bench(args = COUNTS)]
fn restart(bencher: Bencher<'_, '_>, instances: u32) {
    let mut host = Host::with(instances);
    let targets = vec![Selector::parse("all").expect("a selector")];
    bencher.bench_local(|| {
        host.command(Command::Restart { targets: targets.clone(), change: SpecChange::default() });
    });
}
