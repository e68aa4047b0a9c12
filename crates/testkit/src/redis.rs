//! A real Redis: alone, watched by a sentinel, or a cluster.

use std::{
    io::{Read, Write},
    net::TcpStream,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use crate::Program;

/// A Redis server on a free port, as a queue wants it: nothing is evicted, and
/// nothing is kept when it ends unless it is saved.
pub struct Server(Program);

impl Server {
    /// Starts one.
    pub fn start() -> Server {
        Server::start_with(&[])
    }

    /// Starts one with more settings: `["--maxmemory-policy", "allkeys-lru"]`.
    pub fn start_with(settings: &[&str]) -> Server {
        Server(Program::start("redis", |port| command(port, settings)))
    }

    /// Where it is: `redis://127.0.0.1:20123`.
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port())
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.0.port()
    }

    /// Forgets everything.
    pub fn flush(&self) {
        self.ask(&["flushall"]);
    }

    /// Asks it something by `redis-cli` and returns what it says.
    pub fn ask(&self, words: &[&str]) -> String {
        cli(self.port(), words)
    }

    /// How often a command was carried out: `get`.
    pub fn calls(&self, command: &str) -> u64 {
        let mut socket = TcpStream::connect(("127.0.0.1", self.port())).unwrap();
        socket.write_all(b"INFO commandstats\r\nQUIT\r\n").unwrap();
        let mut stats = String::new();
        socket.read_to_string(&mut stats).unwrap();
        let calls = stats.split_once(&format!("cmdstat_{command}:calls="));
        calls.map_or(0, |(_, rest)| rest.split(',').next().unwrap().parse().unwrap())
    }

    /// From now on, until what is returned is dropped, it does something else
    /// for this long before it looks at what it was asked meanwhile. Wants
    /// `--enable-debug-command local`.
    pub fn slow_down(&self, span: Duration) -> impl Drop + use<> {
        struct Slow(std::process::Child);
        impl Drop for Slow {
            fn drop(&mut self) {
                self.0.kill().unwrap();
                self.0.wait().unwrap();
            }
        }
        let (port, span) = (self.port().to_string(), span.as_secs_f64().to_string());
        let mut again_and_again = Command::new("redis-cli");
        again_and_again.args(["-p", &port, "-r", "100000", "debug", "sleep", &span]);
        let before = self.calls("debug");
        let slow = Slow(again_and_again.stdout(Stdio::null()).spawn().unwrap());
        let until = Instant::now() + Duration::from_secs(30);
        while self.calls("debug") == before {
            assert!(Instant::now() < until, "redis is as fast as before");
            thread::sleep(Duration::from_millis(5));
        }
        slow
    }

    /// `kill -9`
    pub fn kill(&mut self) {
        self.0.kill();
    }

    /// Starts it again on its port, with what it saved last.
    pub fn restart(&mut self) {
        let port = self.port();
        self.0.restart(command(port, &[]));
    }

    /// Freezes it: its connections stay and nobody answers.
    pub fn freeze(&self) {
        self.0.signal("STOP");
    }

    /// Lets it go on.
    pub fn thaw(&self) {
        self.0.signal("CONT");
    }
}

/// A master, a replica and one sentinel, which makes the replica the master
/// when the master is gone for half a second.
pub struct Sentinel {
    /// The master at first.
    pub master: Server,
    /// Who takes over.
    pub replica: Server,
    sentinel: Program,
}

impl Sentinel {
    /// Starts the three and waits until they know one another.
    pub fn start() -> Sentinel {
        let master = Server::start_with(&["--repl-diskless-sync-delay", "0"]);
        let port = master.port().to_string();
        let replica = Server::start_with(&["--replicaof", &format!("127.0.0.1 {port}")]);
        wait_until("the replica has all", || replica.ask(&["role"]).contains("connected"));
        let sentinel = Program::start("sentinel", |own| {
            let file =
                std::env::temp_dir().join(format!("carmel-sentinel-{own}-{}.conf", std::process::id()));
            let lines = format!(
                "port {own}\nbind 127.0.0.1\nsentinel monitor shop 127.0.0.1 {port} 1\n\
                 sentinel down-after-milliseconds shop 500\nsentinel failover-timeout shop 5000\n"
            );
            std::fs::write(&file, lines).unwrap();
            let mut command = Command::new("redis-server");
            command.arg(file).arg("--sentinel");
            command
        });
        let replica_is_known = || cli(sentinel.port(), &["sentinel", "replicas", "shop"]).contains("slave");
        wait_until("the sentinel knows the replica", replica_is_known);
        Sentinel { master, replica, sentinel }
    }

