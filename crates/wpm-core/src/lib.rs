//! Every decision of wpm, without I/O.
//!
//! The core is a state machine: [`Core::handle`] takes what a client asked ([`Command`]) or what
//! happened to a run ([`Event`]) together with the time, and queues what must be done ([`Action`]).
//! [`Core::next_deadline`] tells when it wants to be called again. It reads no clock, no file, no
//! environment, so that the same inputs give the same actions.
//!
//! Invariants: a process is spawned or signalled only because of an action; every run has a
//! [`RunId`] and an event of a run that is not one of its instance's is dropped at the door;
//! every wait has a deadline.

mod action;
mod apply;
mod backoff;
mod beside;
mod core;
mod deadlines;
mod depends;
mod exit;
mod health;
mod ids;
mod input;
mod instance;
mod lifecycle;
mod operation;
mod reload;
mod restore;
mod scale;
mod schedule;
mod select;
mod similar;
mod slot;
mod spec;
mod start;
mod stop;
mod time;

pub use crate::core::{Core, RestoredApp, RestoredInstance, RestoredRun};
pub use action::{Action, InstanceOutcome, Note, Outcome, Reply, Scope};
pub use apply::{AppChange, Step};
pub use ids::{AppId, InstanceId, RunId, Ticket};
pub use input::{Apply, Command, CommandError, Event, Input, ScaleTo, Start, StartApp};
pub use instance::{App, Cause, Desired, Exit, Instance, RunInfo, State, Status};
pub use select::{Selector, SelectorError};
pub use spec::{
    BadCheck, BadCondition, BadHook, BadLimit, Balance, Check, Condition, Difference, Effect, EnvSources,
    FileName, Hook, LogNames, LogSpec, Resource, ResourceLimit, RestartPolicy, ScheduleOverlap, Spec,
    SpecChange, StopPolicy, WatchSpec, strftime_of_dayjs,
};
pub use time::{Millis, Now};
