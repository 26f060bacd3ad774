//! Several places that serve the same archive: each request goes to one of them, by what they were measured to bring.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::source::Location;

/// One request in so many goes to a place that is not the fastest, to see whether it became so.
const EXPLORE_EVERY: usize = 16;
/// How much a new measurement counts against those before.
const WEIGHT: f64 = 0.3;
/// So many failures in a row, and a place is asked only when there is no other.
const MOST_FAILURES: u32 = 3;

/// The places of one archive, the site's own first.
#[derive(Debug)]
pub struct Mirrors {
    places: Vec<Location>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    asked: usize,
    measured: Vec<Measured>,
}

#[derive(Debug, Clone, Default)]
struct Measured {
    /// Requests under way or done.
    requests: usize,
    /// Bytes a second; none before the first answer.
    rate: Option<f64>,
    /// Failures since the last success.
    failures: u32,
    /// It does not have the archive, or another one.
    is_out: bool,
}

impl Mirrors {
    /// These places, of which there is at least one.
    pub fn new(places: Vec<Location>) -> Self {
        let measured = vec![Measured::default(); places.len()];
        Self { places, state: Mutex::new(State { asked: 0, measured }) }
    }

    /// The place of that number.
    pub fn place(&self, number: usize) -> &Location {
        &self.places[number]
    }

    /// The place for the next request: one that was never asked, else the fastest, now and then another one.
    pub fn pick(&self) -> usize {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.asked += 1;
        let explore = state.asked.is_multiple_of(EXPLORE_EVERY);
        let candidates: Vec<usize> = state.candidates();
        let unasked = candidates.iter().copied().find(|number| state.measured[*number].requests == 0);
        let rate = |number: &usize| state.measured[*number].rate.unwrap_or_default();
        let least = candidates.iter().copied().min_by_key(|number| state.measured[*number].requests);
        let fastest = candidates.iter().copied().max_by(|one, other| rate(one).total_cmp(&rate(other)));
        let picked = unasked.or(if explore { least } else { fastest }).unwrap_or_default();
        state.measured[picked].requests += 1;
        picked
    }

    /// Notes that a request brought so many bytes in that time.
    pub fn brought(&self, number: usize, bytes: u64, elapsed: Duration) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let place = &mut state.measured[number];
        let rate = bytes as f64 / elapsed.as_secs_f64().max(1e-6);
        place.rate = Some(place.rate.map_or(rate, |before| before * (1.0 - WEIGHT) + rate * WEIGHT));
        place.failures = 0;
    }

    /// Notes that a request failed and may succeed later.
    pub fn failed(&self, number: usize) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let place = &mut state.measured[number];
        place.failures += 1;
        place.rate = Some(place.rate.unwrap_or_default() / 2.0);
    }

    /// Takes a place out that has no such archive or another one; false where it is the last.
    pub fn take_out(&self, number: usize) -> bool {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let others = state.measured.iter().enumerate().any(|(other, place)| other != number && !place.is_out);
        state.measured[number].is_out |= others;
        others
    }
}

impl State {
    /// The places that may be asked; those that fail again and again only where all do.
    fn candidates(&self) -> Vec<usize> {
        let numbers = || (0..self.measured.len()).filter(|number| !self.measured[*number].is_out);
        let good: Vec<usize> = numbers().filter(|number| self.measured[*number].failures < MOST_FAILURES).collect();
        if good.is_empty() { numbers().collect() } else { good }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mirrors(count: usize) -> Mirrors {
        let place = |number| Location::parse(&format!("http://m{number}.example/a")).expect("legal");
        Mirrors::new((0..count).map(place).collect())
    }

    #[test]
    fn each_is_tried_and_then_the_fastest_taken() {
        let mirrors = mirrors(3);
        assert_eq!([mirrors.pick(), mirrors.pick(), mirrors.pick()], [0, 1, 2]);
        for (number, bytes) in [(0, 100), (1, 900), (2, 50)] {
            mirrors.brought(number, bytes, Duration::from_secs(1));
        }
        let picks: Vec<usize> = (0..100).map(|_| mirrors.pick()).collect();
        let share = picks.iter().filter(|pick| **pick == 1).count();
        assert!((85..100).contains(&share), "the fastest was asked {share} times in 100");
        (0..MOST_FAILURES).for_each(|_| mirrors.failed(1));
        assert_eq!(mirrors.pick(), 0);
        assert!(mirrors.take_out(0) && mirrors.take_out(1));
        assert!(!mirrors.take_out(2), "the last one was taken out");
        assert_eq!(mirrors.pick(), 2);
    }
}
