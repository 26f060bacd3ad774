//! When the next snapshot of a target is due, as its schedule says.

use chrono::{DateTime, TimeDelta, Utc};
use chrono_tz::Tz;
use croner::parser::{CronParser, Seconds, Year};
use polkashots_shared::target::Target;

/// What a schedule says after a snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Due {
    /// When the next tick comes.
    pub at: DateTime<Utc>,
    /// When a snapshot that is still not there is late: half of the way to the tick after the next one.
    pub late_after: DateTime<Utc>,
}

/// When the snapshot after the one of `time` is due; `None` without a schedule that can be read.
pub fn next_due(target: &Target, time: DateTime<Utc>) -> Option<Due> {
    let zone: Tz = target.time_zone.parse().ok()?;
    let parser = CronParser::builder().seconds(Seconds::Disallowed).year(Year::Disallowed).build();
    let cron = parser.parse(target.schedule.as_deref()?).ok()?;
    let after = |time: DateTime<Utc>| {
        cron.find_next_occurrence(&time.with_timezone(&zone), false).ok().map(|next| next.with_timezone(&Utc))
    };
    // A tick is a little later than its time on the schedule, never earlier.
    let at = after(time)?;
    let late_after = after(at).map_or(at + TimeDelta::hours(24), |then| at + (then - at) / 2);
    Some(Due { at, late_after })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(schedule: &str, time_zone: &str) -> Target {
        let chain = polkashots_shared::chain::Chain::built_in("polkadot").expect("built in");
        serde_json::from_value(serde_json::json!({
            "id": "polkadot", "permalink": "dot/paritydb", "chain": chain, "database": "paritydb", "pruning": "256",
            "schedule": schedule, "time_zone": time_zone,
        }))
        .expect("a target")
    }

    fn utc(text: &str) -> DateTime<Utc> {
        text.parse().expect("a time")
    }

    #[test]
    fn the_next_tick_follows_the_schedule_in_its_zone() {
        let taken = utc("2026-11-22T03:00:04Z");
        let due = next_due(&target("0 4 * * *", "Europe/Berlin"), taken).expect("due");
        assert_eq!(due.at, utc("2026-11-23T03:00:00Z"));
        assert_eq!(due.late_after, utc("2026-11-23T15:00:00Z"));
    }

    #[test]
    fn a_schedule_that_cannot_be_read_promises_nothing() {
        for (schedule, zone) in [("\"><script>", "UTC"), ("0 4 * * *", "Mars/Olympus"), ("0 0 31 2 *", "UTC")] {
            assert_eq!(next_due(&target(schedule, zone), utc("2026-11-22T03:00:04Z")), None, "{schedule} {zone}");
        }
    }
}
