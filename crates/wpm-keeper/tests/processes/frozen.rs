//! A disk that hangs: whoever writes there waits, and nobody else.
//!
//! Needs root, a loop device and ext4; what a machine does not have is said, not shown.

use std::path::PathBuf;
use std::process::Command;

use crate::support::{World, eventually, not_shown};
use wpm_sys::contract::{End, ToShim};
use wpm_sys::procfs;

/// A small file system of its own that can be frozen.
struct Disk(PathBuf);

fn done(program: &str, args: &[&std::ffi::OsStr]) -> bool {
    let path = format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default());
    Command::new(program).args(args).env("PATH", path).output().is_ok_and(|output| output.status.success())
}

impl Disk {
    fn new(w: &World) -> Option<Self> {
        let (image, folder) = (w.home().join("image"), w.home().join("disk"));
        std::fs::File::create(&image).unwrap().set_len(16 << 20).unwrap();
        std::fs::create_dir(&folder).unwrap();
        let made = done("mkfs.ext4", &["-q".as_ref(), image.as_os_str()]);
        if made && done("mount", &["-o".as_ref(), "loop".as_ref(), image.as_os_str(), folder.as_os_str()]) {
            return Some(Self(folder));
        }
        not_shown("no file system can be mounted from a file");
        None
    }

    fn freeze(&self, on: bool) -> bool {
        done("fsfreeze", &[if on { "-f" } else { "-u" }.as_ref(), self.0.as_os_str()])
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        self.freeze(false);
        done("umount", &["-l".as_ref(), self.0.as_os_str()]);
    }
}

#[test]
fn a_frozen_disk_holds_up_those_who_write_there_and_nobody_else() {
    let mut w = World::new();
    let Some(disk) = Disk::new(&w) else { return };
    let mut launch = w.launch(&["say", "before\n", "WAIT"]);
    launch.log.out = disk.0.join("out.log").into_os_string().into_encoded_bytes();
    let _first = w.start(launch.clone());
    eventually(|| std::fs::read(disk.0.join("out.log")).is_ok_and(|text| text == b"before\n"));
    if !disk.freeze(true) {
        not_shown("the file system cannot be frozen");
        return;
    }
    // Its shim hangs in the kernel as soon as there is something to write.
    launch.program = b"/bin/sh".to_vec();
    launch.args = vec![b"sh".to_vec(), b"-c".to_vec(), b"read x; echo after; read y".to_vec()];
    launch.log.out = disk.0.join("out.log").into_os_string().into_encoded_bytes();
    let mut stuck = w.start(launch);
    use std::io::Write;
    std::fs::File::from(stuck.beside.remove(0)).write_all(b"go\n").unwrap();
    let shim = stuck.shim();
    eventually(|| std::fs::read_to_string(format!("/proc/{shim}/stat")).unwrap().contains(") D "));
    // The keeper and all others go on: one is started, logs, is stopped.
    let mut other = w.start(w.launch(&["say", "meanwhile\n", "WAIT"]));
    eventually(|| w.text("logs/out.log") == "meanwhile\n");
    other.tell(&ToShim::KillTree);
    assert_eq!(other.ended(), End::Signal { signal: 9, core: false });
    other.finish();
    // Whoever hangs does not spin.
    assert!(procfs::stat(shim).is_some());
    assert!(disk.freeze(false));
    eventually(|| std::fs::read(disk.0.join("out.log")).is_ok_and(|text| text == b"before\nafter\n"));
    stuck.tell(&ToShim::KillTree);
    stuck.finish();
}
