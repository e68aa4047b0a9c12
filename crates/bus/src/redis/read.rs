//! Reads what is in streams, and knows the places of their groups.

use std::{collections::BTreeMap, fmt, str::FromStr, sync::Arc};

use kernel::{Error, Result};
use redis::{
    AsyncCommands,
    aio::ConnectionManager,
    streams::{StreamInfoGroupsReply, StreamReadOptions, StreamReadReply},
};

use super::{BLOCK, away};
use crate::Envelope;

/// The most entries of one stream that are read at once.
const MOST: usize = 256;

/// The id of an entry: milliseconds of the server's clock and a count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub millis: u64,
    pub count: u64,
}

impl FromStr for Place {
    type Err = Error;
    fn from_str(id: &str) -> Result<Place> {
        let parts = id.split_once('-').and_then(|(millis, count)| {
            Some(Place { millis: millis.parse().ok()?, count: count.parse().ok()? })
        });
        parts.ok_or_else(|| Error::internal(format!("{id:?} is no id of a stream")))
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.millis, self.count)
    }
}

/// What was read of one stream: up to where, and the events in their order.
pub(super) struct Part {
    pub stream: String,
    pub until: Place,
    pub events: Vec<Arc<Envelope>>,
}

/// What stands behind the places, when something does; waits for it a while.
pub(super) async fn read(
    connection: &mut ConnectionManager,
    places: &BTreeMap<String, Place>,
) -> Result<Vec<Part>> {
    let (streams, ids): (Vec<_>, Vec<_>) =
        places.iter().map(|(stream, place)| (stream, place.to_string())).unzip();
    let options = StreamReadOptions::default().count(MOST).block(BLOCK.as_millis() as usize);
    let reply: Option<StreamReadReply> =
        connection.xread_options(&streams, &ids, &options).await.map_err(away)?;
    let mut parts = Vec::new();
    for stream in reply.unwrap_or_default().keys {
        let Some(last) = stream.ids.last() else { continue };
        let until = last.id.parse()?;
        let events = stream.ids.iter().filter_map(|entry| {
            let text: Vec<u8> = entry.get("event").unwrap_or_default();
            let event = Envelope::from_json(&text);
            // Nobody else writes here; and nobody can make sense of it later.
            let place = &entry.id;
            event
                .inspect_err(|error| {
                    tracing::error!(
                        stream = stream.key,
                        place,
                        error = error.chain(),
                        "no event: passed over"
                    )
                })
                .ok()
        });
        let events = events.map(Arc::new).collect();
        parts.push(Part { stream: stream.key, until, events });
    }
    Ok(parts)
}

/// The places of the groups of a stream; none when there is no such stream.
pub(super) async fn places(
    connection: &mut ConnectionManager,
    stream: &str,
) -> Result<BTreeMap<String, Place>> {
    let groups: StreamInfoGroupsReply = match connection.xinfo_groups(stream).await {
        Ok(reply) => reply,
        Err(error) if error.detail() == Some("no such key") => return Ok(BTreeMap::new()),
        Err(error) => return Err(away(error)),
    };
    groups.groups.into_iter().map(|group| Ok((group.name, group.last_delivered_id.parse()?))).collect()
}

/// Makes a group that has heard nothing of the stream yet, and the stream, when
/// they are missing.
pub(super) async fn make_group(connection: &mut ConnectionManager, stream: &str, group: &str) -> Result<()> {
    match connection.xgroup_create_mkstream::<_, _, _, ()>(stream, group, "0").await {
        Err(error) if error.code() != Some("BUSYGROUP") => Err(away(error)),
        _ => Ok(()),
    }
}
