//! The hidden entries: `__keeper`, `__shim`, `__daemon`, `__unit`, `__man`, `__guard`, `__serve` and `__self-test`.
//!
//! Only tells which crate goes on.

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

use wpm_proto::home::Home;

/// Runs the hidden entry that the command line names, if it names one.
pub(crate) fn hidden() -> Option<ExitCode> {
    let mut arguments = std::env::args_os().skip(1);
    let entry = arguments.next()?;
    match entry.as_encoded_bytes() {
        b"__daemon" => Some(wpm_daemon::daemon_main(Path::new(&arguments.next()?))),
        b"__keeper" => {
            let home = arguments.next()?;
            let rest: Vec<_> = arguments.collect();
            let words: Vec<&str> = rest.iter().filter_map(|word| word.to_str()).collect();
            if words == ["--unit"]
                && let Err(error) = wpm_client::home::prepare(&Home::new(&home))
            {
                // The others are started by somebody who has looked at the home.
                crate::output::say(&format!("wpm: {error}"));
                return Some(ExitCode::from(wpm_proto::ExitCode::DaemonUnreachable as u8));
            }
            wpm_keeper::keeper_main(Path::new(&home), &words)
        }
        b"__man" => Some(match crate::man::write(Path::new(&arguments.next()?)) {
            Ok(()) => ExitCode::SUCCESS,
            Err(cause) => {
                crate::output::say(&format!("wpm: cannot write the manual pages: {cause}"));
                ExitCode::FAILURE
            }
        }),
        b"__guard" => Some(crate::verbs::guard(arguments)),
        b"__self-test" => Some(self_test()),
        b"__serve" => Some(crate::pages::run(arguments)),
        b"__unit" => Some(crate::boot::hook::run(arguments)),
        b"__shim" => wpm_keeper::shim_main(descriptor(&arguments.collect::<Vec<_>>())?),
        _ => None,
    }
}

/// Says what this program is, for `wpm update` of another one.
fn self_test() -> ExitCode {
    let test = serde_json::json!(crate::verbs::update::SelfTest::own());
    if crate::output::json(&test).is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// The number behind `--resume`.
fn descriptor(arguments: &[OsString]) -> Option<i32> {
    option(arguments, "--resume")?.parse().ok()
}

/// The word behind an option.
fn option<'a>(arguments: &'a [OsString], name: &str) -> Option<&'a str> {
    let at = arguments.iter().position(|word| word == name)?;
    arguments.get(at + 1)?.to_str()
}
