//! The console blocks, run as a reader would run them; what they print is compared up to figures.
//!
//! Lines after `$ ` are commands, and lines after `> ` continue them. A line `...` stands for any lines, and `...` at the
//! end of a line for any text. Measurements run for a tenth of the time that is shown. Blocks marked `console,ignore` are not
//! run: they take minutes, or need what is not here.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::{documents, is_updating, read, root};
use crate::support;
use crate::support::terminal::PHASES;
use crate::support::workplace::Workplace;

/// A command of a document, and what it prints there.
#[derive(Debug, PartialEq)]
struct Step {
    line: usize,
    command: String,
    printed: Vec<String>,
}

/// The commands in the console blocks of `text` that are to be run.
fn steps(text: &str) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    // The kind of the block that the line is in, if it is in one.
    let mut block: Option<&str> = None;
    for (index, line) in text.lines().enumerate() {
        if let Some(kind) = line.strip_prefix("```") {
            block = if block.is_some() { None } else { Some(kind) };
            assert!(
                block.is_none_or(
                    |kind| !kind.starts_with("console") || ["console", "console,ignore"].contains(&kind)
                ),
                "line {}: {line}",
                index + 1
            );
        } else if let Some(command) = line.strip_prefix("$ ") {
            let is_shown_as_run = block.is_some_and(|kind| kind.starts_with("console"));
            assert!(is_shown_as_run, "line {}: a command belongs into a console block", index + 1);
            if block == Some("console") {
                steps.push(Step { line: index + 1, command: command.to_owned(), printed: Vec::new() });
            }
        } else if block == Some("console") {
            let step = steps.last_mut().unwrap_or_else(|| panic!("line {}: whose output?", index + 1));
            match line.strip_prefix("> ") {
                Some(more) if step.printed.is_empty() => step.command += &format!("\n{more}"),
                _ => step.printed.push(line.to_owned()),
            }
        }
    }
    for step in &mut steps {
        while step.printed.last().is_some_and(String::is_empty) {
            step.printed.pop();
        }
    }
    steps
}

/// Units of figures: 410 ms may be 1.2 s elsewhere, and 128MB may be 1GB.
const UNITS: [&str; 17] = [
    "ms",
    "µs",
    "ns",
    "s",
    "min",
    "KB",
    "kB",
    "MB",
    "GB",
    "KiB",
    "MiB",
    "GiB",
    "KB/s",
    "MB/s",
    "GB/s",
    "rows/s",
    "queries/s",
];

/// Lines of a report that say in words what was measured, or are only there if there are data enough.
const MEASURED: [&str; 7] = [
    "  bound by ",
    "  bottleneck ",
    "           sampled ",
    "           so in ",
    "  rate     ",
    "           mean, 95 % confidence interval: ",
    "           make more runs on both sides: ",
];

/// `line` with every figure and its unit replaced.
fn without_figures(line: &str) -> String {
    // Whether a difference is significant, or can be told at all, follows from the figures.
    let verdict = [" × (", " ×, "].iter().find_map(|verdict| line.find(verdict));
    let line = verdict.map_or(line, |verdict| &line[..verdict]);
    let mut text = String::new();
    let mut characters = line.chars().peekable();
    while let Some(character) = characters.next() {
        if !character.is_ascii_digit() {
            text.push(character);
            continue;
        }
        let mut last = character;
        while let Some(next) = characters.next_if(|next| next.is_ascii_digit() || ",.".contains(*next)) {
            last = next;
        }
        text.push('N');
        if !last.is_ascii_digit() {
            text.push(last);
        }
    }
    let words: Vec<&str> = text.split_whitespace().collect();
    let words = words.iter().enumerate().map(|(index, word)| {
        let (bare, end) = word.split_at(word.trim_end_matches([',', ';', ':', ')']).len());
        let bare = UNITS.iter().fold(bare, |bare, unit| {
            bare.strip_suffix(unit).filter(|rest| rest.ends_with('N')).unwrap_or(bare)
        });
        let follows_figure = index > 0 && words[index - 1].ends_with('N');
        if follows_figure && UNITS.contains(&bare) { format!("UNIT{end}") } else { format!("{bare}{end}") }
    });
    words.collect::<Vec<_>>().join(" ").replace(" (N % confidence: N–N)", "")
}

