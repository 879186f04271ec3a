//! What a shim has of the keeper's memory, and how much it has to itself.

use crate::support::{PUPPET, World, kill_wpm, page_size};
use wpm_sys::contract::{End, ToShim};

/// One mapping of a process: where, the name, flags, pages that it alone has written.
struct Mapping {
    start: u64,
    name: String,
    flags: String,
    own_pages: usize,
}

fn mappings(pid: i32) -> Vec<Mapping> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/smaps")).unwrap();
    let mut found: Vec<Mapping> = Vec::new();
    for line in text.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        match (words.as_slice(), found.last_mut()) {
            (["VmFlags:", flags @ ..], Some(last)) => last.flags = flags.join(" "),
            (["Private_Dirty:", kib, "kB"], Some(last)) => {
                last.own_pages = (kib.parse::<usize>().unwrap() << 10) / page_size();
            }
            ([range, _, _, _, _, name @ ..], _) if range.contains('-') => {
                let start = u64::from_str_radix(range.split('-').next().unwrap(), 16).unwrap();
                let name = name.join(" ");
                found.push(Mapping { start, name, flags: String::new(), own_pages: 0 });
            }
            _ => {}
        }
    }
    found
}

#[test]
fn a_shim_has_nothing_of_what_the_keeper_allocates() {
    let mut w = World::new();
    let mut runs: Vec<_> = (0..20).map(|_| w.start(w.launch(&["wait"]))).collect();
    // One whose shim was killed, too.
    let (app, shim) = (runs[3].report().pid, runs[3].shim());
    assert!(kill_wpm(shim));
    runs[3].until(|r| r.shim_pid != shim);
    let apart: Vec<u64> = mappings(w.keeper)
        .iter()
        .filter(|m| m.flags.split(' ').any(|f| f == "dc"))
        .map(|m| m.start)
        .collect();
    assert_eq!(apart.len(), 1, "the keeper's heap is not copied to its children");
    for run in &runs {
        let all = mappings(run.shim());
        assert!(!all.iter().any(|m| apart.contains(&m.start)));
        let heap: usize = all.iter().filter(|m| m.name == "[heap]").map(|m| m.own_pages).sum();
        assert!(heap <= 2, "{heap} pages of the common heap: the C library's own variables take two");
    }
    assert_eq!(runs[3].report().pid, app);
    for mut run in runs {
        run.tell(&ToShim::KillTree);
        assert_eq!(run.ended(), End::Signal { signal: 9, core: false });
        run.finish();
    }
}

#[test]
fn a_panic_is_caught_without_the_heap_of_the_parent() {
    let output = std::process::Command::new(PUPPET).arg("panic").output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(7), "{said}");
    assert!(said.contains("a child panics"), "{said}");
}
