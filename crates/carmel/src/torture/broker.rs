//! A broker that speaks Kafka's protocol and keeps all in memory, in a process
//! of its own.
//!
//! librdkafka lets whatever is started beside its broker inherit that one's
//! sockets. Within this process they would stay open in the shop's processes
//! and servers when the broker closes them, and a client of a broker that is
//! away would not learn of it.

use std::{
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Child, ChildStdin, ChildStdout, Command, ExitCode, Stdio},
    sync::{Mutex, PoisonError},
};

use kernel::{Error, Result};
use rdkafka::{mocking::MockCluster, producer::DefaultProducerContext};

use crate::part::Part;

/// As many as the settings have it.
const PARTITIONS: i32 = 8;
/// The only one of its cluster.
const ID: i32 = 1;
/// What it is told; it repeats the word when that is done.
const AWAY: &str = "away";
const BACK: &str = "back";

/// One of them. It ends with whoever started it.
pub struct Broker {
    process: Child,
    address: String,
    talk: Mutex<(ChildStdin, BufReader<ChildStdout>)>,
}

impl Broker {
    /// Starts one that has the topics of every service. `program` is this program.
    pub fn start(program: &Path) -> Result<Broker> {
        let mut command = Command::new(program);
        command.args(["internal", "broker"]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = command.spawn().map_err(Error::internal)?;
        let (Some(input), Some(output)) = (process.stdin.take(), process.stdout.take()) else {
            unreachable!("both were asked for")
        };
        let mut output = BufReader::new(output);
        let address = answer(&mut output)?;
        Ok(Broker { process, address, talk: Mutex::new((input, output)) })
    }

    /// Where it listens, as the setting `KAFKA_BROKERS` has it.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Closes its connections and takes no other until it is back.
    pub fn away(&self) -> Result<()> {
        self.tell(AWAY)
    }

    /// Answers again; what it had it has.
    pub fn back(&self) -> Result<()> {
        self.tell(BACK)
    }

    fn tell(&self, word: &str) -> Result<()> {
        let mut talk = self.talk.lock().unwrap_or_else(PoisonError::into_inner);
        writeln!(talk.0, "{word}").map_err(Error::internal)?;
        answer(&mut talk.1).map(drop)
    }
}

fn answer(output: &mut impl BufRead) -> Result<String> {
    let mut line = String::new();
    match output.read_line(&mut line).map_err(Error::internal)? {
        0 => Err(Error::unavailable("broker_ended", "the broker in memory ended")),
        _ => Ok(line.trim_end().to_owned()),
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        if let Err(error) = self.process.kill().and_then(|()| self.process.wait()) {
            tracing::debug!(%error, "the broker had ended");
        }
    }
}

/// What its process does: it says where it listens, and does what it is told
/// until its input ends.
pub fn run() -> ExitCode {
    match serve() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{}", error.chain());
            ExitCode::FAILURE
        }
    }
}

fn serve() -> Result<()> {
    let broker: MockCluster<'_, DefaultProducerContext> = MockCluster::new(1).map_err(Error::internal)?;
    for service in Part::services() {
        // It makes none when it is asked to, as a broker would.
        broker.create_topic(&format!("carmel.{service}"), PARTITIONS, 1).map_err(Error::internal)?;
    }
    println!("{}", broker.bootstrap_servers());
    for word in std::io::stdin().lines() {
        let word = word.map_err(Error::internal)?;
        let done = match word.as_str() {
            AWAY => broker.broker_down(ID),
            BACK => broker.broker_up(ID),
            _ => return Err(Error::invalid("unknown_word", format!("{word} is neither {AWAY} nor {BACK}"))),
        };
        done.map_err(Error::internal)?;
        println!("{word}");
    }
    Ok(())
}
