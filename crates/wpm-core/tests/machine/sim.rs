//! A host for the core that exists only in virtual time: it does what actions say, and answers with
//! events when it is told to.
//!
//! It also checks what must hold at every moment: never two live runs of one instance but in a reload
//! (and then they share their log files), no action on an unknown run, one `Release` per run, at most
//! one reply per ticket.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use wpm_core::{
    Action, Command, Core, Event, Exit, Input, Instance, InstanceId, InstanceOutcome, Millis, Note, Now,
    Outcome, Reply, RunId, Spec, SpecChange, StartApp, Ticket,
};

/// What the simulated process is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Asked of the keeper.
    Asked,
    /// Waits at its gate.
    Gate,
    /// Gate open, exec not reported yet.
    Opened,
    /// Runs.
    Runs,
    /// The main process is gone, descendants live.
    TreeLeft,
    /// Nothing is left.
    Over,
}

/// A run of the simulated host.
#[derive(Debug, Clone)]
pub(crate) struct Process {
    /// Whose.
    pub(crate) instance: InstanceId,
    /// Where it stands.
    pub(crate) phase: Phase,
    /// Whether it heeds its stop signal.
    pub(crate) deaf: bool,
    /// Whether not even SIGKILL ends it.
    pub(crate) stuck: bool,
    /// Whether it shares its log files with another run.
    pub(crate) shared: bool,
    /// Whether it was asked to drain.
    pub(crate) draining: bool,
    /// Whether a later daemon is to know that it came up.
    pub(crate) came_up: bool,
    /// How often the check of its readiness was begun.
    pub(crate) checks: u32,
    /// How often it was begun to watch its health.
    pub(crate) watches: u32,
    /// Messages that it got.
    pub(crate) messages: Vec<String>,
    /// Whether descendants outlive the main process until killed.
    pub(crate) leaves_tree: bool,
    /// Signals that it got.
    pub(crate) signals: Vec<i32>,
    /// Kills that it got.
    pub(crate) kills: u32,
    /// Whether it was let go, or belongs to a daemon that was killed.
    pub(crate) released: bool,
}

impl Process {
    /// A process as it should be.
    pub(crate) fn new(instance: InstanceId, phase: Phase) -> Self {
        Self {
            instance,
            phase,
            deaf: false,
            stuck: false,
            shared: false,
            draining: false,
            came_up: false,
            checks: 0,
            watches: 0,
            messages: Vec::new(),
            leaves_tree: false,
            signals: Vec::new(),
            kills: 0,
            released: false,
        }
    }
}

/// The host.
#[derive(Debug)]
pub(crate) struct Host {
    pub(crate) core: Core,
    pub(crate) now: u64,
    pub(crate) processes: BTreeMap<RunId, Process>,
    /// Events on their way, in order per run.
    pub(crate) events: BTreeMap<RunId, VecDeque<Event>>,
    pub(crate) replies: BTreeMap<Ticket, Reply>,
    pub(crate) progress: BTreeMap<Ticket, Vec<InstanceOutcome>>,
    pub(crate) notes: Vec<(InstanceId, Note)>,
    pub(crate) asked: BTreeSet<Ticket>,
    pub(crate) persists: usize,
    pub(crate) quit: bool,
    /// New processes are deaf, stuck, leave a tree.
    pub(crate) nature: (bool, bool, bool),
    next_ticket: u64,
}

impl Host {
    pub(crate) fn new() -> Self {
        Self {
            core: Core::new(RunId(1)),
            now: 1_000_000,
            processes: BTreeMap::new(),
            events: BTreeMap::new(),
            replies: BTreeMap::new(),
            progress: BTreeMap::new(),
            notes: Vec::new(),
            asked: BTreeSet::new(),
            persists: 0,
            quit: false,
            nature: (false, false, false),
            next_ticket: 1,
        }
    }

    pub(crate) fn now(&self) -> Now {
        Now { mono: Millis(self.now), wall_ms: 1_700_000_000_000 + self.now }
    }

