# brokerdemo: `make up` and `make test` need Python >= 3.11 and make, nothing else.
PYTHON ?= python3
N ?= 5
# Test processes. One more than there are cores: many tests wait for other processes. Each collects every test, so more
# than eight cost more than they bring.
WORKERS ?= $(shell $(PYTHON) -c 'import os; print(min(8, (os.cpu_count() or 1) + 1))')
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/installed

# Bytecode beforehand, so that a start never compiles: also where PYTHONDONTWRITEBYTECODE is set.
COMPILE := $(BIN)/python -m compileall -q brokerdemo coordination

# The tests' own bytecode is kept: without it every worker compiles every file.
PYTEST := env -u PYTHONDONTWRITEBYTECODE $(BIN)/python -m pytest

.PHONY: up test check format bench peers clean

up: $(STAMP)  ## five brokers in the foreground; Ctrl-C stops them
	@$(COMPILE)
	@$(BIN)/brokerdemo up -n $(N)

test: $(STAMP)  ## the whole suite: units, real processes, scenarios
	@$(COMPILE)
	$(PYTEST) -n $(WORKERS) --dist worksteal
	$(PYTEST) scenarios/

check: $(STAMP)  ## the one gate: lint, format, types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(STAMP)
	$(BIN)/ruff check --fix-only .
	$(BIN)/ruff format .

bench: $(STAMP)  ## every budget in the README, ours and the peer in turn
	@$(COMPILE)
	$(BIN)/python -m bench

peers: $(STAMP)  ## the same tests against the real Apache ZooKeeper (Java and Maven; skipped with the reason without)
	$(PYTEST) -m peers tests/

# A marker file, so that a changed dependency list installs again and nothing else does.
$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(0 if v >= (3, 11) else "brokerdemo needs Python >= 3.11, and $(PYTHON) is %d.%d. Try: make PYTHON=python3.12 $(MAKECMDGOALS)" % v[:2])'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing into $(VENV) ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@$(COMPILE)
	@touch $@

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache
