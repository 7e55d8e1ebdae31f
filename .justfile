# The tasks of CI. `just --list` shows them, and `.ci/run` calls them.

set shell := ["bash", "-euo", "pipefail", "-c"]

# All Rust checks that must pass before a change lands.
default: lint test

# The README's test command.
test:
    cargo test --workspace

# The tests of optional features, and a check of the fuzz targets, which are a separate workspace.
test-optional:
    cargo test -p token-interceptor --features grpc-crate,rsa-generation,aws-lc --lib --test connections -- call_credentials signature tls_takes every_connection
    cargo check --manifest-path token-interceptor/fuzz/Cargo.toml --target-dir target

# Each feature of the interceptor alone, and the usual pairs, without warnings. In a folder of their own, as each
# would otherwise replace what the other checks have built.
features:
    for features in server client http encryption es512 server,client server,http,ring client,ring server,client,http,encryption,aws-lc; do \
        echo "$features"; \
        cargo clippy --quiet -p token-interceptor --lib --no-default-features --features "$features" --target-dir "${CARGO_TARGET_DIR:-target}/features" -- -D warnings; \
    done

# Format, clippy and documentation, without warnings.
lint: fmt clippy doc

fmt:
    cargo fmt --all --check

clippy:
    cargo clippy --workspace --all-targets --all-features -- -D warnings

doc:
    RUSTDOCFLAGS="-D warnings" cargo doc --workspace --all-features --no-deps

# The two libraries, each built from the package that would be published. Cargo takes a package of the same version for
# the same package, so the recipe removes what an earlier run has unpacked and built.
package:
    rm -rf "${CARGO_HOME:-$HOME/.cargo}"/registry/src/-*/token-{proto,interceptor}-[0-9]*
    cd "${CARGO_TARGET_DIR:-target}" && for file in $(grep -ls /registry/src/- debug/deps/token_*.d || true); do hash=${file##*-}; rm -rf debug/.fingerprint/token-*-"${hash%.d}"; done
    cargo package --quiet --allow-dirty -p token-proto -p token-interceptor

# Licences, banned crates, sources.
deny:
    cargo deny --config .deny.toml check bans licenses sources

# Known vulnerabilities. Needs the advisory database from the network.
advisories:
    cargo deny --config .deny.toml check advisories

# Writes the image that CI compares the contract with until the first release. An intended break needs a new one.
contract-image:
    buf build proto --exclude-source-info -o .ci/contract.binpb

# Runs the example application against a new issuer.
example:
    cargo build --quiet --workspace --example orders
    tests/interop/with-issuer "${CARGO_TARGET_DIR:-target}/debug/examples/orders" --seconds 6

# Makes the test data of `token-server import keycloak` with a real Keycloak. Needs Java 21 or later and Maven.
keycloak-export:
    tests/interop/keycloak/export

# Checks the files for operators with the linters of the tools that read them.
deploy:
    token-server/deploy/check

# Makes the files of a release twice, compares them byte by byte, and checks them. Needs root, and a while.
release:
    token-server/deploy/release
    RELEASE_TARGET_DIR=target/static-again token-server/deploy/release target/release-files-again
    diff -r target/release-files target/release-files-again
    token-server/deploy/packaging/check target/release-files

# The same once, in the profile of development: after a change of the recipe. Not in CI, as it compiles everything anew.
release-check:
    RELEASE_PROFILE=dev token-server/deploy/release target/release-files-dev
    RELEASE_PROFILE=dev token-server/deploy/packaging/check target/release-files-dev

# Renders the plain Kubernetes manifests, and the table of values in the chart's README, from the chart.
manifests:
    token-server/deploy/render

# Runs a suite of another language against an issuer: go, java, node, python, browser, reflection, envoy. `matrix` lets
# the client of each language call the server of each language.
interop language:
    tests/interop/{{language}}/run

# The conformance suite against the executor of a language: rust, go, java, node, python.
conformance language="rust":
    tests/conformance/run {{language}}

# Runs each fuzz target for a minute, on stable Rust. Needs `cargo install --locked cargo-fuzz`.
fuzz seconds="60":
    cd token-interceptor/fuzz && for target in $(ls fuzz_targets | sed 's/\.rs$//'); do cargo fuzz run -s none "$target" -- -max_total_time={{seconds}}; done

# Rehearses the rotations and outages of the handbook for about `seconds`. Needs Debian's package postgresql.
rehearse seconds="60":
    REHEARSAL_SECONDS={{seconds}} REQUIRE_POSTGRES=1 cargo test --quiet -p token-cli --test rehearsal -- --nocapture

# Measures every goal beside its baseline and its peers, and writes token-server/docs/performance.md.
bench:
    cargo bench -p token-cli --bench goals

# Measures the layers of Go, Java, Python and Node beside an echo, and writes token-server/docs/languages/cost.md.
bench-languages:
    token-interceptor/languages/bench

# Compares the instructions of each hot path with the baseline. `just instructions accept` writes a new baseline.
instructions what="compare":
    cargo bench --quiet --profile gate -p token-cli --bench instructions -- {{what}}
