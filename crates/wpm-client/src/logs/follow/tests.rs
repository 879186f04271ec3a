//! What happens to log files while they are followed.

use super::*;
use std::io::Write;

/// Long enough for a loaded machine; a wait ends with the event.
const PATIENCE: Option<Duration> = Some(Duration::from_secs(20));

fn append(path: &Path, text: &str) {
    let mut file = fs::OpenOptions::new().create(true).append(true).open(path).expect("opened");
    file.write_all(text.as_bytes()).expect("written");
}

/// Waits for so many lines.
fn next(follower: &mut Follower, count: usize) -> Vec<String> {
    let mut seen = Vec::new();
    while seen.len() < count {
        let wake = follower.wait(None, None, PATIENCE).expect("waited");
        assert!(wake.files, "only saw {seen:?}");
        seen.extend(
            follower.lines().into_iter().map(|line| String::from_utf8_lossy(&line.bytes).into_owned()),
        );
    }
    seen
}

#[test]
fn growth_is_reported_line_by_line() {
    let dir = tempfile::tempdir().expect("temp dir");
    let path = dir.path().join("a.log");
    append(&path, "old\nhalf");
    let mut follower = Follower::new().expect("inotify");
    follower.add(&path, From::Offset(4));
    assert!(follower.lines().is_empty());
    append(&path, " done\nnext\n");
    assert_eq!(next(&mut follower, 2), ["half done", "next"]);
    append(&path, "rest");
    follower.wait(None, None, PATIENCE).expect("waited");
    assert!(follower.lines().is_empty());
    assert_eq!(follower.take_partial()[0].bytes, b"rest");
}

#[test]
fn rotation_loses_nothing() {
    let dir = tempfile::tempdir().expect("temp dir");
    let path = dir.path().join("a.log");
    append(&path, "");
    let mut follower = Follower::new().expect("inotify");
    follower.add(&path, From::End);
    append(&path, "1\n2\n");
    fs::rename(&path, dir.path().join("a.log.1")).expect("renamed");
    append(&path, "3\n");
    assert_eq!(next(&mut follower, 3), ["1", "2", "3"]);
    fs::rename(&path, dir.path().join("a.log.1")).expect("renamed");
    assert!(follower.lines().is_empty());
    append(&path, "4\n");
    assert_eq!(next(&mut follower, 1), ["4"]);
}

#[test]
fn several_rotations_between_two_looks_lose_nothing() {
    let dir = tempfile::tempdir().expect("temp dir");
    let path = dir.path().join("a.log");
    append(&path, "");
    let mut follower = Follower::new().expect("inotify");
    follower.add(&path, From::End);
    for number in 0..5 {
        append(&path, &format!("{number}\n"));
        let rotated = dir.path().join(format!("a__2026-01-31_23-59-5{number}.log"));
        fs::rename(&path, rotated).expect("renamed");
    }
    append(&path, "5\n");
    assert_eq!(next(&mut follower, 6), ["0", "1", "2", "3", "4", "5"]);
    append(&path, "6\n");
    assert_eq!(next(&mut follower, 1), ["6"]);
    assert!(!follower.files[0].due, "at rest");
}

#[test]
fn files_that_were_compressed_before_they_were_read_are_read() {
    let dir = tempfile::tempdir().expect("temp dir");
    let path = dir.path().join("a.log");
    append(&path, "");
    let mut follower = Follower::new().expect("inotify");
    follower.add(&path, From::End);
    append(&path, "first\n");
    fs::rename(&path, dir.path().join("a__2026-01-31_23-59-50.log")).expect("renamed");
    let mut expected = vec!["first".to_owned()];
    // More than one turn each, and compressed to less than an offset in it would be.
    let count = 300_000;
    for file in 1..4 {
        let text: String = (0..count).map(|number| format!("{file} {number}\n")).collect();
        let packed = File::create(dir.path().join(format!("a__2026-01-31_23-59-5{file}.log.gz")));
        let mut encoder =
            flate2::write::GzEncoder::new(packed.expect("created"), flate2::Compression::fast());
        encoder.write_all(text.as_bytes()).expect("packed");
        encoder.finish().expect("packed");
        expected.extend(text.lines().map(str::to_owned));
    }
    append(&dir.path().join("a__2026-01-31_23-59-54.log"), "before last\n");
    append(&path, "last\n");
    expected.extend(["before last".to_owned(), "last".to_owned()]);
    assert!(next(&mut follower, expected.len()) == expected, "each line once and in order");
    append(&path, "new\n");
    assert_eq!(next(&mut follower, 1), ["new"]);
    assert!(!follower.files[0].due, "at rest");
}

#[test]
fn truncation_begins_again() {
    let dir = tempfile::tempdir().expect("temp dir");
    let path = dir.path().join("a.log");
    append(&path, "long enough\n");
    let mut follower = Follower::new().expect("inotify");
    follower.add(&path, From::End);
    assert!(follower.lines().is_empty());
    File::create(&path).expect("truncated");
    assert!(follower.lines().is_empty());
    append(&path, "new\n");
    assert_eq!(next(&mut follower, 1), ["new"]);
}

#[test]
fn a_file_that_comes_later_is_read_from_its_start() {
    let dir = tempfile::tempdir().expect("temp dir");
    let path = dir.path().join("late.log");
    let mut follower = Follower::new().expect("inotify");
    follower.add(&path, From::End);
    assert!(follower.lines().is_empty());
    append(&path, "hello\n");
    assert_eq!(next(&mut follower, 1), ["hello"]);
    fs::remove_file(&path).expect("removed");
    assert!(follower.lines().is_empty());
    append(&path, "again\n");
    assert_eq!(next(&mut follower, 1), ["again"]);
}

#[test]
fn many_files_take_turns_and_lose_no_line() {
    let dir = tempfile::tempdir().expect("temp dir");
    let mut follower = Follower::new().expect("inotify");
    let paths = [dir.path().join("a"), dir.path().join("b")];
    for path in &paths {
        follower.add(path, From::End);
    }
    let text: String = (0..200_000).map(|number| format!("{number}\n")).collect();
    paths.iter().for_each(|path| append(path, &text));
    let mut next_number = [0, 0];
    while next_number != [200_000, 200_000] {
        follower.wait(None, None, PATIENCE).expect("waited");
        for line in follower.lines() {
            assert_eq!(line.bytes, next_number[line.source].to_string().as_bytes());
            next_number[line.source] += 1;
        }
    }
}
