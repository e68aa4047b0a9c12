use std::{collections::BTreeMap, time::Duration};

use hdrhistogram::Histogram;

use crate::{Answer, Broken};

/// The longest wait that is told from a longer one.
const LONGEST: Duration = Duration::from_secs(600);

/// What came of a load.
#[derive(Debug)]
pub struct Outcome {
    /// How many answers of 2xx there were.
    pub answers: u64,
    /// Everything else, by what it was: the code of a problem (RFC 9457), the status, or `no answer`.
    pub failures: BTreeMap<String, u64>,
    /// From the first to the last.
    pub span: Duration,
    /// How long each 2xx took, in microseconds, to three digits.
    waits: Histogram<u64>,
}

impl Default for Outcome {
    fn default() -> Outcome {
        let waits = Histogram::new_with_bounds(1, LONGEST.as_micros() as u64, 3).expect("these are bounds");
        Outcome { answers: 0, failures: BTreeMap::new(), span: Duration::ZERO, waits }
    }
}

impl Outcome {
    /// Answers per second.
    pub fn rate(&self) -> f64 {
        self.answers as f64 / self.span.as_secs_f64()
    }

    /// The time within which this share (0.99) was answered; nothing when nobody was.
    pub fn within(&self, share: f64) -> Duration {
        Duration::from_micros(self.waits.value_at_quantile(share))
    }

    /// Notes one that was done, and how long that took.
    pub fn done(&mut self, wait: Duration) {
        self.answers += 1;
        self.waits.saturating_record(wait.as_micros() as u64);
    }

    pub(crate) fn note(&mut self, answer: Result<Answer, Broken>, wait: Duration) {
        let failure = match answer {
            Ok(answer) if answer.is_done() => {
                self.done(wait);
                return;
            }
            Ok(answer) => match answer.json()["code"].as_str() {
                Some(code) => code.to_owned(),
                None => answer.status.to_string(),
            },
            Err(_) => "no answer".to_owned(),
        };
        *self.failures.entry(failure).or_default() += 1;
    }
}
