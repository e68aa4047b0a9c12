//! The one connection to Redis: what is kept there is asked for on it, and on
//! it the changes that other processes made are heard, in Redis' own order.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
    time::Duration,
};

use kernel::{Time, World};
use redis::{
    AsyncConnectionConfig, PushInfo, PushKind, RedisError, RedisResult, ServerErrorKind, Value,
    aio::MultiplexedConnection,
};
use tokio::sync::{Notify, watch};

use crate::address::{Address, must_be_master};

/// What every key begins with. The braces keep all of them in one slot of a
/// cluster, hence on one node, whose order of things everything here rests on.
pub const PREFIX: &str = "{carmel}:cache";
const CHANGES: &str = "{carmel}:changes";
pub(crate) const LIMITS: &str = "{carmel}:limits";

/// For so long after a proof was asked for, what is remembered in this process
/// may be answered with. The proof comes behind every change that Redis knew of.
pub(crate) const TRUST: Duration = Duration::from_millis(40);
/// When the next proof is asked for, by the first who wants to know.
const RENEW: Duration = Duration::from_millis(15);

/// How long to wait before the next try to connect, at first and at most.
const FIRST_WAIT: Duration = Duration::from_millis(10);
const LONGEST_WAIT: Duration = Duration::from_secs(1);
/// How long a change waits at most until Redis has heard of it, or a try to reach it has failed.
const PATIENCE: Duration = Duration::from_secs(2);
/// How many changes are told at once.
const TOLD_AT_ONCE: usize = 500;

/// What is known of the channel, for the task that keeps it and for everybody
/// who asks.
pub(crate) struct Channel {
    pub(crate) world: World,
    /// When the last proof was asked for, in microseconds; 0 while there is no channel.
    proven_at: AtomicI64,
    /// Counts losses and returns: what was remembered under another count is void.
    epoch: AtomicU64,
    line: Mutex<Line>,
    news: watch::Sender<News>,
    wake: Notify,
    /// Somebody waits for the next try to connect.
    hurry: Notify,
    listeners: Mutex<Vec<Listener>>,
}

