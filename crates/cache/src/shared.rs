//! The second level: what was read, in a Redis that processes share.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use kernel::{Task, World};
use redis::{FromRedisValue, RedisResult, Script, ScriptInvocation};

use crate::{
    address::Address,
    channel::{Channel, Open, TRUST},
};

/// For how long one process may keep others from filling what it is reading.
const CLAIMED: Duration = Duration::from_secs(5);
/// How often, and after how many milliseconds, another process looks whether it is filled.
const LOOKS: [u64; 5] = [1, 2, 4, 8, 16];
/// For how long nothing is asked after an answer that did not come in time.
const AVOIDED: Duration = Duration::from_secs(1);

/// A Redis that processes share. It may be away: then it is gone by. Cheap to
/// clone; the last one that is dropped closes the connection.
#[derive(Clone)]
pub struct Shared(Arc<Kept>);

struct Kept {
    channel: Arc<Channel>,
    fill: Script,
    /// In microseconds.
    avoided_until: AtomicI64,
    task: Task,
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.task.end();
    }
}

/// What Redis says about a key.
pub(crate) enum Asked {
    /// This is kept there.
    Found(Vec<u8>),
    /// Nothing was; this stands there now, for the caller to put a value in its place.
    Claimed(Vec<u8>),
    /// Another is about to fill it.
    Taken,
    /// Redis is away, or does not answer in time.
    GoBy,
}

impl Shared {
    /// The one at this address, connected to in the background and, whenever
    /// it was lost, again.
    pub fn new(world: &World, address: &Address) -> Shared {
        let channel = Arc::new(Channel::new(world));
        let task = world.spawn(channel.clone().keep(address.clone()));
        Shared(Arc::new(Kept { channel, fill: Script::new(FILL), avoided_until: AtomicI64::new(0), task }))
    }

    /// Whether it is there now.
    pub fn is_there(&self) -> bool {
        self.0.channel.open().is_some()
    }

    pub(crate) fn channel(&self) -> &Channel {
        &self.0.channel
    }

    /// What is kept of `key`. If another process is about to fill it, it is
    /// given a moment, so that a crowd in many processes makes one query.
    pub(crate) async fn ask(&self, name: &str, key: &str) -> Asked {
        let mut asked = self.ask_once(name, key).await;
        for wait in LOOKS {
            if !matches!(asked, Asked::Taken) {
                break;
            }
            self.world().sleep(Duration::from_millis(wait)).await;
            asked = self.ask_once(name, key).await;
        }
        asked
    }

    async fn ask_once(&self, name: &str, key: &str) -> Asked {
        let Some(mut open) = self.open() else { return Asked::GoBy };
        let entry = open.entry(name, key);
        let claim = format!("?{:016x}", u64::from_le_bytes(self.world().random()));
        let answer = self.in_time(&open.clone(), ask(&mut open, &entry, &claim)).await;
        answer.unwrap_or(Asked::GoBy)
    }

    /// Puts a value where `before` still stands. After a change it does not.
    pub(crate) async fn fill(&self, name: &str, key: &str, before: &[u8], entry: (Vec<u8>, Duration)) {
        let Some(mut open) = self.open() else { return };
        let (value, keep) = entry;
        let mut fill = self.0.fill.key(open.entry(name, key));
        fill.arg(before).arg(value).arg(millis(keep));
        self.in_time(&open.clone(), fill.invoke_async::<()>(&mut open.connection)).await;
    }

    /// What a script answers, unless Redis is away or slow.
    pub(crate) async fn run<T: FromRedisValue>(&self, script: &ScriptInvocation<'_>) -> Option<T> {
        let mut open = self.open()?;
        self.in_time(&open.clone(), script.invoke_async(&mut open.connection)).await
    }

    /// The answer, if it comes in time: one that takes longer than [`TRUST`]
    /// could be older than a change that was answered.
    async fn in_time<T>(&self, open: &Open, work: impl Future<Output = RedisResult<T>>) -> Option<T> {
        match self.world().timeout(TRUST, work).await {
            Some(Ok(answer)) => Some(answer),
            Some(Err(error)) => {
                open.failed(&error);
                None
            }
            None => {
                self.0.avoided_until.store((self.world().steady() + AVOIDED).micros(), Ordering::SeqCst);
                None
            }
        }
    }

    /// The connection, unless Redis is so slow that waiting for it helps nobody.
    fn open(&self) -> Option<Open> {
        let is_avoided = self.world().steady().micros() < self.0.avoided_until.load(Ordering::SeqCst);
        if is_avoided { None } else { self.channel().open() }
    }

    fn world(&self) -> &World {
        &self.channel().world
    }
}

/// The value goes only where the mark of the one who reads it, or the entry
/// that he found, still stands: a change removes either.
const FILL: &str = "
    if redis.call('GET', KEYS[1]) == ARGV[1] then
        redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
    end";

async fn ask(open: &mut Open, entry: &str, claim: &str) -> RedisResult<Asked> {
    let found: Option<Vec<u8>> = redis::cmd("GET").arg(entry).query_async(&mut open.connection).await?;
    if let Some(found) = found {
        let is_claimed = found.first() == Some(&b'?');
        return Ok(if is_claimed { Asked::Taken } else { Asked::Found(found) });
    }
    let mut set = redis::cmd("SET");
    set.arg(entry).arg(claim).arg("NX").arg("PX").arg(millis(CLAIMED));
    let is_ours: Option<String> = set.query_async(&mut open.connection).await?;
    Ok(if is_ours.is_some() { Asked::Claimed(claim.into()) } else { Asked::Taken })
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX).max(1)
}
