//! Shows the live feeds of this process what anybody sends.

use std::collections::BTreeMap;

use kernel::Result;
use redis::{AsyncCommands, aio::ConnectionManager, streams::StreamRangeReply};
use tokio_util::sync::CancellationToken;

use super::{
    PAUSE, Redis, away, connect,
    read::{Place, read},
    streams,
};
use crate::bus::Inner;

impl Redis {
    /// From now on until `stop` is cancelled, without a group and without a
    /// place that outlives the process.
    pub(super) async fn show_until(&self, bus: &Inner, stop: &CancellationToken) {
        let mut places = BTreeMap::new();
        while !stop.is_cancelled() {
            let showing = async {
                let mut connection = connect(&self.client)?;
                if places.is_empty() {
                    places = self.ends(bus).await?;
                }
                if places.is_empty() {
                    stop.cancelled().await; // nobody announces anything
                }
                loop {
                    show(bus, &mut connection, &mut places).await?;
                }
            };
            let shown: Result<()> = tokio::select! {
                () = stop.cancelled() => return,
                shown = showing => shown,
            };
            if let Err(error) = shown {
                tracing::warn!(error = error.chain(), "live feeds see nothing, to be read again");
            }
            self.world.sleep(self.world.jitter(PAUSE)).await;
        }
    }

    /// The ends of all streams.
    async fn ends(&self, bus: &Inner) -> Result<BTreeMap<String, Place>> {
        let mut shared = self.shared.clone();
        let mut ends = BTreeMap::new();
        for stream in bus.options.services.iter().flat_map(|service| streams(service, bus.options.partitions))
        {
            let last: StreamRangeReply = shared.xrevrange_count(&stream, "+", "-", 1).await.map_err(away)?;
            let end = last.ids.first().map(|entry| entry.id.parse()).transpose()?;
            ends.insert(stream, end.unwrap_or_default());
        }
        Ok(ends)
    }
}

async fn show(
    bus: &Inner,
    connection: &mut ConnectionManager,
    places: &mut BTreeMap<String, Place>,
) -> Result<()> {
    for part in read(connection, places).await? {
        part.events.into_iter().for_each(|event| bus.show(event));
        places.insert(part.stream, part.until);
    }
    Ok(())
}
