//! A primary that goes on where another one was killed.

use super::*;

const QUERY: &str = r#"{"cmd":"NODE_CLUSTER","act":"queryServer","index":0,"data":{"ticketKeys":"aa"},"address":null,"port":3100,"addressType":4,"seq":0}"#;

fn again(primary: &Primary<Token>, with_socket: bool) -> Primary<Token> {
    let text = serde_json::to_string(&primary.save()).unwrap();
    let saved: Saved = serde_json::from_str(&text).unwrap();
    let socket = |_: ListenerId, to: &BindTo| {
        assert!(matches!(to, BindTo::Tcp { port: 3100, .. }));
        with_socket.then(|| Token::new(80))
    };
    Primary::restore(primary.balance(), saved, socket).unwrap()
}

fn serving(balance: Balance) -> Primary<Token> {
    let mut primary = Primary::new(balance);
    put(&mut primary, "join 1 0");
    put(&mut primary, &format!("from 1 {QUERY}"));
    put(&mut primary, "bound 1 70 [::]:3100");
    put(&mut primary, r#"from 1 {"cmd":"NODE_HANDLE_ACK"}"#);
    put(
        &mut primary,
        r#"from 1 {"cmd":"NODE_CLUSTER","act":"listening","index":0,"address":null,"port":3100,"addressType":4,"seq":1}"#,
    );
    assert!(primary.take_changed());
    drop(outputs(&mut primary));
    primary
}

#[test]
fn sockets_keys_and_addresses_survive() {
    let mut primary = again(&serving(Balance::Shared), true);
    assert_eq!(primary.addresses(Run(1)), [Address::Tcp { host: None, port: 3100 }]);
    put(&mut primary, "join 1 0");
    put(&mut primary, "join 2 1");
    put(&mut primary, &format!("from 2 {QUERY}"));
    let answers = outputs(&mut primary);
    // Another series of numbers: an answer meant for the other primary finds nothing.
    assert!(
        matches!(&answers[..], [one] if one.ends_with(r#""data":{"ticketKeys":"aa"},"seq":4294967296}} +80"#)),
        "{answers:?}"
    );
    put(&mut primary, "gone 2");
    put(
        &mut primary,
        r#"from 1 {"cmd":"NODE_CLUSTER","act":"close","key":"null:3100:4:undefined:0","seq":2}"#,
    );
    assert_eq!(outputs(&mut primary), ["gone 2 unexpectedly", "close 1"]);
}

#[test]
fn accepting_goes_on() {
    let mut primary = again(&serving(Balance::RoundRobin), true);
    put(&mut primary, "accepted 1 101 10.0.0.1");
    put(&mut primary, r#"from 1 the other half of a line"#);
    // An answer to the primary before.
    put(&mut primary, r#"from 1 {"cmd":"NODE_CLUSTER","ack":1,"accepted":true,"seq":9}"#);
    let all = outputs(&mut primary);
    assert_eq!(all[0], "accept from 1");
    assert!(all[1].contains("newconn") && all[1].ends_with("+101"), "{all:?}");
    assert_eq!(all[2], "leave 1");
    assert!(all[3].starts_with("trouble 1"), "{all:?}");
    assert_eq!(all.len(), 4);
}

#[test]
fn a_socket_that_is_lost_is_asked_for_again() {
    let mut primary = again(&serving(Balance::Shared), false);
    assert_eq!(primary.listeners().count(), 0);
    put(&mut primary, "join 2 1");
    put(&mut primary, &format!("from 2 {QUERY}"));
    assert_eq!(outputs(&mut primary), ["bind 2 for 2 backlog 511 tcp * 3100"]);
}

#[test]
fn another_version_is_refused() {
    let mut value = serde_json::to_value(serving(Balance::Shared).save()).unwrap();
    value["version"] = 99.into();
    let saved: Saved = serde_json::from_value(value).unwrap();
    assert_eq!(
        Primary::<Token>::restore(Balance::Shared, saved, |_, _| None).unwrap_err(),
        FromAnotherVersion(99)
    );
}
