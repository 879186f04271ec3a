//! The few settings of a home: which there are, what their values must look like, and the file.
//!
//! The daemon uses them; this side checks and writes. Invariant: a value that wpm uses is only written
//! when it has been understood.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;

use wpm_proto::home::Home;
use wpm_proto::request::Op;

use crate::context::Context;
use crate::failure::{Code, Failure};
use crate::nearest::nearest;
use crate::quantity::{parse_duration, parse_size};
use crate::signals;

/// One setting.
pub(crate) struct Setting {
    /// Name.
    pub(crate) name: &'static str,
    /// What it says, and its default.
    pub(crate) about: &'static str,
    check: fn(&str) -> Result<String, String>,
}

/// All that wpm uses.
pub(crate) const SETTINGS: [Setting; 5] = [
    Setting {
        name: "log_max_size",
        about: "size at which logs are rotated, 0 = never [default: 10M]",
        check: |text| parse_size(text).map(|_| text.to_owned()),
    },
    Setting {
        name: "log_retain",
        about: "rotated files kept of each log [default: 30]",
        check: |text| {
            text.parse::<u32>()
                .map(|number| number.to_string())
                .map_err(|_| format!("`{text}` is no number of files"))
        },
    },
    Setting {
        name: "log_compress",
        about: "whether rotated files are gzipped [default: false]",
        check: |text| match text {
            "true" | "yes" | "1" => Ok("true".to_owned()),
            "false" | "no" | "0" => Ok("false".to_owned()),
            _ => Err(format!("`{text}` is neither true nor false")),
        },
    },
    Setting {
        name: "kill_timeout",
        about: "time between the first signal of a stop and SIGKILL, of apps started from now on [default: 1600ms]",
        check: |text| parse_duration(text).map(|milliseconds| milliseconds.to_string()),
    },
    Setting {
        name: "kill_signal",
        about: "first signal of a stop, of apps started from now on [default: SIGINT]",
        check: |text| signals::parse(text).map(|number| number.to_string()),
    },
];

/// Names of pm2's module for rotation that mean a setting of wpm.
const OF_PM2_LOGROTATE: [(&str, &str); 3] =
    [("max_size", "log_max_size"), ("retain", "log_retain"), ("compress", "log_compress")];

/// The name under which a setting is kept, and whether wpm uses it. A name with a colon that wpm does not
/// use is one of a module of pm2: it is kept, for whoever asks for it.
pub(crate) fn canonical(name: &str) -> Result<(String, Option<&'static Setting>), Failure> {
    let own = name
        .strip_prefix("pm2-logrotate:")
        .and_then(|rest| OF_PM2_LOGROTATE.iter().find(|(theirs, _)| *theirs == rest))
        .map_or(name, |(_, own)| own);
    let snake = own.replace('-', "_").to_ascii_lowercase();
    if let Some(setting) = SETTINGS.iter().find(|setting| setting.name == snake) {
        return Ok((snake, Some(setting)));
    }
    if name.contains(':') || crate::pm2::speaks() {
        return Ok((name.to_owned(), None));
    }
    let failure = Failure::new(Code::Usage, format!("there is no setting `{name}`"));
    let all: Vec<&str> = SETTINGS.iter().map(|setting| setting.name).collect();
    let failure = match nearest(&snake, all.iter().copied()) {
        Some(similar) => failure.similar(vec![similar.to_owned()]),
        None => failure,
    };
    Err(failure.help(format!("settings are {}", all.join(", "))))
}

/// Checks a value, and gives it as it is kept.
pub(crate) fn checked(setting: &Setting, value: &str) -> Result<String, Failure> {
    (setting.check)(value).map_err(|why| {
        Failure::new(Code::InvalidValue, format!("invalid value for `{}`: {why}", setting.name))
    })
}

/// What is set in a home.
pub(crate) fn read(home: &Home) -> Result<BTreeMap<String, String>, Failure> {
    let path = home.settings();
    let unreadable = |why: String| {
        Failure::new(Code::Storage, format!("cannot read {}: {why}", path.display()))
            .help("remove the file: every setting has a default")
    };
    match fs::read(&path) {
        Ok(bytes) => serde_json::from_slice(&bytes).map_err(|error| unreadable(error.to_string())),
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => Ok(BTreeMap::new()),
        Err(cause) => Err(unreadable(cause.to_string())),
    }
}

/// Changes what is set, on disk and in a daemon that runs.
pub(crate) fn change(
    context: &mut Context,
    change: impl FnOnce(&mut BTreeMap<String, String>),
) -> Result<(), Failure> {
    let home = context.home()?;
    wpm_client::home::prepare(&home)?;
    let mut values = read(&home)?;
    change(&mut values);
    write(&home, &values)?;
    if let Some(mut client) = context.running_daemon()? {
        client.call(Op::Settings { values }, |_| ())?;
    }
    Ok(())
}

/// Whole or not at all.
fn write(home: &Home, values: &BTreeMap<String, String>) -> Result<(), Failure> {
    let path = home.settings();
    let failed =
        |cause: io::Error| Failure::new(Code::Storage, format!("cannot write {}: {cause}", path.display()));
    let text = serde_json::to_string_pretty(values).map_err(|error| failed(error.into()))?;
    let fresh = path.with_extension("json.new");
    drop(fs::remove_file(&fresh));
    let mut file =
        fs::File::options().write(true).create_new(true).mode(0o600).open(&fresh).map_err(failed)?;
    file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(failed)?;
    fs::rename(&fresh, &path).map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_pm2s_rotation_are_understood() {
        let name = |name: &str| canonical(name).map(|(name, setting)| (name, setting.is_some()));
        assert_eq!(name("pm2-logrotate:max_size"), Ok(("log_max_size".to_owned(), true)));
        assert_eq!(name("kill-timeout"), Ok(("kill_timeout".to_owned(), true)));
        assert_eq!(name("pm2-logrotate:dateFormat"), Ok(("pm2-logrotate:dateFormat".to_owned(), false)));
        assert!(name("log_max_sise").is_err());
    }

    #[test]
    fn only_what_is_understood_is_kept() {
        let value = |name: &str, value: &str| {
            let setting = SETTINGS.iter().find(|setting| setting.name == name).expect("known");
            checked(setting, value).ok()
        };
        assert_eq!(value("log_max_size", "5M").as_deref(), Some("5M"));
        assert_eq!(value("log_compress", "yes").as_deref(), Some("true"));
        assert_eq!(value("kill_timeout", "3s").as_deref(), Some("3000"));
        assert_eq!(value("kill_signal", "SIGTERM").as_deref(), Some("15"));
        assert_eq!((value("log_retain", "many"), value("log_max_size", "5Q")), (None, None));
    }
}
