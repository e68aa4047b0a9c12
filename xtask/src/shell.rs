//! Running other programs, and where the workspace is.

use std::{
    env,
    ffi::OsString,
    io::Read,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::OnceLock,
    thread,
    time::{Duration, Instant},
};

/// What a step says when it fails: a sentence, perhaps with lines below it.
pub type Done<T = ()> = Result<T, String>;

/// The folder of the workspace.
pub fn root() -> &'static Path {
    let xtask = Path::new(env!("CARGO_MANIFEST_DIR"));
    xtask.parent().expect("xtask is a folder of the workspace")
}

/// The cargo that runs this, so that nothing is built by two versions.
pub fn cargo() -> Command {
    prepared(Command::new(cargo_itself()))
}

/// The same on what everybody else leaves of the processors, where the system can be told so.
pub fn cargo_beside() -> Command {
    let Some(chrt) = on_path("chrt") else { return cargo() };
    let mut command = Command::new(chrt);
    command.args(["--idle", "0"]).arg(cargo_itself());
    prepared(command)
}

fn cargo_itself() -> OsString {
    env::var_os("CARGO").unwrap_or_else(|| "cargo".into())
}

fn prepared(mut command: Command) -> Command {
    command.current_dir(root());
    // What `cargo run` set for this process would make cargo see a changed environment.
    for (name, _) in env::vars_os() {
        let name = name.to_string_lossy().into_owned();
        if name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_") {
            command.env_remove(name);
        }
    }
    command
}

/// Where cargo puts what it builds, wherever that was set.
pub fn target() -> Done<&'static Path> {
    static TARGET: OnceLock<Done<PathBuf>> = OnceLock::new();
    let ask = || {
        let answer = output(cargo().args(["metadata", "--no-deps", "--format-version", "1"]))?;
        let value: serde_json::Value = serde_json::from_str(&answer).map_err(|error| error.to_string())?;
        let folder = value["target_directory"].as_str().ok_or("cargo metadata names no target directory")?;
        Ok(PathBuf::from(folder))
    };
    TARGET.get_or_init(ask).as_deref().map_err(Clone::clone)
}

/// The program as `cargo build` makes it.
pub fn carmel() -> Done<Command> {
    let mut command = Command::new(target()?.join("debug").join("carmel"));
    // A developer's own settings must not show in a page or a check.
    for (name, _) in env::vars_os() {
        let name = name.to_string_lossy().into_owned();
        let setting = name.starts_with("CARMEL_") && !name.starts_with("CARMEL_TEST_");
        if setting || ["DATABASE_URL", "REDIS_URL", "KAFKA_BROKERS", "PORT"].contains(&name.as_str()) {
            command.env_remove(name);
        }
    }
    Ok(command)
}

/// Runs a program, its output shown; an error when it does not end well.
pub fn run(command: &mut Command) -> Done {
    let status = command.status().map_err(|error| cannot_start(command, &error))?;
    if status.success() { Ok(()) } else { Err(format!("{} ended with {status}", line(command))) }
}

/// Runs a program and returns what it printed; its errors are part of the error.
pub fn output(command: &mut Command) -> Done<String> {
    let Output { status, stdout, stderr } =
        command.output().map_err(|error| cannot_start(command, &error))?;
    if status.success() {
        return Ok(String::from_utf8_lossy(&stdout).into_owned());
    }
    let said = [stdout, stderr].concat();
    Err(format!("{} ended with {status}\n{}", line(command), String::from_utf8_lossy(&said).trim_end()))
}

/// A program that runs beside others. It is ended when nobody waits for it.
pub struct Begun {
    line: String,
    child: Child,
}

impl Begun {
    /// Starts it; what it says is kept until it has ended.
    pub fn begin(command: &mut Command) -> Done<Begun> {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let child = command.spawn().map_err(|error| cannot_start(command, &error))?;
        Ok(Begun { line: line(command), child })
    }

    /// Waits for its end and shows what it said; an error when it does not end
    /// well. After so long its input is closed, which may tell it to come to an end.
    pub fn end(mut self, patience: Duration) -> Done {
        let input = self.child.stdin.take();
        let (out, err) = (self.child.stdout.take(), self.child.stderr.take());
        let (said, failed) = thread::scope(|scope| {
            // What is not read in time fills its pipe, and it waits.
            let (said, failed) = (scope.spawn(|| all_of(out)), scope.spawn(|| all_of(err)));
            let until = Instant::now() + patience;
            while !said.is_finished() && Instant::now() < until {
                thread::sleep(Duration::from_millis(50));
            }
            drop(input);
            (said.join().unwrap_or_default(), failed.join().unwrap_or_default())
        });
        print!("{said}{failed}");
        let status = self.child.wait().map_err(|error| error.to_string())?;
        if status.success() { Ok(()) } else { Err(format!("{} ended with {status}", self.line)) }
    }
}

fn all_of(said: Option<impl Read>) -> String {
    let mut text = Vec::new();
    if let Some(mut said) = said
        && let Err(error) = said.read_to_end(&mut text)
    {
        return format!("what it said cannot be read: {error}");
    }
    String::from_utf8_lossy(&text).into_owned()
}

impl Drop for Begun {
    fn drop(&mut self) {
        // It has ended already, or nobody wants it any more.
        drop((self.child.kill(), self.child.wait()));
    }
}

/// Whether a program runs and ends well; what it prints is not shown.
pub fn works(command: &mut Command) -> bool {
    command.output().is_ok_and(|output| output.status.success())
}

/// The program of this name on the path.
pub fn on_path(name: &str) -> Option<PathBuf> {
    let folders = env::var_os("PATH")?;
    env::split_paths(&folders).map(|folder| folder.join(name)).find(|file| file.is_file())
}

/// Whether this runs as root.
pub fn is_root() -> bool {
    output(Command::new("id").arg("-u")).is_ok_and(|id| id.trim() == "0")
}

/// The command as a person would type it.
pub fn line(command: &Command) -> String {
    let program = Path::new(command.get_program()).file_name().unwrap_or(command.get_program());
    let words = std::iter::once(program).chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}

fn cannot_start(command: &Command, error: &std::io::Error) -> String {
    format!("{} cannot be started: {error}", line(command))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn what_runs_beside_may_say_much_and_its_end_is_told() {
        let shell = |text: &str| Begun::begin(Command::new("sh").args(["-c", text]));

        let long = Duration::from_secs(60);
        let well = shell("yes | head -c 200000; yes | head -c 200000 >&2").unwrap().end(long);
        let badly = shell("exit 3").unwrap().end(long);
        let told = shell("cat").unwrap().end(Duration::ZERO);

        assert_eq!(well, Ok(()));
        assert_eq!(told, Ok(()), "it ends when its input is closed");
        assert!(badly.unwrap_err().contains("exit status: 3"));
    }
}
