//! Fault injection: wpm is killed, hung, starved and lied to, and its apps must not notice.
//!
//! `storm`: kills at random moments under writers at full speed; `WPM_CHAOS_SECONDS` makes each row last
//! so long (`cargo test --test chaos storm -- --nocapture` shows kills, bytes and stalls). `inject`: a blow
//! at one call of one process. `heal`: one blow at a time, and how long it takes until all is as before.
//! `hung`: processes that are stopped.
//!
//! Every run draws the same moments and cases, as far as timing lets it. `WPM_CHAOS_SEED=fresh` draws
//! others, and says which; `WPM_CHAOS_SEED=NUMBER` draws those again.

#![expect(clippy::print_stdout, reason = "a storm says its seed and what it did")]

mod apps;
mod chance;
mod clients;
mod heal;
mod hung;
mod inject;
mod late;
mod lines;
mod looper;
mod own;
mod storm;
mod strace;
mod victims;
mod wait;
mod watchers;
#[expect(dead_code, reason = "shared with the end-to-end tests, which use all of it")]
#[path = "../e2e/world.rs"]
mod world;
