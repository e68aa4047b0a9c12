//! The network between customers, staff and processes: it delays, loses what
//! is asked or answered, and delivers what was given up long ago.

use std::{
    fmt,
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{Router, body::Body};
use bytes::Bytes;
use http::{Request, Response};
use kernel::{BoxFuture, World};
use rpc::{Cut, Network};
use tokio::sync::oneshot;
use tower::ServiceExt;

use crate::{chance::Chance, log};

/// Connects everybody. Cheap to clone.
#[derive(Clone)]
pub struct Net(Arc<Mutex<State>>);

impl fmt::Debug for Net {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Net").finish_non_exhaustive()
    }
}

struct State {
    chance: Chance,
    weather: Weather,
    /// Who is there, by number.
    places: Vec<Option<(World, Router)>>,
}

/// How bad it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Weather {
    /// Once in so many times what is asked or answered is lost; never for 0.
    pub loses: u64,
    /// Once in so many times a copy arrives later; never for 0.
    pub doubles: u64,
    /// The longest that it takes there, or back, in milliseconds.
    pub slow: u64,
}

/// What happens to one ask.
#[derive(Debug)]
struct Fate {
    there: Duration,
    back: Duration,
    lost: Option<Lost>,
    copy: Option<Duration>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lost {
    Refused,
    OnTheWayThere,
    OnTheWayBack,
}

impl Net {
    /// With nobody there.
    pub fn new(seed: u64, processes: usize) -> Net {
        let places = (0..processes).map(|_| None).collect();
        Net(Arc::new(Mutex::new(State { chance: Chance::new(seed), weather: Weather::default(), places })))
    }

    /// The address of a process, by number.
    pub fn address(process: usize) -> String {
        format!("http://10.0.0.{}:80", process + 1)
    }

    /// A process can be asked from now on.
    pub fn connect(&self, process: usize, world: &World, router: Router) {
        self.0.lock().unwrap().places[process] = Some((world.clone(), router));
    }

    /// A process cannot be asked any more.
    pub fn disconnect(&self, process: usize) {
        self.0.lock().unwrap().places[process] = None;
    }

    /// It is like this from now on.
    pub fn turn(&self, weather: Weather) {
        self.0.lock().unwrap().weather = weather;
    }

    /// Asks somebody; a customer's browser tries any.
    pub async fn ask_anybody(&self, request: Request<Bytes>) -> Result<Response<Bytes>, Cut> {
        let process = {
            let mut state = self.0.lock().unwrap();
            let count = state.places.len() as u64;
            state.chance.below(count) as usize
        };
        self.carry(process, request, false).await
    }

    async fn carry(
        &self,
        to: usize,
        request: Request<Bytes>,
        may_double: bool,
    ) -> Result<Response<Bytes>, Cut> {
        let fate = self.0.lock().unwrap().fate(may_double);
        log::say(format_args!("{} to {to}: {fate:?}", request.uri().path()));
        if fate.lost == Some(Lost::Refused) {
            return Err(Cut::NotReached("refused".into()));
        }
        tokio::time::sleep(fate.there).await;
        if let Some(delay) = fate.copy {
            let (net, copy) = (self.clone(), request.clone());
            tokio::spawn(async move {
                tokio::time::sleep(delay).await;
                drop(net.deliver(to, copy).await);
            });
        }
        if fate.lost == Some(Lost::OnTheWayThere) {
            return Err(Cut::Lost("reset".into()));
        }
        let answer = self.deliver(to, request).await;
        tokio::time::sleep(fate.back).await;
        match fate.lost {
            None => answer,
            Some(_) => Err(Cut::Lost("reset".into())),
        }
    }

    async fn deliver(&self, to: usize, request: Request<Bytes>) -> Result<Response<Bytes>, Cut> {
        let there = self.0.lock().unwrap().places[to].clone();
        let (world, router) = there.ok_or(Cut::NotReached("nobody is there".into()))?;
        let (answer, answered) = oneshot::channel();
        world.spawn(async move {
            let Ok(response) = router.oneshot(request.map(Body::from)).await;
            let (head, body) = response.into_parts();
            if let Ok(body) = axum::body::to_bytes(body, usize::MAX).await {
                drop(answer.send(Response::from_parts(head, body)));
            }
        });
        answered.await.map_err(|_| Cut::Lost("whoever was asked has died".into()))
    }
}

impl State {
    fn fate(&mut self, may_double: bool) -> Fate {
        let Weather { loses, doubles, slow } = self.weather;
        let chance = &mut self.chance;
        let there = Duration::from_micros(chance.between(100, 200 + slow * 1000));
        let back = Duration::from_micros(chance.between(100, 200 + slow * 1000));
        let ways = [Lost::Refused, Lost::OnTheWayThere, Lost::OnTheWayBack, Lost::OnTheWayBack];
        let lost = (loses > 0 && chance.once_in(loses)).then(|| *chance.one_of(&ways));
        let copied = may_double && doubles > 0 && chance.once_in(doubles);
        let copy = copied.then(|| Duration::from_millis(chance.between(0, 8_000)));
        Fate { there, back, lost, copy }
    }
}

/// The services ask one another over it.
impl Network for Net {
    fn ask(&self, request: Request<Bytes>) -> BoxFuture<'_, Result<Response<Bytes>, Cut>> {
        let host = request.uri().host().unwrap_or_default();
        let process =
            host.strip_prefix("10.0.0.").and_then(|number| number.parse::<usize>().ok()).unwrap() - 1;
        Box::pin(self.carry(process, request, true))
    }
}
