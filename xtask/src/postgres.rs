//! The one PostgreSQL that all tests share.

use std::{
    env, fs,
    io::Write,
    net::{Ipv4Addr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{self, Child, ChildStdin, Command, Stdio},
    thread,
    time::{Duration, Instant, SystemTime},
};

use crate::shell::{Done, is_root, on_path, output};

/// What tells the tests where it is.
pub const VARIABLE: &str = "CARMEL_TEST_POSTGRES";

/// A server that ends with this value, or with this process, however that ends.
pub struct Server {
    url: String,
    /// The folder of its programs, if it is ours.
    programs: Option<PathBuf>,
    _keeper: Option<Keeper>,
}

/// Runs the server and cleans up after it. A shell of its own does that, which
/// waits for its input to end: so it also happens when this process is killed
/// and cannot do anything any more.
struct Keeper {
    shell: Child,
    input: Option<ChildStdin>,
}

impl Server {
    /// Somebody else's, who named it in the variable.
    pub fn elsewhere(url: String) -> Server {
        Server { url, programs: None, _keeper: None }
    }

    /// Tells a command where it is.
    pub fn tell<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        if let Some(programs) = &self.programs {
            let path = env::var_os("PATH").unwrap_or_default();
            let folders = std::iter::once(programs.clone()).chain(env::split_paths(&path));
            if let Ok(path) = env::join_paths(folders) {
                command.env("PATH", path);
            }
        }
        command.env(VARIABLE, &self.url)
    }

    /// Hands out a new, empty database for a while.
    pub fn with_database(&self, work: impl FnOnce(&str) -> Done) -> Done {
        let name = format!("xtask_{}", process::id());
        let psql = |sql: &str| {
            let mut command = Command::new("psql");
            output(command.args(["-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", &self.url, "-c", sql]))
                .map(|_| ())
        };
        let (server, _) = self.url.rsplit_once('/').ok_or("the URL of PostgreSQL names no database")?;
        psql(&format!("CREATE DATABASE {name}"))?;
        let done = work(&format!("{server}/{name}"));
        done.and(psql(&format!("DROP DATABASE {name} WITH (FORCE)")))
    }

    /// Starts one from the programs in a folder.
    pub fn start(programs: &Path) -> Done<Server> {
        let folder = folder()?;
        let made = initdb(programs, &folder);
        if let Err(message) = made {
            let _gone = fs::remove_dir_all(&folder);
            return Err(message);
        }
        // A port may be taken between the choice and the start: then another is tried.
        let mut last = String::new();
        for _ in 0..5 {
            let port = free_port()?;
            match keep(programs, &folder, port) {
                Ok(keeper) => {
                    let url = format!("postgres://postgres@127.0.0.1:{port}/postgres");
                    eprintln!(
                        "PostgreSQL of {} on port {port}, with fsync off: these tests pull no plugs",
                        programs.display()
                    );
                    return Ok(Server { url, programs: Some(programs.to_owned()), _keeper: Some(keeper) });
                }
                Err(message) => last = message,
            }
        }
        let _gone = fs::remove_dir_all(&folder);
        Err(last)
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        // The end of its input is the sign to stop; then it is waited for, so
        // that nothing is left when this process says that it is done.
        drop(self.input.take());
        let _ended = self.shell.wait();
    }
}

/// Ends the server when its input ends, then removes the folder. Ctrl-C goes
/// to the whole group of processes, so it must not end this one.
const KEEP: &str = r#"
trap '' INT TERM HUP
folder=$1; shift
"$@" >"$folder/log" 2>&1 </dev/null &
server=$!
cat >/dev/null
kill -INT $server 2>/dev/null
wait $server
[ -e "$folder/keep" ] || rm -rf "$folder"
"#;

