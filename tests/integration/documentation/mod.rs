//! The README and the book: what they show is what happens, and what they point to is there.

mod console;
mod generated;
mod links;
mod packaging;

use std::fs;
use std::path::{Path, PathBuf};

/// The root of the repository.
fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The text of the file at `path` in the repository.
fn read(path: impl AsRef<Path>) -> String {
    let path = root().join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Whether what is shown is to be made what it should be, as `just snapshots` asks.
fn is_updating() -> bool {
    std::env::var_os("INSTA_UPDATE").is_some_and(|update| update == "always")
}

/// The paths of the README and of the chapters of the book.
fn documents() -> Vec<PathBuf> {
    let mut chapters: Vec<PathBuf> = fs::read_dir(root().join("docs"))
        .unwrap()
        .map(|entry| Path::new("docs").join(entry.unwrap().file_name()))
        .filter(|path| path.extension().is_some_and(|extension| extension == "md"))
        .collect();
    chapters.sort();
    [vec![PathBuf::from("README.md")], chapters].concat()
}
