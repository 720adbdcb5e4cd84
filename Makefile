# The two commands: `make demo` shows a federation learn, `make test` checks everything.
# Both set up what they need in .venv on first use, from the locked list of packages.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin

.PHONY: demo test lint types contracts unit bench format lock wheel clean
.DEFAULT_GOAL := test

$(VENV)/.ready: lock/dev.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "federant needs Python 3.11 or later; $(PYTHON) is older. Try: make PYTHON=python3.12"; exit 1; }
	@echo "Installing into $(VENV) (once; half a minute or more)..."
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --require-hashes -r lock/dev.txt
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation -e .
	@touch $@
	@echo "Installed."

demo: $(VENV)/.ready
	$(BIN)/federant demo

test: lint types contracts unit

lint: $(VENV)/.ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.ready
	$(BIN)/mypy

contracts: $(VENV)/.ready
	$(BIN)/lint-imports --no-cache

unit: $(VENV)/.ready
	$(BIN)/python -m pytest -n 2 --dist worksteal

bench: $(VENV)/.ready
	@for script in $(filter-out bench/exchange_rig.py,$(wildcard bench/*.py)); do echo "== $$script"; $(BIN)/python $$script || exit 1; done

format: $(VENV)/.ready
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# Resolves again what pyproject.toml asks for; the result is committed.
lock:
	$(PYTHON) -m venv .venv-lock
	.venv-lock/bin/python -m pip install --quiet uv
	.venv-lock/bin/uv pip compile pyproject.toml lock/build.in --group dev --extra demo --universal \
	  --python-version 3.11 --generate-hashes --no-header --no-annotate --no-emit-package federant -o lock/dev.txt
	rm -rf .venv-lock

wheel: $(VENV)/.ready
	$(BIN)/python -m pip wheel --no-deps --no-build-isolation -w dist .

clean:
	rm -rf $(VENV) .venv-lock dist .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
