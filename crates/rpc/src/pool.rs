//! The addresses of one service, with what is known of each.

use std::{
    collections::BTreeSet,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock},
    time::Duration,
};

use kernel::{Error, Result, Time, World};

use crate::{
    addresses::{self, LookUp, Places},
    breaker::Breaker,
    ewma::Ewma,
};

/// When an address is left out, for how long, and when names are looked up again.
#[derive(Clone, Debug)]
pub struct PoolOptions {
    /// So many failures in a row eject an address.
    pub failures_in_row: u32,
    /// So many failures among a hundred calls eject it as well.
    pub failure_percent: u32,
    /// From how many calls on that share counts; at most 64 are remembered.
    pub failures_among: u32,
    /// How long the first ejection lasts; each that follows it, twice as long.
    pub ejected_first: Duration,
    /// How long an ejection lasts at most.
    pub ejected_longest: Duration,
    /// What an observed latency weighs after this time: 1/e of what it did.
    pub decay: Duration,
    /// How often a name is looked up again.
    pub look_up_every: Duration,
    /// What looks it up: `host:port` to all its addresses.
    pub look_up: LookUp,
}

impl Default for PoolOptions {
    fn default() -> PoolOptions {
        PoolOptions {
            failures_in_row: 5,
            failure_percent: 50,
            failures_among: 20,
            ejected_first: Duration::from_secs(1),
            ejected_longest: Duration::from_secs(30),
            decay: Duration::from_secs(10),
            look_up_every: Duration::from_secs(5),
            look_up: addresses::ask_the_system,
        }
    }
}

/// Chooses an address of a service for each call: of two taken by chance the
/// one that answers faster and has less to do ("power of two choices",
/// Mitzenmacher 2001). An address that fails is left out, and comes back after
/// one call has found it well. Cheap to clone.
#[derive(Clone)]
pub struct Pool(Arc<Inner>);

struct Inner {
    world: World,
    service: &'static str,
    options: PoolOptions,
    addresses: RwLock<Vec<Arc<Address>>>,
}

struct Address {
    url: String,
    health: Mutex<Health>,
}

#[derive(Default)]
struct Health {
    latency: Ewma,
    outstanding: u32,
    breaker: Breaker,
    /// Whether the last health check found it well, and no call has failed since.
    well: bool,
}

/// What is known of one address now.
#[derive(Clone, Debug, PartialEq)]
pub struct AddressState {
    /// Such as `http://10.0.0.7:3003`.
    pub address: String,
    /// Whether it is left out because it failed.
    pub ejected: bool,
    /// How long it takes to answer; nothing if it has not answered yet.
    pub latency: Option<Duration>,
    /// How many calls are under way to it.
    pub outstanding: u32,
}

impl Pool {
    /// Of a service at these addresses, each `http://host:port`. A host that is
    /// a name is looked up here (which waits for the system's answer) and again
    /// every few seconds; each of its addresses is one of the pool's.
    pub fn new(
        world: &World,
        service: &'static str,
        addresses: &[String],
        options: PoolOptions,
    ) -> Result<Pool> {
        let mut places = Places::read(service, addresses)?;
        places.look_up(options.look_up);
        let world = world.clone();
        let inner = Arc::new(Inner { world, service, options, addresses: RwLock::default() });
        inner.now_at(&places.all());
        if places.have_names() {
            keep_looking_up(&inner, places);
        }
        Ok(Pool(inner))
    }

