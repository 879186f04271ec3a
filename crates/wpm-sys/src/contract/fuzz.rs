//! Records that nobody has written: whatever comes, a decoder refuses it or gives what encodes to it again.

use proptest::prelude::*;

use super::{FromKeeper, MAX_RECORD, RunReport, ToKeeper, ToShim};
use crate::launch::{Launch, outline};

/// Bytes of any kind, and such as look like a record: a small first byte, few values.
fn record() -> impl Strategy<Value = Vec<u8>> {
    let likely = prop::collection::vec(prop_oneof![Just(0), Just(1), Just(255), 0_u8..12], 0..120);
    prop_oneof![prop::collection::vec(any::<u8>(), 0..MAX_RECORD), likely]
}

proptest! {
    #[test]
    fn what_a_decoder_takes_is_what_was_written(bytes in record()) {
        if let Ok(m) = ToKeeper::decode(&bytes) {
            prop_assert_eq!(ToKeeper::decode(&m.encode()), Ok(m));
        }
        if let Ok(m) = FromKeeper::decode(&bytes) {
            prop_assert_eq!(FromKeeper::decode(&m.encode()), Ok(m));
        }
        if let Ok(m) = ToShim::decode(&bytes) {
            prop_assert_eq!(ToShim::decode(&m.encode()), Ok(m));
        }
        if let Ok(m) = RunReport::decode(&bytes) {
            prop_assert!(m.encode().len() <= MAX_RECORD);
            prop_assert_eq!(RunReport::decode(&m.encode()), Ok(m));
        }
    }

    /// Announced lengths take no memory, and the outline agrees with the whole.
    #[test]
    fn a_description_is_read_whole_or_refused(bytes in record(), at in 0_usize..400, byte in any::<u8>()) {
        let mut launch = Launch { title: "t".into(), program: b"/bin/true".to_vec(), ..Launch::default() };
        launch.args = vec![b"a".to_vec(), bytes.clone()];
        launch.log.out = b"/o".to_vec();
        launch.group.settings = vec![(b"memory.max".to_vec(), b"1".to_vec())];
        let mut changed = launch.encode();
        let at = at % changed.len();
        changed[at] = byte;
        for bytes in [&bytes, &changed] {
            let (whole, frame, facts) = (Launch::decode(bytes), Launch::decode_frame(bytes), outline(bytes));
            prop_assert_eq!(whole.is_ok(), frame.is_ok());
            if let Ok(whole) = whole {
                prop_assert_eq!(facts.map(|f| f.ipc), Ok(whole.ipc_fd.is_some()));
                let written = whole.encode();
                prop_assert_eq!(Launch::decode(&written), Ok(whole));
            }
        }
    }
}
