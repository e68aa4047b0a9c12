//! The end that asks.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use futures::future::{Either, select};
use kernel::{Error, Result, Time, World};
use serde::{Serialize, de::DeserializeOwned};
use tokio::sync::Semaphore;

use crate::{
    Call, Options, Pick, Pool, PoolOptions,
    budget::Budget,
    call::Nature,
    connections::{Connections, Ended, not_understood},
    deadline,
    hedge::Latencies,
    wire,
};

/// A way to a service in other processes. It picks an address for each try,
/// tries again where that is harmless, and gives up when the deadline says so.
/// Cheap to clone.
#[derive(Clone)]
pub struct Channel(Arc<Inner>);

struct Inner {
    world: World,
    pool: Pool,
    connections: Connections,
    options: Options,
    budget: Budget,
    latencies: Latencies,
    places: Semaphore,
}

/// How long a call that finds out whether an address is back is waited for
/// before another address is asked as well, while it is not known how long
/// such a call takes.
const PROBED_ALONE: Duration = Duration::from_millis(50);
/// A second try is never started earlier than this: it would be noise.
const HEDGED_AFTER: Duration = Duration::from_millis(2);

impl Channel {
    /// To a service at these addresses, each `http://host:port`.
    pub fn new(world: &World, service: &'static str, addresses: &[String]) -> Result<Channel> {
        let pool = Pool::new(world, service, addresses, PoolOptions::default())?;
        Ok(Channel::with(world, pool, Options::default()))
    }

    /// To the addresses of a pool, called in another way.
    pub fn with(world: &World, pool: Pool, options: Options) -> Channel {
        Channel(Arc::new(Inner {
            world: world.clone(),
            pool,
            connections: Connections::new(world, &options),
            budget: Budget::new(world, options.retry_percent, options.retries_per_second),
            latencies: Latencies::default(),
            places: Semaphore::new(options.at_once),
            options,
        }))
    }

    /// The addresses, and what is known of them.
    pub fn pool(&self) -> &Pool {
        &self.0.pool
    }

    /// Asks and waits for the answer, as long as the deadline here allows.
    pub async fn call<Q: Serialize + Sync, A: DeserializeOwned>(&self, call: Call, ask: &Q) -> Result<A> {
        let inner = &*self.0;
        let began = inner.world.steady();
        let body = serde_json::to_vec(ask).map_err(Error::internal)?;
        let outcome = inner.ask(call, body.into(), began).await;
        let outcome = outcome
            .and_then(|body| serde_json::from_slice(&body).map_err(|error| not_understood(call, &error)));
        let took = inner.world.steady().since(began);
        let labels = [("service", call.service), ("call", call.name)];
        metrics::histogram!("rpc_call_seconds", &labels).record(took.as_secs_f64());
        match &outcome {
            Ok(_) => inner.latencies.record(call.name, took),
            Err(error) if error.is_transient() => {
                metrics::counter!("rpc_calls_failed_total", &labels).increment(1);
            }
            Err(_) => {}
        }
        outcome
    }
}

impl Inner {
    /// Tries until there is an answer, or no sense in another try.
    async fn ask(&self, call: Call, body: Bytes, began: Time) -> Result<Bytes> {
        let service = call.service;
        let Ok(_place) = self.places.try_acquire() else {
            metrics::counter!("rpc_calls_refused_total", "service" => service).increment(1);
            let message = format!("too many calls to {service} are under way");
            return Err(Error::unavailable("too_many_calls", message));
        };
        let limit = self.options.limit;
        let until = began + deadline().map_or(limit, |until| wire::shrunk(until.since(began)).min(limit));
        self.budget.pay_in();
        let mut tried = Vec::new();
        loop {
            if until.since(self.world.steady()) < Duration::from_millis(1) {
                return Err(wire::too_late(service, call.name));
            }
            let pick = self.pool.pick_besides(&tried)?;
            tried.push(pick.address().to_owned());
            let ended = self.try_once(Try { call, body: body.clone(), until }, pick, &mut tried).await;
            let (error, harmless) = match ended {
                Ended::Answered(answer) => return answer,
                Ended::Overloaded(error) | Ended::NotReached(error) => (error, true),
                Ended::Lost(error) => (error, call.nature != Nature::Once),
            };
            if !harmless || tried.len() >= self.options.tries || !self.may_try_again(call, "retry") {
                return Err(error);
            }
        }
    }

    /// One try, and a second beside it when the first takes long and both are
    /// harmless: the first answer is taken and the other try dropped.
    async fn try_once(&self, this: Try, first: Pick, tried: &mut Vec<String>) -> Ended {
        let Some(patience) = self.patience(this.call, &first) else { return self.send(&this, first).await };
        let probed = first.is_probe().then(|| first.address().to_owned());
        let mut one = Box::pin(self.send(&this, first));
        if let Some(ended) = self.world.timeout(patience, &mut one).await {
            return ended;
        }
        let Some(second) = self.second(this.call, tried) else { return one.await };
        let two = Box::pin(self.send(&this, second));
        match select(one, two).await {
            Either::Left((Ended::Answered(answer), _)) => Ended::Answered(answer),
            Either::Left((_, two)) => two.await,
            Either::Right((Ended::Answered(answer), one)) => {
                drop(one);
                if let Some(address) = probed {
                    self.pool.report(&address, false); // another was faster in spite of the lead
                }
                Ended::Answered(answer)
            }
            Either::Right((_, one)) => one.await,
        }
    }

    /// How long the first try is waited for alone; nothing: until its end.
    fn patience(&self, call: Call, first: &Pick) -> Option<Duration> {
        let usual = self.latencies.p95(call.name);
        let patience = match call.nature {
            Nature::Once => None,
            _ if first.is_probe() => usual.or(Some(PROBED_ALONE)),
            Nature::Read => usual,
            Nature::Repeatable => None,
        };
        patience.map(|patience| patience.max(HEDGED_AFTER))
    }

    /// Another address for a second try, if there is one and it may be made.
    fn second(&self, call: Call, tried: &mut Vec<String>) -> Option<Pick> {
        let pick = self.pool.pick_besides(tried).ok()?;
        if tried.iter().any(|tried| tried == pick.address()) || !self.may_try_again(call, "hedge") {
            return None;
        }
        tried.push(pick.address().to_owned());
        Some(pick)
    }

    /// Tries this one address, and tells the pool what that says about it.
    async fn send(&self, this: &Try, pick: Pick) -> Ended {
        let sent = self.connections.send(this.call, this.body.clone(), pick.address(), this.until);
        let ended = sent.await;
        match &ended {
            Ended::Answered(_) => pick.succeeded(),
            // It is well; but so short an answer says nothing of how long one takes.
            Ended::Overloaded(_) => drop(pick),
            Ended::NotReached(_) | Ended::Lost(_) => pick.failed(),
        }
        ended
    }

    fn may_try_again(&self, call: Call, why: &'static str) -> bool {
        let allowed = self.budget.take();
        let name = if allowed { "rpc_more_tries_total" } else { "rpc_more_tries_refused_total" };
        metrics::counter!(name, "service" => call.service, "call" => call.name, "why" => why).increment(1);
        allowed
    }
}

/// What is tried.
struct Try {
    call: Call,
    body: Bytes,
    until: Time,
}
