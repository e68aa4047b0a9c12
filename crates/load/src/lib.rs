//! How to ask a server for much, and to say how it answered.
//!
//! A closed loop keeps so many connections busy: what the server can do. An
//! open one asks at a set rate whatever comes back: how long people wait. There
//! a request that could not be sent in time, because all connections still
//! waited, is late by the server's fault, and its time runs from when it was due
//! (else the wait that matters most would be the one that is not measured).
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod ask;
mod connection;
mod outcome;
mod process;

use std::{
    net::SocketAddr,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use futures::future::{join_all, try_join_all};
use tokio::time::Instant;

pub use ask::Ask;
pub use connection::{Answer, Broken, Connection};
pub use outcome::Outcome;
pub use process::{busy, family, memory_mb};

/// How many ask for how long, and how often.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    /// The server.
    pub address: SocketAddr,
    /// How many connections ask at once, at most.
    pub connections: usize,
    /// For how long.
    pub span: Duration,
    /// So many a second, evenly spread; each connection as soon as it is answered when nothing is said.
    pub per_second: Option<f64>,
}

impl Load {
    /// Each of these once, however long it takes.
    pub async fn once(&self, asks: &[Ask]) -> Outcome {
        self.run(|count| asks.get(count as usize).cloned(), send).await
    }

    /// These in turn until the time is over.
    pub async fn repeat(&self, asks: &[Ask]) -> Outcome {
        self.made(&|count| asks[count as usize % asks.len()].clone()).await
    }

    /// Another one each time until the time is over.
    pub async fn made(&self, make: &impl Fn(u64) -> Ask) -> Outcome {
        let began = Instant::now();
        let is_over = |count: u64| match self.per_second {
            Some(rate) => count as f64 >= rate * self.span.as_secs_f64(),
            None => began.elapsed() >= self.span,
        };
        self.run(|count| (!is_over(count)).then(|| make(count)), send).await
    }

    /// Another errand each time until the time is over: several requests, one after
    /// the other, of which a later one may need what an earlier one was answered.
    /// An errand that was begun is finished; it comes out as its last answer does.
    pub async fn errands(
        &self,
        go: &impl AsyncFn(u64, &mut Connection) -> Result<Answer, Broken>,
    ) -> Outcome {
        let began = Instant::now();
        self.run(
            |_| (began.elapsed() < self.span).then_some(()),
            async |number, (), connection| go(number, connection).await,
        )
        .await
    }

    async fn run<T>(
        &self,
        next: impl Fn(u64) -> Option<T>,
        send: impl AsyncFn(u64, T, &mut Connection) -> Result<Answer, Broken>,
    ) -> Outcome {
        let (began, count) = (Instant::now(), AtomicU64::new(0));
        let outcome = Mutex::new(Outcome::default());
        let one = || async {
            let mut connection = Connection::to(self.address);
            loop {
                let number = count.fetch_add(1, Ordering::Relaxed);
                let Some(what) = next(number) else { return };
                let asked_at = self.turn(began, number).await;
                let answer = send(number, what, &mut connection).await;
                let is_broken = answer.is_err();
                outcome.lock().unwrap_or_else(PoisonError::into_inner).note(answer, asked_at.elapsed());
                if is_broken {
                    tokio::time::sleep(AFTER_A_BREAK).await;
                }
            }
        };
        join_all((0..self.connections).map(|_| one())).await;
        let mut outcome = outcome.into_inner().unwrap_or_else(PoisonError::into_inner);
        outcome.span = began.elapsed();
        outcome
    }

    /// Waits for the turn of the request of this number. Returns from when its
    /// time runs: from when it was due if nobody was free to send it then, else
    /// from now, so that a timer that is late is not taken for the server.
    async fn turn(&self, began: Instant, number: u64) -> Instant {
        if let Some(rate) = self.per_second {
            let due = began + Duration::from_secs_f64(number as f64 / rate);
            if due <= Instant::now() {
                return due;
            }
            tokio::time::sleep_until(due).await;
        }
        Instant::now()
    }
}

async fn send(_: u64, ask: Ask, connection: &mut Connection) -> Result<Answer, Broken> {
    connection.send(ask).await
}

/// The pause of a connection that broke: a server that is gone is not asked in a tight loop.
const AFTER_A_BREAK: Duration = Duration::from_millis(5);

/// Sends one request on a connection of its own.
pub async fn ask(address: SocketAddr, ask: Ask) -> Result<Answer, Broken> {
    Connection::to(address).send(ask).await
}

/// Sends many, so many at once; returns their answers in this order. Fails with
/// the first that is not 2xx.
pub async fn ask_all(
    address: SocketAddr,
    connections: usize,
    asks: Vec<Ask>,
) -> Result<Vec<serde_json::Value>, NotDone> {
    let count = AtomicU64::new(0);
    let (asks, count) = (&asks, &count);
    let one = || async move {
        let mut connection = Connection::to(address);
        let mut answers = Vec::new();
        loop {
            let index = count.fetch_add(1, Ordering::Relaxed) as usize;
            let Some(ask) = asks.get(index) else { return Ok(answers) };
            let said = match connection.send(ask.clone()).await {
                Ok(answer) if answer.is_done() => {
                    answers.push((index, answer.json()));
                    continue;
                }
                Ok(answer) => format!("{} {}", answer.status, String::from_utf8_lossy(&answer.body)),
                Err(broken) => broken.to_string(),
            };
            return Err(NotDone { what: ask.to_string(), said });
        }
    };
    let mut answers: Vec<_> =
        try_join_all((0..connections).map(|_| one())).await?.into_iter().flatten().collect();
    answers.sort_by_key(|(index, _)| *index);
    Ok(answers.into_iter().map(|(_, answer)| answer).collect())
}

/// What had to be done was not.
#[derive(Debug, thiserror::Error)]
#[error("{what} was answered with {said}")]
pub struct NotDone {
    what: String,
    said: String,
}
