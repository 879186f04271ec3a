//! One file for each command, named after it.
//!
//! A verb reads its arguments, asks the daemon, says what came of it. Nothing here decides about apps.

mod apply;
mod attach;
mod changed;
mod cleardump;
mod completion;
mod config;
mod delete;
mod describe;
mod described;
mod doctor;
mod ecosystem;
mod env;
mod events;
mod flags;
mod flush;
mod get;
mod id;
mod import;
mod init;
mod jlist;
mod kill;
mod list;
mod logs;
mod monit;
mod multiset;
mod nginx;
mod pick;
mod pid;
mod ping;
mod prettylist;
mod reload;
mod reload_logs;
mod report;
mod reset;
mod restart;
mod resurrect;
mod run;
mod save;
mod scale;
mod send;
mod send_signal;
mod serve;
mod serve_pick;
mod set;
mod start;
mod startup;
mod stop;
mod sysinfos;
mod targets;
mod unset;
mod unstartup;
pub(crate) mod update;
mod version;

pub(crate) use run::guard;
use wpm_proto::ExitCode;

use crate::cli::Verb;
use crate::failure::Failure;
pub(crate) use list::now_ms;

/// How a command ends.
pub(crate) type Outcome = Result<ExitCode, Failure>;

/// Every command, in the order of the help.
pub(crate) const VERBS: &[Verb] = &[
    start::VERB,
    stop::VERB,
    restart::VERB,
    reload::VERB,
    apply::VERB,
    delete::VERB,
    scale::VERB,
    run::VERB,
    list::VERB,
    monit::VERB,
    describe::VERB,
    logs::VERB,
    events::VERB,
    reset::VERB,
    env::VERB,
    config::VERB,
    init::VERB,
    ecosystem::VERB,
    pid::VERB,
    id::VERB,
    pick::VERB,
    serve_pick::VERB,
    nginx::VERB,
    jlist::VERB,
    prettylist::VERB,
    flush::VERB,
    reload_logs::VERB,
    send_signal::VERB,
    send::VERB,
    attach::VERB,
    serve::VERB,
    save::VERB,
    resurrect::VERB,
    cleardump::VERB,
    ping::VERB,
    update::VERB,
    kill::VERB,
    import::VERB,
    startup::VERB,
    unstartup::VERB,
    set::VERB,
    get::VERB,
    unset::VERB,
    multiset::VERB,
    doctor::VERB,
    sysinfos::VERB,
    report::VERB,
    version::VERB,
    completion::VERB,
];
