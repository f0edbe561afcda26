# Each target works from nothing but python3 and make: it makes .venv first.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check
STAMP := $(VENV)/.installed
DEV := $(VENV)/.installed-dev

.DEFAULT_GOAL := help
.PHONY: help chat test check cover lint types docs build bench fuzz soak ray clients screenshots hooks clean

help:             ## this list
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## */\t/' | expand -t 14

$(STAMP): pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(PIP) -e '.[local]'
	touch $(STAMP)

$(DEV): pyproject.toml | $(STAMP)
	$(PIP) -e '.[dev]'
	touch $(DEV)

chat: $(STAMP)    ## talk to a model: your server's (TABBY_API_ENDPOINT), or a small one on this machine
	@$(BIN)/tabbyapi chat

test: $(DEV)      ## the whole test suite
	@$(BIN)/tabbyapi pull > /dev/null
	$(BIN)/python -m pytest

check: $(DEV) lint types  ## what takes under a minute: lint, types, and the tests without an engine
	$(BIN)/python -m pytest -m 'not soak and not engine' tests/client tests/protocol tests/transport tests/tools tests/structured tests/conversation tests/images tests/test_layers.py tests/test_parity.py

cover: $(DEV)     ## the whole test suite, with the lines it does not reach
	$(BIN)/python -m pytest --cov --cov-report=term-missing:skip-covered

lint: $(DEV)      ## style and common mistakes
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(DEV)     ## strict type check of src/
	$(BIN)/mypy

docs: $(DEV)      ## the documentation as a site, in docs/_build
	$(PIP) -e '.[docs]'
	$(BIN)/sphinx-build -W --keep-going -q -b html docs docs/_build/html

build: $(DEV)     ## sdist and wheel, in dist/
	$(PIP) build
	$(BIN)/python -m build --outdir dist .

bench: $(DEV)     ## speed against other clients, as ratios
	$(PIP) -e '.[bench]'
	$(BIN)/python -m benchmarks

fuzz: $(DEV)      ## everything that reads bytes, a minute for each target
	$(PIP) -e '.[fuzz]'
	$(BIN)/python -m fuzz

soak: $(DEV)      ## five minutes (SOAK_SECONDS) of mixed load against the local server
	$(BIN)/python -m pytest -m soak

ray: $(DEV)       ## several servers behind one address, and data sets, on a small Ray cluster
	$(PIP) -e '.[ray]'
	$(BIN)/python -m pytest -m ray tests/scale

clients: $(DEV)   ## the programs of docs/guides/other-clients.md, with the clients they are about
	$(PIP) -e '.[langchain]' langchain-tests
	$(BIN)/python -m pytest -m clients -o asyncio_mode=auto tests/other_clients tests/ecosystem

screenshots: $(DEV)  ## the pictures of the guides, of the real program at a terminal and in a browser
	$(BIN)/python docs/screenshots.py
	$(BIN)/python docs/web_screenshots.py

hooks: $(DEV)     ## check each commit before it is made
	$(PIP) pre-commit
	$(BIN)/pre-commit install

clean:            ## remove everything that these targets made
	rm -rf $(VENV) dist build docs/_build .mypy_cache .ruff_cache .pytest_cache .coverage
