//! Ctrl-C while a command waits: the command ends with 130, the daemon goes on with its work.

use signal_hook::consts::SIGINT;
use wpm_proto::ExitCode;

use crate::output;

/// From here on an interrupt ends this process with 130, after saying `farewell` (if any).
pub(crate) fn end_on_interrupt(farewell: Option<&'static str>) {
    // Without them the default action ends the process as well, only without a word.
    let Ok((mut reader, writer)) = std::io::pipe() else { return };
    let wait = move || {
        let mut byte = [0];
        if std::io::Read::read_exact(&mut reader, &mut byte).is_ok() {
            if let Some(farewell) = farewell {
                output::say(&format!("\n{farewell}"));
            }
            #[expect(clippy::exit, reason = "the main thread is blocked on the daemon")]
            std::process::exit(ExitCode::Interrupted as i32);
        }
    };
    // The user may have no room for a thread.
    if std::thread::Builder::new().spawn(wait).is_ok() {
        let _not_registered = signal_hook::low_level::pipe::register(SIGINT, writer);
    }
}
