//! Any other program that listens on a port.

use std::{path::Path, process::Command};

use crate::server::{self, Process, Start};

/// A program that listens on a port of loopback, standing in a temporary
/// folder of its own. Killed when dropped, and by the kernel when this process
/// dies.
pub struct Program {
    process: Process,
    folder: tempfile::TempDir,
    port: u16,
}

impl Program {
    /// Starts the command made for a free port and waits until somebody
    /// listens there.
    pub fn start(name: &str, command: impl FnOnce(u16) -> Command) -> Program {
        let folder = server::folder(name);
        let port = server::free_port();
        let (death, command) = ("KILL", command(port));
        let start = Start { death, as_nobody: false, folder: folder.path(), command };
        let mut process = Process::start(start);
        server::wait_for_port(port, &mut process, folder.path());
        Program { process, folder, port }
    }

    /// Where it listens.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Sends it a signal: `STOP` freezes it, `CONT` lets it go on.
    pub fn signal(&self, name: &str) {
        self.process.signal(name);
    }

    /// `kill -9`
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// Starts another command in its folder, in its place, and waits until
    /// somebody listens on its port.
    pub fn restart(&mut self, command: Command) {
        self.process.kill();
        let start = Start { death: "KILL", as_nobody: false, folder: self.folder.path(), command };
        self.process = Process::start(start);
        server::wait_for_port(self.port, &mut self.process, self.folder.path());
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// The folder it stands in.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// What it said so far.
    pub fn log(&self) -> String {
        server::log(self.folder.path())
    }
}
