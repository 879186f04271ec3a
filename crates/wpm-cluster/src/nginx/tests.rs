//! The text, line by line.

use super::*;

fn site(down: &[u32], method: Method) -> Site {
    let member = |index| Member {
        index,
        target: Target::Tcp { host: "127.0.0.1".into(), port: 3001 + u16::try_from(index).unwrap() },
        up: !down.contains(&index),
    };
    Site {
        app: "main".into(),
        listen: "3000".into(),
        server_name: Some("ws.example.org".into()),
        method,
        upstream_only: false,
        members: [2, 0, 3, 1].map(member).into(),
    }
}

fn servers_in(text: &str) -> Vec<&str> {
    text.lines().map(str::trim).filter(|l| l.starts_with("server ") && !l.ends_with('{')).collect()
}

#[test]
fn a_stopped_instance_keeps_its_line() {
    let up = render(&site(&[], Method::AddressHash)).unwrap();
    let down = render(&site(&[1], Method::AddressHash)).unwrap();
    assert_eq!(servers_in(&up).len(), 4);
    assert_eq!(servers_in(&up)[1], "server 127.0.0.1:3002 max_fails=2 fail_timeout=1s;  # main:1");
    assert_eq!(servers_in(&down)[1], "server 127.0.0.1:3002 down;  # main:1");
    let changed = up.lines().zip(down.lines()).filter(|(a, b)| a != b).count();
    assert_eq!(changed, 1);
}

#[test]
fn the_method_is_the_only_difference() {
    let hash = render(&site(&[], Method::AddressHash)).unwrap();
    let ip = render(&site(&[], Method::IpHash)).unwrap();
    let none = render(&site(&[], Method::RoundRobin)).unwrap();
    assert_eq!(hash.replace("hash $remote_addr consistent;", "ip_hash;"), ip);
    assert_eq!(ip.replace("    ip_hash;\n", ""), none);
}

#[test]
fn websockets_get_through() {
    let text = render(&site(&[], Method::default())).unwrap();
    for needed in [
        "map $http_upgrade $connection_upgrade {",
        "        proxy_pass http://wpm_main;",
        "        proxy_http_version 1.1;",
        "        proxy_set_header Connection $connection_upgrade;",
        "        proxy_read_timeout 1h;",
        "    listen 3000;",
        "    server_name ws.example.org;",
    ] {
        assert!(text.lines().any(|l| l == needed), "{needed}\n{text}");
    }
    assert_eq!(text.matches('{').count(), text.matches('}').count());
}

#[test]
fn instances_on_one_port_are_one_server() {
    let target = Target::Tcp { host: "::1".into(), port: 80 };
    let member = |index, up| Member { index, target: target.clone(), up };
    let one = Site { members: vec![member(0, false), member(1, true)], ..site(&[], Method::default()) };
    assert_eq!(
        servers_in(&render(&one).unwrap()),
        ["server [::1]:80 max_fails=2 fail_timeout=1s;  # main:0,1"]
    );
}

#[test]
fn nothing_breaks_out_of_its_place() {
    let base = site(&[], Method::default());
    let odd = Site { app: "a b;\n}evil".into(), ..base.clone() };
    let text = render(&odd).unwrap();
    assert!(text.contains("upstream wpm_a_b___evil {"));
    assert_eq!(text.lines().count(), render(&base).unwrap().lines().count());
    for listen in ["80; include /etc/passwd", "80\n", "", "$x"] {
        let site = Site { listen: listen.into(), ..base.clone() };
        assert!(matches!(render(&site), Err(CannotConfigure::Unsafe { .. })), "{listen}");
    }
    let path = Target::Unix { path: "/run/a b".into() };
    let odd = Site { members: vec![Member { index: 0, target: path, up: true }], ..base.clone() };
    assert!(matches!(render(&odd), Err(CannotConfigure::Unsafe { .. })), "two words");
    let none = Site { members: vec![], ..base };
    assert!(matches!(render(&none), Err(CannotConfigure::NoMembers { .. })));
}

#[test]
fn the_upstream_can_be_all() {
    let whole = render(&site(&[1], Method::default())).unwrap();
    let text = render(&Site { upstream_only: true, ..site(&[1], Method::default()) }).unwrap();
    assert!(text.starts_with("# Written by") && text.ends_with("    keepalive 16;\n}\n"), "{text}");
    assert!(!text.contains("map ") && !text.contains("location"));
    assert_eq!(servers_in(&text), servers_in(&whole));
}

#[test]
fn what_was_written_is_read_back() {
    let mut site = site(&[1], Method::default());
    let unix = |index| Member { index, target: Target::Unix { path: "/run/ab.sock".into() }, up: true };
    site.members.extend([unix(7), unix(8)]);
    site.members.push(Member { index: 9, target: Target::Tcp { host: "::1".into(), port: 80 }, up: false });
    let mut expected = site.members.clone();
    expected.sort_by_key(|member| member.index);
    assert_eq!(members(&render(&site).unwrap()), expected);
    let noise = "upstream x { server 127.0.0.1:1; }\nserver 10.0.0.1:x down;  # a:0\nserver y;  # a:z\n";
    assert_eq!(members(noise), []);
}
