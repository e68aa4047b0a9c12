//! The reference page and the sample file, made from the list of keys.

use std::fmt::Write;

use super::{
    declare::Key,
    keys::{Config, keys},
};

/// `docs/settings.md`: every key in a table per section.
pub fn markdown() -> String {
    let defaults = Config::default();
    let mut page = MARKDOWN_HEAD.to_owned();
    for section in sections(&keys()) {
        let first = &section[0];
        let _ = write!(page, "\n## `[{}]`\n\n{}\n\n", first.section(), first.section_says);
        page.push_str("| key | default | what it is |\n|---|---|---|\n");
        for key in section {
            let default =
                if key.secret { "none, secret".into() } else { format!("`{}`", (key.show)(&defaults)) };
            let _ = writeln!(
                page,
                "| `{}` | {} | {} <br>Right is {}. |",
                key.name,
                default,
                key.says,
                key.expected.replace('|', "\\|").replace('<', "&lt;").replace('*', "\\*"),
            );
        }
    }
    page
}

/// `carmel.sample.toml`: every key with its default, commented out.
pub fn sample() -> String {
    let defaults = Config::default();
    let mut file = SAMPLE_HEAD.to_owned();
    for section in sections(&keys()) {
        let first = &section[0];
        let _ = write!(file, "\n# {}\n[{}]\n", first.section_says, first.section());
        for key in section {
            let _ = writeln!(file, "# {}", key.says);
            let _ = writeln!(file, "# {} = {}", key.leaf(), (key.show)(&defaults));
        }
    }
    file
}

fn sections(keys: &[Key]) -> Vec<&[Key]> {
    keys.chunk_by(|one, next| one.section() == next.section()).collect()
}

const MARKDOWN_HEAD: &str = "\
# Settings

<!-- Made by `carmel config reference --markdown` from the settings themselves: change them, not this page. -->

Everything has a default: without any setting Carmel listens on 127.0.0.1:3000 and keeps its data in SQLite files
in `./data`. Each of these sources overrides the ones before it:

1. the defaults below;
2. `carmel.toml` in the working folder, or the file that `--config FILE` or `CARMEL_CONFIG` names
   (`carmel.sample.toml` shows every key);
3. `.env` in the working folder, for variables that the environment does not set; a value with a `$` or a space stands
   in single quotes;
4. the environment: `CARMEL_` and the key in capitals with `_` for the dot, such as `CARMEL_SERVER_PORT` for
   `server.port`. `DATABASE_URL` and `PORT` are honoured too. A list has commas: `CARMEL_SERVER_CORS_ORIGINS=https://a.example,https://b.example`;
5. flags: `--port`, `--data`, and `--set key=value` for every key.

**Secrets from files.** Every variable can be given as `NAME_FILE` instead, the path of a file that holds the value,
as Docker and Kubernetes hand out secrets: `DATABASE_URL_FILE=/run/secrets/database_url`. One newline at its end is cut.

**Mistakes stop the start.** A key or a `CARMEL_…` variable that does not exist, or a value that is not right, is named
with its file and line, and with what would be right; all of them at once. `carmel config check` does only that (exit
status 2 when something is wrong), `carmel config print` shows what is in force and where each value came from, with
secrets hidden. Variables that Kubernetes makes for Services (`CARMEL_SERVICE_HOST`, `CARMEL_PORT=tcp://…`) are no settings.
";

const SAMPLE_HEAD: &str = "\
# Settings of Carmel. Copy this file to carmel.toml and uncomment what should differ.
# Made by `carmel config reference --toml`; docs/settings.md says what each value may be
# and how variables and flags override this file.
";
