//! `wpm sysinfos`: the machine in figures, as JSON.

use serde_json::json;
use wpm_proto::ExitCode;

use super::Outcome;
use crate::cli::Verb;
use crate::context::Context;
use crate::output;

pub(crate) const VERB: Verb = Verb {
    name: "sysinfos",
    aliases: &["slist"],
    about: "Print load, memory and uptime of the machine as JSON",
    examples: "  wpm sysinfos        bytes, seconds, load of the last 1, 5 and 15 minutes",
    args: |command| command,
    run,
};

fn run(_: &clap::ArgMatches, _: &mut Context) -> Outcome {
    output::json(&figures())?;
    Ok(ExitCode::Ok)
}

/// What is known of the machine.
pub(super) fn figures() -> serde_json::Value {
    let uname = rustix::system::uname();
    let text = |part: &std::ffi::CStr| part.to_string_lossy().into_owned();
    let memory = sysinfo::System::new().ok().map(|mut system| {
        system.refresh_memory();
        json!({
            "total": system.total_memory(),
            "available": system.available_memory(),
            "swap_total": system.total_swap(),
            "swap_used": system.used_swap(),
        })
    });
    let load = sysinfo::System::load_average().ok().map(|load| json!([load.one, load.five, load.fifteen]));
    json!({
        "host": text(uname.nodename()),
        "system": format!("{} {}", text(uname.sysname()), text(uname.release())),
        "machine": text(uname.machine()),
        "uptime": rustix::system::sysinfo().uptime,
        "cpus": crate::cpus::usable(),
        "load": load,
        "memory": memory,
    })
}
