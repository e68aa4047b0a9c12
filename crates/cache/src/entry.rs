//! One remembered value, and how it is written into Redis.

use std::{borrow::Cow, time::Duration};

use kernel::Time;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

/// What was read, or that there was nothing, and until when it holds.
#[derive(Clone)]
pub(crate) struct Entry<V> {
    pub(crate) until: Time,
    pub(crate) value: Option<V>,
}

/// In Redis it is JSON, so that a person can read it. It names the release
/// that wrote it: what another release wrote is read again from the database,
/// because a field that one of them does not know would be lost in silence.
#[derive(Serialize, Deserialize)]
struct Written<'a, V> {
    #[serde(borrow)]
    by: Cow<'a, str>,
    until: i64,
    value: Option<V>,
}

const RELEASE: &str = env!("CARGO_PKG_VERSION");

impl<V> Entry<V> {
    /// When it may not be answered with any more. That there is nothing is
    /// never told longer than it holds.
    pub(crate) fn gone_at(&self, grace: Duration) -> Time {
        if self.value.is_some() { self.until + grace } else { self.until }
    }

    /// What stands in Redis, if this release wrote it and it can be read.
    pub(crate) fn read(bytes: &[u8]) -> Option<Entry<V>>
    where
        V: DeserializeOwned,
    {
        let written: Written<'_, V> = serde_json::from_slice(bytes).ok()?;
        (written.by == RELEASE)
            .then_some(Entry { until: Time::from_micros(written.until), value: written.value })
    }

    /// As it is written into Redis.
    pub(crate) fn write(&self) -> Option<Vec<u8>>
    where
        V: Serialize,
    {
        let written = Written { by: RELEASE.into(), until: self.until.micros(), value: self.value.as_ref() };
        serde_json::to_vec(&written).ok()
    }
}
