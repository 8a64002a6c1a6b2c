# Everything a developer types. Needs git, cargo, make and Python 3.11 or newer; the rest goes into
# .venv inside the clone.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

# The first Python that is new enough; `make PYTHON=/path/to/python3.12` chooses another.
PYTHON ?= $(shell for python in python3.11 python3.12 python3.13 python3; do \
	"$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 \
	&& { command -v "$$python"; break; }; done)

VENV := $(CURDIR)/.venv
BIN := $(VENV)/bin
# An activated conda or other environment must not lead maturin astray.
export VIRTUAL_ENV := $(VENV)
export PATH := $(BIN):$(PATH)
unexport CONDA_PREFIX PYTHONPATH PYTHONHOME
# What pyo3 builds against: the same interpreter in every step, so that nothing is built twice.
export PYO3_PYTHON := $(BIN)/python

# The extension and what it is built from. Python files need no build: the install is editable.
EXTENSION := python/dht/_dht.abi3.so
SOURCES := Cargo.toml Cargo.lock pyproject.toml $(shell find src -name '*.rs')

.PHONY: help
help: ## Show this list.
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: demo
demo: build ## Watch a real ring take in a server, lose one to kill -9, and answer every key.
	@$(BIN)/python scripts/demo.py

.PHONY: test
test: verify ## Run every check and every test there is (as continuous integration does).

.PHONY: sim
sim: ## Simulate rings under chaos; SEEDS=200 SEED=1000 runs 200 seeds from 1000 on.
	cargo build --quiet --release --locked --no-default-features --example sim
	@$${CARGO_TARGET_DIR:-target}/release/examples/sim --seed '$(or $(SEED),1)' --seeds '$(or $(SEEDS),2000)'

.PHONY: sim-real
sim-real: build ## Run real processes under faults and judge them: KIND=all SECONDS=60 SEED=1, or ROUNDS=50.
	cd tests/python && $(BIN)/python -m chaos --kind $(or $(KIND),all) \
		$(if $(ROUNDS),--rounds $(ROUNDS)) \
		--seconds $(or $(SECONDS),$(if $(ROUNDS),0,60)) $(if $(SEED),--seed $(SEED))

# ROWS="requests setr getr leader python library moving growth": some groups; SECONDS, ROUNDS: how
# long and how often; KEYS: names of the large ring; GROWTH: seconds of mixed load; PAGE: a page to
# write the table into.
.PHONY: bench
bench: build ## Measure ours, the limit and its peers side by side: ROWS=setr SECONDS=2 ROUNDS=7.
	cargo build --quiet --release --locked --features net --example load
	@$(BIN)/python benches/bench.py --loader $${CARGO_TARGET_DIR:-target}/release/examples/load \
		$(if $(ROWS),--rows '$(ROWS)') $(if $(SECONDS),--seconds $(SECONDS)) \
		$(if $(ROUNDS),--rounds $(ROUNDS)) $(if $(KEYS),--keys $(KEYS)) \
		$(if $(GROWTH),--growth $(GROWTH)) $(if $(PAGE),--page $(PAGE)) $(if $(JSON),--json $(JSON))

.PHONY: build
build: $(EXTENSION) ## Build the extension (release) into .venv, if a source has changed.
	@$(BIN)/python -m compileall -q python/dht scripts # as pip does; else each command compiles anew

.PHONY: verify
verify: verify-rust verify-python ## Check formats, lints, docs, types and tests; changes no source.

.PHONY: verify-rust
verify-rust: $(VENV)/.tools
	cargo fmt --check
	cargo clippy --locked --all-targets --no-default-features -- -D warnings
	cargo clippy --locked --all-targets --features net -- -D warnings
	cargo clippy --locked --all-targets --features python -- -D warnings
	cargo clippy --locked --all-targets --features planted -- -D warnings
	cargo test --locked --profile simtest --features planted
	cargo test --locked --features net --lib --test 'net_*'
	RUSTDOCFLAGS='-D warnings' cargo doc --locked --no-deps --features python

.PHONY: verify-python
verify-python: build
	$(BIN)/python -m ruff check
	$(BIN)/python -m ruff format --check
	$(BIN)/python -m mypy
	$(BIN)/python -m mypy.stubtest dht._dht
	$(BIN)/python -m pyright
	$(BIN)/python -m pytest -n 2 --dist loadfile

# SEEDS=2000: seeds for each bug; SEED=1: the first; BUG=NAME: that bug alone (none: no bug).
.PHONY: sim-bugs
sim-bugs: ## Plant each bug in turn, and print which seed notices it, and how.
	@cargo run --quiet --locked --profile simtest --features planted --example planted

.PHONY: fix
fix: $(VENV)/.tools ## Rewrite the sources: formats, and what the lints can mend.
	cargo clippy --fix --allow-dirty --allow-staged --all-targets --features python
	cargo fmt
	$(BIN)/python -m ruff check --fix
	$(BIN)/python -m ruff format

.PHONY: clean
clean: ## Remove everything that was built, .venv included.
	rm -rf $(VENV) target dist .mypy_cache .pytest_cache .ruff_cache python/dht/_dht*.so
	find python scripts tests -name __pycache__ -type d -prune -exec rm -rf {} +

# The tools that pyproject.toml lists as `dev`, newest allowed, without the project itself.
$(VENV)/.tools: pyproject.toml
	@[ -n '$(PYTHON)' ] || { echo 'No Python 3.11 or newer found: install one, or name it:' \
		'make PYTHON=/path/to/python3' >&2; exit 1; }
	@'$(PYTHON)' -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo '$(PYTHON) is not Python 3.11 or newer; name one that is:' \
		'make PYTHON=/path/to/python3' >&2; exit 1; }
	@command -v cargo >/dev/null \
		|| { echo 'cargo not found: install Rust, see https://rustup.rs' >&2; exit 1; }
	@[ -x $(BIN)/python ] || '$(PYTHON)' -m venv $(VENV) \
		|| { rm -rf $(VENV); echo 'Cannot create .venv (above is why); on Debian and Ubuntu:' \
		'apt install python3-venv' >&2; exit 1; }
	$(BIN)/python -c 'import tomllib; \
		print(*tomllib.load(open("pyproject.toml", "rb"))["project"]["optional-dependencies"]["dev"], sep="\n")' \
		> $(VENV)/tools.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --requirement $(VENV)/tools.txt
	@touch $@

# A stale extension must not outlive a build that fails.
$(EXTENSION): $(VENV)/.tools $(SOURCES)
	rm -f python/dht/_dht*.so
	$(BIN)/python -m maturin develop --release --locked --quiet
	@touch $@
