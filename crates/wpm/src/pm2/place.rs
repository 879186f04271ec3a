//! Where pm2 keeps its things: the home is `PM2_HOME`, and its files have pm2's names too.
//!
//! The home is handed on as `WPM_HOME` by executing this program anew, so that nothing behind this
//! module has to know of two variables. Invariant: a file of a real pm2 is never overwritten.

use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::Command;

use wpm_proto::env;
use wpm_proto::home::Home;

use super::voice;
use crate::failure::{Code, Failure};

/// pm2's variable for its home.
const PM2_HOME: &str = "PM2_HOME";

/// Makes pm2's home the home of this process, by executing it anew where it is not.
pub(super) fn enter() -> Result<(), Failure> {
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let home = match set(PM2_HOME).or_else(|| set(env::HOME)) {
        Some(home) if home.is_absolute() => home,
        // Relative to the place of the call, as pm2 takes it.
        Some(home) => std::path::absolute(home).map_err(|cause| {
            Failure::new(Code::Home, format!("cannot tell the working directory: {cause}"))
        })?,
        None => match dirs::home_dir().filter(|home| home.is_absolute()) {
            Some(home) => home.join(".pm2"),
            None => {
                return Err(Failure::new(Code::Home, "neither PM2_HOME nor HOME says where pm2's home is"));
            }
        },
    };
    if set(env::HOME).as_ref() == Some(&home) && set(PM2_HOME).as_ref() == Some(&home) {
        return Ok(());
    }
    let cause = Command::new("/proc/self/exe")
        .arg0("pm2")
        .args(std::env::args_os().skip(1))
        .env(env::HOME, &home)
        .env(PM2_HOME, &home)
        // Programs ask for it in order to know who started them.
        .env("PM2_USAGE", "CLI")
        .exec();
    Err(Failure::new(Code::Internal, format!("cannot execute this program anew: {cause}")))
}

/// Gives the files of a home pm2's names as well, and warns of a real pm2 that still works there.
pub(crate) fn furnish(home: &Home) {
    if UnixStream::connect(home.path().join("rpc.sock")).is_ok() {
        voice::warn(
            "a daemon of pm2 still runs in this home, with a list of its own; `wpm import --running` takes its apps over",
        );
        return;
    }
    for (name, file) in [("pm2.pid", home.daemon_pid()), ("pm2.log", home.daemon_log())] {
        let link = home.path().join(name);
        let Some(target) = file.file_name() else { continue };
        let made = symlink(target, &link);
        // The pid of a pm2 that is gone helps nobody; its log may.
        if name == "pm2.pid" && made.is_err_and(|cause| cause.kind() == io::ErrorKind::AlreadyExists) {
            let ours = fs::symlink_metadata(&link).is_ok_and(|data| data.is_symlink());
            if !ours && fs::remove_file(&link).is_ok() {
                drop(symlink(target, &link));
            }
        }
    }
}
