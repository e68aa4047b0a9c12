//! A PostgreSQL server for tests: found on this machine, run on a free port in
//! a temporary folder, stopped when this process ends, however it ends.

use std::{
    io::Read,
    net::TcpListener,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::PathBuf,
    process::{ChildStdin, Command, Stdio},
    sync::OnceLock,
};

/// The URL of a server, without a database: `postgres://postgres@127.0.0.1:20001`.
/// That of `CARMEL_TEST_POSTGRES`, or of one that is started for this process.
pub fn url(options: &str) -> &'static str {
    static SERVER: OnceLock<Server> = OnceLock::new();
    &SERVER.get_or_init(|| Server::find(options)).url
}

struct Server {
    url: String,
    // The server stops when this is closed.
    _stop: Option<ChildStdin>,
}

impl Server {
    fn find(options: &str) -> Server {
        if let Ok(url) = std::env::var("CARMEL_TEST_POSTGRES") {
            let server = url.splitn(4, '/').take(3).collect::<Vec<_>>().join("/");
            return Server { url: server, _stop: None };
        }
        (0..5).find_map(|_| Server::start(options)).expect("a PostgreSQL server starts")
    }

    fn start(options: &str) -> Option<Server> {
        let folder = tempfile::Builder::new().prefix("carmel-postgres-").tempdir().unwrap().keep();
        std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(0o755)).unwrap();
        let root = std::fs::metadata("/proc/self").unwrap().uid() == 0;
        let user = "setpriv --reuid=nobody --regid=nogroup --clear-groups --pdeathsig TERM";
        // The shell outlives us by a moment: it stops the server when our end of
        // its input is closed, or when both of us are interrupted, and sweeps up.
        let script = r#"
            trap 'rm -rf "$DIR"' EXIT
            trap : INT TERM HUP
            mkdir "$DIR/data"; [ -n "$RUN" ] && chown nobody "$DIR" "$DIR/data"
            new="--no-sync -A trust -U postgres -E UTF8 --locale=C -D $DIR/data"
            # Ordered as people do, which is what no service may depend on; before 15 by bytes.
            $RUN "$BIN/initdb" $new --locale-provider=icu --icu-locale=en >"$DIR/initdb.log" 2>&1 \
                || $RUN "$BIN/initdb" $new >>"$DIR/initdb.log" 2>&1 || exit 1
            $RUN "$BIN/postgres" -D "$DIR/data" -p "$PORT" -h 127.0.0.1 -k "$DIR" -c max_connections=200 $OPTIONS >"$DIR/log" 2>&1 &
            for i in $(seq 100); do
                "$BIN/pg_isready" -q -h 127.0.0.1 -p "$PORT" && break
                kill -0 $! 2>/dev/null || exit 1
                sleep 0.1
            done
            echo ready
            read nothing
            kill -QUIT $!
            wait $!
        "#;
        let port = port();
        #[expect(clippy::zombie_processes, reason = "it outlives us, and nobody is left to wait for it")]
        let mut shell = Command::new("/bin/sh")
            .args(["-c", script])
            .env("DIR", &folder)
            .env("BIN", programs())
            .env("PORT", port.to_string())
            .env("RUN", if root { user } else { "" })
            .env("OPTIONS", options)
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut ready = [0; 6];
        shell.stdout.take()?.read_exact(&mut ready).ok()?;
        Some(Server { url: format!("postgres://postgres@127.0.0.1:{port}"), _stop: shell.stdin.take() })
    }
}

/// Below the ports that the system gives to clients, who would take it between
/// our choice and the server's start.
fn port() -> u16 {
    let start = 20_000 + (std::process::id() % 10_000) as u16;
    (start..32_000).find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok()).expect("a free port")
}

fn programs() -> PathBuf {
    let versions = std::fs::read_dir("/usr/lib/postgresql").expect("PostgreSQL is installed");
    let mut folders: Vec<PathBuf> = versions.map(|version| version.unwrap().path().join("bin")).collect();
    folders.sort();
    folders.pop().expect("PostgreSQL is installed")
}
