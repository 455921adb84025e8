# The few commands a person types. `make help` lists them.

# The interpreter of .venv, looked at when that is made: make quickstart PYTHON=python3.12
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
UV     := $(BIN)/uv
# Set and empty, it outweighs flags of the shell and of cargo's own files: a target-cpu=native there would make wheels
# that run on no other machine.
export CARGO_ENCODED_RUSTFLAGS :=
export VIRTUAL_ENV := $(CURDIR)/$(VENV)
# uv trusts whom the machine trusts, a company's proxy too, and shows its progress to a person only.
export UV_SYSTEM_CERTS := 1
INSTALL := $(UV) pip install $(shell test -t 2 || echo --quiet)
NEEDS_RUST := @sh scripts/preflight.sh rust

RUST_SOURCES := $(shell find rust -name '*.rs' -o -name '*.toml' 2>/dev/null) Cargo.toml Cargo.lock

.DEFAULT_GOAL := help
.PHONY: help quickstart test test-rust test-python test-slow gpu-check lint format bench wheel wheel-check picture clean

help: ## list the commands
	@awk 'BEGIN {FS = ":.*## "} /^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

quickstart: $(VENV)/.built ## from raw text to sample stories in a few minutes; DATA=some.txt takes your own text
	@$(BIN)/cs336 quickstart $(if $(DATA),--data "$(DATA)")

test: $(VENV)/.dev test-rust test-python ## the Rust and Python tests but for the slow ones

test-rust:
	$(NEEDS_RUST)
	cargo test --locked --quiet

test-python: $(VENV)/.built $(VENV)/.dev
	$(BIN)/pytest

test-slow: $(VENV)/.built $(VENV)/.dev ## the Python tests that take longer
	@$(INSTALL) -r pyproject.toml --extra ray --extra tensorboard --extra wandb
	$(BIN)/pytest -m "slow and not gpu"

# Where there is no .venv: any Python with torch, and the wheel, the newest in dist/ or WHEEL=..., or the sources.
gpu-check: ## all that needs a GPU, in under 8 minutes, with a table at the end; needs neither Rust nor .venv
	@$(if $(wildcard $(BIN)/python),$(BIN)/python,$(PYTHON)) tests/gpu/check.py $(if $(WHEEL),--wheel "$(WHEEL)")

lint: $(VENV)/.built $(VENV)/.dev ## formatters in check mode, clippy, ruff, mypy, stubtest
	$(NEEDS_RUST)
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

bench: ## criterion benches of the Rust core
	$(NEEDS_RUST)
	cargo bench --locked

# zig links against the glibc of the tag, whatever the machine has. 2014 (glibc 2.17) is the oldest that Rust supports.
PORTABLE := $(if $(filter Linux,$(shell uname)),--zig --compatibility manylinux2014)

wheel: $(VENV)/.dev ## the wheel in dist/: for every Python from 3.11 on, every Linux of this architecture
	$(NEEDS_RUST)
	@$(INSTALL) --group wheel
	rm -rf dist
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/maturin build --release --locked $(PORTABLE) --out dist

wheel-check: wheel ## install that wheel, and the source distribution, into empty environments and use them
	$(BIN)/maturin sdist --out dist
	CARGO_TARGET_DIR="$(CURDIR)/target" $(BIN)/python scripts/check_dist.py dist

picture: $(VENV)/.built ## run the quickstart and refresh the README's picture, story and figures
	$(BIN)/python scripts/picture.py

clean: ## remove everything built
	rm -rf $(VENV) target dist python/cs336/_bpe*.so

# The set-up, each step done once: a stamp is newer than what it depends on.

$(UV):
	$(NEEDS_RUST)
	@sh scripts/preflight.sh python "$(PYTHON)"
	@echo "Setting up $(VENV) ..."
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	@touch $@

$(VENV)/.lab: pyproject.toml | $(UV)
	@echo "Installing PyTorch and what else the laboratory needs ..."
	@$(INSTALL) -r pyproject.toml --extra torch "maturin>=1.9,<2"
	@touch $@

$(VENV)/.dev: $(VENV)/.lab
	@echo "Installing the tools of tests and linters ..."
	@$(INSTALL) -r pyproject.toml --extra torch --group dev
	@touch $@

$(VENV)/.built: $(VENV)/.lab $(RUST_SOURCES)
	$(NEEDS_RUST)
	@echo "Compiling the tokenizer ..."
	@MATURIN_PEP517_ARGS=--locked $(INSTALL) --no-deps --no-build-isolation --reinstall-package cs336 --editable .
	@touch $@
