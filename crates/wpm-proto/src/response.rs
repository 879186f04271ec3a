//! Responses of the daemon.

use serde::{Deserialize, Serialize};

use crate::error::WireError;
use crate::event::EventView;
use crate::state::SavedExit;
use crate::view::{AppView, DaemonView};

/// Answer to [`crate::request::Hello`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Welcome {
    /// [`crate::CONTRACT`] of the daemon.
    pub contract: u32,
    /// Version of the daemon.
    pub version: String,
    /// Its process id.
    pub pid: i32,
    /// What it can do beyond the contract's first version.
    #[serde(default)]
    pub features: Vec<String>,
}

/// One response; a request gets any number of progress and event frames, then one that is final.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Response {
    /// Number of the request.
    pub id: u64,
    /// What.
    pub body: Body,
}

/// Content of a response.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(remote = "Self", tag = "type", rename_all = "snake_case")]
pub enum Body {
    /// Refused or failed. Final.
    Error {
        /// Why.
        error: WireError,
    },
    /// Answer to `ping`. Final.
    Pong,
    /// Answer to `list`. Final.
    Apps {
        /// In the order of their names.
        apps: Vec<AppView>,
    },
    /// Answer to `status`. Final.
    Daemon {
        /// The daemon.
        daemon: Box<DaemonView>,
    },
    /// Answer to `compare`. Final.
    Changes {
        /// One for each app, those that would be removed last.
        changes: Vec<AppChange>,
    },
    /// An instance of a waiting request has its outcome.
    Progress {
        /// The outcome.
        outcome: InstanceOutcome,
    },
    /// Answer to every changing request. Final.
    Outcomes {
        /// One for each instance concerned.
        outcomes: Vec<InstanceOutcome>,
        /// Remarks for the user (for instance that nothing was saved because the list is empty).
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        remarks: Vec<String>,
    },
    /// An event of a subscription.
    Event {
        /// The event.
        event: EventView,
    },
    /// First frame of a subscription: it is in force.
    Subscribed {
        /// Events seen so far by this daemon.
        seq: u64,
    },
}

impl Serialize for Body {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Self::serialize(self, serializer)
    }
}

impl<'de> Deserialize<'de> for Body {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(BodyVisitor)
    }
}

/// Reads a body. Of a tagged value serde keeps everything until it has found the tag, which of a long list
/// takes several times as long as the rest; here the tag comes first, and the list is read in its place.
struct BodyVisitor;

impl<'de> serde::de::Visitor<'de> for BodyVisitor {
    type Value = Body;

    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("the body of a response")
    }

    fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<Body, A::Error> {
        use serde::de::Error;
        let mut rest = serde_json::Map::new();
        while let Some(name) = map.next_key::<String>()? {
            if name == "apps" && rest.get("type").is_some_and(|tag| tag == "apps") {
                let apps = map.next_value()?;
                while map.next_entry::<serde::de::IgnoredAny, serde::de::IgnoredAny>()?.is_some() {}
                return Ok(Body::Apps { apps });
            }
            rest.insert(name, map.next_value()?);
        }
        Body::deserialize(serde_json::Value::Object(rest)).map_err(A::Error::custom)
    }
}

impl Body {
    /// Whether the request is answered with it.
    pub const fn is_final(&self) -> bool {
        !matches!(self, Self::Progress { .. } | Self::Event { .. } | Self::Subscribed { .. })
    }
}

/// What `apply` does to an app.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// It is new.
    Add,
    /// Nothing.
    Keep,
    /// It is as it should be, but down.
    Start,
    /// What differs is in force at once.
    Adjust,
    /// Instances come or go.
    Scale,
    /// New runs beside the old ones.
    Reload,
    /// New runs after the old ones.
    Restart,
    /// It is removed.
    Delete,
}

/// What `apply` does to an app, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AppChange {
    /// App.
    pub app: String,
    /// What is done.
    pub step: Step,
    /// Instances afterwards.
    pub instances: u32,
    /// How it differs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub differences: Vec<Difference>,
}

