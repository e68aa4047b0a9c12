//! Shows the live feeds of this process what anybody sends.

use kernel::Result;
use rdkafka::{
    Offset, TopicPartitionList,
    consumer::{Consumer as _, StreamConsumer},
};
use tokio_util::sync::CancellationToken;

use super::{Kafka, PATIENCE, PAUSE, away, client, consume::read, topic};
use crate::bus::Inner;

impl Kafka {
    /// From now on until `stop` is cancelled, of no group and with no offset
    /// that outlives the process.
    pub(super) async fn show_until(&self, bus: &Inner, stop: &CancellationToken) {
        while !stop.is_cancelled() {
            let eye = match self.look(bus).await {
                Ok(eye) => eye,
                Err(error) => {
                    tracing::warn!(error = error.chain(), "live feeds see nothing, to be tried again");
                    self.world.sleep(self.world.jitter(PAUSE)).await;
                    continue;
                }
            };
            let showing = async {
                loop {
                    match eye.recv().await {
                        Ok(message) => read(&message).into_iter().for_each(|event| bus.show(event)),
                        Err(error) => tracing::debug!(%error, "the client reads on when Kafka is back"),
                    }
                }
            };
            tokio::select! {
                () = stop.cancelled() => {}
                () = showing => {}
            }
        }
    }

    /// Reads from the ends of all topics.
    async fn look(&self, bus: &Inner) -> Result<StreamConsumer> {
        let mut config = client(&self.brokers);
        // Named, because librdkafka wants a name; nothing is joined or committed.
        config.set("group.id", "carmel-live").set("enable.auto.commit", "false");
        let topics: Vec<String> = bus.options.services.iter().map(|service| topic(service)).collect();
        for topic in &topics {
            self.make_topic(topic, bus.options.partitions).await?;
        }
        let eye: StreamConsumer = config.create().map_err(away)?;
        let looked = move || {
            let mut ends = TopicPartitionList::new();
            for topic in &topics {
                let metadata = eye.fetch_metadata(Some(topic), PATIENCE)?;
                for partition in metadata.topics().iter().flat_map(|topic| topic.partitions()) {
                    ends.add_partition_offset(topic, partition.id(), Offset::End)?;
                }
            }
            eye.assign(&ends)?;
            Ok(eye)
        };
        self.world.blocking(looked).await?.map_err(away)
    }
}
