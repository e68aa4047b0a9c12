//! How long an address takes to answer, as far as is known.

use std::time::Duration;

use kernel::Time;

/// The moving average over time that jumps up at once and comes down slowly
/// (the "peak EWMA" of Finagle and Linkerd): a slow answer is believed on
/// sight, a fast one has to be repeated. What is not heard of again fades, so
/// that an address that was once slow gets another chance.
#[derive(Clone, Copy, Default)]
pub struct Ewma(Option<(f64, Time)>);

impl Ewma {
    /// An answer took that long.
    pub fn observe(&mut self, took: Duration, now: Time, decay: Duration) {
        let took = took.as_secs_f64();
        let average = match self.0 {
            Some((before, at)) if before > took => {
                let weight = weight(at, now, decay);
                before * weight + took * (1.0 - weight)
            }
            _ => took,
        };
        self.0 = Some((average, now));
    }

    /// The average in seconds, faded since the last answer; nothing if there
    /// was none yet.
    pub fn seconds(&self, now: Time, decay: Duration) -> Option<f64> {
        self.0.map(|(average, at)| average * weight(at, now, decay))
    }
}

/// What an observation made then still weighs: 1/e after `decay`.
fn weight(at: Time, now: Time, decay: Duration) -> f64 {
    (-now.since(at).as_secs_f64() / decay.as_secs_f64()).exp()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peak_is_believed_at_once_and_forgotten_slowly() {
        let decay = Duration::from_secs(10);
        let at = |seconds: i64| Time::from_micros(seconds * 1_000_000);
        let mut ewma = Ewma::default();
        assert_eq!(ewma.seconds(at(0), decay), None);

        ewma.observe(Duration::from_millis(1), at(0), decay);
        ewma.observe(Duration::from_millis(500), at(0), decay);
        assert_eq!(ewma.seconds(at(0), decay), Some(0.5));

        ewma.observe(Duration::from_millis(1), at(1), decay);
        let soon = ewma.seconds(at(1), decay).unwrap();
        let later = ewma.seconds(at(60), decay).unwrap();
        assert!((0.4..0.5).contains(&soon), "{soon}");
        assert!(later < 0.005, "{later}");
    }
}
