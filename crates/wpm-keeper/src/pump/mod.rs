//! Moving the output of an app into its log files.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use wpm_sys::contract::LogHealth;
use wpm_sys::launch::LogPlan;
use wpm_sys::slot::Slot;
use wpm_sys::splice;

use crate::wires::Wires;

/// temporary
#[derive(Debug)]
pub(crate) struct Pump {
    plan: LogPlan,
    files: [Option<File>; 2],
    eof: [bool; 2],
    ready: [bool; 2],
}

pub(crate) fn make_folder(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
}

fn open(path: &[u8]) -> io::Result<Option<File>> {
    use std::os::unix::ffi::OsStrExt;
    if path.is_empty() {
        return Ok(None);
    }
    let path = PathBuf::from(std::ffi::OsStr::from_bytes(path));
    let open = || File::options().create(true).truncate(false).read(true).write(true).mode(0o600).open(&path);
    match open() {
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            make_folder(path.parent().unwrap_or(Path::new("/")))?;
            open().map(Some)
        }
        other => other.map(Some),
    }
}

impl Pump {
    pub(crate) fn new(plan: &LogPlan, _home: &[u8]) -> Self {
        Self { plan: plan.clone(), files: [None, None], eof: [false; 2], ready: [true; 2] }
    }
    pub(crate) fn open(&mut self, _wires: &Wires) -> io::Result<()> {
        self.eof = [true; 2];
        self.files = [open(&self.plan.out)?, open(&self.plan.err)?];
        self.eof = [false; 2];
        Ok(())
    }
    pub(crate) fn open_later(&mut self) {
        self.files = [open(&self.plan.out).ok().flatten(), open(&self.plan.err).ok().flatten()];
    }
    fn pipe<'w>(&self, wires: &'w Wires, i: usize) -> Option<&'w OwnedFd> {
        wires.pipes[i].as_ref().filter(|_| !self.eof[i])
    }
    pub(crate) fn turn(&mut self, wires: &Wires, _now: u64, tree_gone: bool) {
        for i in 0..2 {
            if !(self.ready[i] || tree_gone) {
                continue;
            }
            let (Some(pipe), Some(file)) = (self.pipe(wires, i), &self.files[i]) else { continue };
            let Ok(meta) = file.metadata() else { continue };
            match splice::to_file(pipe, file, meta.len(), 1 << 20) {
                Ok(0) => self.eof[i] = true,
                Ok(_) => {}
                Err(_) => self.ready[i] = false,
            }
        }
    }
    pub(crate) fn is_done(&self, wires: &Wires, _tree: bool) -> bool {
        (0..2).all(|i| self.pipe(wires, i).is_none() || !self.ready[i])
    }
    pub(crate) fn health(&self, _slot: &Slot) -> LogHealth {
        LogHealth::default()
    }
    pub(crate) fn due(&self) -> Option<u64> {
        self.ready.iter().any(|r| *r).then_some(0)
    }
    pub(crate) fn wants(&self, i: usize) -> bool {
        !self.eof[i]
    }
    pub(crate) fn note_ready(&mut self, i: usize) {
        self.ready[i] = true;
    }
    pub(crate) fn rest(&mut self) {}
    pub(crate) fn rotate(&mut self, _wires: &Wires) {}
    pub(crate) fn reopen(&mut self) {
        self.open_later();
    }
    pub(crate) fn flush(&mut self, _wires: &Wires) {}
    pub(crate) fn forget(&self, _wires: &Wires) {}
}