/// One difference between what is in force and what was asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Difference {
    /// Key of an app file; of a table, with the name within behind a dot.
    pub key: String,
    /// Value that is in force; none = absent.
    pub old: Option<String>,
    /// Value to come; none = absent.
    pub new: Option<String>,
    /// Whether the values are not for every eye.
    #[serde(default)]
    pub secret: bool,
}

/// How one instance came out of a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InstanceOutcome {
    /// Public id.
    pub id: u32,
    /// App.
    pub app: String,
    /// Index.
    pub index: u32,
    /// How.
    #[serde(flatten)]
    pub outcome: Outcome,
}

/// Outcomes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum Outcome {
    /// Up and past its start check.
    Up {
        /// Process id.
        pid: i32,
    },
    /// Down, whole tree gone.
    Down,
    /// Out of the list.
    Deleted,
    /// Ended within its start check as a job that is done and is not started again.
    Finished {
        /// How.
        exit: SavedExit,
        /// Milliseconds after exec.
        after_ms: u64,
    },
    /// Ended within its start check.
    Died {
        /// How.
        exit: SavedExit,
        /// Milliseconds after exec.
        after_ms: u64,
        /// File of its stderr, for the client to show the last lines.
        error_file: String,
        /// Bytes of that file before this start.
        error_offset: u64,
    },
    /// Could not be spawned.
    SpawnFailed {
        /// What was being done, as the object of "failed while …".
        stage: String,
        /// On what: the program, folder, user or file.
        #[serde(default)]
        subject: Option<String>,
        /// Kernel error number.
        errno: i32,
    },
    /// Up again after a reload that could not overlap: for a moment nobody served.
    Restarted {
        /// Process id.
        pid: i32,
    },
    /// Alive, but not ready in time.
    NotReady {
        /// Milliseconds after exec.
        after_ms: u64,
        /// File of its stderr, for the client to show the last lines.
        error_file: String,
        /// Bytes of that file before this start.
        error_offset: u64,
    },
    /// The reload of another instance failed: this one runs with the old configuration, again or still.
    RolledBack,
    /// The reload of another instance failed before this one's turn: nothing was done to it.
    NotTried,
    /// Killed with SIGKILL and still there (a process in uninterruptible sleep).
    StillAlive,
    /// It starts once an app that it depends on is there, which will not be by itself.
    Waits {
        /// The app's name.
        on: String,
    },
    /// It is a job, which runs when the clock says so.
    Scheduled {
        /// In so many milliseconds; none = never.
        in_ms: Option<u64>,
    },
    /// Another command decided otherwise meanwhile.
    Superseded,
    /// Done; nothing to wait for.
    Done,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_read_wherever_its_tag_stands() {
        let app = r#"{"name":"web","namespace":"default","version":null,"cluster":false,"wanted":1,"username":"u","stamped":false,"spec":null,"instances":[]}"#;
        let read = |text: String| serde_json::from_str::<Response>(&text);
        let first =
            read(format!(r#"{{"id":1,"body":{{"type":"apps","apps":[{app}],"later":[1]}}}}"#)).unwrap();
        let last = read(format!(r#"{{"id":1,"body":{{"apps":[{app}],"type":"apps"}}}}"#)).unwrap();
        assert_eq!(first, last);
        assert!(matches!(&first.body, Body::Apps { apps } if apps[0].name == "web"));
        for body in [Body::Pong, Body::Subscribed { seq: 7 }, first.body] {
            let text = serde_json::to_string(&body).unwrap();
            assert_eq!(serde_json::from_str::<Body>(&text).unwrap(), body);
        }
        assert!(read(r#"{"id":1,"body":{"type":"apps"}}"#.into()).is_err());
        assert!(read(r#"{"id":1,"body":{"type":"what"}}"#.into()).is_err());
    }
}
