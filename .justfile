# What CI runs, by name. `just --list` shows them; `.ci/run` calls them.

set shell := ["bash", "-euo", "pipefail", "-c"]

# Everything that must hold before a change lands, for Rust alone.
default: lint test

# The README's test command.
test:
    cargo test --workspace

# What only optional features have tests for, and the fuzz targets, which are a workspace of their own.
test-optional:
    cargo test -p token-interceptor --features grpc-crate --lib call_credentials
    cargo test -p token-interceptor --features rsa-generation --lib signature
    cargo check --manifest-path token-interceptor/fuzz/Cargo.toml --target-dir target

# Format, clippy, documentation: no warnings.
lint: fmt clippy doc

fmt:
    cargo fmt --all --check

clippy:
    cargo clippy --workspace --all-targets --all-features -- -D warnings

doc:
    RUSTDOCFLAGS="-D warnings" cargo doc --workspace --all-features --no-deps

# Licences, banned crates, sources.
deny:
    cargo deny --config .deny.toml check bans licenses sources

# Known vulnerabilities: needs the advisory database from the network.
advisories:
    cargo deny --config .deny.toml check advisories

# What the contract is held against until there is a release: a break before that is meant, and takes a new one.
contract-image:
    buf build proto --exclude-source-info -o .ci/contract.binpb

# The example application against a fresh issuer: allowed, denied, renewed.
example:
    cargo build --quiet --workspace --example orders
    tests/interop/with-issuer "${CARGO_TARGET_DIR:-target}/debug/examples/orders" --seconds 6

# What is shipped for operators, read by the linters of those who will read it.
deploy:
    token-server/deploy/check

# Clients and servers of another world against a running issuer: go, java, node, python, browser, reflection, envoy.
interop language:
    tests/interop/{{language}}/run

# The fuzz targets, each for a minute, on stable Rust; needs `cargo install --locked cargo-fuzz`.
fuzz seconds="60":
    cd token-interceptor/fuzz && for target in $(ls fuzz_targets | sed 's/\.rs$//'); do cargo fuzz run -s none "$target" -- -max_total_time={{seconds}}; done

# The handbook rehearsed, for about so long: three replicas over PostgreSQL under load, whatever rotates is rotated, whatever can
# die is killed, a backup is restored; each is seen on the metrics. Prints a table; needs Debian's package postgresql.
rehearse seconds="60":
    REHEARSAL_SECONDS={{seconds}} REQUIRE_POSTGRES=1 cargo test --quiet -p token-server --test rehearsal -- --nocapture

# Every goal beside its floor and its peers, in one table, which is written to token-server/docs/performance.md.
bench:
    cargo bench -p token-server --bench goals

# Instructions of each hot path, by callgrind, against the baseline; `just instructions accept` writes a new one.
instructions what="compare":
    cargo bench --quiet --profile gate -p token-server --bench instructions -- {{what}}