/// Whether `actual` is what `expected` shows.
fn agrees(expected: &[String], actual: &[String]) -> bool {
    let Some((first, more)) = expected.split_first() else { return actual.is_empty() };
    if first.trim() == "..." {
        return (0..=actual.len()).any(|skipped| agrees(more, &actual[skipped..]));
    }
    let Some((line, rest)) = actual.split_first() else { return false };
    let (first, line) = (without_figures(first), without_figures(line));
    let is_same = match first.strip_suffix("...") {
        Some(beginning) => line.starts_with(beginning.trim_end()),
        None => line == first,
    };
    is_same && agrees(more, rest)
}

/// Whether `line` tells the progress of something that takes long, which depends on the machine.
fn is_progress(line: &str) -> bool {
    let ends_in_time = [" left", " s", " min"].iter().any(|end| line.trim_end().ends_with(end));
    line.contains("; in the last ")
        || PHASES.iter().any(|phase| line.starts_with(phase) && line.contains(": ") && ends_in_time)
}

/// An embedded server for the documents, which ends with this value.
struct Server {
    directory: tempfile::TempDir,
}

impl Server {
    fn new() -> Server {
        let directory = tempfile::tempdir().unwrap();
        // If root runs the tests, the server's user must be able to enter it.
        fs::set_permissions(directory.path(), Permissions::from_mode(0o755)).unwrap();
        fs::create_dir(directory.path().join("bin")).unwrap();
        let program = directory.path().join("bin/postgres-etl");
        symlink(env!("CARGO_BIN_EXE_postgres-etl"), program).unwrap();
        Server { directory }
    }

    fn data(&self) -> PathBuf {
        self.directory.path().join("server")
    }

    /// Run `command` in `directory`; returns what it prints, with the directory of the server as it is by default.
    fn run(&self, directory: &Path, command: &str) -> String {
        let bin = self.directory.path().join("bin");
        let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
        let output = Command::new("bash")
            .args(["-c", &format!("exec 2>&1\n{command}")])
            .current_dir(directory)
            .env_clear()
            .envs([("PATH", path.as_str()), ("HOME", "/nonexistent"), ("LC_ALL", "C.UTF-8")])
            .env("POSTGRES_ETL_SERVER_DIR", self.data())
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let text: String = text.split_inclusive('\n').filter(|line| !is_progress(line)).collect();
        text.replace(&self.data().display().to_string(), "/var/lib/postgres-etl")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.run(self.directory.path(), "postgres-etl server stop");
    }
}

/// The command that is run for `command`: the program of the tests, for a tenth of the time.
fn as_run(command: &str) -> String {
    let command = command.replace("cargo run -r -- ", "postgres-etl ");
    let mut words: Vec<String> = command.split(' ').map(str::to_owned).collect();
    for index in 1..words.len() {
        if ["--duration", "--warm-up"].contains(&words[index - 1].as_str()) {
            let seconds: u64 = words[index].trim_end_matches('s').parse().expect("a time in seconds");
            words[index] = format!("{}ms", seconds * 100);
        }
    }
    words.join(" ")
}

