//! What packages and workflows name is in the repository.

use std::collections::BTreeSet;

use super::{read, root};

#[test]
fn the_image_is_built_from_files_that_exist() {
    let dockerfile = read("Dockerfile");
    let ignored = read(".dockerignore");
    let mut count = 0;
    for line in dockerfile.lines().filter_map(|line| line.strip_prefix("COPY ")) {
        let mut words: Vec<&str> = line.split_whitespace().collect();
        words.pop();
        if words[0].starts_with("--from=") {
            continue;
        }
        for source in words {
            assert!(root().join(source).exists(), "{line}: {source} does not exist");
            let prefix = source.split('-').next().unwrap();
            let is_sent = ignored.lines().any(|kept| kept.trim_start_matches('!').starts_with(prefix));
            assert!(is_sent, ".dockerignore leaves {source} out");
            count += 1;
        }
    }
    assert!(count > 5, "{count} sources");
    // What the program includes is copied as well.
    for needed in ["benches", "build.rs", "config.toml", "data", "src"] {
        assert!(dockerfile.contains(needed), "{needed}");
    }
}

#[test]
fn workflows_run_recipes() {
    let justfile = read("justfile");
    let recipes: BTreeSet<&str> = justfile
        .lines()
        .filter(|line| line.starts_with(|c: char| c.is_alphabetic()))
        .map(|line| line.split([' ', ':']).next().unwrap())
        .collect();
    let mut used = BTreeSet::new();
    for workflow in ["test", "release"] {
        let text = read(format!(".github/workflows/{workflow}.yml"));
        for step in text.lines().filter_map(|line| line.trim().strip_prefix("- run: ")) {
            let command = step.replace("sudo --preserve-env \"$(command -v just)\"", "just");
            let recipe = command.strip_prefix("just ").and_then(|rest| rest.split(' ').next());
            let recipe = recipe.unwrap_or_else(|| panic!("{workflow}: {step} is not a recipe"));
            assert!(recipes.contains(recipe), "{workflow}: there is no recipe {recipe}");
            used.insert(recipe.to_owned());
        }
    }
    assert!(used.len() >= 5, "{used:?}");
}

#[test]
fn scripts_that_recipes_run_exist() {
    let justfile = read("justfile");
    for script in justfile.split("scripts/").skip(1) {
        let name = script.split([' ', ')', '"', '\n']).next().unwrap();
        assert!(root().join("scripts").join(name).exists(), "scripts/{name}");
    }
}
