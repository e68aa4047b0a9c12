//! Looks, now and then, how far the consumers of a service have come: notes it
//! in the database, measures it, and removes what all of them have heard.

use std::{collections::BTreeMap, time::Duration};

use futures::future::join_all;
use kernel::{Result, Time};
use redis::{
    AsyncCommands,
    streams::{StreamRangeReply, StreamTrimOptions, StreamTrimmingMode},
};
use tokio_util::sync::CancellationToken;

use super::{
    Redis, away,
    read::{Place, make_group, places},
    streams,
};
use crate::{Envelope, listeners, relay::Relay};

/// How often.
const EVERY: Duration = Duration::from_secs(5);

impl Redis {
    /// Until `stop` is cancelled, and once more then.
    pub async fn settle_until(&self, relay: &Relay<'_>, stop: &CancellationToken) {
        loop {
            let last = stop.is_cancelled();
            if let Err(error) = self.settle(relay).await {
                let service = relay.service;
                tracing::warn!(
                    service,
                    error = error.chain(),
                    "how far consumers have come was not looked up"
                );
            }
            if last {
                return;
            }
            let world = relay.db.world();
            tokio::select! {
                () = stop.cancelled() => {}
                () = world.sleep(world.jitter(EVERY)) => {}
            }
        }
    }

    async fn settle(&self, relay: &Relay<'_>) -> Result<()> {
        let (began, options) = (relay.db.world().now(), &relay.bus.options);
        // Nothing is concluded from a server that may have lost something.
        self.line(relay).await?;
        let known = listeners::list(relay.db).await?;
        let gone = |heard_until: &Time| *heard_until < began - options.keep;
        let (gone, known): (BTreeMap<_, _>, BTreeMap<_, _>) =
            known.into_iter().partition(|(_, heard_until)| gone(heard_until));

        let streams = streams(relay.service, options.partitions);
        let looked = streams.iter().map(|stream| self.look(stream, &known, &gone));
        let looked: Vec<BTreeMap<String, Standing>> =
            join_all(looked).await.into_iter().collect::<Result<_>>()?;

        let mut heard_until: BTreeMap<&str, Time> = BTreeMap::new();
        for (name, standing) in looked.iter().flatten() {
            let until = heard_until.entry(name).or_insert(began);
            *until = standing.waits.unwrap_or(began).min(*until);
        }
        db::write!(relay.db, async |tx| {
            for (name, until) in &heard_until {
                listeners::note(tx, name, *until).await?;
            }
            for name in gone.keys() {
                listeners::forget(tx, name).await?;
            }
            Ok::<_, kernel::Error>(())
        })?;
        for (name, until) in heard_until {
            let lag = began.since(until).as_secs_f64();
            metrics::gauge!("bus_lag_seconds", "service" => relay.service, "consumer" => name.to_owned())
                .set(lag);
        }
        for name in gone.keys() {
            tracing::warn!(
                service = relay.service,
                consumer = name,
                "has heard nothing for too long: forgotten"
            );
        }
        self.trim(&streams, &looked, options.linger).await
    }

    /// Where each consumer stands in a stream. One that is known, and that the
    /// stream does not know, has heard nothing of it.
    async fn look(
        &self,
        stream: &str,
        known: &BTreeMap<String, Time>,
        gone: &BTreeMap<String, Time>,
    ) -> Result<BTreeMap<String, Standing>> {
        let mut shared = self.shared.clone();
        let mut groups = places(&mut shared, stream).await?;
        for name in gone.keys().filter(|name| groups.remove(*name).is_some()).collect::<Vec<_>>() {
            shared.xgroup_destroy::<_, _, ()>(stream, name).await.map_err(away)?;
        }
        for name in known.keys().filter(|name| !groups.contains_key(*name)).collect::<Vec<_>>() {
            make_group(&mut shared, stream, name).await?;
            groups.insert(name.clone(), Place::default());
        }
        let mut standings = BTreeMap::new();
        for (name, place) in groups {
            let waits = self.next(stream, place).await?.map(|event| event.time);
            standings.insert(name, Standing { place, waits });
        }
        Ok(standings)
    }

    /// The first event behind a place.
    async fn next(&self, stream: &str, place: Place) -> Result<Option<Envelope>> {
        let behind = format!("({place}");
        let next: StreamRangeReply =
            self.shared.clone().xrange_count(stream, behind, "+", 1).await.map_err(away)?;
        let text: Option<Vec<u8>> = next.ids.first().and_then(|entry| entry.get("event"));
        Ok(text.and_then(|text| Envelope::from_json(&text).ok()))
    }

    /// Removes what every known consumer has heard and what has been there for
    /// long enough for those who are not known.
    async fn trim(
        &self,
        streams: &[String],
        looked: &[BTreeMap<String, Standing>],
        linger: Duration,
    ) -> Result<()> {
        let mut shared = self.shared.clone();
        let (seconds, _): (u64, u64) = redis::cmd("TIME").query_async(&mut shared).await.map_err(away)?;
        let lingers = Place { millis: seconds.saturating_sub(linger.as_secs()) * 1000, count: 0 };
        for (stream, groups) in streams.iter().zip(looked) {
            let until = groups.values().map(|standing| standing.place).fold(lingers, Place::min);
            let trim = StreamTrimOptions::minid(StreamTrimmingMode::Exact, until.to_string());
            shared.xtrim_options::<_, ()>(stream, &trim).await.map_err(away)?;
        }
        Ok(())
    }
}

/// How far a consumer has come in a stream.
struct Standing {
    place: Place,
    /// When the first event that it has not heard was announced.
    waits: Option<Time>,
}