    /// Whose addresses these are.
    pub fn service(&self) -> &'static str {
        self.0.service
    }

    /// An address to call. At once unavailable (`service_unreachable`) when
    /// each one is left out and none is to be tried again yet.
    pub fn pick(&self) -> Result<Pick> {
        self.pick_besides(&[])
    }

    /// The same, for another try: none of those tried before, unless no other
    /// is left.
    pub fn pick_besides(&self, tried: &[String]) -> Result<Pick> {
        let (inner, now) = (&self.0, self.0.world.steady());
        let addresses = inner.addresses.read().unwrap_or_else(PoisonError::into_inner);
        let (mut usable, mut well) = (Vec::with_capacity(addresses.len()), Vec::new());
        for address in addresses.iter() {
            let mut health = address.health();
            if health.breaker.probe_is_due(now) && !tried.contains(&address.url) {
                health.breaker.probe();
                return Ok(Pick::begin(inner, address, health, true));
            }
            if health.breaker.in_use() {
                usable.push(address);
            } else if health.well {
                well.push(address);
            }
        }
        // While one call finds out whether an address is back, the others have
        // none to go to. One that says that it is well is better than none.
        if usable.is_empty() {
            usable = well;
        }
        if usable.iter().any(|address| !tried.contains(&address.url)) {
            usable.retain(|address| !tried.contains(&address.url));
        }
        let chosen = inner.better_of_two(&usable, now).ok_or_else(|| inner.unreachable(addresses.len()))?;
        Ok(Pick::begin(inner, chosen, chosen.health(), false))
    }

    /// What is known of each address, in the order of their names.
    pub fn states(&self) -> Vec<AddressState> {
        let now = self.0.world.steady();
        let addresses = self.0.addresses.read().unwrap_or_else(PoisonError::into_inner);
        let state = |address: &Arc<Address>| {
            let health = address.health();
            AddressState {
                address: address.url.clone(),
                ejected: !health.breaker.in_use(),
                latency: health.latency.seconds(now, self.0.options.decay).map(Duration::from_secs_f64),
                outstanding: health.outstanding,
            }
        };
        addresses.iter().map(state).collect()
    }

    /// What a health check found. An unhealthy address is left out at once and
    /// not tried again for another second (`ejected_first`), unless it is the
    /// last one: a check that fails everywhere says more about what they all
    /// need than about where to call. A healthy one that was left out is tried
    /// by the next call: only a call can tell that calls are answered.
    pub fn report(&self, address: &str, healthy: bool) {
        let inner = &self.0;
        let addresses = inner.addresses.read().unwrap_or_else(PoisonError::into_inner);
        let Some(address) = addresses.iter().find(|known| known.url == address) else {
            return; // a name may have stopped standing for it while it was checked
        };
        let other_in_use =
            addresses.iter().any(|other| other.url != address.url && other.health().breaker.in_use());
        let mut health = address.health();
        health.well = healthy;
        match healthy {
            true => health.breaker.let_probe(inner.world.steady()),
            false if health.breaker.in_use() && !other_in_use => {}
            false if health.breaker.in_use() => inner.eject(address, &mut health),
            false => health.breaker.keep_out(inner.world.steady() + inner.options.ejected_first),
        }
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool").field("service", &self.0.service).field("states", &self.states()).finish()
    }
}

impl Inner {
    fn better_of_two<'a>(&self, usable: &[&'a Arc<Address>], now: Time) -> Option<&'a Arc<Address>> {
        let count = usable.len() as u64;
        if count < 2 {
            return usable.first().copied();
        }
        let first = self.world.below(count);
        let second = (first + 1 + self.world.below(count - 1)) % count;
        let (first, second) = (usable[first as usize], usable[second as usize]);
        Some(if self.load(first, second, now) { second } else { first })
    }

    /// Whether the first has more to bear than the second. One that has not
    /// answered yet is taken to be as fast as the other.
    fn load(&self, first: &Address, second: &Address, now: Time) -> bool {
        let look = |address: &Address| {
            let health = address.health();
            (health.latency.seconds(now, self.options.decay), f64::from(health.outstanding + 1))
        };
        match (look(first), look(second)) {
            ((Some(one), mine), (Some(other), theirs)) => one * mine > other * theirs,
            ((_, mine), (_, theirs)) => mine > theirs,
        }
    }

    fn eject(&self, address: &Address, health: &mut Health) {
        let service = self.service;
        let span = health.breaker.eject(self.world.steady(), &self.options);
        metrics::counter!("rpc_ejections_total", "service" => service, "address" => address.url.clone())
            .increment(1);
        tracing::warn!(
            service,
            address = address.url,
            for_ms = span.as_millis() as u64,
            "an address is left out"
        );
    }

    /// The addresses are these now; what is known of those that stay is kept.
    fn now_at(&self, urls: &BTreeSet<String>) {
        let mut addresses = self.addresses.write().unwrap_or_else(PoisonError::into_inner);
        let known = |url: &String| addresses.iter().find(|address| address.url == *url).cloned();
        let fresh = |url: &String| Arc::new(Address { url: url.clone(), health: Mutex::default() });
        *addresses = urls.iter().map(|url| known(url).unwrap_or_else(|| fresh(url))).collect();
        metrics::gauge!("rpc_addresses", "service" => self.service).set(urls.len() as f64);
    }

    fn unreachable(&self, addresses: usize) -> Error {
        let service = self.service;
        let message = match addresses {
            0 => format!("no address of {service} is known"),
            _ => format!("{service} cannot be reached: each of its addresses failed a moment ago"),
        };
        Error::unavailable("service_unreachable", message)
    }
}

