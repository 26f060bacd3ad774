//! When a target is snapshotted: a cron expression in a time zone.

use chrono::{DateTime, Utc};
use chrono_tz::Tz;
use croner::Cron;
use croner::parser::{CronParser, Seconds, Year};

/// A cron expression of five fields, in a time zone.
#[derive(Debug, Clone)]
pub struct Schedule {
    cron: Cron,
    zone: Tz,
}

/// Says why a schedule cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ScheduleError {
    /// The expression is not one, or never comes true.
    #[error("{0}")]
    Expression(String),
    /// There is no such time zone.
    #[error("unknown time zone \"{0}\", expected an IANA name as in Europe/Berlin")]
    Zone(String),
}

impl Schedule {
    /// Reads a cron expression of five fields; an expression that never comes true is refused.
    pub fn parse(expression: &str, zone: &str) -> Result<Self, ScheduleError> {
        let zone: Tz = zone.parse().map_err(|_| ScheduleError::Zone(zone.to_owned()))?;
        let parser = CronParser::builder().seconds(Seconds::Disallowed).year(Year::Disallowed).build();
        let cron = parser.parse(expression).map_err(|error| ScheduleError::Expression(error.to_string()))?;
        let schedule = Self { cron, zone };
        let probe = DateTime::<Utc>::from_timestamp(1_700_000_000, 0).unwrap_or_default();
        match schedule.next_after(probe) {
            Some(_) => Ok(schedule),
            None => Err(ScheduleError::Expression("it never comes true".into())),
        }
    }

    /// The first scheduled instant after `time`.
    pub fn next_after(&self, time: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let local = time.with_timezone(&self.zone);
        self.cron.find_next_occurrence(&local, false).ok().map(|next| next.with_timezone(&Utc))
    }

    /// The last scheduled instant at or before `time`.
    pub fn last_until(&self, time: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let local = time.with_timezone(&self.zone);
        self.cron.find_previous_occurrence(&local, true).ok().map(|last| last.with_timezone(&Utc))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn utc(text: &str) -> DateTime<Utc> {
        text.parse().expect("a time")
    }

    #[test]
    fn a_schedule_follows_its_zone_through_daylight_saving() {
        let schedule = Schedule::parse("0 4 * * *", "Europe/Berlin").expect("legal");
        assert_eq!(schedule.next_after(utc("2026-07-01T00:00:00Z")), Some(utc("2026-07-01T02:00:00Z")));
        assert_eq!(schedule.next_after(utc("2026-12-01T00:00:00Z")), Some(utc("2026-12-01T03:00:00Z")));
        assert_eq!(schedule.last_until(utc("2026-12-01T03:00:00Z")), Some(utc("2026-12-01T03:00:00Z")));
        assert_eq!(schedule.last_until(utc("2026-12-01T02:59:59Z")), Some(utc("2026-11-30T03:00:00Z")));
    }

    #[test]
    fn expressions_of_other_shapes_are_refused() {
        for bad in ["", "4", "0 4 * *", "0 0 4 * * *", "61 4 * * *", "0 4 30 2 *", "tomorrow"] {
            assert!(Schedule::parse(bad, "UTC").is_err(), "{bad} was accepted");
        }
        assert!(matches!(Schedule::parse("0 4 * * *", "Mars/Olympus"), Err(ScheduleError::Zone(_))));
    }
}
