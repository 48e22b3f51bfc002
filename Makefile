# Two commands do everything: `make demo` and `make test`. Each makes its own environment in .venv first.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
SOURCES := pyproject.toml constraints.txt
# Eight test files at a time do not make two cores faster: one worker a core, one thread a worker.
WORKERS ?= 2

.PHONY: demo test lint types tests format browser clean help

help:  ## Show what there is to make
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

demo: $(VENV)/.core  ## Train a small TFT on the bundled data; write forecasts and an HTML report
	$(BIN)/fusecast demo

test: lint types tests  ## Lint, type-check, run all tests

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.dev
	$(BIN)/mypy

tests: $(VENV)/.dev browser
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS) --dist loadfile

format: $(VENV)/.dev  ## Put the code into the house format
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

browser:  ## Install Debian's chromium for the browser tests where it is missing and can be installed
	@command -v chromium >/dev/null 2>&1 || \
	if command -v apt-get >/dev/null 2>&1 && [ "$$(id -u)" = 0 ]; then \
		apt-get update -qq && apt-get install -y -qq chromium chromium-driver fonts-dejavu-core >/dev/null; \
	else echo "chromium is missing and cannot be installed here: browser tests will be skipped"; fi

$(VENV)/.python:
	$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/.core: $(VENV)/.python $(SOURCES)
	$(PIP) install -q -c constraints.txt -e .
	@touch $@

$(VENV)/.dev: $(VENV)/.python $(SOURCES)
	$(PIP) install -q -c constraints.txt -e '.[dev]'
	@touch $@ $(VENV)/.core

clean:  ## Remove what make and the tests have made, the environment too
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis build src/*.egg-info
