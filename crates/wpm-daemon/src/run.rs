//! What the daemon holds of each run: its connection, its last report, what was made of it.
//!
//! A report tells the whole state of a run; here it is compared with what the core has heard
//! already, and the difference becomes events. So a report may come twice, late, or from a shim that
//! took over.

use std::os::fd::OwnedFd;
use std::rc::Rc;

use wpm_core::{Event, Exit, InstanceId};
use wpm_sys::contract::{End, Phase, RunReport};

use crate::link::Link;
use crate::notify::Words;
use crate::probe::{LogSizes, Ports, Probing};
use crate::witness::Witness;

/// One run, from the spawn request until its shim has gone.
#[derive(Debug)]
pub(crate) struct Run {
    /// Its instance.
    pub(crate) instance: InstanceId,
    /// Connection to its shim; `None` while it is being made again.
    pub(crate) link: Option<Rc<Link>>,
    /// Process id of the shim, 0 before its first report.
    pub(crate) shim_pid: i32,
    /// Write end of the app's standard input.
    pub(crate) stdin: Option<OwnedFd>,
    /// What the core knows.
    told: Told,
    /// The end as the shim told it; the process and its start time.
    pub(crate) process: Option<(i32, u64)>,
    /// Whether its gate may have been opened: else it has never run.
    pub(crate) opened: bool,
    /// Whether its connection ended before anything was heard of it: the keeper may know why.
    pub(crate) in_doubt: bool,
    /// Whether the core has asked for its release.
    pub(crate) released: bool,
    /// Whether all of it is to be killed: a shim that was killed may not have heard of it.
    pub(crate) condemned: bool,
    /// Sizes of its log files before it was started.
    pub(crate) log_sizes: LogSizes,
    /// Ports on which it says that it listens.
    pub(crate) ports: Rc<Ports>,
    /// What it has said of itself at `NOTIFY_SOCKET`.
    pub(crate) words: Words,
    /// Checks that are made of it.
    pub(crate) probing: Option<Probing>,
    /// The time until which it has to say that it is alive.
    pub(crate) watchdog: Option<Probing>,
    /// Whether an earlier daemon started it, and nothing was heard of it yet.
    pub(crate) inherited: bool,
    /// Tells how its process ended where nobody else can.
    pub(crate) witness: Option<Witness>,
}

/// How far the core has been told.
#[derive(Debug, Clone, Copy, Default)]
struct Told {
    registered: bool,
    launched: bool,
    ended: bool,
    tree_gone: bool,
    log_errno: i32,
    log_dropped: u64,
}

impl Run {
    /// A run that was just asked for.
    pub(crate) fn asked(instance: InstanceId, link: Option<Rc<Link>>) -> Self {
        Self {
            instance,
            link,
            shim_pid: 0,
            stdin: None,
            told: Told {
                registered: false,
                launched: false,
                ended: false,
                tree_gone: false,
                log_errno: 0,
                log_dropped: 0,
            },
            process: None,
            opened: false,
            in_doubt: false,
            released: false,
            condemned: false,
            log_sizes: [0, 0],
            ports: Rc::default(),
            words: Words::default(),
            probing: None,
            watchdog: None,
            inherited: false,
            witness: None,
        }
    }

    /// A run of an earlier daemon, of which the journal tells so much.
    pub(crate) fn restored(
        instance: InstanceId,
        link: Option<Rc<Link>>,
        process: Option<(i32, u64)>,
        launched: bool,
        witness: Option<Witness>,
    ) -> Self {
        let mut run = Self::asked(instance, link);
        run.process = process;
        run.witness = witness.or_else(|| Witness::of(process?));
        // The journal knows the process since just before the gate was opened.
        run.opened = process.is_some();
        run.told.registered = process.is_some() && launched;
        run.told.launched = launched;
        run.inherited = true;
        run
    }

    /// Whether it is known to have become its program.
    pub(crate) const fn is_launched(&self) -> bool {
        self.told.launched
    }

    /// Takes a report; gives the events that the core has not heard of.
    pub(crate) fn take(&mut self, report: &RunReport) -> Vec<Event> {
        self.shim_pid = report.shim_pid;
        let mut events = Vec::new();
        if report.pid > 0 {
            let process = (report.pid, report.start_time);
            self.process = Some(process);
            if self.witness.is_none() && report.end.is_none() {
                self.witness = Witness::of(process);
            }
        }
        let launched = self.told.launched || report.running_since_ms > 0;
        let end = report.end.map(|end| match end {
            End::Unknown => witnessed(self.witness.as_ref(), launched),
            end => end,
        });
        let told = &mut self.told;
        if report.phase >= Phase::AtGate && !told.registered && report.pid > 0 {
            told.registered = true;
            events.push(Event::Registered { pid: report.pid, start_time: report.start_time });
        }
        let ran = !matches!(end, Some(End::NotStarted { .. } | End::Cancelled));
        if report.phase >= Phase::Running && ran && !told.launched {
            told.launched = true;
            events.push(Event::Launched);
        }
        if (report.log.errno, report.log.dropped) != (told.log_errno, told.log_dropped) {
            (told.log_errno, told.log_dropped) = (report.log.errno, report.log.dropped);
            events.push(Event::LogTrouble { errno: report.log.errno, dropped: report.log.dropped });
        }
        if let Some(end) = end
            && !told.ended
        {
            told.ended = true;
            told.tree_gone = report.tree_gone;
            events.push(ended(end, report));
        } else if report.tree_gone && told.ended && !told.tree_gone {
            told.tree_gone = true;
            events.push(Event::TreeGone);
        }
        events
    }
}

