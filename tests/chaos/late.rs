//! An app that is started in the middle of a storm, by a command that waits for it.
//!
//! The command carries on through lost connections, or says clearly that it gave up. Either way the app
//! was started once or not at all: the request is sent again with its key, and not done again.

use crate::clients::{self, Typed};
use crate::looper::Looper;
use crate::world::{Puppet, World};

/// Name of the app.
const NAME: &str = "late";

/// One such start.
#[derive(Default)]
pub(crate) struct Late {
    command: Option<Typed>,
    came: Option<Puppet>,
    /// Starts that were answered, and those that were given up.
    pub(crate) answered: u64,
    /// See there.
    pub(crate) given_up: u64,
}

impl Late {
    /// Types the command.
    pub(crate) fn start(&mut self, world: &World) -> Result<(), String> {
        let puppet = crate::world::puppet();
        // Long enough for several kills while it waits.
        let line = format!("start {} --name {NAME} --start-check 700 -- {NAME}", puppet.display());
        self.command = Some(clients::typed(world, &line)?);
        Ok(())
    }

    #[track_caller]
    fn came(&mut self, puppet: Puppet, world: &World) {
        assert!(self.came.is_none(), "a second copy of {NAME}; the daemon's log:\n{}", world.log());
        self.came = Some(puppet);
    }

    /// An app has connected: this one or the looper.
    #[track_caller]
    pub(crate) fn meet(&mut self, puppet: Puppet, looper: &mut Looper, world: &World) {
        if puppet.name == NAME {
            self.came(puppet, world);
        } else {
            looper.came(puppet, world);
        }
    }

    /// Waits for the command, compares, and removes the app.
    pub(crate) fn finish(&mut self, looper: &mut Looper, world: &World) -> Result<(), String> {
        let Some(command) = self.command.take() else { return Ok(()) };
        let (code, err) = command.wait(world)?;
        match code {
            Some(0) => self.answered += 1,
            _ => {
                clients::clear(&format!("start {NAME}"), code, &err)?;
                self.given_up += 1;
            }
        }
        let listed = world.jlist().iter().any(|entry| entry["name"] == NAME);
        if code == Some(0) && !listed {
            return Err(format!("{NAME} was started and is not listed"));
        }
        if !listed {
            return match self.came.take() {
                None => Ok(()),
                Some(_) => Err(format!("{NAME} runs and is not listed")),
            };
        }
        while self.came.is_none() {
            self.meet(world.puppet(), looper, world);
        }
        let said = clients::limited(world, &format!("delete {NAME}"))?;
        self.came.take().into_iter().for_each(Puppet::dead);
        // A machine may be too busy to kill in time.
        if said.0 != Some(0) && !said.1.contains("is still there") {
            return Err(format!("`wpm delete {NAME}` after a storm: {said:?}"));
        }
        Ok(())
    }
}
