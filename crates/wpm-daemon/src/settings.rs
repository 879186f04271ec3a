//! Defaults of the home: environment of the daemon, then what `wpm set` wrote.
//!
//! Read at start, and told by the client that changes them. A value that cannot be understood is named in the log and left out.

use std::collections::BTreeMap;

use wpm_proto::env;
use wpm_proto::home::Home;

use crate::convert::Defaults;
use crate::launch::LogDefaults;

/// Defaults for apps that do not say otherwise.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Settings {
    /// Of the spec.
    pub(crate) spec: Defaults,
    /// Of log files.
    pub(crate) log: LogDefaults,
}

/// What the file of a home holds; nothing where it cannot be read, which is logged.
pub(crate) fn file(home: &Home) -> BTreeMap<String, String> {
    let path = home.settings();
    let Ok(bytes) = std::fs::read(&path) else { return BTreeMap::new() };
    serde_json::from_slice(&bytes).unwrap_or_else(|error| {
        tracing::warn!("{} is left out: {error}", path.display());
        BTreeMap::new()
    })
}

impl Settings {
    /// Reads them from what was set, else from the environment. `WPM_LOG_RETAIN` is `log_retain` there.
    pub(crate) fn of_home(set: &BTreeMap<String, String>) -> Self {
        Self::read(|name| {
            let key = name.strip_prefix("WPM_")?.to_ascii_lowercase();
            set.get(&key).cloned().or_else(|| std::env::var(name).ok())
        })
    }

    /// Reads them through `value`, which gives the text of a name.
    pub(crate) fn read(value: impl Fn(&str) -> Option<String>) -> Self {
        let mut s = Self::default();
        let number = |name: &str| {
            let text = value(name)?;
            let parsed = size(&text);
            if parsed.is_none() {
                tracing::warn!("{name}={text} is not a number and is left out");
            }
            parsed
        };
        if let Some(n) = number(env::LOG_MAX_SIZE) {
            s.log.max_size = n;
        }
        if let Some(n) = number(env::LOG_RETAIN) {
            s.log.retain = u32::try_from(n).unwrap_or(u32::MAX);
        }
        if let Some(text) = value(env::LOG_COMPRESS) {
            s.log.compress = matches!(text.as_str(), "1" | "true" | "yes");
        }
        if let Some(n) = number(env::KILL_TIMEOUT) {
            s.spec.kill_timeout_ms = n;
        }
        if let Some(n) = value(env::KILL_SIGNAL).and_then(|name| signal(&name)) {
            s.spec.kill_signal = n;
        }
        s
    }
}

/// A number with pm2's units: K, M and G are powers of 1024.
fn size(text: &str) -> Option<u64> {
    let (digits, unit) =
        text.trim().split_at(text.trim().trim_end_matches(|c: char| !c.is_ascii_digit()).len());
    let factor = match unit.trim().to_ascii_uppercase().as_str() {
        "" | "B" => 1,
        "K" | "KB" | "KIB" => 1 << 10,
        "M" | "MB" | "MIB" => 1 << 20,
        "G" | "GB" | "GIB" => 1 << 30,
        _ => return None,
    };
    digits.parse::<u64>().ok()?.checked_mul(factor)
}

/// Number of a signal by its usual names.
fn signal(name: &str) -> Option<i32> {
    let upper = name.trim().to_ascii_uppercase();
    match upper.strip_prefix("SIG").unwrap_or(&upper) {
        "HUP" => Some(1),
        "INT" => Some(2),
        "QUIT" => Some(3),
        "KILL" => Some(9),
        "USR1" => Some(10),
        "USR2" => Some(12),
        "TERM" => Some(15),
        other => other.parse().ok().filter(|n| (1..=64).contains(n)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_take_units_of_1024() {
        for (text, bytes) in [("0", 0), ("10", 10), ("10K", 10240), ("10M", 10 << 20), ("1gb", 1 << 30)] {
            assert_eq!(size(text), Some(bytes), "{text}");
        }
        for text in ["", "M", "1X", "-1", "99999999999999999999"] {
            assert_eq!(size(text), None, "{text}");
        }
    }

    #[test]
    fn what_is_not_understood_is_left_out() {
        let s = Settings::read(|name| {
            match name {
                env::LOG_MAX_SIZE => Some("1K"),
                env::LOG_RETAIN => Some("many"),
                env::KILL_SIGNAL => Some("SIGTERM"),
                _ => None,
            }
            .map(str::to_owned)
        });
        assert_eq!((s.log.max_size, s.log.retain, s.spec.kill_signal), (1024, 30, 15));
    }
}
