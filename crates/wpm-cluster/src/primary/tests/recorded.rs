//! Conversations as they were seen between Node's own primary and its workers, written as text:
//! a line with `>` goes in, the lines after it must come out.

use proptest::prelude::*;

use super::*;

const CONVERSATIONS: [(&str, Balance, &str); 5] = [
    ("shared", Balance::Shared, include_str!("fixtures/shared.txt")),
    ("round-robin", Balance::RoundRobin, include_str!("fixtures/round-robin.txt")),
    ("errors", Balance::Shared, include_str!("fixtures/errors.txt")),
    ("ends", Balance::Shared, include_str!("fixtures/ends.txt")),
    ("sticky", Balance::Sticky, include_str!("fixtures/sticky.txt")),
];

#[test]
fn conversations_go_as_recorded() {
    for (name, balance, text) in CONVERSATIONS {
        let mut primary = Primary::new(balance);
        let mut lines =
            text.lines().enumerate().filter(|(_, l)| !l.is_empty() && !l.starts_with('#')).peekable();
        while let Some((at, line)) = lines.next() {
            let input = line.strip_prefix("> ").unwrap_or_else(|| panic!("{name}:{}: {line}", at + 1));
            let mut expected = Vec::new();
            while let Some((_, line)) = lines.next_if(|(_, l)| !l.starts_with('>')) {
                expected.push(line.to_owned());
            }
            put(&mut primary, input);
            assert_eq!(outputs(&mut primary), expected, "{name}:{}: {input}", at + 1);
        }
    }
}

/// Everything that workers say in a conversation, run by run.
fn said(text: &str) -> Vec<u8> {
    let lines = text.lines().filter_map(|l| l.strip_prefix("> from 1 "));
    lines.flat_map(|l| [l.as_bytes(), b"\n"].concat()).collect()
}

proptest! {
    /// However the bytes of a worker are cut, the same comes out.
    #[test]
    fn cuts_change_nothing(which in 0..CONVERSATIONS.len(), cuts in proptest::collection::vec(1usize..120, 0..40)) {
        let (_, balance, text) = CONVERSATIONS[which];
        let bytes = said(text);
        let run = |cuts: &[usize]| {
            let mut primary: Primary<Token> = Primary::new(balance);
            primary.handle(Input::Joined { run: Run(1), index: 0 });
            let mut rest = &bytes[..];
            for cut in cuts.iter().copied().chain([usize::MAX]) {
                let (piece, after) = rest.split_at(cut.min(rest.len()));
                primary.handle(Input::Received { run: Run(1), bytes: piece, fds: vec![] });
                rest = after;
            }
            outputs(&mut primary)
        };
        prop_assert_eq!(run(&cuts), run(&[]));
    }

    /// Whatever bytes a worker sends, the primary goes on.
    #[test]
    fn noise_is_survived(bytes in proptest::collection::vec(any::<u8>(), 0..300), odd in "[ -~]{0,40}") {
        let mut primary: Primary<Token> = Primary::new(Balance::RoundRobin);
        primary.handle(Input::Joined { run: Run(1), index: 0 });
        let act = format!("\n{{\"cmd\":\"NODE_CLUSTER\",\"act\":\"queryServer\",\"port\":{odd:?},\"seq\":\"x\"}}\n");
        let cluster = format!("{{\"cmd\":\"NODE_CLUSTER\",\"act\":{odd:?},\"ack\":-1,\"key\":7}}\n");
        for bytes in [&bytes[..], act.as_bytes(), cluster.as_bytes(), b"{\"cmd\":\"NODE_CLUSTER\",\"act\":\"online\"}\n"] {
            primary.handle(Input::Received { run: Run(1), bytes, fds: vec![] });
        }
        let all = outputs(&mut primary);
        prop_assert_eq!(all.last().map(String::as_str), Some("online 1"));
    }
}
