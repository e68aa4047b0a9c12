//! Settings: a file, `.env`, the environment.

use std::fs;

use carmel::config::{Flags, Loaded, Problems, gather, printed};
use tempfile::TempDir;

/// What stands between the three.
const LINE: &str = "\n---\n";

/// The input is `carmel.toml`, `.env` and variables of the environment, with
/// lines `---` between them. They are right, and what is printed of them is
/// read as the same; or all that is wrong is said, in a line each.
pub fn settings(input: &[u8]) {
    thread_local!(static FOLDER: TempDir = TempDir::new().unwrap());
    let text = String::from_utf8_lossy(input);
    // Whoever starts the program may have it read any file, even one without an end.
    if text.contains("_FILE") || text.contains("CARMEL_CONFIG") {
        return;
    }
    let mut parts = text.splitn(3, LINE);
    let [file, dot_env, environment] = [(); 3].map(|()| parts.next().unwrap_or_default());
    let read = |file: &str, dot_env: &str, environment: &str| -> Result<Loaded, Problems> {
        FOLDER.with(|folder| {
            fs::write(folder.path().join("carmel.toml"), file).unwrap();
            fs::write(folder.path().join(".env"), dot_env).unwrap();
            let variables = environment.lines().filter_map(|line| line.split_once('='));
            gather(
                folder.path(),
                variables.map(|(name, value)| (name.into(), value.into())),
                &Flags::default(),
            )
        })
    };
    match read(file, dot_env, environment) {
        Ok(loaded) => {
            let shown = printed(&loaded);
            if !shown.contains("(hidden)") {
                let again = read(&shown, "", "").unwrap_or_else(|problems| panic!("{problems}\n{shown}"));
                assert_eq!(format!("{:?}", again.config), format!("{:?}", loaded.config));
            }
        }
        Err(problems) => {
            assert!(
                problems.0.iter().all(|problem| !problem.place.is_empty() && !problem.message.is_empty())
            );
            assert_eq!(problems.to_string().lines().count(), problems.0.len() + 1, "{problems}");
        }
    }
}
