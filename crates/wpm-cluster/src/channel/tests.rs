//! The framing rules, and that splits and refusals change nothing.

use proptest::prelude::*;

use super::*;

type Token = u32;

fn written(channel: &mut Channel<Token>) -> Vec<(String, Option<Token>)> {
    let frame = |f: Frame<Token>| (String::from_utf8(f.bytes).unwrap(), f.fd);
    std::iter::from_fn(|| channel.poll_frame()).map(frame).collect()
}

fn incoming(channel: &mut Channel<Token>) -> Vec<Incoming<Token>> {
    std::iter::from_fn(|| channel.poll_incoming()).collect()
}

const ACK: &[u8] = b"{\"cmd\":\"NODE_HANDLE_ACK\"}\n";
const NACK: &[u8] = b"{\"cmd\":\"NODE_HANDLE_NACK\"}\n";

#[test]
fn everything_waits_behind_a_handle() {
    let mut channel = Channel::default();
    channel.send(json!("a"), None);
    channel.send(json!({"n": 1}), Some((HandleKind::Stream, 7)));
    channel.send(json!("b"), None);
    channel.send(json!({"n": 2}), Some((HandleKind::Datagram, 8)));
    channel.send(json!("c"), None);
    let first = "{\"cmd\":\"NODE_HANDLE\",\"type\":\"net.Native\",\"msg\":{\"n\":1}}\n";
    let second = "{\"cmd\":\"NODE_HANDLE\",\"type\":\"dgram.Native\",\"msg\":{\"n\":2}}\n";
    assert_eq!(written(&mut channel), [("\"a\"\n".into(), None), (first.into(), Some(7))]);
    channel.receive(ACK, []);
    assert_eq!(incoming(&mut channel), []);
    assert_eq!(written(&mut channel), [("\"b\"\n".into(), None), (second.into(), Some(8))]);
    channel.receive(ACK, []);
    assert_eq!(incoming(&mut channel), []);
    assert_eq!(written(&mut channel), [("\"c\"\n".into(), None)]);
}

#[test]
fn a_wider_window_is_for_handles_alone() {
    let mut channel = Channel::default();
    channel.set_window(2);
    for n in 1..=3 {
        channel.send(json!(n), Some((HandleKind::Stream, n)));
    }
    channel.send(json!("after"), None);
    let fds = |channel: &mut Channel<Token>| -> Vec<Option<Token>> {
        written(channel).into_iter().map(|(_, fd)| fd).collect()
    };
    assert_eq!(fds(&mut channel), [Some(1), Some(2)]);
    // Answers come in the order of the messages: the first was refused, and goes behind the second.
    channel.receive(NACK, []);
    assert_eq!(incoming(&mut channel), []);
    assert_eq!(fds(&mut channel), [Some(1)]);
    channel.receive(ACK, []);
    assert_eq!(incoming(&mut channel), []);
    assert_eq!(fds(&mut channel), [Some(3)]);
    channel.receive(ACK, []);
    assert_eq!(incoming(&mut channel), []);
    assert_eq!(fds(&mut channel), [], "a word waits until every handle has arrived");
    channel.receive(ACK, []);
    assert_eq!(incoming(&mut channel), []);
    assert_eq!(written(&mut channel), [("\"after\"\n".into(), None)]);
}

#[test]
fn a_refused_handle_is_sent_four_times_then_comes_back() {
    let mut channel = Channel::default();
    channel.send(json!({"n": 1}), Some((HandleKind::Stream, 7)));
    channel.send(json!("after"), None);
    for _ in 0..RESENDS {
        assert!(matches!(written(&mut channel)[..], [(_, Some(7))]));
        channel.receive(NACK, []);
        assert_eq!(incoming(&mut channel), []);
    }
    assert!(matches!(written(&mut channel)[..], [(_, Some(7))]));
    channel.receive(NACK, []);
    assert_eq!(incoming(&mut channel), [Incoming::Undelivered { message: json!({"n": 1}), fd: 7 }]);
    assert_eq!(written(&mut channel), [("\"after\"\n".into(), None)]);
}

#[test]
fn an_answer_that_nobody_waits_for_is_ignored() {
    let mut channel: Channel<Token> = Channel::default();
    channel.receive(&[ACK, NACK, b"\n"].concat(), []);
    assert_eq!(incoming(&mut channel), []);
    assert_eq!(written(&mut channel), []);
}

