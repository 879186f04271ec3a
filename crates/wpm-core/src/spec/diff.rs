//! Changing a spec, and telling two apart.

use crate::{Spec, SpecChange};

impl Spec {
    /// This spec with a change applied.
    #[must_use]
    pub fn with(&self, change: &SpecChange) -> Self {
        let mut spec = self.clone();
        if let Some(caller) = &change.env {
            let mut env = caller.clone();
            env.extend(
                self.own_env.iter().filter_map(|name| Some((name.clone(), self.env.get(name)?.clone()))),
            );
            spec.env = env;
        }
        fn set<T: Clone>(field: &mut T, new: Option<&T>) {
            if let Some(new) = new {
                field.clone_from(new);
            }
        }
        set(&mut spec.args, change.args.as_ref());
        set(&mut spec.interpreter_args, change.interpreter_args.as_ref());
        set(&mut spec.name, change.name.as_ref());
        set(&mut spec.stop.kill_timeout, change.kill_timeout.as_ref());
        set(&mut spec.restart.max_memory, change.max_memory.as_ref());
        set(&mut spec.restart.restart_delay, change.restart_delay.as_ref());
        set(&mut spec.restart.backoff, change.backoff.as_ref());
        set(&mut spec.restart.max_restarts, change.max_restarts.as_ref());
        set(&mut spec.restart.autorestart, change.autorestart.as_ref());
        set(&mut spec.restart.stop_exit_codes, change.stop_exit_codes.as_ref());
        set(&mut spec.cron_restart, change.cron_restart.as_ref());
        set(&mut spec.log.date_format, change.date_format.as_ref());
        spec
    }
}
