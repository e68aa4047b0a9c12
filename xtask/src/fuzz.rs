//! Fuzzing: every target of crates/fuzz, by cargo-fuzz, for a bounded time.

use std::{
    collections::BTreeSet,
    env, fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use crate::{
    needs,
    shell::{Done, cargo, on_path, output, root, run, target},
};

/// How long each target runs when nothing is said, and in `test --full`.
pub const SECONDS: u32 = 60;

/// No input is longer: what is found is to be read by people.
const LONGEST_BYTES: u32 = 8_192;
/// An input that takes longer than so many seconds is a finding.
const SLOW: u32 = 20;
/// Nothing here needs more memory than so many megabytes.
const MEMORY: u32 = 4_096;

/// Lets each target, or this one, look for inputs that break a promise; with an
/// input only repeats that.
pub fn fuzz(name: Option<&str>, seconds: u32, input: Option<&Path>) -> Done {
    let targets = targets(name)?;
    // Before the folder is changed.
    let input = input.map(|path| path.canonicalize().map_err(io(path))).transpose()?;
    let programs = build(&targets)?;
    if let (Some(input), [name]) = (input, &targets[..]) {
        return run(Command::new(programs.join(name)).arg(input));
    }
    let mut found = Vec::new();
    println!("{:10} {:>10} {:>9} {:>10}   seconds", "target", "runs", "coverage", "new inputs");
    for name in &targets {
        match look(&programs, name, seconds) {
            Ok(line) => println!("{line}"),
            Err(message) => found.push(message),
        }
    }
    if found.is_empty() { Ok(()) } else { Err(found.join("\n\n")) }
}

/// All targets, or the one that is named.
fn targets(name: Option<&str>) -> Done<Vec<String>> {
    let folder = folder().join("fuzz_targets");
    let entries = fs::read_dir(&folder).map_err(io(&folder))?.flatten();
    let mut all: Vec<String> =
        entries.filter_map(|entry| Some(entry.path().file_stem()?.to_str()?.to_owned())).collect();
    all.sort();
    match name {
        None => Ok(all),
        Some(name) if all.iter().any(|one| one == name) => Ok(vec![name.to_owned()]),
        Some(name) => Err(format!("there is no target {name}; there are {}", all.join(", "))),
    }
}

/// Builds the targets, with what that needs; returns the folder they are in.
fn build(targets: &[String]) -> Done<PathBuf> {
    let compiler = || {
        env::var_os("CXX").is_some()
            || ["c++", "g++", "clang++"].into_iter().any(|name| on_path(name).is_some())
    };
    if !compiler() {
        needs::programs(&[("c++", "g++")])?;
    }
    if !compiler() {
        return Err("missing: a C++ compiler, which libFuzzer is built with\n  Debian, Ubuntu: sudo apt-get install g++; or set CXX".into());
    }
    needs::cargo_program("cargo-fuzz")?;
    let mut command = cargo();
    // What is tried a thousand times a second need not be as fast as it can be, but soon be there.
    let profile = [("LTO", "off"), ("OPT_LEVEL", "1"), ("CODEGEN_UNITS", "16"), ("DEBUG", "0")];
    command.envs(profile.map(|(name, value)| (format!("CARGO_PROFILE_RELEASE_{name}"), value)));
    // Other sanitizers want a nightly Rust; and what they look for, safe Rust does not do.
    command.args([
        "fuzz",
        "build",
        "--fuzz-dir",
        "crates/fuzz",
        "--features",
        "libfuzzer",
        "--sanitizer",
        "none",
    ]);
    command.args(["--codegen-units", "16"]);
    if let [only] = targets {
        command.arg(only);
    }
    run(&mut command)?;
    let host = output(Command::new("rustc").arg("-vV"))?;
    let host = host.lines().find_map(|line| line.strip_prefix("host: ")).ok_or("rustc names no host")?;
    Ok(target()?.join(host).join("release"))
}

/// Runs one; returns what it did, in a line.
fn look(programs: &Path, name: &str, seconds: u32) -> Done<String> {
    let work = target()?.join("fuzz").join(name);
    let (new, crashes) = (work.join("corpus"), work.join("found"));
    for folder in [&new, &crashes] {
        fs::create_dir_all(folder).map_err(io(folder))?;
    }
    let stored = folder().join("corpus").join(name);
    let (words, log) = (work.join("words"), work.join("log"));
    fs::write(&words, dictionary(&stored)?).map_err(io(&words))?;
    let write = fs::File::create(&log).map_err(io(&log))?;
    let mut command = Command::new(programs.join(name));
    command.arg(&new).arg(&stored).arg(format!("-dict={}", words.display()));
    command.arg(format!("-artifact_prefix={}/", crashes.display()));
    command.arg(format!("-max_total_time={seconds}")).arg(format!("-max_len={LONGEST_BYTES}"));
    command
        .arg(format!("-timeout={SLOW}"))
        .arg(format!("-rss_limit_mb={MEMORY}"))
        .arg("-print_final_stats=1");
    let status = command.current_dir(root()).stdout(Stdio::null()).stderr(write).status();
    let status = status.map_err(|error| format!("{name} cannot be started: {error}"))?;
    let said = String::from_utf8_lossy(&fs::read(&log).map_err(io(&log))?).into_owned();
    if !status.success() {
        return Err(finding(name, &said));
    }
    let stat =
        |what: &str| said.lines().rev().find_map(|line| line.strip_prefix(what)).map_or("?", str::trim);
    let (runs, inputs) = (stat("stat::number_of_executed_units:"), stat("stat::new_units_added:"));
    Ok(format!("{name:10} {runs:>10} {:>9} {inputs:>10}   {seconds}", coverage(&said)))
}

/// What was found, with how it is repeated and kept.
fn finding(name: &str, said: &str) -> String {
    let written = said.lines().rev().find_map(|line| line.split_once("Test unit written to "));
    let how = match written {
        None => "it left no input".to_owned(),
        Some((_, file)) => format!(
            "repeat: cargo xtask fuzz {name} --input {file}\nkeep:   move it to crates/fuzz/corpus/{name}/, \
             named after what it shows; every test run asks it again"
        ),
    };
    let lines: Vec<&str> = said.lines().filter(|line| !line.starts_with(['#', '='])).collect();
    let last = &lines[lines.len().saturating_sub(40)..];
    format!("{name} broke a promise:\n{}\n{how}", last.join("\n"))
}

/// How many edges of the program were reached: `cov:` of the last line that has it.
fn coverage(said: &str) -> &str {
    let lines = said.lines().rev().filter_map(|line| line.split_once(" cov: "));
    lines.map(|(_, rest)| rest.split(' ').next().unwrap_or_default()).next().unwrap_or("?")
}

/// The words of the stored inputs, for libFuzzer to put together anew.
fn dictionary(stored: &Path) -> Done<String> {
    let mut words = BTreeSet::new();
    for entry in fs::read_dir(stored).map_err(io(stored))?.flatten() {
        let text = fs::read(entry.path()).map_err(io(&entry.path()))?;
        let is_word = |byte: &u8| byte.is_ascii_alphanumeric() || b"_-/.{}".contains(byte);
        let found = text.split(|byte| !is_word(byte)).filter(|word| (3..=40).contains(&word.len()));
        words.extend(found.map(|word| String::from_utf8_lossy(word).into_owned()));
    }
    Ok(words.into_iter().map(|word| format!("\"{word}\"\n")).collect())
}

fn folder() -> PathBuf {
    root().join("crates").join("fuzz")
}

fn io(what: &Path) -> impl Fn(std::io::Error) -> String {
    move |error| format!("{}: {error}", what.display())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn what_libfuzzer_says_becomes_a_line_or_a_finding() {
        let said = "#10\tNEW    cov: 100 ft: 1 corp: 2/3b\n#20\tDONE   cov: 120 ft: 2 corp: 3/4b\nDone 20 runs in 1 second(s)\n";
        let crash = "#10\tNEW    cov: 100\nthread panicked: too deep\n==7== ERROR: libFuzzer: deadly signal\nartifact_prefix='found/'; Test unit written to found/crash-1\n";

        assert_eq!(coverage(said), "120");
        let found = finding("http", crash);
        assert!(found.starts_with("http broke a promise:\nthread panicked: too deep\n"), "{found}");
        assert!(found.contains("cargo xtask fuzz http --input found/crash-1\n"), "{found}");
    }

    #[test]
    fn every_target_has_stored_inputs() {
        for name in targets(None).unwrap() {
            let words = dictionary(&folder().join("corpus").join(&name)).unwrap();
            assert!(!words.is_empty(), "{name}");
        }
        assert!(targets(Some("nothing")).unwrap_err().contains("there are answer, cursor"));
    }
}
