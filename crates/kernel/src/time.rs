//! Points in time: microseconds since 1970, UTC; RFC 3339 outside.

use std::{fmt, str::FromStr, time::Duration};

use serde::{Deserialize, Serialize};

use crate::{FromValue, ToValue, Value, ValueRef};

/// A point in time, to the microsecond. Stored as a `BIGINT` in a column named
/// `…_at`, sent as RFC 3339 in UTC.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Time(i64);

impl Time {
    /// So many microseconds after 1970 began.
    pub const fn from_micros(micros: i64) -> Time {
        Time(micros)
    }

    /// Microseconds since 1970 began.
    pub const fn micros(self) -> i64 {
        self.0
    }

    /// How long ago `earlier` was; nothing if it is not earlier.
    pub fn since(self, earlier: Time) -> Duration {
        Duration::from_micros(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }
}

impl std::ops::Add<Duration> for Time {
    type Output = Time;
    fn add(self, span: Duration) -> Time {
        Time(self.0.saturating_add(i64::try_from(span.as_micros()).unwrap_or(i64::MAX)))
    }
}

impl std::ops::Sub<Duration> for Time {
    type Output = Time;
    fn sub(self, span: Duration) -> Time {
        Time(self.0.saturating_sub(i64::try_from(span.as_micros()).unwrap_or(i64::MAX)))
    }
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_microsecond(self.0) {
            Ok(at) => write!(f, "{at:.6}"),
            Err(_) => write!(f, "{} µs since 1970", self.0),
        }
    }
}

impl fmt::Debug for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Time {
    type Err = String;
    fn from_str(text: &str) -> Result<Time, String> {
        text.parse::<jiff::Timestamp>()
            .map(|at| Time(at.as_microsecond()))
            .map_err(|_| format!("a time is written as in 2026-11-27T09:30:00Z (RFC 3339), not {text:?}"))
    }
}

impl Serialize for Time {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Time, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(d)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

impl ToValue for Time {
    fn to_value(self) -> Value {
        Value::Int(self.0)
    }
}

impl FromValue for Time {
    fn from_value(value: ValueRef<'_>) -> Result<Time, String> {
        i64::from_value(value).map(Time)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_reads_back_to_the_microsecond() {
        let time = Time::from_micros(1_795_771_800_123_456);

        assert_eq!(time.to_string().parse(), Ok(time));
        assert_eq!(time.since(time + Duration::from_secs(1)), Duration::ZERO);
        assert!("yesterday".parse::<Time>().unwrap_err().contains("RFC 3339"));
    }
}
