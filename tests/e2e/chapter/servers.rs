//! Programs of several kinds on one port, replaced under load.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use super::{Chapter, asked_meanwhile, asked_while, different, get, nginx_in_front, under_load};
use crate::installed::installed;
use crate::world::{kill_and_wait, ports_in_a_row};

/// The last character of an answer: the number of the instance.
fn instance(port: u16) -> String {
    get(port).expect("answered").trim_end().chars().last().expect("a body").to_string()
}

#[test]
fn express_shares_its_port_and_is_replaced_under_load() {
    let chapter = Chapter::new();
    let port = ports_in_a_row(1);
    let ready = ["--ready", "port", "--listen-timeout", "30s"];
    let start = ["start", "express/main.js", "--name", "web", "-i", "4"];
    chapter.wpm(start.into_iter().chain(ready), &[("PORT", port)]).ok();
    different(4, || instance(port));
    under_load(|| get(port), chapter.world.command(["reload", "web", "--silent"]));
    let broken = "console.error('the database is gone'); process.exit(1)";
    std::fs::write(chapter.examples.join("express/main.js"), broken).expect("written");
    let refused = asked_while(|| get(port), chapter.world.command(["reload", "web"]));
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(refused.status.code() == Some(1) && said.contains("the database is gone"), "{said}");
    different(4, || instance(port));
}

/// Folder of the programs of a Python environment with the two servers.
fn python() -> &'static Path {
    static PROGRAMS: OnceLock<PathBuf> = OnceLock::new();
    PROGRAMS.get_or_init(|| {
        let folder = installed("python", |folder| {
            let mut sh = Command::new("sh");
            sh.args(["-c", "python3 -m venv \"$1\" && \"$1\"/bin/pip install -q gunicorn uvicorn", "sh"])
                .arg(folder);
            sh
        });
        folder.join("bin")
    })
}

#[test]
fn python_servers_take_the_socket_that_wpm_holds() {
    let chapter = Chapter::new();
    // At SIGINT gunicorn drops what it has begun; at SIGTERM it finishes.
    // uvicorn closes a connection that it has taken and not yet read when the signal comes: one for each
    // instance that leaves.
    let servers: [(&str, &str, &[&str], usize); 2] = [
        ("gunicorn", "SIGTERM", &["--workers", "1", "app:app"], 0),
        ("uvicorn", "SIGINT", &["--fd", "3", "asgi:app"], 4),
    ];
    for (server, signal, args, may_fail) in servers {
        let port = ports_in_a_row(1);
        let listen = format!("127.0.0.1:{port}");
        let program = python().join(server);
        let start =
            ["start", program.to_str().expect("utf-8"), "-i", "4", "--cwd", "python", "--listen", &listen];
        // A busy machine may take its time for the requests under way.
        let signal = ["--kill-signal", signal, "--kill-timeout", "20s", "--"];
        chapter.wpm(start.into_iter().chain(signal).chain(args.iter().copied()), &[]).ok();
        different(4, || instance(port));
        let reload = chapter.world.command(["reload", server, "--silent"]);
        let (output, asked, failed) = asked_meanwhile(|| get(port), reload);
        assert!(output.status.success(), "{output:?}");
        assert!(asked > 20 && failed.len() <= may_fail, "{server}: {} of {asked}: {failed:?}", failed.len());
        different(4, || instance(port));
        // gunicorn has a socket of its own to be controlled by: that is not what it is for.
        assert_eq!(chapter.run(&format!("pick {server}")).ok().out.trim(), listen);
        chapter.wpm(["delete", server], &[]).ok();
    }
}

#[test]
fn a_program_of_rust_takes_the_socket_that_wpm_holds() {
    let chapter = Chapter::new();
    let port = ports_in_a_row(1);
    let compiled = Command::new("rustc")
        .args(["--edition", "2024", "-O", "main.rs", "-o", "server"])
        .current_dir(chapter.examples.join("rust"))
        .output()
        .expect("rustc runs");
    assert!(compiled.status.success(), "{compiled:?}");
    let listen = format!("127.0.0.1:{port}");
    chapter.wpm(["start", "rust/server", "-i", "4", "--listen", &listen], &[]).ok();
    different(4, || instance(port));
    let pid = chapter.run("jlist").ok().json()[0]["pid"].as_i64().expect("a pid");
    kill_and_wait(i32::try_from(pid).expect("a pid"));
    different(4, || instance(port));
}

#[test]
fn nginx_reaches_the_unix_socket_that_wpm_holds() {
    let chapter = Chapter::new();
    // Where the tests are root's, nginx serves as another user.
    let everybody = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(chapter.world.dir.path(), everybody).expect("changed");
    let front = ports_in_a_row(1);
    let program = python().join("gunicorn");
    let start = ["start", program.to_str().expect("utf-8"), "-i", "4", "--cwd", "python"];
    let listen = ["--listen", "unix:app.sock", "--kill-signal", "SIGTERM", "--kill-timeout", "20s"];
    chapter.wpm(start.into_iter().chain(listen).chain(["--", "--workers", "1", "app:app"]), &[]).ok();
    let _written = nginx_in_front(&chapter, "gunicorn", front, "--round-robin");
    let site = std::fs::read_to_string(chapter.examples.join("site.conf")).expect("there");
    let socket = chapter.examples.join("python/app.sock");
    let server = format!("server unix:{} max_fails", socket.display());
    assert_eq!(site.matches(&server).count(), 1, "one server for four instances: {site}");
    different(4, || instance(front));
    under_load(|| get(front), chapter.world.command(["reload", "gunicorn", "--silent"]));
    different(4, || instance(front));
    chapter.run("stop gunicorn").ok();
    assert!(get(front).expect("answered").contains("502") && !socket.exists());
}
