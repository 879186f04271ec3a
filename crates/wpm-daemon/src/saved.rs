//! The desired state as the bytes that go to disk.
//!
//! A spec is turned into JSON once, when it changes, and kept: with hundreds of apps, each with the
//! environment of a shell, one changed word would otherwise cost megabytes of encoding.

use std::collections::BTreeMap;
use std::sync::Arc;

use wpm_core::{App, AppId, Core, Desired, Instance, InstanceId, RunId, Spec, State};
use wpm_proto::state::{SavedDesire, SavedInstance, StateFile, VERSION};

use crate::convert;
use crate::requests::Taken;

/// What a file is kept for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kept {
    /// For the next daemon: also what is deleted and not gone yet.
    List,
    /// For a later start.
    Dump,
}

/// Encoded specs by app.
#[derive(Debug, Default)]
pub(crate) struct Saved(BTreeMap<AppId, (Arc<Spec>, Box<str>)>);

impl Saved {
    /// The whole state file.
    pub(crate) fn state(&mut self, core: &Core, generation: u64, keys: &[Taken], kept: Kept) -> Vec<u8> {
        self.0.retain(|id, (spec, _)| core.app(*id).is_some_and(|a| Arc::ptr_eq(&a.spec, spec)));
        // The envelope without its apps, which go before its closing bracket.
        let mut bytes = empty(generation, keys);
        bytes.truncate(bytes.len() - "]}".len());
        let mut first = true;
        for app in core.apps() {
            let of = |id: &InstanceId| {
                let renews = core.renewing(*id).filter(|_| kept == Kept::List).map(|run| run.0);
                Some(SavedInstance { renews, ..saved_instance(core.instance(*id)?)? })
            };
            let instances: Vec<SavedInstance> = (app.instances.values().filter_map(of))
                .filter(|i| kept == Kept::List || i.desire != SavedDesire::Gone)
                .collect();
            if instances.is_empty() {
                continue;
            }
            if !std::mem::take(&mut first) {
                bytes.push(b',');
            }
            bytes.extend_from_slice(b"{\"spec\":");
            bytes.extend_from_slice(self.spec(app).as_bytes());
            bytes.extend_from_slice(b",\"instances\":");
            bytes.extend_from_slice(&serde_json::to_vec(&instances).unwrap_or_default());
            if let Some(before) = app.before.as_ref().filter(|_| kept == Kept::List) {
                bytes.extend_from_slice(b",\"before\":");
                bytes
                    .extend_from_slice(&serde_json::to_vec(&convert::saved_spec(before)).unwrap_or_default());
            }
            bytes.push(b'}');
        }
        bytes.extend_from_slice(b"]}");
        bytes
    }

    fn spec(&mut self, app: &App) -> &str {
        let entry = self.0.entry(app.id).or_insert_with(|| {
            let json = serde_json::to_string(&convert::saved_spec(&app.spec)).unwrap_or_default();
            (Arc::clone(&app.spec), json.into_boxed_str())
        });
        &entry.1
    }
}

/// A state file without apps.
pub(crate) fn empty(generation: u64, keys: &[Taken]) -> Vec<u8> {
    let file = StateFile {
        version: VERSION,
        written_by: concat!("wpm ", env!("CARGO_PKG_VERSION")).to_owned(),
        generation,
        recent_keys: keys.iter().map(|taken| taken.key.clone()).collect(),
        recent_runs: keys.iter().map(|taken| taken.since.0).collect(),
        apps: vec![],
    };
    serde_json::to_vec(&file).unwrap_or_default()
}

/// The requests that a state file knows of.
pub(crate) fn taken(file: &StateFile) -> Vec<Taken> {
    // One that an earlier release has written does not tell; then nothing is known to be of before.
    let runs = file.recent_runs.iter().copied().chain(std::iter::repeat(0)).map(RunId);
    file.recent_keys.iter().cloned().zip(runs).map(|(key, since)| Taken { key, since }).collect()
}

/// One instance as it is saved; none for one that is deleted and has no run any more.
pub(crate) fn saved_instance(i: &Instance) -> Option<SavedInstance> {
    let desire = match (i.desired, &i.state) {
        (Desired::Gone, _) => i.run().map(|_| SavedDesire::Gone)?,
        (_, State::Errored) => SavedDesire::Errored,
        _ if i.is_finished() => SavedDesire::Finished,
        (Desired::Up, _) => SavedDesire::Up,
        (Desired::Down, _) => SavedDesire::Down,
    };
    Some(SavedInstance {
        id: i.id.0,
        index: i.index,
        desire,
        restarts: i.restarts,
        last_exit: i.last_exit.map(convert::saved_exit),
        created_ms: i.created_wall_ms,
        renews: None,
        cause: if i.is_errored() { convert::cause_words(&i.cause) } else { None },
    })
}

#[cfg(test)]
mod tests {
    use wpm_core::{Command, Input, Now, Start, StartApp, Ticket};
    use wpm_proto::app::AppSpec;

    use super::*;

    #[test]
    fn what_is_written_is_what_is_read() {
        let mut core = Core::new(RunId(1));
        let mut saved = Saved::default();
        let none: StateFile =
            serde_json::from_slice(&saved.state(&core, 3, &[], Kept::List)).expect("a state file");
        assert_eq!((none.generation, none.apps.len()), (3, 0));
        for name in ["b", "a\"\\"] {
            let json = serde_json::json!({"name": name, "script": "/bin/true", "cwd": "/", "instances": 2, "instances_asked": true});
            let app: AppSpec = serde_json::from_value(json).expect("a spec");
            let spec = convert::spec(app, convert::Defaults::default()).expect("a sound one");
            let start = Start { apps: vec![StartApp { spec, start_now: true }], force: false };
            core.handle(Now::default(), Input::Command(Ticket(1), Command::Start(start)));
        }
        for generation in [4, 5] {
            let state =
                saved.state(&core, generation, &[Taken { key: "k".into(), since: RunId(7) }], Kept::List);
            let file: StateFile = serde_json::from_slice(&state).expect("a state file");
            assert_eq!(taken(&file), [Taken { key: "k".into(), since: RunId(7) }]);
            assert_eq!(file.generation, generation);
            assert_eq!(file.apps.len(), 2);
            assert_eq!(file.apps[0].spec.name, "a\"\\");
            assert_eq!(file.apps[1].instances.len(), 2);
            assert_eq!(file.apps[1].instances[1].index, 1);
        }
        let delete = Command::Delete(vec![wpm_core::Selector::parse("b").expect("a name")]);
        core.handle(Now::default(), Input::Command(Ticket(2), delete));
        for (kept, left) in [(Kept::List, 2), (Kept::Dump, 1)] {
            let state = saved.state(&core, 6, &[], kept);
            let file: StateFile = serde_json::from_slice(&state).expect("a state file");
            assert_eq!(file.apps.len(), left, "what is not gone yet stays in the list alone");
            assert!(left == 1 || file.apps[1].instances.iter().all(|i| i.desire == SavedDesire::Gone));
        }
    }
}
