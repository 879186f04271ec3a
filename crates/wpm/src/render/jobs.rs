//! What is shown of jobs: when they run next, and how they ended last.
//!
//! Pure; the time zone is the caller's.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use wpm_proto::state::SavedExit;
use wpm_proto::view::InstanceView;

use super::rows::exit_word;
use crate::quantity::show_duration;

/// `cron 02:00`, with the day where that is not within a day of now.
pub(crate) fn status(next_ms: Option<u64>, now_ms: u64, zone: &TimeZone) -> String {
    let at = next_ms.and_then(|next| Timestamp::from_millisecond(i64::try_from(next).ok()?).ok());
    let (Some(at), Some(next)) = (at, next_ms) else { return "cron, never again".to_owned() };
    let soon = next.saturating_sub(now_ms) < 24 * 3600 * 1000;
    let format = if soon { "cron %H:%M" } else { "cron %m-%d %H:%M" };
    at.to_zoned(zone.clone()).strftime(format).to_string()
}

/// `next in 5h 12m`.
pub(crate) fn next(next_ms: Option<u64>, now_ms: u64) -> Option<String> {
    next_ms.map(|next| format!("next in {}", show_duration(next.saturating_sub(now_ms))))
}

/// `last ok 1m 3s`, `last exit 3 after 1m 3s`.
pub(crate) fn last(instance: &InstanceView) -> Option<String> {
    let exit = instance.last_exit?;
    let ran = instance.last_ran_ms.map(show_duration);
    Some(match (exit, ran) {
        (SavedExit::Code(0), Some(ran)) => format!("last ok {ran}"),
        (SavedExit::Code(0), None) => "last ok".to_owned(),
        (exit, Some(ran)) => format!("last {} after {ran}", exit_word(exit)),
        (exit, None) => format!("last {}", exit_word(exit)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_day_is_named_where_it_is_another() {
        let hour = 3600 * 1000;
        let shown = |next| status(next, 10 * hour, &TimeZone::UTC);
        assert_eq!(shown(Some(12 * hour)), "cron 12:00");
        assert_eq!(shown(Some(50 * hour)), "cron 01-03 02:00");
        assert_eq!(shown(None), "cron, never again");
        assert_eq!(next(Some(15 * hour + 720_000), 10 * hour).as_deref(), Some("next in 5h 12m"));
    }
}
