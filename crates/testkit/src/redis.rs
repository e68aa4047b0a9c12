//! A real Redis that keeps nothing.

use std::process::Command;

use crate::Program;

/// A Redis server on a free port, as a queue wants it: nothing is evicted.
pub struct Server(Program);

impl Server {
    /// Starts one.
    pub fn start() -> Server {
        Server(Program::start("redis", |port| {
            let mut command = Command::new("redis-server");
            command.args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", ""]);
            command.args(["--appendonly", "no", "--maxmemory-policy", "noeviction"]);
            command
        }))
    }

    /// Where it is: `redis://127.0.0.1:20123`.
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.0.port())
    }

    /// Forgets everything.
    pub fn flush(&self) {
        let port = self.0.port().to_string();
        let flushed = Command::new("redis-cli").args(["-p", &port, "flushall"]).output().unwrap();
        assert!(flushed.status.success(), "{}", String::from_utf8_lossy(&flushed.stderr));
    }
}