impl Address {
    /// What is known; a panic elsewhere cannot leave it half changed.
    fn health(&self) -> MutexGuard<'_, Health> {
        self.health.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Looks the names up again and again, as long as the pool is in use.
fn keep_looking_up(inner: &Arc<Inner>, mut places: Places) {
    let (world, pool, options) = (inner.world.clone(), Arc::downgrade(inner), inner.options.clone());
    drop(inner.world.spawn(async move {
        loop {
            world.sleep(world.jitter(options.look_up_every)).await;
            let mut looked = places.clone();
            let work = move || {
                looked.look_up(options.look_up);
                looked
            };
            match world.blocking(work).await {
                Ok(looked) => places = looked,
                Err(error) => tracing::error!(error = error.chain(), "names were not looked up"),
            }
            let Some(pool) = pool.upgrade() else { return };
            pool.now_at(&places.all());
        }
    }));
}

/// An address that was picked for one call. Say how the call ended with
/// [`Pick::succeeded`] or [`Pick::failed`]; dropped without a word (the caller
/// went away) it counts as neither.
pub struct Pick {
    pool: Arc<Inner>,
    address: Arc<Address>,
    began: Time,
    probe: bool,
}

impl Pick {
    fn begin(
        pool: &Arc<Inner>,
        address: &Arc<Address>,
        mut health: MutexGuard<'_, Health>,
        probe: bool,
    ) -> Pick {
        health.outstanding += 1;
        Pick { pool: pool.clone(), address: address.clone(), began: pool.world.steady(), probe }
    }

    /// Such as `http://10.0.0.7:3003`.
    pub fn address(&self) -> &str {
        &self.address.url
    }

    /// Whether this call finds out if an address that was left out is back.
    pub fn is_probe(&self) -> bool {
        self.probe
    }

    /// The address answered, if only with an error of its own.
    pub fn succeeded(mut self) {
        let (pool, now) = (&self.pool, self.pool.world.steady());
        let mut health = self.address.health();
        health.latency.observe(now.since(self.began), now, pool.options.decay);
        if std::mem::take(&mut self.probe) {
            health.breaker.come_back();
            tracing::info!(service = pool.service, address = self.address.url, "an address is back");
        } else {
            health.breaker.succeeded();
        }
        drop(health);
    }

    /// The address did not answer: no connection, none in time, or something
    /// in between answered in its place (502, 503, 504).
    pub fn failed(mut self) {
        let mut health = self.address.health();
        if std::mem::take(&mut self.probe) || health.breaker.failed(&self.pool.options) {
            health.well = false;
            self.pool.eject(&self.address, &mut health);
        }
    }
}

impl Drop for Pick {
    fn drop(&mut self) {
        let mut health = self.address.health();
        health.outstanding -= 1;
        if self.probe {
            health.breaker.not_probed(self.pool.world.steady());
        }
    }
}
