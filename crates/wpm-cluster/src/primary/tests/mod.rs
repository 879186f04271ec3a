//! The primary against recorded conversations, and against random ones.

mod random;
mod recorded;
mod restored;

use std::fmt::Write as _;

use super::*;

/// A descriptor of the tests.
type Token = std::rc::Rc<u32>;

fn told(output: Output<Token>) -> String {
    match output {
        Output::Write { run, bytes, fd } => {
            let text = String::from_utf8(bytes).unwrap();
            let fd = fd.map_or(String::new(), |fd| format!(" +{fd}"));
            format!("to {} {}{fd}", run.0, text.trim_end())
        }
        Output::Bind { listener, run, to, backlog } => {
            format!("bind {} for {} backlog {backlog} {}", listener.0, run.0, bind(&to))
        }
        Output::StartAccepting { listener } => format!("accept from {}", listener.0),
        Output::StopAccepting { listener } => format!("leave {}", listener.0),
        Output::Close { listener } => format!("close {}", listener.0),
        Output::Refused { listener, connection } => format!("refused {} +{connection}", listener.0),
        Output::Online { run } => format!("online {}", run.0),
        Output::Listening { run, address } => format!("listening {} {address:?}", run.0),
        Output::Message { run, message } => format!("message {} {message}", run.0),
        Output::Leaving { run } => format!("leaving {}", run.0),
        Output::Disconnected { run, expected } => {
            format!("gone {}{}", run.0, if expected { "" } else { " unexpectedly" })
        }
        Output::Trouble { run, trouble } => format!("trouble {} {trouble}", run.0),
    }
}

fn bind(to: &BindTo) -> String {
    let mut text = String::new();
    match to {
        BindTo::Tcp { address, port, v6_only, reuse_port, .. } => {
            let address = address.map_or("*".to_owned(), |a| a.to_string());
            write!(text, "tcp {address} {port}").unwrap();
            [(*v6_only, " v6only"), (*reuse_port, " reuseport")]
                .iter()
                .filter(|(set, _)| *set)
                .for_each(|(_, flag)| text.push_str(flag));
        }
        BindTo::Udp { address, port, reuse_address, .. } => {
            write!(text, "udp {address} {port}{}", if *reuse_address { " reuseaddr" } else { "" }).unwrap();
        }
        BindTo::Path { path, add_mode } => write!(text, "unix {path} +{add_mode:o}").unwrap(),
        BindTo::Abstract { name } => write!(text, "abstract {name}").unwrap(),
        BindTo::Inherited { fd, .. } => write!(text, "inherited {fd}").unwrap(),
    }
    text
}

/// Carries out one line of a conversation: what goes into the primary.
fn put(primary: &mut Primary<Token>, line: &str) {
    let (verb, rest) = line.split_once(' ').unwrap_or((line, ""));
    let words: Vec<&str> = rest.split(' ').collect();
    let number = |at: usize| words[at].parse::<u64>().unwrap();
    let token = |at: usize| std::rc::Rc::new(u32::try_from(number(at)).unwrap());
    let run = || Run(number(0));
    let json = || serde_json::from_str(rest.split_once(' ').unwrap().1).unwrap();
    let listener = || ListenerId(number(0));
    primary.handle(match verb {
        "join" => Input::Joined { run: run(), index: u32::try_from(number(1)).unwrap() },
        "from" => {
            let bytes = [rest.split_once(' ').unwrap().1, "\n"].concat();
            return primary.handle(Input::Received { run: run(), bytes: bytes.as_bytes(), fds: vec![] });
        }
        "gone" => Input::Closed { run: run() },
        "bound" => Input::Bound {
            listener: listener(),
            result: Ok(Bound { fd: token(1), local: words.get(2).map(|a| a.parse().unwrap()) }),
        },
        "failed" => Input::Bound { listener: listener(), result: Err(i32::try_from(number(1)).unwrap()) },
        "accepted" => Input::Accepted {
            listener: listener(),
            connection: token(1),
            peer: words.get(2).map(|a| a.parse().unwrap()),
        },
        "send" => Input::Send { run: run(), message: json() },
        "disconnect" => Input::Disconnect { run: run() },
        "retire" => Input::Retire { run: run() },
        "release-unused" => Input::ReleaseUnused,
        "release-all" => Input::ReleaseAll,
        other => panic!("no such input: {other}"),
    });
}

fn outputs(primary: &mut Primary<Token>) -> Vec<String> {
    std::iter::from_fn(|| primary.poll_output()).map(told).collect()
}
