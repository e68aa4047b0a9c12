//! A real pgbouncer in transaction mode.

use std::process::Command;

use crate::server::{self, Process, Start};

/// A pgbouncer in front of a server (`127.0.0.1:20123`), with two connections to it, so that its
/// clients must share them. Killed when dropped.
pub struct Pooler {
    _process: Process,
    _folder: tempfile::TempDir,
    port: u16,
}

impl Pooler {
    /// The one on the path, with these settings (`name = value`).
    pub fn start(host: &str, options: &[&str]) -> Pooler {
        Pooler::start_by(Command::new("pgbouncer"), host, options)
    }

    /// The one that this command runs, which is given the file of settings.
    pub fn start_by(mut command: Command, host: &str, options: &[&str]) -> Pooler {
        let (folder, port) = (server::folder("pgbouncer"), server::free_port());
        let (host, at) = host.split_once(':').expect("host and port");
        let settings = format!(
            "[databases]\n* = host={host} port={at} user=postgres\n[pgbouncer]\n\
             listen_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\nauth_type = any\n\
             pool_mode = transaction\ndefault_pool_size = 2\n{}\n",
            options.join("\n")
        );
        let file = folder.path().join("pgbouncer.ini");
        std::fs::write(&file, settings).unwrap();
        command.arg(file);
        let start = Start { death: "KILL", as_nobody: true, folder: folder.path(), command };
        let mut process = Process::start(start);
        server::wait_for_port(port, &mut process, folder.path());
        Pooler { _process: process, _folder: folder, port }
    }

    /// The URL of a database behind it.
    pub fn url(&self, database: &str) -> String {
        format!("postgres://postgres@127.0.0.1:{}/{database}", self.port)
    }
}
