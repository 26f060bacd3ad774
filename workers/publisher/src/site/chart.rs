//! The size history as coordinates: the template only has to draw lines, dots and words where it is told to.

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Value, json};

/// One snapshot in the history.
#[derive(Debug, Clone, Copy)]
pub struct Sample {
    /// When it was taken.
    pub time: DateTime<Utc>,
    /// What is downloaded, in bytes.
    pub download: u64,
    /// What it takes on the disk, in bytes.
    pub extracted: u64,
}

/// The drawing is this wide, in user units.
const WIDTH: f64 = 400.0;
/// The drawing is this high, in user units.
const HEIGHT: f64 = 220.0;
const LEFT: f64 = 72.0;
const RIGHT: f64 = 386.0;
const TOP: f64 = 12.0;
const BOTTOM: f64 = 172.0;
/// With dates only, two snapshots of one day would have the same label.
const SHORT_HISTORY: TimeDelta = TimeDelta::days(3);

/// The chart of at least two samples, oldest first; null for fewer.
pub fn of(samples: &[Sample]) -> Value {
    let (Some(first), Some(last)) = (samples.first(), samples.last()) else { return Value::Null };
    if samples.len() < 2 {
        return Value::Null;
    }
    let scale = Scale::new(samples.iter().map(|sample| sample.download.max(sample.extracted)).max().unwrap_or(0));
    let x = |time: DateTime<Utc>| {
        let whole = (last.time - first.time).num_seconds().max(1) as f64;
        LEFT + (RIGHT - LEFT) * (time - first.time).num_seconds() as f64 / whole
    };
    let line = |value: fn(&Sample) -> u64| {
        let points = samples.iter().map(|sample| format!("{},{}", unit(x(sample.time)), unit(scale.y(value(sample)))));
        points.collect::<Vec<_>>().join(" ")
    };
    let dot = |sample: &Sample| {
        json!({
            "x": unit(x(sample.time)),
            "download_y": unit(scale.y(sample.download)),
            "extracted_y": unit(scale.y(sample.extracted)),
        })
    };
    json!({
        "width": unit(WIDTH), "height": unit(HEIGHT), "left": unit(LEFT), "right": unit(RIGHT),
        "top": unit(TOP), "bottom": unit(BOTTOM), "middle": unit((LEFT + RIGHT) / 2.0),
        "x_label_y": unit(BOTTOM + 16.0), "x_title_y": unit(HEIGHT - 8.0), "y_label_x": unit(LEFT - 6.0),
        "download": line(|sample| sample.download),
        "extracted": line(|sample| sample.extracted),
        "dots": samples.iter().map(dot).collect::<Vec<_>>(),
        "y_ticks": scale.ticks(),
        "x_ticks": x_ticks(samples, x),
    })
}

/// First, middle and last; the middle one only where it is clear of both.
fn x_ticks(samples: &[Sample], x: impl Fn(DateTime<Utc>) -> f64) -> Vec<Value> {
    let (first, last) = (samples[0].time, samples[samples.len() - 1].time);
    let format = if last - first < SHORT_HISTORY { "%-d %b, %H:%M" } else { "%-d %b %Y" };
    let tick = |time: DateTime<Utc>, anchor: &str| json!({ "x": unit(x(time)), "label": time.format(format).to_string(), "anchor": anchor });
    let middle = samples[samples.len() / 2].time;
    let clear = (LEFT + 110.0..RIGHT - 110.0).contains(&x(middle));
    let mut ticks = vec![tick(first, "start")];
    ticks.extend(clear.then(|| tick(middle, "middle")));
    ticks.push(tick(last, "end"));
    ticks
}

/// The vertical axis, from zero to a round number above the largest value.
struct Scale {
    unit_bytes: f64,
    unit_name: &'static str,
    step: f64,
    steps: u32,
}

impl Scale {
    fn new(largest_bytes: u64) -> Self {
        const UNITS: [&str; 6] = ["bytes", "KiB", "MiB", "GiB", "TiB", "PiB"];
        let mut unit_bytes = 1.0;
        let mut index = 0;
        while largest_bytes as f64 / unit_bytes >= 1024.0 && index + 1 < UNITS.len() {
            unit_bytes *= 1024.0;
            index += 1;
        }
        let largest = (largest_bytes as f64 / unit_bytes).max(1.0);
        let rough = largest / 4.0;
        let power = 10f64.powf(rough.log10().floor());
        let step = [1.0, 2.0, 5.0].map(|factor| factor * power).into_iter().find(|step| *step >= rough);
        let step = step.unwrap_or(10.0 * power);
        Self { unit_bytes, unit_name: UNITS[index], step, steps: (largest / step).ceil().max(1.0) as u32 }
    }

    fn y(&self, bytes: u64) -> f64 {
        self.y_of(bytes as f64 / self.unit_bytes)
    }

    fn y_of(&self, value: f64) -> f64 {
        BOTTOM - (BOTTOM - TOP) * value / (self.step * f64::from(self.steps))
    }

    fn ticks(&self) -> Vec<Value> {
        let decimals = if self.step < 1.0 { 1 } else { 0 };
        let tick = |number| {
            let value = self.step * f64::from(number);
            let y = self.y_of(value);
            let label = format!("{value:.decimals$}\u{a0}{}", self.unit_name);
            json!({ "y": unit(y), "label_y": unit(y + 4.0), "label": label })
        };
        (0..=self.steps).map(tick).collect()
    }
}

/// A coordinate as text, so that every renderer prints it alike.
fn unit(value: f64) -> String {
    let text = format!("{value:.1}");
    text.strip_suffix(".0").map_or(text.clone(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(day: i64, download: u64, extracted: u64) -> Sample {
        Sample { time: DateTime::UNIX_EPOCH + TimeDelta::days(day), download, extracted }
    }

    #[test]
    fn one_snapshot_is_no_history() {
        assert_eq!(of(&[]), Value::Null);
        assert_eq!(of(&[sample(0, 1, 2)]), Value::Null);
    }

    #[test]
    fn the_axis_begins_at_zero_and_ends_above_the_largest_value() {
        for largest in [0, 1, 3, 1023, 1024, 190 << 30, 1_000_000_000_000_000, u64::MAX] {
            let scale = Scale::new(largest);
            assert!((scale.y(0) - BOTTOM).abs() < 0.01, "{largest}");
            assert!(scale.y(largest) >= TOP - 0.01 && scale.y(largest) <= BOTTOM, "{largest}");
            assert!((2..=7).contains(&scale.ticks().len()), "{largest}: {:?}", scale.ticks());
        }
        let chart = of(&[sample(0, 100 << 30, 190 << 30), sample(9, 110 << 30, 200 << 30)]);
        assert_eq!(chart["y_ticks"][0]["label"], "0\u{a0}GiB");
        assert_eq!(chart["y_ticks"][4]["label"], "200\u{a0}GiB");
        assert_eq!(chart["x_ticks"][1]["label"], "10 Jan 1970");
        assert_eq!(chart["download"], "72,92 386,84");
    }
}
