//! `wpm monit` on a terminal of its own.

use std::io::{Read, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use crate::world::{WPM, World};

/// The dashboard, as somebody before it sees and drives it.
struct Dashboard {
    child: Child,
    keys: ChildStdin,
    screen: ChildStdout,
    /// What was drawn since the last look.
    seen: String,
}

impl Dashboard {
    fn open(world: &World) -> Self {
        let template = world.command(["monit"]);
        let mut command = Command::new("script");
        command.args(["-qefc", &format!("{WPM} monit"), "/dev/null"]).env_clear().env("TERM", "xterm");
        for (name, value) in template.get_envs() {
            command.env(name, value.unwrap_or_default());
        }
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("script is installed");
        let (keys, screen) = (child.stdin.take().expect("a pipe"), child.stdout.take().expect("a pipe"));
        Self { child, keys, screen, seen: String::new() }
    }

    fn press(&mut self, keys: &str) {
        self.keys.write_all(keys.as_bytes()).expect("it reads");
    }

    /// Reads until something is drawn; what was drawn up to it is forgotten.
    #[track_caller]
    fn shows(&mut self, text: &str) {
        let mut bytes = [0; 4096];
        loop {
            if let Some(at) = self.seen.find(text) {
                self.seen.drain(..at + text.len());
                return;
            }
            let count = self.screen.read(&mut bytes).expect("readable");
            assert!(count > 0, "it ended without {text:?}:\n{}", self.seen);
            self.seen.push_str(&String::from_utf8_lossy(&bytes[..count]));
        }
    }

    /// Waits for its end; gives the exit code and the last that was drawn.
    fn end(mut self) -> (Option<i32>, String) {
        let mut rest = Vec::new();
        let _ = self.screen.read_to_end(&mut rest).expect("readable");
        self.seen.push_str(&String::from_utf8_lossy(&rest));
        (self.child.wait().expect("ended").code(), self.seen)
    }
}

/// What puts a terminal back as it was.
const LEAVE: &str = "\u{1b}[?25h\u{1b}[?1049l";

#[test]
fn keys_act_on_the_selected_app_and_the_terminal_comes_back() {
    let world = World::new();
    let mut api = world.start("api", "", 1).remove(0);
    let mut web = world.start("web", "", 1).remove(0);
    assert_eq!(api.tell("print said by api"), "done");
    assert_eq!(web.tell("print said by web"), "done");
    crate::world::await_text(&world.home().join("logs/web-out.log"), "said by web");
    let mut monit = Dashboard::open(&world);
    monit.shows("said by api");
    monit.press("r");
    api.dead();
    let api = world.puppet();
    monit.shows("1/1 up");
    monit.press("\u{1b}[B");
    monit.shows("said by web");
    // A question, a no, and a yes.
    monit.press("d");
    monit.shows("remove it from the list?");
    monit.press("n");
    monit.shows("q quit");
    assert_eq!(web.tell("print still"), "done");
    monit.shows("still");
    monit.press("/ap\r");
    monit.shows("/ap  ");
    monit.press("s");
    api.dead();
    monit.shows("1/1 stopped");
    monit.press("\u{1b}");
    monit.shows("q quit");
    monit.press("Gdy");
    web.dead();
    monit.shows("1/1 deleted");
    assert_eq!(world.jlist().len(), 1);
    monit.press("q");
    let (code, last) = monit.end();
    assert_eq!(code, Some(0));
    assert!(last.contains(LEAVE), "{last:?}");
}

#[test]
fn a_signal_puts_the_terminal_back_too() {
    let world = World::new();
    let _web = world.start("web", "", 1);
    let mut monit = Dashboard::open(&world);
    monit.shows("q quit");
    let pid = crate::survive::pid_of(&world, "monit");
    kill_process(Pid::from_raw(pid).expect("a pid"), Signal::TERM).expect("signalled");
    let (code, last) = monit.end();
    assert_eq!(code, Some(143), "as script tells the end by a signal");
    assert!(last.contains(LEAVE), "{last:?}");
    // Piped, it is the list.
    let mut child = world.command(["monit"]).stdout(Stdio::piped()).spawn().expect("runs");
    let mut bytes = [0; 5];
    child.stdout.take().expect("a pipe").read_exact(&mut bytes).expect("the list");
    assert_eq!(&bytes[..3], b" ID");
    drop(child.kill());
    drop(child.wait());
}
