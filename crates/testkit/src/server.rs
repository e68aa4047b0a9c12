//! Starting what is not ours, so that it ends with the test whatever happens.

use std::{
    net::{TcpListener, TcpStream},
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
    sync::{LazyLock, Mutex, mpsc},
    thread,
    time::{Duration, Instant},
};

/// A started process: killed when dropped, and by the kernel when this
/// process dies.
pub(crate) struct Process(Child);

/// How a process is started.
pub(crate) struct Start<'a> {
    /// The signal it gets when this process dies.
    pub death: &'static str,
    /// Whether it runs as `nobody` when we are root: PostgreSQL refuses root.
    pub as_nobody: bool,
    /// Where it stands, and where what it says is kept as `log`.
    pub folder: &'a Path,
    /// The program, its arguments and its environment.
    pub command: Command,
}

impl Process {
    pub(crate) fn start(start: Start<'_>) -> Process {
        let log = std::fs::File::options().create(true).append(true).open(start.folder.join("log")).unwrap();
        let mut command = wrapped(start.death, start.as_nobody, &start.command);
        command.current_dir(start.folder).stdin(Stdio::null());
        command.stdout(log.try_clone().unwrap()).stderr(log);
        Process(spawn(command))
    }

    pub(crate) fn id(&self) -> u32 {
        self.0.id()
    }

    /// Sends a signal, such as `TERM`.
    pub(crate) fn signal(&self, name: &str) {
        let pid = self.0.id().to_string();
        let sent = Command::new("kill").args(["-s", name, &pid]).status().unwrap();
        assert!(sent.success(), "signal {name} could not be sent to {pid}");
    }

    /// Waits until it has ended by itself, at most that long.
    pub(crate) fn ended(&mut self, within: Duration) -> Option<ExitStatus> {
        let until = Instant::now() + within;
        loop {
            match self.0.try_wait().unwrap() {
                Some(status) => return Some(status),
                None if Instant::now() > until => return None,
                None => thread::sleep(Duration::from_millis(5)),
            }
        }
    }

    /// `kill -9`
    pub(crate) fn kill(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if matches!(self.0.try_wait(), Ok(None)) && self.0.kill().is_ok() {
            drop(self.0.wait());
        }
    }
}

/// Sends a signal to all that a process has started, as far as they are there.
pub(crate) fn signal_children(parent: u32, name: &str) {
    let parent = parent.to_string();
    let found = Command::new("pgrep").args(["-P", &parent]).output().expect("pgrep is part of procps");
    let children = String::from_utf8_lossy(&found.stdout).into_owned();
    for child in children.split_whitespace() {
        // It fails for one that has ended meanwhile, which needs none.
        Command::new("kill").args(["-s", name, child]).stderr(Stdio::null()).status().unwrap();
    }
}

/// The same command behind `setpriv`, which execs it: the process id is its own.
fn wrapped(death: &str, as_nobody: bool, command: &Command) -> Command {
    let mut setpriv = Command::new("setpriv");
    setpriv.args(["--pdeathsig", death]);
    if as_nobody && is_root() {
        setpriv.args(["--reuid=nobody", "--regid=nogroup", "--clear-groups"]);
    }
    setpriv.arg("--").arg(command.get_program()).args(command.get_args());
    for (key, value) in command.get_envs() {
        match value {
            Some(value) => setpriv.env(key, value),
            None => setpriv.env_remove(key),
        };
    }
    setpriv
}

fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata("/proc/self").unwrap().uid() == 0
}

/// The kernel tells a child of the death of the *thread* that started it, so
/// one thread that lives as long as the tests starts them all.
fn spawn(command: Command) -> Child {
    type Ask = (Command, mpsc::Sender<std::io::Result<Child>>);
    static STARTER: LazyLock<Mutex<mpsc::Sender<Ask>>> = LazyLock::new(|| {
        let (ask, asks) = mpsc::channel::<Ask>();
        let start = move || {
            for (mut command, answer) in asks {
                answer.send(command.spawn()).expect("the one who asked waits for the answer");
            }
        };
        thread::Builder::new().name("starter".into()).spawn(start).unwrap();
        Mutex::new(ask)
    });
    let name = format!("{command:?}");
    let (answer, started) = mpsc::channel();
    STARTER.lock().unwrap().send((command, answer)).unwrap();
    started.recv().unwrap().unwrap_or_else(|error| panic!("{name} cannot be started: {error}"))
}

/// A folder of its own that `nobody` may enter, removed when dropped.
pub(crate) fn folder(name: &str) -> tempfile::TempDir {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::Builder::new().prefix(&format!("carmel-{name}.")).tempdir().unwrap();
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    folder
}

/// Gives a folder to `nobody`, when we are root.
pub(crate) fn give_to_nobody(folder: &Path) {
    if is_root() {
        std::os::unix::fs::chown(folder, Some(65534), Some(65534)).unwrap();
    }
}

/// A free port below 32768: the kernel takes those above for client sockets,
/// and could take this one between our look and the server's bind.
pub fn free_port() -> u16 {
    static NEXT: LazyLock<Mutex<u16>> = LazyLock::new(|| Mutex::new((std::process::id() % 11_000) as u16));
    let mut next = NEXT.lock().unwrap();
    loop {
        *next = (*next + 1) % 12_000;
        let port = 20_000 + *next;
        // A Redis of a cluster takes the port 10,000 above its own as well.
        let is_free = |port: u16| TcpListener::bind(("127.0.0.1", port)).is_ok();
        if is_free(port) && is_free(port + 10_000) {
            return port;
        }
    }
}

/// Waits until somebody listens there; panics with the log when the process
/// ends before, or after 20 seconds.
pub(crate) fn wait_for_port(port: u16, process: &mut Process, folder: &Path) {
    let until = Instant::now() + Duration::from_secs(20);
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        let ended = process.ended(Duration::from_millis(5));
        assert!(
            ended.is_none() && Instant::now() < until,
            "nobody came to listen on port {port} ({ended:?}): {}",
            log(folder)
        );
    }
}

/// What a process said.
pub(crate) fn log(folder: &Path) -> String {
    std::fs::read_to_string(folder.join("log")).unwrap_or_default()
}
