# A static binary and the client's certificates, and nothing else. It needs a server:
#
#   docker build -t postgres-etl .
#   docker run --rm -v "$PWD:/data" -e DATABASE_URL=postgresql://… postgres-etl load orders.csv --table orders --create
FROM rust:1.88-alpine3.22 AS build
RUN apk add --no-cache musl-dev=~1.2
WORKDIR /source
COPY Cargo.toml Cargo.lock build.rs config.toml LICENSE-MIT LICENSE-APACHE ./
COPY benches benches
COPY crates crates
COPY data data
COPY packaging packaging
COPY src src
COPY tests tests
RUN cargo build --release --locked --bin postgres-etl

FROM scratch
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build /source/target/release/postgres-etl /usr/local/bin/postgres-etl
COPY --from=build /source/LICENSE-MIT /source/LICENSE-APACHE /source/packaging/copyright /usr/share/doc/postgres-etl/
WORKDIR /data
USER 65534:65534
ENTRYPOINT ["/usr/local/bin/postgres-etl"]