fn keep(programs: &Path, folder: &Path, port: u16) -> Done<Keeper> {
    let mut server = as_nobody(&programs.join("postgres"), true);
    server.arg("-D").arg(folder.join("data")).args(["-p", &port.to_string()]);
    let socket = format!("unix_socket_directories={}", folder.display());
    for setting in
        ["listen_addresses=127.0.0.1", &socket, "fsync=off", "full_page_writes=off", "max_connections=1000"]
    {
        server.args(["-c", setting]);
    }
    let mut command = Command::new("sh");
    command.arg("-c").arg(KEEP).arg("postgres").arg(folder).arg(server.get_program()).args(server.get_args());
    // Until it is known to run, the folder is wanted for the next try.
    let marker = folder.join("keep");
    fs::write(&marker, "").map_err(|error| format!("{}: {error}", marker.display()))?;
    let mut shell =
        command.stdin(Stdio::piped()).spawn().map_err(|error| format!("sh cannot be started: {error}"))?;
    let keeper = Keeper { input: shell.stdin.take(), shell };
    let until = Instant::now() + Duration::from_secs(30);
    while !answers(port) {
        let log = fs::read_to_string(folder.join("log")).unwrap_or_default();
        if log.contains("FATAL") || Instant::now() > until {
            return Err(format!("PostgreSQL does not start:\n{log}"));
        }
        thread::sleep(Duration::from_millis(20));
    }
    fs::remove_file(&marker).map_err(|error| format!("{}: {error}", marker.display()))?;
    Ok(keeper)
}

/// Whether a server of PostgreSQL's protocol is there: it answers a request
/// for TLS (SSLRequest) with one letter.
fn answers(port: u16) -> bool {
    use std::io::Read;
    let Ok(mut stream) = TcpStream::connect((Ipv4Addr::LOCALHOST, port)) else {
        return false;
    };
    let mut letter = [0];
    stream.write_all(&[0, 0, 0, 8, 4, 210, 22, 47]).is_ok()
        && stream.read_exact(&mut letter).is_ok()
        && [b'S', b'N'].contains(&letter[0])
}

fn initdb(programs: &Path, folder: &Path) -> Done {
    let mut command = as_nobody(&programs.join("initdb"), false);
    command.arg("-D").arg(folder.join("data"));
    command.args(["-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8", "--no-sync"]);
    output(command.current_dir(folder)).map(|_| ())
}

/// A folder that the server may write to and everybody may enter.
fn folder() -> Done<PathBuf> {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_nanos());
    let folder = env::temp_dir().join(format!("carmel-test-{}-{now}", process::id()));
    fs::create_dir(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    output(Command::new("chmod").arg("755").arg(&folder))?;
    if is_root() {
        output(Command::new("chown").arg("nobody").arg(&folder))?;
    }
    Ok(folder)
}

/// PostgreSQL refuses to run as root. Where setpriv is, a program that stays
/// is also told to end with the one that started it.
fn as_nobody(program: &Path, stays: bool) -> Command {
    if on_path("setpriv").is_none() {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    if stays {
        command.args(["--pdeathsig", "INT"]);
    }
    if is_root() {
        command.args(["--reuid=nobody", "--regid=nogroup", "--clear-groups"]);
    }
    if !stays && !is_root() {
        return Command::new(program);
    }
    command.arg(program);
    command
}

/// Below 32768, where no client's socket can take it in the meantime.
fn free_port() -> Done<u16> {
    let nanos =
        SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.subsec_nanos());
    let start = nanos ^ process::id();
    (0..200)
        .map(|step| 20_000 + (start.wrapping_add(step * 61) % 12_000) as u16)
        .find(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok())
        .ok_or_else(|| "no port between 20000 and 32000 is free".into())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_server_and_its_folder_are_gone_when_it_is_dropped() {
        let Ok(found) = crate::needs::all() else { panic!("PostgreSQL is needed") };
        let server = Server::start(&found.postgres).unwrap();
        let port = server.url.split([':', '/']).nth(4).unwrap().parse().unwrap();
        let folders = || {
            let mine = format!("carmel-test-{}-", process::id());
            let all = fs::read_dir(env::temp_dir()).unwrap().flatten();
            all.filter(|entry| entry.file_name().to_string_lossy().starts_with(&mine)).count()
        };
        assert!(answers(port) && folders() == 1);

        drop(server);

        assert!(!answers(port) && folders() == 0);
    }
}