/// Who wants to know of changes under a name.
type Listener = (&'static str, Box<dyn Fn(&str) + Send + Sync>);

/// How far it is.
#[derive(Default)]
struct News {
    /// The last change that Redis has heard of.
    told: u64,
    /// The last try to connect that began, and the last that failed or whose connection broke.
    tried: u64,
    failed: u64,
}

/// The connection, and the changes that Redis has not heard of yet. Under one
/// lock, so that the line opens only when nothing is owed.
#[derive(Default)]
struct Line {
    open: Option<Open>,
    owed: VecDeque<Owed>,
    last: u64,
}

#[derive(Clone)]
struct Owed {
    number: u64,
    /// When whatever Redis may hold of it has run out anyway.
    until: Time,
    name: &'static str,
    key: String,
}

/// An open line.
#[derive(Clone)]
pub(crate) struct Open {
    pub(crate) connection: MultiplexedConnection,
    /// Which run of which server this is. It is part of every key, so that a
    /// server that comes back with old data, or a replica that took over
    /// without the last changes, begins with nothing.
    run: Arc<str>,
    broken: Arc<Notify>,
}

impl Open {
    pub(crate) fn entry(&self, name: &str, key: &str) -> String {
        format!("{PREFIX}:{}:{name}:{key}", self.run)
    }

    /// To be told of what went wrong: when the connection is at fault, there
    /// is soon another.
    pub(crate) fn failed(&self, error: &RedisError) {
        tracing::debug!(error = %error, "the shared cache was gone by");
        let moved = matches!(
            error.kind(),
            redis::ErrorKind::Server(ServerErrorKind::Moved | ServerErrorKind::ReadOnly)
        );
        if moved || error.is_timeout() || error.is_io_error() || error.is_unrecoverable_error() {
            self.broken.notify_one();
        }
    }
}

impl Channel {
    pub(crate) fn new(world: &World) -> Channel {
        Channel {
            world: world.clone(),
            proven_at: AtomicI64::new(0),
            epoch: AtomicU64::new(0),
            line: Mutex::default(),
            news: watch::Sender::default(),
            wake: Notify::new(),
            hurry: Notify::new(),
            listeners: Mutex::default(),
        }
    }

    /// Whether every change that was answered more than [`TRUST`] ago is known
    /// here. Asking keeps it so; when nobody asks, nothing is sent.
    pub(crate) fn is_current(&self, now: Time) -> bool {
        let age = now.micros() - self.proven_at.load(Ordering::SeqCst);
        if !(0..RENEW.as_micros() as i64).contains(&age) {
            self.wake.notify_one();
        }
        (0..TRUST.as_micros() as i64).contains(&age)
    }

    pub(crate) fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::SeqCst)
    }

    pub(crate) fn open(&self) -> Option<Open> {
        self.line().open.clone()
    }

    pub(crate) fn listen(&self, name: &'static str, hear: impl Fn(&str) + Send + Sync + 'static) {
        self.listeners.lock().unwrap_or_else(PoisonError::into_inner).push((name, Box::new(hear)));
    }

    /// Notes a change that Redis is to hear of, and returns its number.
    pub(crate) fn owe(&self, name: &'static str, key: String, keep: Duration) -> u64 {
        let now = self.world.now();
        let mut line = self.line();
        while line.owed.front().is_some_and(|owed| owed.until < now) {
            line.owed.pop_front();
        }
        line.last += 1;
        let number = line.last;
        line.owed.push_back(Owed { number, until: now + keep, name, key });
        drop(line);
        self.wake.notify_one();
        number
    }

    /// Waits until Redis has heard of a change, or a try to connect that began
    /// after it has failed: then the change stays owed, and is told before
    /// anything is read there.
    ///
    /// The try is what others rest on. Who was connected before the change
    /// reached a Redis that can be reached from here, too, and hears of it; who
    /// connects after the change remembers nothing from before.
    pub(crate) async fn settled(&self, number: u64) {
        let mut news = self.news.subscribe();
        let next = news.borrow().tried + 1;
        self.hurry.notify_one();
        let settled = news.wait_for(|news| news.told >= number || news.failed >= next);
        self.world.timeout(PATIENCE, settled).await;
    }

    /// Keeps the line open for ever.
    pub(crate) async fn keep(self: Arc<Channel>, address: Address) {
        let mut wait = FIRST_WAIT;
        let mut is_said = false;
        loop {
            self.news.send_modify(|news| news.tried += 1);
            let outcome = self.serve(&address).await;
            let was_open = self.lose();
            if was_open {
                (wait, is_said) = (FIRST_WAIT, false);
            }
            if let Err(error) = outcome
                && !std::mem::replace(&mut is_said, true)
            {
                tracing::warn!(redis = %address, error = %error, "the shared cache is away; it is done without");
            }
            tokio::select! {
                () = self.world.sleep(self.world.jitter(wait)) => {}
                () = self.hurry.notified() => self.world.sleep(FIRST_WAIT).await,
            }
            wait = LONGEST_WAIT.min(wait * 2);
        }
    }

    /// Opens the line and keeps it until it breaks.
    async fn serve(self: &Arc<Channel>, address: &Address) -> RedisResult<()> {
        let broken = Arc::new(Notify::new());
        let (hears, breaks) = (Arc::downgrade(self), broken.clone());
        let hear = move |push: PushInfo| -> Result<(), ()> {
            match (push.kind, hears.upgrade()) {
                (PushKind::Message, Some(channel)) => channel.hear(push.data),
                (PushKind::Disconnection, _) => breaks.notify_one(),
                _ => {}
            }
            Ok(())
        };
        let config = AsyncConnectionConfig::new().set_push_sender(hear);
        let mut connection = address.connect(config).await?;
        connection.subscribe(CHANGES).await?;
        let about: redis::InfoDict = redis::cmd("INFO").arg("server").query_async(&mut connection).await?;
        let run: String = about.get("run_id").unwrap_or_default();

        self.epoch.fetch_add(1, Ordering::SeqCst); // nobody told us what changed meanwhile
        let mut open = Open { connection, run: run.into(), broken };
        self.tell(&mut open).await?;
        while !self.open_if_settled(&open) {
            self.tell(&mut open).await?;
        }
        tracing::info!(redis = %address, "the shared cache is there");
        loop {
            tokio::select! {
                () = self.wake.notified() => self.tell(&mut open).await?,
                () = open.broken.notified() => {
                    return Err((redis::ErrorKind::Io, "the connection broke").into());
                }
            }
        }
    }

    /// Removes what was changed and tells everybody, and asks for the proof
    /// that comes behind whatever others told.
    async fn tell(&self, open: &mut Open) -> RedisResult<()> {
        let owed: Vec<Owed> = self.line().owed.iter().take(TOLD_AT_ONCE).cloned().collect();
        let mut all = redis::pipe();
        for Owed { name, key, .. } in &owed {
            // The order matters: who hears of it must not find it any more.
            all.del(open.entry(name, key)).ignore();
            all.publish(CHANGES, format!("{name}:{key}")).ignore();
        }
        // Only the master that has our keys answers both of these.
        all.exists(PREFIX).ignore().cmd("ROLE");
        let asked_at = self.world.now();
        let (role,): (Value,) = all.query_async(&mut open.connection).await?;
        must_be_master(&role)?;

        if let Some(last) = owed.last() {
            let mut line = self.line();
            while line.owed.front().is_some_and(|first| first.number <= last.number) {
                line.owed.pop_front();
            }
            let is_more = !line.owed.is_empty();
            drop(line);
            self.news.send_modify(|news| news.told = last.number);
            if is_more {
                self.wake.notify_one();
            }
        }
        self.proven_at.store(asked_at.micros(), Ordering::SeqCst);
        Ok(())
    }

    fn open_if_settled(&self, open: &Open) -> bool {
        let mut line = self.line();
        if line.owed.is_empty() {
            line.open = Some(open.clone());
        }
        line.open.is_some()
    }

    /// From now on nothing that is remembered holds. Says whether the line was open.
    fn lose(&self) -> bool {
        self.proven_at.store(0, Ordering::SeqCst);
        self.epoch.fetch_add(1, Ordering::SeqCst);
        let was_open = self.line().open.take().is_some();
        self.news.send_modify(|news| news.failed = news.tried);
        was_open
    }

    /// A message is the channel and what was changed: `users:usr_…`.
    fn hear(&self, message: Vec<Value>) {
        let Some(Ok(text)) = message.last().map(redis::from_redis_value_ref::<String>) else { return };
        let Some((name, key)) = text.split_once(':') else { return };
        let listeners = self.listeners.lock().unwrap_or_else(PoisonError::into_inner);
        listeners.iter().filter(|(listener, _)| *listener == name).for_each(|(_, hear)| hear(key));
    }

    fn line(&self) -> MutexGuard<'_, Line> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
