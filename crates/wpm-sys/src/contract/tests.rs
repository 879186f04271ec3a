//! Every message through the wire and back.

use super::*;

#[test]
fn every_message_survives_the_wire() {
    for m in [
        ToKeeper::Spawn { run: RunKey(7) },
        ToKeeper::Adopt { run: RunKey(u64::MAX), pid: 1, start_time: 2 },
        ToKeeper::Upgrade,
        ToKeeper::Quit,
        ToKeeper::Here,
        ToKeeper::TryProgram,
        ToKeeper::Hold { key: 9 },
        ToKeeper::Drop { key: u64::MAX },
        ToKeeper::Renew(Thing::Lock),
        ToKeeper::Renew(Thing::Complaints),
        ToKeeper::Renew(Thing::Log),
        ToKeeper::Renew(Thing::Door(RunKey(5))),
    ] {
        assert_eq!(ToKeeper::decode(&m.encode()), Ok(m));
    }
    for m in [
        ToShim::Go,
        ToShim::Signal { signal: 15, scope: Scope::Tree },
        ToShim::Signal { signal: 2, scope: Scope::Main },
        ToShim::KillTree,
        ToShim::Release,
        ToShim::Rotate,
        ToShim::Reopen,
        ToShim::Flush,
        ToShim::Share { on: true },
        ToShim::Upgrade,
        ToShim::Door,
    ] {
        assert_eq!(ToShim::decode(&m.encode()), Ok(m));
    }
    for m in [
        FromKeeper::Hello { contract: CONTRACT, pid: 5, daemon_starts: 2, held: 1 },
        FromKeeper::Held { key: 3 },
        FromKeeper::ForkFailed { run: RunKey(1), errno: 11 },
        FromKeeper::AreYouThere,
        FromKeeper::CandidateFailed { status: 256 + 11 },
    ] {
        assert_eq!(FromKeeper::decode(&m.encode()), Ok(m));
    }
}

#[test]
fn every_end_survives_the_wire() {
    for end in [
        None,
        Some(End::Code(-1)),
        Some(End::Signal { signal: 9, core: true }),
        Some(End::Unknown),
        Some(End::NotStarted { stage: Stage::Credentials, errno: 1 }),
        Some(End::Cancelled),
    ] {
        let report = RunReport {
            run: RunKey(3),
            shim_pid: 4,
            pid: 5,
            start_time: 6,
            phase: Phase::Ended,
            end,
            running_since_ms: 7,
            ended_at_ms: 8,
            usage: Usage { user_us: 9, system_us: 10, max_rss_kib: 11 },
            tree_gone: true,
            log: LogHealth { errno: 28, dropped: 12 },
            carries: 3,
        };
        let record = report.encode();
        assert!(record.len() <= MAX_RECORD);
        assert_eq!(RunReport::decode(&record), Ok(report));
        for cut in 0..record.len() {
            assert!(RunReport::decode(&record[..cut]).is_err(), "a cut record must not decode");
        }
    }
}
