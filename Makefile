# Two commands do all the set-up: `make sweep` and `make test`.
VENV ?= .venv
PYTHON ?= python3
BIN := $(VENV)/bin
SPACE ?= quickstart

.PHONY: sweep test test-sweeps test-rest format docs dist clean help

sweep: $(VENV)/.installed  ## run a search space, print its leaderboard
	$(BIN)/engram run $(SPACE)

test: $(VENV)/.installed-test  ## linters, types, tests
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/pytest -m alone
	$(MAKE) --no-print-directory --jobs 2 --output-sync=target test-sweeps test-rest

test-sweeps: $(VENV)/.installed-test
	$(BIN)/pytest -m sweeps

test-rest: $(VENV)/.installed-test
	OMP_NUM_THREADS=1 $(BIN)/pytest -m "not sweeps and not alone"

format: $(VENV)/.installed-test  ## mend what linters can mend
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(VENV)/.installed  ## write the pages made of registries and measured results
	$(BIN)/python -m orchestrator.reference

dist: $(VENV)/.installed-test  ## wheel and source distribution
	$(BIN)/python -m build

help:  ## list the commands
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' $(MAKEFILE_LIST)

clean:  ## remove the environment and what tools leave behind
	rm -rf $(VENV) build dist .mypy_cache .pytest_cache .ruff_cache

$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit("Engram needs Python 3.11 or newer; name one with: make PYTHON=python3.12") if sys.version_info < (3, 11) else None'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --constraint constraints.txt --editable .
	touch $@

$(VENV)/.installed-test: $(VENV)/.installed
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[test]'
	touch $@
