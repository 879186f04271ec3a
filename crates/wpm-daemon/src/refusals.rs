//! Refusals in the words of the wire: what was asked, why not, and what to do.

use wpm_core::CommandError;
use wpm_proto::error::{Entry, ErrorCode, WireError};
use wpm_proto::response::Body;

use crate::sound::Unsound;

/// A refusal without a hint.
pub(crate) fn error(code: ErrorCode, message: impl Into<String>) -> Body {
    Body::Error {
        error: WireError { code, message: message.into(), hint: None, similar: vec![], entry: None },
    }
}

/// The refusal of an app whose description is unsound.
pub(crate) fn unsound(unsound: Unsound) -> Body {
    let Unsound { app, field, message } = unsound;
    let entry = Some(Box::new(Entry { app, key: field }));
    Body::Error {
        error: WireError { code: ErrorCode::InvalidSpec, message, hint: None, similar: vec![], entry },
    }
}

/// The answer where the change was made but could not be written.
pub(crate) fn not_durable(why: &str) -> Body {
    Body::Error {
        error: WireError {
            code: ErrorCode::Storage,
            message: format!("the change is in force but not saved: {why}"),
            hint: Some(
                "make room on the disk of the home; wpm tries to write the state every 2 s until it can"
                    .into(),
            ),
            similar: vec![],
            entry: None,
        },
    }
}

/// The answer where a change was not made because it could not have been written.
pub(crate) fn not_begun(why: &str) -> Body {
    Body::Error {
        error: WireError {
            code: ErrorCode::Storage,
            message: format!("nothing was changed, for it could not be saved: {why}"),
            hint: Some(
                "make room on the disk of the home; `stop`, `restart` and `flush` work meanwhile".into(),
            ),
            similar: vec![],
            entry: None,
        },
    }
}

/// A refusal in the words of the wire.
pub(crate) fn wire_error(error: CommandError) -> WireError {
    let mut entry = None;
    let (code, message, hint, similar) = match error {
        CommandError::NoSuchApp { target, similar } => {
            (ErrorCode::NoSuchApp, format!("no app matches `{target}`"), None, similar)
        }
        CommandError::NoApps => (
            ErrorCode::NoApps,
            "no app is in the list".into(),
            Some("start one with `wpm start FILE`".to_owned()),
            vec![],
        ),
        CommandError::AlreadyRunning { name } => (
            ErrorCode::AlreadyRunning,
            format!("`{name}` is up already"),
            Some(format!("`wpm restart {name}` to start it anew, `--force` to start it a second time")),
            vec![],
        ),
        CommandError::NothingToDo { name, count } => {
            let has = if count == 1 { "one instance".to_owned() } else { format!("{count} instances") };
            (ErrorCode::NothingToDo, format!("nothing to do: `{name}` has {has}"), None, vec![])
        }
        CommandError::Ambiguous { target, names } => (
            ErrorCode::Ambiguous,
            format!("`{target}` means several apps: {}", names.join(", ")),
            Some("name one of them".to_owned()),
            vec![],
        ),
        CommandError::InvalidSpec { name, field, reason } => {
            let message = format!("invalid `{field}` of `{name}`: {reason}");
            entry = Some(Box::new(Entry { app: name, key: field.to_owned() }));
            (ErrorCode::InvalidSpec, message, None, vec![])
        }
        CommandError::ReloadInProgress { name } => (
            ErrorCode::ReloadInProgress,
            format!("a reload of `{name}` is under way"),
            Some("wait for its end, or use `--force` to give it up".to_owned()),
            vec![],
        ),
        CommandError::NotRunning { target } => {
            (ErrorCode::NotRunning, format!("`{target}` is not running"), None, vec![])
        }
        CommandError::ShuttingDown => {
            (ErrorCode::ShuttingDown, "the daemon is about to end".into(), None, vec![])
        }
    };
    WireError { code, message, hint, similar, entry }
}
