# The two commands: `make demo` shows a federation learn, `make test` checks everything.
# Both set up what they need in .venv on first use, from the locked list of packages.
# `make test-frameworks` checks what needs PyTorch, JAX and the like, in an environment of its own.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin

FRAMEWORKS := .venv-frameworks
NVFLARE    := .venv-nvflare
# More arguments for pip, where PyPI's torch would bring CUDA with it:
# make test-frameworks FRAMEWORKS_PIP="--extra-index-url https://download.pytorch.org/whl/cpu"
FRAMEWORKS_PIP ?=

.PHONY: demo test test-frameworks docs lint types contracts unit bench format lock lock-frameworks wheel clean
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
	$(BIN)/python -m pytest -n 2 --dist worksteal --ignore tests/frameworks

$(FRAMEWORKS)/.ready: lock/frameworks.txt pyproject.toml
	@echo "Installing into $(FRAMEWORKS) (once; some minutes, 3 GB)..."
	$(PYTHON) -m venv $(FRAMEWORKS)
	$(FRAMEWORKS)/bin/python -m pip install --quiet --no-compile $(FRAMEWORKS_PIP) -r lock/frameworks.txt
	$(FRAMEWORKS)/bin/python -m pip install --quiet --no-deps --no-build-isolation -e .
	@touch $@

# The peer whose wire format some tests are judged by; it wants other versions than ours.
$(NVFLARE)/.ready: lock/nvflare.txt
	$(PYTHON) -m venv $(NVFLARE)
	$(NVFLARE)/bin/python -m pip install --quiet -r $<
	@touch $@

test-frameworks: $(FRAMEWORKS)/.ready $(NVFLARE)/.ready
	FEDERANT_NVFLARE_PYTHON=$(CURDIR)/$(NVFLARE)/bin/python \
	  $(FRAMEWORKS)/bin/python -m pytest -n 2 --dist worksteal tests/frameworks

docs: $(VENV)/.ready
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict
	@echo "The site begins at build/docs/index.html; its search needs a server: $(BIN)/python -m http.server -d build/docs"

# The first use makes environments of the peers, from the network; without one they are left out.
# What disturbs a line needs root. What takes sizes has larger ones as options.
bench: $(VENV)/.ready
	@for script in $(filter-out bench/%_rig.py,$(wildcard bench/*.py)); do echo "== $$script"; $(BIN)/python $$script || exit 1; done

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

# Pins without hashes: which wheel of torch is taken, with CUDA or without, is the machine's affair.
lock-frameworks:
	$(PYTHON) -m venv .venv-lock
	.venv-lock/bin/python -m pip install --quiet $(FRAMEWORKS_PIP) -r lock/frameworks.in
	.venv-lock/bin/python -m pip freeze --exclude federant | sed 's/+cpu$$//' > lock/frameworks.txt
	rm -rf .venv-lock

wheel: $(VENV)/.ready
	$(BIN)/python -m pip wheel --no-deps --no-build-isolation -w dist .

clean:
	rm -rf $(VENV) $(FRAMEWORKS) $(NVFLARE) .venv-peer-* .venv-lock dist .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
