//! A closed loop: so many connections, each asking again as soon as it is
//! answered.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use futures::future::join_all;
use http::{Request, header};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

/// One request, ready to be sent again and again.
#[derive(Clone, Debug)]
pub struct Ask {
    request: Request<Full<Bytes>>,
}

impl Ask {
    /// `GET`, with a token if there is one.
    pub fn get(path: &str, token: &str) -> Ask {
        let request = Request::get(path).header(header::HOST, "localhost").body(Full::default());
        let ask = Ask { request: request.expect("a path of ours") };
        if token.is_empty() { ask } else { ask.signed(token) }
    }

    /// `POST` of JSON.
    pub fn post(path: &str, body: String) -> Ask {
        let request = Request::post(path)
            .header(header::HOST, "localhost")
            .header(header::CONTENT_TYPE, "application/json")
            .body(Full::from(body));
        Ask { request: request.expect("a path of ours") }
    }

    /// Signed in.
    pub fn signed(self, token: &str) -> Ask {
        self.with("authorization", &format!("Bearer {token}"))
    }

    /// With an idempotency key.
    pub fn keyed(self, key: &str) -> Ask {
        self.with("idempotency-key", key)
    }

    fn with(mut self, name: &'static str, value: &str) -> Ask {
        self.request.headers_mut().insert(name, value.parse().expect("a header of ours"));
        self
    }
}

/// What came of a load.
#[derive(Debug, Default)]
pub struct Outcome {
    /// How many answers of 2xx there were.
    pub answers: u64,
    /// Everything else, by status; 0 is a broken connection.
    pub failures: BTreeMap<u16, u64>,
    /// From the first to the last.
    pub span: Duration,
    /// How long each took, in milliseconds, sorted.
    latencies: Vec<f32>,
}

impl Outcome {
    /// Answers per second.
    pub fn rate(&self) -> f64 {
        self.answers as f64 / self.span.as_secs_f64()
    }

    /// The time within which this share was answered, in milliseconds.
    pub fn percentile(&self, share: f64) -> f32 {
        let index = (self.latencies.len() as f64 * share) as usize;
        self.latencies.get(index.min(self.latencies.len().saturating_sub(1))).copied().unwrap_or_default()
    }

    fn add(&mut self, other: Outcome) {
        self.answers += other.answers;
        self.latencies.extend(other.latencies);
        for (status, count) in other.failures {
            *self.failures.entry(status).or_default() += count;
        }
    }
}

/// Where the load goes, by how many and for how long.
#[derive(Clone, Copy)]
pub struct Load {
    /// The server.
    pub address: SocketAddr,
    /// How many connections ask at once.
    pub connections: usize,
    /// For how long.
    pub span: Duration,
}

impl Load {
    /// Each of these once.
    pub async fn once(&self, asks: &[Ask]) -> Outcome {
        self.run(|count| asks.get(count as usize).cloned()).await
    }

    /// These in turn until the time is over.
    pub async fn repeat(&self, asks: &[Ask]) -> Outcome {
        let until = Instant::now() + self.span;
        self.run(|count| (Instant::now() < until).then(|| asks[count as usize % asks.len()].clone())).await
    }

    /// Another one each time until the time is over.
    pub async fn made(&self, make: &impl Fn(u64) -> Ask) -> Outcome {
        let until = Instant::now() + self.span;
        self.run(|count| (Instant::now() < until).then(|| make(count))).await
    }

    async fn run(&self, next: impl Fn(u64) -> Option<Ask>) -> Outcome {
        let count = Arc::new(AtomicU64::new(0));
        let next = || next(count.fetch_add(1, Ordering::Relaxed));
        let began = Instant::now();
        let loops = (0..self.connections).map(|_| one(self.address, &next));
        let mut outcome = Outcome::default();
        for part in join_all(loops).await {
            outcome.add(part);
        }
        outcome.span = began.elapsed();
        outcome.latencies.sort_by(f32::total_cmp);
        outcome
    }
}

/// Sends one request on a connection of its own.
pub async fn ask(address: SocketAddr, ask: Ask) -> (u16, serde_json::Value) {
    let mut connection = connect(address).await.expect("the server listens");
    let (status, body) = send(&mut connection, ask).await.expect("the server answers");
    (status, serde_json::from_slice(&body).unwrap_or_default())
}

/// Sends many, so many at once; returns the answers in their order.
pub async fn ask_all(address: SocketAddr, connections: usize, asks: Vec<Ask>) -> Vec<serde_json::Value> {
    let count = AtomicU64::new(0);
    let loops = (0..connections).map(|_| async {
        let mut connection = connect(address).await.expect("the server listens");
        let mut answers = Vec::new();
        loop {
            let index = count.fetch_add(1, Ordering::Relaxed) as usize;
            let Some(ask) = asks.get(index) else {
                return answers;
            };
            let (status, body) = send(&mut connection, ask.clone()).await.expect("the server answers");
            let text = String::from_utf8_lossy(&body);
            assert!(
                (200..300).contains(&status),
                "{} {}: {status} {text}",
                ask.request.method(),
                ask.request.uri()
            );
            answers.push((index, serde_json::from_slice(&body).expect("answers are JSON")));
        }
    });
    let mut answers: Vec<_> = join_all(loops).await.into_iter().flatten().collect();
    answers.sort_by_key(|(index, _)| *index);
    answers.into_iter().map(|(_, answer)| answer).collect()
}

/// One connection's share.
async fn one(address: SocketAddr, next: &impl Fn() -> Option<Ask>) -> Outcome {
    let mut outcome = Outcome::default();
    let mut connection = None;
    while let Some(ask) = next() {
        let began = Instant::now();
        let answer = match &mut connection {
            Some(open) => send(open, ask).await,
            none => match connect(address).await {
                Ok(open) => send(none.insert(open), ask).await,
                Err(error) => Err(error),
            },
        };
        match answer {
            Ok((200..300, _)) => {
                outcome.answers += 1;
                outcome.latencies.push(began.elapsed().as_secs_f32() * 1000.0);
            }
            Ok((status, _)) => *outcome.failures.entry(status).or_default() += 1,
            Err(_) => {
                *outcome.failures.entry(0).or_default() += 1;
                connection = None;
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
    }
    outcome
}

type Broken = Box<dyn std::error::Error + Send + Sync>;

async fn connect(address: SocketAddr) -> Result<SendRequest<Full<Bytes>>, Broken> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let (sender, connection) = handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    Ok(sender)
}

async fn send(connection: &mut SendRequest<Full<Bytes>>, ask: Ask) -> Result<(u16, Bytes), Broken> {
    connection.ready().await?;
    let answer = connection.send_request(ask.request).await?;
    let status = answer.status().as_u16();
    Ok((status, answer.into_body().collect().await?.to_bytes()))
}

/// Seconds of processor time that a process has used so far.
pub fn busy(id: u32) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
    let after_name = stat.rsplit(')').next().unwrap_or_default();
    let fields: Vec<&str> = after_name.split_whitespace().collect();
    // utime and stime, fields 14 and 15 of proc(5), in hundredths of a second.
    let ticks =
        |field: usize| fields.get(field).and_then(|ticks| ticks.parse::<f64>().ok()).unwrap_or_default();
    (ticks(11) + ticks(12)) / 100.0
}
