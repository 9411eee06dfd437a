//! Refuses to build where the program cannot run, before anything else is compiled.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    if std::env::var_os("CARGO_CFG_UNIX").is_none() {
        println!("cargo::error=postgres-etl builds on Linux and macOS only; on Windows, build it in WSL");
    }
}