    /// Sends a command, does its actions, delivers nothing.
    pub(crate) fn command(&mut self, command: Command) -> Ticket {
        let ticket = Ticket(self.next_ticket);
        self.next_ticket += 1;
        self.asked.insert(ticket);
        self.input(Input::Command(ticket, command));
        ticket
    }

    /// Feeds one input and does the actions.
    pub(crate) fn input(&mut self, input: Input) {
        let now = self.now();
        self.core.handle(now, input);
        self.act();
    }

    /// Does all queued actions.
    pub(crate) fn act(&mut self) {
        let mut persisted = false;
        let mut replied = false;
        while let Some(action) = self.core.poll_action() {
            match action {
                Action::Spawn { run, instance, shared } => self.spawn(run, instance, shared),
                Action::Share { run, on } => self.process(run).shared = on,
                Action::AwaitReady { run } => {
                    let process = self.process(run);
                    process.checks += 1;
                    assert_eq!(process.checks, 1, "{run:?} is checked twice");
                }
                Action::WatchHealth { run } => {
                    let process = self.process(run);
                    process.watches += 1;
                    assert_eq!(process.watches, 1, "{run:?} is watched twice");
                }
                Action::Remember { run, .. } => self.process(run.id).came_up = true,
                Action::Drain { run } => self.process(run).draining = true,
                Action::SendMessage { run, text } => {
                    self.process(run).messages.push(text);
                    if !self.process(run).deaf {
                        self.end(run, Exit::Code(0));
                    }
                }
                Action::Go { run } => {
                    let process = self.process(run);
                    if process.phase == Phase::Gate {
                        process.phase = Phase::Opened;
                        self.send(run, Event::Launched);
                    }
                }
                Action::Signal { run, signal, .. } => self.signal(run, signal),
                Action::KillTree { run } => self.kill(run),
                Action::Release { run } => {
                    let process = self.process(run);
                    assert!(!process.released, "{run:?} released twice");
                    process.released = true;
                    if matches!(process.phase, Phase::Asked | Phase::Gate) {
                        // Nobody answered for it; what has not passed its gate never will.
                        process.phase = Phase::Over;
                    }
                    assert_eq!(process.phase, Phase::Over, "{run:?} released while it lives");
                }
                Action::Persist => {
                    assert!(!persisted, "persisted twice for one input");
                    assert!(!replied, "persisted after a reply");
                    persisted = true;
                    self.persists += 1;
                }
                Action::Note { instance, note, .. } => self.notes.push((instance, note)),
                Action::Progress { ticket, outcome } => {
                    self.progress.entry(ticket).or_default().push(outcome);
                }
                Action::Reply { ticket, reply } => {
                    replied = true;
                    assert!(self.asked.contains(&ticket), "reply to nobody");
                    assert!(self.replies.insert(ticket, reply).is_none(), "two replies to {ticket:?}");
                }
                Action::Quit => self.quit = true,
            }
        }
    }

    fn spawn(&mut self, run: RunId, instance: InstanceId, shared: bool) {
        let twins: Vec<&Process> = self
            .processes
            .values()
            .filter(|p| p.instance == instance && (p.phase != Phase::Over || !p.released))
            .collect();
        assert!(twins.len() < 2, "three live runs of {instance:?}");
        if let Some(twin) = twins.first() {
            let spec = self.core.spec_of_run(run).expect("it has a spec");
            assert!(spec.overlaps(), "two live runs of {instance:?}");
            assert!(shared && twin.shared, "{instance:?}: two runs write the same files, not sharing them");
        }
        assert_eq!(shared, !twins.is_empty(), "{instance:?} shares files with nobody");
        let (deaf, stuck, leaves_tree) = self.nature;
        let process = Process { deaf, stuck, shared, leaves_tree, ..Process::new(instance, Phase::Asked) };
        assert!(self.processes.insert(run, process).is_none(), "{run:?} used twice");
        self.send(run, Event::Registered { pid: i32::try_from(run.0).unwrap(), start_time: self.now });
    }