#[test]
fn a_handle_of_the_app_is_acknowledged_and_closed() {
    let mut channel = Channel::default();
    let line = b"{\"cmd\":\"NODE_HANDLE\",\"type\":\"net.Socket\",\"msg\":\"take\"}\n";
    channel.send(json!(1), Some((HandleKind::Stream, 1)));
    drop(written(&mut channel));
    channel.receive(line, [9]);
    assert_eq!(incoming(&mut channel), [Incoming::User(json!("take"))]);
    assert_eq!(written(&mut channel), [("{\"cmd\":\"NODE_HANDLE_ACK\"}\n".into(), None)]);
    assert!(channel.received.is_empty());
    // Without its descriptor it is refused, and delivered when it comes again.
    channel.receive(line, []);
    assert_eq!(incoming(&mut channel), []);
    assert_eq!(written(&mut channel), [("{\"cmd\":\"NODE_HANDLE_NACK\"}\n".into(), None)]);
}

#[test]
fn descriptors_that_no_line_claims_are_closed() {
    let mut channel = Channel::default();
    channel.receive(b"\"x\"\n", [1, 2, 3]);
    assert_eq!(incoming(&mut channel), [Incoming::User(json!("x"))]);
    assert!(channel.received.is_empty());
}

#[test]
fn bun_gets_its_mark_back_on_internal_messages_only() {
    let mut channel = Channel::default();
    channel.send(json!({"cmd": "NODE_CLUSTER"}), None);
    channel.receive(b"\x02{\"cmd\":\"NODE_CLUSTER\",\"act\":\"online\"}\n\"ready\"\n", []);
    assert!(matches!(incoming(&mut channel)[..], [Incoming::Cluster(_), Incoming::User(_)]));
    channel.send(json!({"cmd": "NODE_CLUSTER"}), None);
    channel.send(json!("shutdown"), None);
    let lines: Vec<String> = written(&mut channel).into_iter().map(|(line, _)| line).collect();
    assert_eq!(
        lines,
        ["{\"cmd\":\"NODE_CLUSTER\"}\n", "\u{2}{\"cmd\":\"NODE_CLUSTER\"}\n", "\"shutdown\"\n"]
    );
}

#[test]
fn what_is_internal_follows_node() {
    let mut channel: Channel<Token> = Channel::default();
    for line in ["{\"cmd\":\"NODE_\"}", "{\"cmd\":7}", "{\"cmd\":\"node_x\"}", "[1]", "null", "\"NODE_X\""] {
        channel.receive(format!("{line}\n").as_bytes(), []);
        assert!(matches!(incoming(&mut channel)[..], [Incoming::User(_)]), "{line} is the app's own");
    }
    channel.receive(b"{\"cmd\":\"NODE_DEBUG_ENABLED\"}\n", []);
    assert_eq!(incoming(&mut channel), []);
}

#[test]
fn bad_lines_are_told_and_passed_over() {
    let mut channel: Channel<Token> = Channel::with_cap(20);
    channel.receive(b"{nonsense\n\xff\n\"123456789012345678901\"\n1\n", []);
    assert!(matches!(
        incoming(&mut channel)[..],
        [Incoming::Malformed { .. }, Incoming::Malformed { .. }, Incoming::TooLong, Incoming::User(_)]
    ));
}

#[test]
fn what_was_not_acknowledged_comes_back() {
    let mut channel = Channel::default();
    for n in 1..=3 {
        channel.send(json!(n), Some((HandleKind::Stream, n)));
        channel.send(json!("between"), None);
    }
    channel.receive(ACK, []);
    assert_eq!(incoming(&mut channel), []);
    let back: Vec<Token> = channel.into_undelivered().map(|(_, fd)| fd).collect();
    assert_eq!(back, [2, 3]);
}

proptest! {
    /// Every handle arrives once and in order, whatever is refused on the way (fewer than four times).
    #[test]
    fn handles_arrive_once_in_order(kinds in proptest::collection::vec(any::<bool>(), 1..40),
                                    refusals in proptest::collection::vec(0u8..4, 40)) {
        let mut channel: Channel<usize> = Channel::default();
        for (n, with) in kinds.iter().enumerate() {
            channel.send(json!(n), with.then_some((HandleKind::Stream, n)));
        }
        let mut arrived = Vec::new();
        let mut refusals = refusals.into_iter();
        let mut left = 0;
        let mut fresh = true;
        while let Some(frame) = channel.poll_frame() {
            let message: Value = serde_json::from_slice(&frame.bytes).unwrap();
            if let Some(fd) = frame.fd {
                if std::mem::take(&mut fresh) {
                    left = refusals.next().unwrap();
                }
                prop_assert!(channel.poll_frame().is_none(), "nothing follows a handle in flight");
                if left > 0 {
                    left -= 1;
                    channel.receive(NACK, []);
                } else {
                    fresh = true;
                    prop_assert_eq!(&message["msg"], &json!(fd));
                    arrived.push(fd);
                    channel.receive(ACK, []);
                }
                prop_assert!(channel.poll_incoming().is_none());
            } else {
                arrived.push(usize::try_from(message.as_u64().unwrap()).unwrap());
            }
        }
        prop_assert_eq!(arrived, (0..kinds.len()).collect::<Vec<_>>());
    }
}
