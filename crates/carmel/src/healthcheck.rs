//! `carmel healthcheck`: whether the shop on this machine is ready. A container
//! has no other program that could ask.

use std::{
    io::{Read, Write},
    net::TcpStream,
    process::ExitCode,
    time::Duration,
};

use crate::config::Config;

/// Longer than readiness itself may take (two seconds).
const LIMIT: Duration = Duration::from_secs(4);

/// Asks `/readyz` at the port of these settings; says why when it is not ready.
pub fn ask(config: &Config) -> ExitCode {
    let host = match config.server.host.as_str() {
        "0.0.0.0" | "::" => "localhost", // every address is no address to call
        host => host,
    };
    match status(host, config.server.port) {
        Ok(line) if line.starts_with("HTTP/1.1 200 ") => ExitCode::SUCCESS,
        Ok(line) => no(&line),
        Err(error) => no(&error.to_string()),
    }
}

/// The first line of the answer.
fn status(host: &str, port: u16) -> std::io::Result<String> {
    let mut stream = TcpStream::connect((host, port))?;
    stream.set_read_timeout(Some(LIMIT))?;
    write!(stream, "GET /readyz HTTP/1.1\r\nhost: {host}:{port}\r\nconnection: close\r\n\r\n")?;
    let mut answer = Vec::new();
    stream.take(4_096).read_to_end(&mut answer)?;
    Ok(String::from_utf8_lossy(&answer).lines().next().unwrap_or("no answer").to_owned())
}

fn no(why: &str) -> ExitCode {
    eprintln!("not ready: {why}");
    ExitCode::FAILURE
}
