# Compiling is slow: keep what was built outside the clone, so that a second clone starts warm.
export CARGO_TARGET_DIR ?= $(HOME)/.cache/bascule/target
export CARGO_TERM_PROGRESS_WHEN ?= auto

.PHONY: demo test lint fmt coverage bench setup fuzz screenshots build

demo: setup ## Runs the whole way of a commit, narrated. DEMO_EXIT=1 ends it afterwards.
	cargo build --release -p bascule -p demo
	$(CARGO_TARGET_DIR)/release/demo

test: setup ## All tests: Rust, black-box, browser.
	cargo nextest run --workspace --no-fail-fast
	cargo test --workspace --doc --quiet
	cargo build -p bascule
	tests/browser/run

lint: setup ## Formatting, clippy, house rules, licences and advisories.
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- -D warnings
	cargo run -q -p tidy
	@if command -v cargo-deny >/dev/null; then cargo fetch --locked --quiet; cargo deny --offline check licenses bans sources || cargo deny check; \
	else echo "lint: cargo-deny is not installed; licences and advisories were not checked (cargo install cargo-deny)"; fi

fmt: ## Formats everything.
	cargo fmt --all

coverage: setup ## Line coverage; the floor is 80 %.
	scripts/coverage

bench: ## Measures and writes bench/RESULTS.md.
	scripts/setup bench
	cargo build --release -p bascule -p bench
	$(CARGO_TARGET_DIR)/release/bench

fuzz: ## Runs each fuzz target for a minute.
	scripts/fuzz

setup:
	@scripts/setup

build: setup
	cargo build --release -p bascule