/// How a process ended of which no parent could tell.
fn witnessed(witness: Option<&Witness>, launched: bool) -> End {
    witness.and_then(|witness| witness.end(launched)).unwrap_or(End::Unknown)
}

fn ended(end: End, report: &RunReport) -> Event {
    let tree_gone = report.tree_gone;
    let measured = report.running_since_ms > 0 && report.ended_at_ms > 0;
    let ran_ms = measured.then(|| report.ended_at_ms.saturating_sub(report.running_since_ms));
    match end {
        End::Code(code) => Event::Exited { exit: Exit::Code(code), tree_gone, ran_ms },
        End::Signal { .. } | End::Unknown if report.is_out_of_memory() => {
            Event::Exited { exit: Exit::OutOfMemory, tree_gone, ran_ms }
        }
        End::Signal { signal, .. } => Event::Exited { exit: Exit::Signal(signal), tree_gone, ran_ms },
        End::Unknown => Event::Exited { exit: Exit::Unknown, tree_gone, ran_ms },
        End::NotStarted { stage, errno } => {
            Event::SpawnFailed { stage: stage.phrase(), errno, transient: is_transient(errno) }
        }
        End::Cancelled => Event::Cancelled,
    }
}

/// Whether trying again later can help.
pub(crate) fn is_transient(errno: i32) -> bool {
    use rustix::io::Errno;
    [Errno::AGAIN, Errno::NOMEM, Errno::MFILE, Errno::NFILE, Errno::NOBUFS]
        .iter()
        .any(|e| e.raw_os_error() == errno)
}

#[cfg(test)]
mod tests {
    use wpm_sys::contract::{LogHealth, RunKey, Stage, Usage};

    use super::*;

    fn report(phase: Phase, end: Option<End>, tree_gone: bool) -> RunReport {
        RunReport {
            run: RunKey(1),
            shim_pid: 2,
            pid: 3,
            start_time: 4,
            phase,
            end,
            running_since_ms: 0,
            ended_at_ms: 0,
            usage: Usage::default(),
            tree_gone,
            log: LogHealth::default(),
            carries: 0,
        }
    }

    fn link() -> Rc<Link> {
        let (a, _b) = std::os::unix::net::UnixDatagram::pair().expect("socketpair");
        Rc::new(Link::new(a.into()).expect("registers"))
    }

    #[tokio::test(flavor = "current_thread")]
    async fn each_fact_is_told_once_whatever_is_repeated() {
        let mut run = Run::asked(InstanceId(0), Some(link()));
        assert_eq!(run.take(&report(Phase::Preparing, None, false)), []);
        let registered = Event::Registered { pid: 3, start_time: 4 };
        assert_eq!(run.take(&report(Phase::AtGate, None, false)), [registered]);
        assert_eq!(run.take(&report(Phase::Running, None, false)), [Event::Launched]);
        assert_eq!(run.take(&report(Phase::Running, None, false)), []);
        let code = Some(End::Code(3));
        assert_eq!(
            run.take(&report(Phase::Ended, code, false)),
            [Event::Exited { exit: Exit::Code(3), tree_gone: false, ran_ms: None }]
        );
        assert_eq!(run.take(&report(Phase::Ended, code, true)), [Event::TreeGone]);
        assert_eq!(run.take(&report(Phase::Ended, code, true)), []);
    }

    #[tokio::test(flavor = "current_thread")]
    async fn a_run_that_ended_unseen_tells_everything_at_once() {
        let mut run = Run::asked(InstanceId(0), Some(link()));
        let mut ended = report(Phase::Ended, Some(End::Signal { signal: 9, core: false }), true);
        (ended.running_since_ms, ended.ended_at_ms) = (1000, 1250);
        let events = run.take(&ended);
        assert_eq!(events.len(), 3);
        assert_eq!(events[2], Event::Exited { exit: Exit::Signal(9), tree_gone: true, ran_ms: Some(250) });
    }

    #[tokio::test(flavor = "current_thread")]
    async fn a_kill_for_lack_of_memory_is_no_mere_signal() {
        let mut ended = report(Phase::Ended, Some(End::Signal { signal: 9, core: false }), true);
        ended.set_out_of_memory();
        ended.set_carries(true, false);
        let events = Run::asked(InstanceId(0), Some(link())).take(&ended);
        assert!(matches!(events.last(), Some(Event::Exited { exit: Exit::OutOfMemory, .. })));
        // Nor is one that nobody could see, of which the group tells all the same.
        let mut ended = report(Phase::Ended, Some(End::Unknown), true);
        ended.set_out_of_memory();
        let events = Run::asked(InstanceId(0), Some(link())).take(&ended);
        assert!(matches!(events.last(), Some(Event::Exited { exit: Exit::OutOfMemory, .. })));
    }

    #[tokio::test(flavor = "current_thread")]
    async fn a_failed_stage_is_not_a_launch() {
        let mut run = Run::asked(InstanceId(0), Some(link()));
        let end = End::NotStarted { stage: Stage::Exec, errno: 2 };
        let events = run.take(&report(Phase::Ended, Some(end), true));
        assert!(!events.contains(&Event::Launched));
        assert!(matches!(events.last(), Some(Event::SpawnFailed { errno: 2, transient: false, .. })));
    }
}