/// Run the commands of the document `path`; returns where they print something else. Where snapshots are updated, the
/// document is made to show it.
fn differences(server: &Server, path: &Path) -> Vec<String> {
    let workplace = Workplace::without_database().config(read("config.toml"));
    for example in fs::read_dir(root().join("docs/examples")).unwrap() {
        let example = example.unwrap().path();
        fs::copy(&example, workplace.path(example.file_name().unwrap())).unwrap();
    }
    let text = read(path);
    let mut lines: Vec<&str> = text.lines().collect();
    let mut wrong: Vec<(Step, String)> = Vec::new();
    for step in steps(&text) {
        let actual = server.run(&workplace.path(""), &as_run(&step.command));
        let printed: Vec<String> = actual.lines().map(str::to_owned).collect();
        if !agrees(&comparable(&step.printed), &comparable(&printed)) {
            wrong.push((step, actual));
        }
    }
    if is_updating() {
        for (Step { line, command, printed }, actual) in wrong.iter().rev() {
            let first = line + command.matches('\n').count();
            lines.splice(first..first + printed.len(), actual.lines());
        }
        fs::write(root().join(path), lines.join("\n") + "\n").unwrap();
        return Vec::new();
    }
    let difference = |(step, actual): (Step, String)| {
        let Step { line, command, printed } = step;
        let (path, printed) = (path.display(), printed.join("\n"));
        format!("{path}, line {line}: {command}\n-- shown:\n{printed}\n-- printed:\n{actual}")
    };
    wrong.into_iter().map(difference).collect()
}

/// `lines` without those that need not be the same.
fn comparable(lines: &[String]) -> Vec<String> {
    let is_measured = |line: &String| MEASURED.iter().any(|measured| line.starts_with(measured));
    lines.iter().filter(|line| !is_measured(line)).cloned().collect()
}

#[tokio::test]
async fn what_the_documents_show_is_what_happens() {
    let mut server = Server::new();
    let mut wrong = Vec::new();
    for path in documents() {
        let text = read(&path);
        if steps(&text).is_empty() {
            continue;
        }
        // Some begin where nothing is there yet, and the others with an empty database.
        if text.contains("initialising a PostgreSQL") {
            server = Server::new();
        } else {
            let url = server.run(root(), "postgres-etl server url 2>/dev/null");
            let client = support::connect(
                url.trim().replace("/var/lib/postgres-etl", &server.data().display().to_string()).as_str(),
            )
            .await;
            client.batch_execute("DROP SCHEMA public CASCADE; CREATE SCHEMA public").await.unwrap();
        }
        wrong.extend(differences(&server, &path));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

#[test]
fn blocks_are_read_and_compared_up_to_figures() {
    let text = "```console\n$ one\nout\n\n$ two <<E\n> three\n> E\n```\n```console,ignore\n$ four\n```\n";
    let step = |line, command: &str, printed: &[&str]| Step {
        line,
        command: command.to_owned(),
        printed: printed.iter().map(ToString::to_string).collect(),
    };
    assert_eq!(steps(text), [step(2, "one", &["out"]), step(5, "two <<E\nthree\nE", &[])]);
    assert_eq!(as_run("cargo run -r -- query --duration 5s"), "postgres-etl query --duration 500ms");
    let lines = |text: &str| text.lines().map(str::to_owned).collect::<Vec<_>>();
    for (shown, printed, same) in [
        ("loaded 3 rows in 8 ms: 1,392 rows/s", "loaded 10 rows in 1.2 s: 7 rows/s", true),
        ("loaded 3 rows in 8 ms", "loaded 3 rows in 8 ms: done", false),
        ("2 cores, 128MB", "16 cores, 1GB", true),
        ("  server  ...", "  server  PostgreSQL 18.1", true),
        ("a\n...\nz", "a\nb\nc\nz", true),
        ("a\n...", "b", false),
        (
            "p50 9 ms was 8 ms: 1.1 × (0.9 to 1.2), may be noise",
            "p50 9 s was 1 ms: 90 ×, too few runs to tell",
            true,
        ),
        ("rows 3", "row 3", false),
        ("", "a", false),
    ] {
        assert_eq!(agrees(&lines(shown), &lines(printed)), same, "{shown} / {printed}");
    }
}
