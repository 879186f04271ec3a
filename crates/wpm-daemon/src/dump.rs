//! The list that `save` keeps and `resurrect` starts.
//!
//! Invariant: an empty list never replaces a kept one unless that is asked for.

use wpm_core::{Command, Start, StartApp, Ticket};
use wpm_proto::error::ErrorCode;
use wpm_proto::response::{Body, Response};
use wpm_proto::state::SavedDesire;

use crate::answers::Asker;
use crate::convert;
use crate::daemon::Daemon;
use crate::persistence::After;
use crate::refusals::error;
use crate::saved::Kept;
use crate::session::SessionId;
use crate::state_file;
use crate::store::Target;

impl Daemon {
    /// Keeps the list as it is now; the answer follows when it is durable.
    pub(crate) fn save(&mut self, session: SessionId, request: u64, force: bool) -> Option<Body> {
        if self.core.instances().next().is_none() && !force {
            return Some(Body::Outcomes {
                outcomes: vec![],
                remarks: vec!["nothing was saved: the list is empty (--force saves it all the same)".into()],
            });
        }
        let count = self.core.apps().count();
        let apps = if count == 1 { "app" } else { "apps" };
        let remark = format!("saved {count} {apps} in {}", self.home.dump().display());
        let ticket = self.askers.ticket(Asker { session, request, wait: true, remarks: vec![remark] });
        let content = self.persistence.saved.state(&self.core, self.persistence.generation, &[], Kept::Dump);
        self.persistence.write_file(Target::Dump, content, After::Dump(ticket));
        None
    }

    /// A dump was written.
    pub(crate) fn dumped(&mut self, ticket: Ticket, failed: Option<&str>) {
        let Some(asker) = self.askers.remove(ticket) else { return };
        let body = match failed {
            Some(why) => error(ErrorCode::Storage, why),
            None => Body::Outcomes { outcomes: vec![], remarks: asker.remarks },
        };
        self.respond(asker.session, &Response { id: asker.request, body });
    }

    /// Starts what was kept and is not in the list.
    pub(crate) fn resurrect(&mut self, session: SessionId, request: u64, wait: bool) -> Option<Body> {
        let loaded = match state_file::load(&self.home.dump(), &self.home.dump_backup()) {
            Ok(loaded) => loaded,
            Err(e) => {
                let message = format!("cannot read {}: {e}", self.home.dump().display());
                return Some(error(ErrorCode::Storage, message));
            }
        };
        let mut remarks = loaded.remarks;
        let apps = loaded.state.map(|s| s.apps).unwrap_or_default();
        if apps.is_empty() {
            remarks.push("nothing to resurrect: no list was saved".into());
        }
        let known: Vec<String> = self.core.apps().map(|a| a.spec.name.clone()).collect();
        let apps: Vec<StartApp> = apps
            .into_iter()
            .filter(|a| !known.contains(&a.spec.name))
            .map(|a| {
                let start_now = a.instances.iter().any(|i| i.desire == SavedDesire::Up);
                let mut spec = convert::restored_spec(a.spec, self.settings.spec);
                spec.instances = u32::try_from(a.instances.len()).unwrap_or(u32::MAX).max(1);
                StartApp { spec, start_now }
            })
            .collect();
        if apps.is_empty() {
            if remarks.is_empty() {
                remarks.push("nothing to resurrect: every app that was saved is in the list".into());
            }
            return Some(Body::Outcomes { outcomes: vec![], remarks });
        }
        self.command(session, request, Command::Start(Start { apps, force: false }), wait, remarks);
        None
    }
}
