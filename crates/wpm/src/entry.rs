//! The hidden entries: `__keeper`, `__shim`, `__daemon` and `__self-test`.
//!
//! Only tells which crate goes on.

use std::path::Path;
use std::process::ExitCode;

/// Runs the hidden entry that the command line names, if it names one.
pub(crate) fn hidden() -> Option<ExitCode> {
    let mut arguments = std::env::args_os().skip(1);
    let entry = arguments.next()?;
    match entry.as_encoded_bytes() {
        b"__daemon" => Some(wpm_daemon::daemon_main(Path::new(&arguments.next()?))),
        b"__keeper" => {
            let home = arguments.next()?;
            wpm_keeper::keeper_main(Path::new(&home), descriptor(arguments))
        }
        b"__self-test" => Some(self_test()),
        b"__shim" => wpm_keeper::shim_main(descriptor(arguments)?),
        _ => None,
    }
}

/// Says what this program is, for `wpm update` of another one.
fn self_test() -> ExitCode {
    let test = serde_json::json!(crate::verbs::update::SelfTest::own());
    if crate::output::json(&test).is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// The number behind `--resume`.
fn descriptor(mut arguments: impl Iterator<Item = std::ffi::OsString>) -> Option<i32> {
    arguments.find(|word| word == "--resume")?;
    arguments.next()?.to_str()?.parse().ok()
}
