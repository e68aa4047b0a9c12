//! Refusing work while there is still time to say so.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use axum::{
    Router,
    extract::{Request, State},
    middleware::{self, Next},
    response::Response,
};
use kernel::{Error, Result, Time, World};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::wire;

/// When work is refused.
#[derive(Clone, Copy, Debug)]
pub struct ShedOptions {
    /// So much is worked on at once; the rest waits in line.
    pub at_once: usize,
    /// Nobody need wait longer than this, but for a moment.
    pub target: Duration,
    /// That moment: when everybody has waited longer for so long, new work is refused.
    pub interval: Duration,
    /// Nobody waits longer than this.
    pub longest: Duration,
}

impl Default for ShedOptions {
    fn default() -> ShedOptions {
        ShedOptions {
            at_once: 256,
            target: Duration::from_millis(20),
            interval: Duration::from_millis(100),
            longest: Duration::from_secs(1),
        }
    }
}

/// A line that work waits in, in the order it came. As CoDel (RFC 8289) does
/// it, how long the wait is decides, not how many wait: a burst is let in, a
/// line that stays is not made longer. Who is refused (unavailable
/// `overloaded`) asks another process. Cheap to clone; one for each line.
#[derive(Clone)]
pub struct Shed(Arc<Inner>);

struct Inner {
    world: World,
    queue: &'static str,
    options: ShedOptions,
    places: Arc<Semaphore>,
    /// Since when everybody who got a place had waited for too long.
    slow_since: Mutex<Option<Time>>,
}

/// Leave to work, until it is dropped.
pub struct Place {
    _permit: OwnedSemaphorePermit,
    waited: Duration,
}

impl Shed {
    /// A line; `queue` names it in the metrics.
    pub fn new(world: &World, queue: &'static str, options: ShedOptions) -> Shed {
        let places = Arc::new(Semaphore::new(options.at_once));
        Shed(Arc::new(Inner { world: world.clone(), queue, options, places, slow_since: Mutex::default() }))
    }

    /// Waits for a place; refused when others have been waiting too long.
    pub async fn enter(&self) -> Result<Place> {
        self.enter_within(Duration::MAX).await
    }

    async fn enter_within(&self, limit: Duration) -> Result<Place> {
        let inner = &*self.0;
        let came = inner.world.steady();
        if let Ok(permit) = inner.places.clone().try_acquire_owned() {
            inner.waited(Duration::ZERO);
            return Ok(Place { _permit: permit, waited: Duration::ZERO });
        }
        if inner.is_overloaded(came) {
            return Err(inner.refusal());
        }
        let limit = limit.min(inner.options.longest);
        let permit = inner.world.timeout(limit, inner.places.clone().acquire_owned()).await;
        let waited = inner.world.steady().since(came);
        inner.waited(waited);
        match permit {
            Some(Ok(permit)) => Ok(Place { _permit: permit, waited }),
            _ => Err(inner.refusal()),
        }
    }
}

impl Inner {
    fn waited(&self, span: Duration) {
        let queue = self.queue;
        metrics::histogram!("queue_wait_seconds", "queue" => queue).record(span.as_secs_f64());
        let mut slow_since = self.slow_since.lock().unwrap_or_else(PoisonError::into_inner);
        if span < self.options.target {
            *slow_since = None;
        } else if slow_since.is_none() {
            *slow_since = Some(self.world.steady());
        }
    }

    fn is_overloaded(&self, now: Time) -> bool {
        let slow_since = *self.slow_since.lock().unwrap_or_else(PoisonError::into_inner);
        slow_since.is_some_and(|since| now.since(since) >= self.options.interval)
    }

    fn refusal(&self) -> Error {
        metrics::counter!("work_shed_total", "queue" => self.queue).increment(1);
        Error::unavailable(wire::OVERLOADED, "there is too much to do here at the moment")
    }
}

/// Lets requests to these routes wait in this line; `refuse` answers those that
/// are refused ([`refuse`](crate::refuse) for calls between services). A place
/// is held until the answer begins, so a long stream takes none.
pub fn shed(routes: Router, shed: &Shed, refuse: Refuse) -> Router {
    routes.route_layer(middleware::from_fn_with_state((shed.clone(), refuse), admit))
}

/// What answers a request that is refused.
pub type Refuse = fn(Error) -> Response;

async fn admit(State((shed, refuse)): State<(Shed, Refuse)>, mut request: Request, next: Next) -> Response {
    let left = wire::read_left(request.headers());
    let place = match shed.enter_within(left.unwrap_or(Duration::MAX)).await {
        Ok(place) => place,
        Err(error) => return refuse(error),
    };
    if let Some(left) = left {
        // The caller's clock went on while we waited.
        request.headers_mut().insert(wire::DEADLINE, wire::left(left.saturating_sub(place.waited)));
    }
    next.run(request).await
}
