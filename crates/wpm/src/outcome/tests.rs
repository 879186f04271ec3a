//! What is said about outcomes.

use wpm_proto::state::SavedExit;

use super::*;

const WORDS: Words = Words { doing: "starting", noun: "asked for", hints: false };

fn of(index: u32, outcome: Outcome) -> InstanceOutcome {
    InstanceOutcome { id: index, app: "web".into(), index, outcome }
}

fn said(outcomes: &[InstanceOutcome]) -> String {
    let outcomes: Vec<&InstanceOutcome> = outcomes.iter().collect();
    let mut text = summary("web", &outcomes, WORDS, "0.4s");
    for failure in failures("web", &outcomes) {
        text.push('\n');
        text.push_str(&failure.render(&[]));
    }
    anstream::adapter::strip_str(&text).to_string()
}

#[test]
fn good_outcomes_are_one_line() {
    let up = |index| of(index, Outcome::Up { pid: 1 });
    assert_eq!(said(&[up(0), up(1)]), "web: 2/2 up in 0.4s");
    let gap = "web: 2/2 up in 0.4s; 1 with a gap, as two runs of it cannot overlap";
    assert_eq!(said(&[up(0), of(1, Outcome::Restarted { pid: 2 })]), gap);
    assert_eq!(said(&[of(0, Outcome::Down)]), "web: 1/1 stopped in 0.4s");
    let finished = |index| of(index, Outcome::Finished { exit: SavedExit::Code(0), after_ms: 3 });
    assert_eq!(said(&[finished(0)]), "web: 1/1 finished in 0.4s");
    assert_eq!(said(&[of(0, Outcome::Up { pid: 1 }), finished(1)]), "web: 1/2 up, 1/2 finished in 0.4s");
    assert_eq!(said(&[of(0, Outcome::Deleted), of(1, Outcome::Deleted)]), "web: 2/2 deleted in 0.4s");
    assert_eq!(said(&[of(0, Outcome::Done), of(1, Outcome::Done)]), "web: asked for (2 instances)");
}

#[test]
fn a_death_shows_what_the_app_said_since_its_start() {
    let dir = tempfile::tempdir().expect("temp dir");
    let file = dir.path().join("web-error.log");
    std::fs::write(&file, "old trouble\nError: no \x1b]0;title\x07port\n  at line 3").expect("written");
    let died = |index| {
        let error_file = file.display().to_string();
        of(index, Outcome::Died { exit: SavedExit::Code(1), after_ms: 312, error_file, error_offset: 12 })
    };
    let text = said(&[of(0, Outcome::Up { pid: 1 }), died(1), died(2)]);
    let path = file.display();
    assert_eq!(
        text,
        format!(
            "web: 1/3 up, 2 died in 0.4s\nerror[E001]: web/1 exited with code 1 after 0.3s, and 1 more like it\n  \
             --> {path}\n   | Error: no port\n   |   at line 3\n  help: wpm logs web --err"
        )
    );
}

#[test]
fn a_failed_spawn_names_its_stage_what_it_was_done_to_and_what_helps() {
    let failed = |stage: &str, subject: &str, errno: i32| {
        let subject = Some(subject.to_owned());
        said(&[of(0, Outcome::SpawnFailed { stage: stage.to_owned(), subject, errno })])
    };
    assert_eq!(
        failed("setting user and group", "nobody", 1),
        "web: 0/1 up, 1 not started in 0.4s\nerror[E001]: web was not started: setting user and group nobody \
         failed: Operation not permitted (os error 1)\n  help: only root can start apps as somebody else"
    );
    let refused = Outcome::SpawnFailed { stage: "setting the limit nproc".into(), subject: None, errno: 1 };
    assert!(said(&[of(0, refused)]).contains("setting the limit nproc failed: Operation not permitted"));
    let dir = tempfile::tempdir().expect("temp dir");
    let script = dir.path().join("my script");
    std::fs::write(&script, "#!/no/such/shell -e\n").expect("written");
    let script = script.display().to_string();
    let text = failed("executing the program", &script, 2);
    assert!(text.ends_with("its first line asks for /no/such/shell, which is not there"), "{text}");
    let text = failed("executing the program", &script, 13);
    assert!(text.ends_with(&format!("chmod +x '{script}'")), "{text}");
    assert!(failed("executing the program", &script, 7).contains("128 KiB"));
    assert!(!failed("executing the program", "/no/such/program", 2).contains("help:"));
}
