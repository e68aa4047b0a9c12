//! A real SMTP server (Python's aiosmtpd) that keeps what arrives.

use std::{path::PathBuf, process::Command, time::Duration};

use serde::Deserialize;

use crate::server::{self, Process, Start};

/// An SMTP server on a free port of loopback, stopped when dropped. What
/// arrived stays readable while it is stopped.
pub struct Server {
    process: Option<Process>,
    folder: tempfile::TempDir,
    port: u16,
}

/// A mail as Python's `email` package reads it.
#[derive(Clone, Debug, Deserialize)]
pub struct Mail {
    /// The sender that the server was told (`MAIL FROM`).
    pub sender: String,
    /// The receivers that the server was told (`RCPT TO`).
    pub receivers: Vec<String>,
    /// The subject.
    pub subject: String,
    /// The `Message-ID`.
    pub message_id: String,
    /// The text form.
    pub text: Option<String>,
    /// The HTML form.
    pub html: Option<String>,
    /// Every header, in order.
    pub headers: Vec<(String, String)>,
}

impl Server {
    /// Starts one.
    pub fn start() -> Server {
        let folder = server::folder("smtp");
        std::fs::create_dir(folder.path().join("mails")).unwrap();
        let mut server = Server { process: None, folder, port: server::free_port() };
        server.again();
        server
    }

    /// Where it is: `smtp://127.0.0.1:20123`.
    pub fn url(&self) -> String {
        format!("smtp://127.0.0.1:{}", self.port)
    }

    /// Stops it: who wants to send now is refused the connection.
    pub fn stop(&mut self) {
        self.process = None;
    }

    /// Starts it again at the same address.
    pub fn again(&mut self) {
        // Debian's Python: the one that has Debian's aiosmtpd.
        let mut command = Command::new("/usr/bin/python3");
        command.args(["-c", include_str!("smtp.py"), &self.port.to_string()]).arg(self.mails_folder());
        let folder = self.folder.path();
        let mut process = Process::start(Start { death: "KILL", as_nobody: false, folder, command });
        server::wait_for_port(self.port, &mut process, folder);
        self.process = Some(process);
    }

    /// What arrived so far, oldest first.
    pub fn mails(&self) -> Vec<Mail> {
        let mut files: Vec<PathBuf> = std::fs::read_dir(self.mails_folder())
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.extension().is_some_and(|extension| extension == "json"))
            .collect();
        files.sort();
        files.iter().map(|path| serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()).collect()
    }

    /// Waits until so many have arrived, at most ten seconds.
    pub async fn wait_for(&self, count: usize) -> Vec<Mail> {
        for _ in 0..1000 {
            let mails = self.mails();
            if mails.len() >= count {
                return mails;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("{count} mails were expected and {} arrived", self.mails().len());
    }

    fn mails_folder(&self) -> PathBuf {
        self.folder.path().join("mails")
    }
}