    pub(crate) fn process(&mut self, run: RunId) -> &mut Process {
        self.processes.get_mut(&run).expect("an action names an unknown run")
    }

    fn send(&mut self, run: RunId, event: Event) {
        self.events.entry(run).or_default().push_back(event);
    }

    fn signal(&mut self, run: RunId, signal: i32) {
        let process = self.process(run);
        process.signals.push(signal);
        if process.deaf {
            return;
        }
        match process.phase {
            Phase::Gate | Phase::Opened | Phase::Runs => self.end(run, Exit::Signal(signal)),
            Phase::TreeLeft if !process.stuck => self.clear(run),
            _ => {}
        }
    }

    fn kill(&mut self, run: RunId) {
        let process = self.process(run);
        process.kills += 1;
        if process.stuck && process.phase != Phase::Asked {
            return;
        }
        match process.phase {
            Phase::Asked | Phase::Gate => {
                process.phase = Phase::Over;
                self.send(run, Event::Cancelled);
            }
            Phase::Opened | Phase::Runs => {
                process.leaves_tree = false;
                self.end(run, Exit::Signal(9));
            }
            Phase::TreeLeft => self.clear(run),
            Phase::Over => {}
        }
    }

    /// The main process ends.
    pub(crate) fn end(&mut self, run: RunId, exit: Exit) {
        let process = self.process(run);
        if !matches!(process.phase, Phase::Gate | Phase::Opened | Phase::Runs) {
            return;
        }
        let tree_gone = !process.leaves_tree;
        process.phase = if tree_gone { Phase::Over } else { Phase::TreeLeft };
        self.send(run, Event::Exited { exit, tree_gone, ran_ms: None });
    }

    /// It has nothing left to do.
    pub(crate) fn drained(&mut self, run: RunId) {
        assert!(self.process(run).draining, "{run:?} was not asked to drain");
        self.send(run, Event::Drained);
    }

    /// The rest of the tree ends.
    pub(crate) fn clear(&mut self, run: RunId) {
        let process = self.process(run);
        if process.phase == Phase::TreeLeft {
            process.phase = Phase::Over;
            self.send(run, Event::TreeGone);
        }
    }

    /// The spawn fails.
    pub(crate) fn fail_spawn(&mut self, run: RunId, transient: bool) {
        let process = self.process(run);
        if matches!(process.phase, Phase::Asked | Phase::Gate | Phase::Opened) {
            process.phase = Phase::Over;
            self.events.remove(&run);
            self.send(run, Event::SpawnFailed { stage: "executing it", errno: 2, transient });
        }
    }

    /// The run vanishes with its shim and keeper; the daemon finds out.
    pub(crate) fn lose(&mut self, run: RunId) {
        let process = self.process(run);
        let unrun = matches!(process.phase, Phase::Asked | Phase::Gate);
        process.phase = Phase::Over;
        self.events.remove(&run);
        let lost = Event::Exited { exit: Exit::Unknown, tree_gone: true, ran_ms: None };
        self.send(run, if unrun { Event::Cancelled } else { lost });
    }

    /// From now on every process heeds its signals, and those told to die do so.
    pub(crate) fn heal(&mut self) {
        self.nature = (false, false, false);
        for process in self.processes.values_mut() {
            (process.deaf, process.stuck) = (false, false);
        }
    }

    /// Delivers the next event of this run, if there is one.
    pub(crate) fn deliver(&mut self, run: RunId) -> bool {
        let Some(event) = self.events.get_mut(&run).and_then(VecDeque::pop_front) else { return false };
        match (&event, self.process(run)) {
            (Event::Registered { .. }, process) if process.phase == Phase::Asked => {
                process.phase = Phase::Gate;
            }
            (Event::Launched, process) if process.phase == Phase::Opened => process.phase = Phase::Runs,
            _ => {}
        }
        self.input(Input::Event(run, event));
        true
    }

