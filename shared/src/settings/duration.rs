//! Durations as people write them.

use std::time::Duration;

/// Reads a number with a unit: `500ms`, `90s`, `90m`, `36h`, `3d`.
pub fn duration(text: &str) -> Result<Duration, String> {
    let expected = || "expected a number with its unit, as in 500ms, 90s, 90m, 36h or 3d".to_owned();
    let (digits, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit()).ok_or_else(expected)?);
    let count: u64 = digits.parse().map_err(|_| expected())?;
    let seconds = match unit {
        "ms" => return Ok(Duration::from_millis(count)),
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 24 * 3600,
        _ => return Err(expected()),
    };
    count.checked_mul(seconds).map(Duration::from_secs).ok_or_else(expected)
}

/// A duration in its largest whole unit: `90s`, `2h`.
pub fn in_words(duration: Duration) -> String {
    match (duration.as_secs(), duration.subsec_millis()) {
        (_, 1..) => format!("{}ms", duration.as_millis()),
        (0, _) => "0s".to_owned(),
        (seconds, _) if seconds % 86400 == 0 => format!("{}d", seconds / 86400),
        (seconds, _) if seconds % 3600 == 0 => format!("{}h", seconds / 3600),
        (seconds, _) if seconds % 60 == 0 => format!("{}m", seconds / 60),
        (seconds, _) => format!("{seconds}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_a_unit() {
        for (text, seconds) in [("90s", 90), ("90m", 5400), ("36h", 129_600), ("3d", 259_200), ("0s", 0)] {
            assert_eq!(duration(text), Ok(Duration::from_secs(seconds)));
            assert_eq!(duration(&in_words(Duration::from_secs(seconds))), Ok(Duration::from_secs(seconds)));
        }
        assert_eq!(duration("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(in_words(Duration::from_millis(250)), "250ms");
        for bad in ["", "3", "h", "3w", "-1h", "1.5h", "99999999999999999999s", "9999999999999999999d"] {
            assert!(duration(bad).is_err(), "{bad} was accepted");
        }
    }
}
