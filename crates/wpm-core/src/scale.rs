//! Changing the number of instances of one app.
//!
//! Up fills the lowest free indices, down removes the highest. Invariant: instances that stay are
//! not touched.

use std::collections::BTreeSet;

use crate::operation::Plan;
use crate::start::MOST_INSTANCES;
use crate::{AppId, CommandError, Core, Desired, InstanceId, Now, ScaleTo, Selector, Spec};

impl Core {
    pub(crate) fn scale(&mut self, now: Now, target: &Selector, to: ScaleTo) -> Result<Plan, CommandError> {
        let ids = self.some_of(std::slice::from_ref(target))?;
        let apps: BTreeSet<AppId> = ids.iter().filter_map(|id| Some(self.instance(*id)?.app)).collect();
        let mut apps = apps.into_iter();
        let (Some(app), None) = (apps.next(), apps.next()) else {
            let names: BTreeSet<String> = ids
                .iter()
                .filter_map(|id| Some(self.app(self.instance(*id)?.app)?.spec.name.clone()))
                .collect();
            return Err(CommandError::Ambiguous {
                target: target.to_string(),
                names: names.into_iter().collect(),
            });
        };
        let Some(spec) = self.app(app).map(|app| app.spec.clone()) else { return Ok(Plan::new()) };
        // Those that are being deleted are no part of it, but come back before new ones are made.
        let all = self.instances_of(app);
        let (going, staying): (Vec<InstanceId>, Vec<InstanceId>) =
            all.into_iter().partition(|id| self.instance(*id).is_some_and(|it| it.desired == Desired::Gone));
        let present = u32::try_from(staying.len()).unwrap_or(u32::MAX);
        let wanted = match to {
            ScaleTo::Exactly(count) => count,
            ScaleTo::More(more) => present.saturating_add(more),
            ScaleTo::Fewer(fewer) => present.saturating_sub(fewer).max(1),
        };
        if wanted == present {
            return Err(CommandError::NothingToDo { name: spec.name.clone(), count: present });
        }
        if wanted == 0 || wanted > MOST_INSTANCES {
            let reason = format!("must be between 1 and {MOST_INSTANCES}, not {wanted}");
            return Err(CommandError::InvalidSpec { name: spec.name.clone(), field: "instances", reason });
        }
        self.replace_spec(app, Spec { instances: wanted, ..(*spec).clone() });
        let mut plan = Plan::new();
        if wanted < present {
            for id in staying.iter().rev().take((present - wanted) as usize) {
                plan.push((*id, self.want_gone(*id)));
            }
            return Ok(plan);
        }
        let mut going = going.into_iter().peekable();
        for _ in present..wanted {
            let free = self.lowest_free_index(app);
            let back = going.next_if(|id| self.instance(*id).is_some_and(|it| it.index < free));
            let id = back.unwrap_or_else(|| self.add_instance(now, app));
            plan.push((id, self.want_begun(now, id)));
        }
        Ok(plan)
    }

    fn lowest_free_index(&self, app: AppId) -> u32 {
        let Some(app) = self.app(app) else { return 0 };
        (0_u32..).find(|index| !app.instances.contains_key(index)).unwrap_or(u32::MAX)
    }
}