    /// Delivers one event that is on its way.
    pub(crate) fn deliver_first(&mut self) {
        let waiting = self.events.iter().find(|(_, queue)| !queue.is_empty()).map(|(run, _)| *run);
        assert!(self.deliver(waiting.unwrap()));
    }

    /// Delivers events until none is on its way.
    pub(crate) fn deliver_all(&mut self) {
        while let Some(run) = self.events.iter().find(|(_, queue)| !queue.is_empty()).map(|(run, _)| *run) {
            self.deliver(run);
        }
    }

    /// Goes to the next deadline, if there is one, and ticks.
    pub(crate) fn tick(&mut self) -> bool {
        let Some(at) = self.core.next_deadline() else { return false };
        self.now = self.now.max(at.0);
        self.input(Input::Tick);
        assert!(self.core.next_deadline().is_none_or(|next| next.0 > self.now), "a deadline was left");
        true
    }

    /// Lets so many milliseconds pass, with all deadlines and events in them.
    pub(crate) fn pass(&mut self, span: u64) {
        let end = self.now + span;
        self.deliver_all();
        while self.core.next_deadline().is_some_and(|at| at.0 <= end) {
            self.tick();
            self.deliver_all();
        }
        self.now = end;
    }

    /// Delivers and ticks until the reply is there.
    pub(crate) fn until_reply(&mut self, ticket: Ticket) -> Reply {
        for _ in 0..100_000 {
            self.deliver_all();
            if let Some(reply) = self.replies.get(&ticket) {
                return reply.clone();
            }
            assert!(self.tick(), "a command waits without a deadline");
        }
        panic!("no reply to {ticket:?}")
    }

    /// A command and its outcomes.
    pub(crate) fn outcomes(&mut self, command: Command) -> Vec<Outcome> {
        let ticket = self.command(command);
        match self.until_reply(ticket) {
            Reply::Done(outcomes) => outcomes.into_iter().map(|one| one.outcome).collect(),
            Reply::Refused(error) => panic!("refused: {error:?}"),
        }
    }

    /// The present run of an instance.
    pub(crate) fn run_of(&self, id: u32) -> RunId {
        self.core.instance(InstanceId(id)).and_then(|it| it.run()).map(|run| run.id).expect("it has a run")
    }

    /// The second run of an instance, which lives beside its own.
    pub(crate) fn second_of(&self, id: u32) -> Option<RunId> {
        let own = self.core.instance(InstanceId(id)).and_then(|it| it.run()).map(|run| run.id);
        let second = |(run, _): &(&RunId, &Process)| {
            Some(**run) != own && self.core.instance_of(**run).is_some_and(|it| it.id == InstanceId(id))
        };
        self.processes.iter().find(second).map(|(run, _)| *run)
    }

    /// The instance with id 0.
    pub(crate) fn it(&self) -> &Instance {
        self.core.instance(InstanceId(0)).unwrap()
    }

    pub(crate) fn status(&self, id: u32) -> &'static str {
        self.core.instance(InstanceId(id)).map_or("gone", |it| it.status().word())
    }

    pub(crate) fn statuses(&self) -> Vec<(u32, &'static str)> {
        self.core.instances().map(|it| (it.id.0, it.status().word())).collect()
    }
}

/// A spec with defaults.
pub(crate) fn spec(name: &str) -> Spec {
    Spec::new(name, format!("/srv/{name}.js"), "/srv")
}

/// A start command.
pub(crate) fn start(specs: impl IntoIterator<Item = Spec>) -> Command {
    let apps = specs.into_iter().map(|spec| StartApp { spec, start_now: true }).collect();
    Command::Start(wpm_core::Start { apps, force: false })
}

/// Starts known apps as they are.
pub(crate) fn start_known(targets: Vec<wpm_core::Selector>) -> Command {
    Command::StartKnown { targets, change: SpecChange::default() }
}

/// Selectors.
pub(crate) fn targets(typed: &[&str]) -> Vec<wpm_core::Selector> {
    typed.iter().map(|one| wpm_core::Selector::parse(one).unwrap()).collect()
}