    /// `redis+sentinel://127.0.0.1:20123/shop`
    pub fn url(&self) -> String {
        format!("redis+sentinel://127.0.0.1:{}/shop", self.sentinel.port())
    }
}

impl Drop for Sentinel {
    fn drop(&mut self) {
        let name = format!("carmel-sentinel-{}-{}.conf", self.sentinel.port(), std::process::id());
        std::fs::remove_file(std::env::temp_dir().join(name)).unwrap();
    }
}

/// A cluster of three masters.
pub struct Cluster(Vec<Server>);

impl Cluster {
    /// Starts them and waits until they are one.
    pub fn start() -> Cluster {
        let nodes: Vec<Server> = (0..3).map(|_| Server::start_with(&["--cluster-enabled", "yes"])).collect();
        let places: Vec<String> = nodes.iter().map(|node| format!("127.0.0.1:{}", node.port())).collect();
        let mut words = vec!["--cluster", "create"];
        words.extend(places.iter().map(String::as_str));
        words.push("--cluster-yes");
        nodes[0].ask(&words);
        for node in &nodes {
            wait_until("the cluster is one", || node.ask(&["cluster", "info"]).contains("cluster_state:ok"));
        }
        Cluster(nodes)
    }

    /// Makes another master the owner of this key's slot, and returns it. What
    /// stood there is lost.
    pub fn hand_on(&self, key: &str) -> &Server {
        let owner = self.0.iter().position(|node| !node.ask(&["exists", key]).contains("MOVED")).unwrap();
        let heir = (owner + 1) % self.0.len();
        let slot = self.0[owner].ask(&["cluster", "keyslot", key]);
        let id = self.0[heir].ask(&["cluster", "myid"]);
        self.0[heir].ask(&["cluster", "bumpepoch"]); // what it says counts more than what others still say
        for node in [heir, owner, (owner + 2) % self.0.len()] {
            wait_until("the slot has another owner", || {
                if node == owner {
                    self.0[node].flush(); // who still has keys of it does not give it away
                }
                self.0[node].ask(&["cluster", "setslot", slot.trim(), "node", id.trim()]).contains("OK")
            });
        }
        &self.0[heir]
    }

    /// One of its nodes; asked with `-c` it knows of all keys.
    pub fn node(&self) -> &Server {
        &self.0[0]
    }

    /// `redis+cluster://127.0.0.1:20123,127.0.0.1:20124,…`
    pub fn url(&self) -> String {
        let places: Vec<String> = self.0.iter().map(|node| format!("127.0.0.1:{}", node.port())).collect();
        format!("redis+cluster://{}", places.join(","))
    }
}

fn command(port: u16, settings: &[&str]) -> Command {
    let mut command = Command::new("redis-server");
    command.args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", ""]);
    command.args(["--appendonly", "no", "--maxmemory-policy", "noeviction"]).args(settings);
    command
}

/// Asks again when it is cut off: a sentinel that makes a server the master ends
/// all its connections.
fn cli(port: u16, words: &[&str]) -> String {
    let ask = || {
        let said = Command::new("redis-cli").args(["-p", &port.to_string()]).args(words).output().unwrap();
        let all = String::from_utf8_lossy(&[said.stdout, said.stderr].concat()).into_owned();
        if said.status.success() { Ok(all) } else { Err(all) }
    };
    let first = ask();
    let cut_off = first.as_ref().is_err_and(|all| all.contains("Server closed the connection"));
    (if cut_off { ask() } else { first }).unwrap_or_else(|all| panic!("redis-cli {words:?}: {all}"))
}

fn wait_until(what: &str, is_so: impl Fn() -> bool) {
    let until = Instant::now() + Duration::from_secs(30);
    while !is_so() {
        assert!(Instant::now() < until, "it did not come to be that {what}");
        thread::sleep(Duration::from_millis(20));
    }
}
