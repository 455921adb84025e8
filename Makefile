# The few commands a person types. `make help` lists them.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
UV     := $(BIN)/uv
# Where these are set, wheels would not run on other machines.
unexport RUSTFLAGS CARGO_ENCODED_RUSTFLAGS
export VIRTUAL_ENV := $(CURDIR)/$(VENV)

RUST_SOURCES := $(shell find rust -name '*.rs' -o -name '*.toml' 2>/dev/null) Cargo.toml Cargo.lock

.DEFAULT_GOAL := help
.PHONY: help quickstart test test-rust test-python test-slow lint format bench wheel wheel-check clean

help: ## list the commands
	@awk 'BEGIN {FS = ":.*## "} /^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

quickstart: $(VENV)/.built ## from raw text to sample stories in a few minutes; DATA=some.txt takes your own text
	@$(BIN)/cs336 quickstart $(if $(DATA),--data "$(DATA)")

test: test-rust test-python ## all Rust and Python tests

test-rust: $(VENV)/.preflight
	cargo test --locked --quiet

test-python: $(VENV)/.built $(VENV)/.dev
	$(BIN)/pytest

test-slow: $(VENV)/.built $(VENV)/.dev ## the tests that take longer
	$(BIN)/pytest -m "slow and not gpu"

lint: $(VENV)/.built $(VENV)/.dev ## formatters in check mode, clippy, ruff, mypy, stubtest
	cargo fmt --all --check
	cargo clippy --locked --workspace --all-targets --quiet -- -D warnings
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python -m mypy.stubtest cs336._bpe

format: $(VENV)/.dev ## write all files the way the formatters want them
	cargo fmt --all
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(VENV)/.preflight ## criterion benches of the Rust core
	cargo bench --locked

wheel: $(VENV)/.dev ## an abi3 wheel for any x86-64 Linux in dist/
	$(UV) pip install --quiet "ziglang>=0.13,<1"
	rm -rf dist
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/maturin build --release --zig --compatibility manylinux2014 --out dist

wheel-check: wheel ## install that wheel into empty environments and use it
	$(BIN)/python scripts/check_wheel.py dist

clean: ## remove everything built
	rm -rf $(VENV) target dist python/cs336/_bpe*.so

# The set-up, each step done once. Stamps are newer than what they depend on.

$(VENV)/.preflight: scripts/preflight.sh
	@PYTHON="$(PYTHON)" sh scripts/preflight.sh
	@mkdir -p $(VENV) && touch $@

$(UV): $(VENV)/.preflight
	@echo "Setting up $(VENV) ..."
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	@touch $(UV)

$(VENV)/.lab: pyproject.toml $(UV)
	$(UV) pip install --quiet -r pyproject.toml --extra torch "maturin>=1.9,<2"
	@touch $@

$(VENV)/.dev: pyproject.toml $(VENV)/.lab
	$(UV) pip install --quiet -r pyproject.toml --extra torch --group dev
	@touch $@

$(VENV)/.built: $(VENV)/.lab $(RUST_SOURCES)
	$(BIN)/maturin develop --release --uv --quiet --locked --extras torch
	@touch $@
