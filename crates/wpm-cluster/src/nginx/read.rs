//! Reads the members back from a text that was written before: where instances listened that are down
//! now. Whatever else stands there is passed over.

use super::{Member, Target};

/// Members of a text that [`render`](super::render) wrote, in the order of their numbers.
pub fn members(text: &str) -> Vec<Member> {
    let mut all: Vec<Member> = text.lines().filter_map(line).flatten().collect();
    all.sort_by_key(|member| member.index);
    all
}

/// `server ADDRESS max_fails=2 fail_timeout=1s;  # APP:0,1`
fn line(line: &str) -> Option<Vec<Member>> {
    let (directive, comment) = line.trim().strip_prefix("server ")?.split_once(";  # ")?;
    let (address, up) = match directive.strip_suffix(" down") {
        Some(address) => (address, false),
        None => (directive.strip_suffix(" max_fails=2 fail_timeout=1s")?, true),
    };
    let target = target(address)?;
    let (_, indexes) = comment.rsplit_once(':')?;
    indexes
        .split(',')
        .map(|index| Some(Member { index: index.parse().ok()?, target: target.clone(), up }))
        .collect()
}

fn target(address: &str) -> Option<Target> {
    if let Some(path) = address.strip_prefix("unix:") {
        return Some(Target::Unix { path: path.to_owned() });
    }
    let (host, port) = address.rsplit_once(':')?;
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    Some(Target::Tcp { host: host.to_owned(), port: port.parse().ok()? })
}
