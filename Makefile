# Each target works from nothing but python3 and make: it makes .venv first.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: chat test lint types bench fuzz model soak screenshots clean

$(STAMP): pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev]'
	touch $(STAMP)

chat: $(STAMP)          ## talk to a model: yours (TABBY_API_ENDPOINT) or the one that comes along
	@$(BIN)/tabbyapi chat

test: $(STAMP)          ## the whole test suite
	$(BIN)/python -m pytest

lint: $(STAMP)          ## style and common mistakes
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(STAMP)         ## strict type check of src/
	$(BIN)/mypy

bench: $(STAMP)         ## speed against other clients, as ratios
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[bench]'
	$(BIN)/python -m benchmarks

fuzz: $(STAMP)          ## everything that reads bytes, a minute for each target
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[fuzz]'
	$(BIN)/python -m fuzz

model: $(STAMP)         ## train the demo model anew (hours on a CPU; starting again goes on), export and measure it
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[model]'
	$(BIN)/python -m demo_model train
	$(BIN)/python -m demo_model export
	$(BIN)/python -m demo_model evaluate

soak: $(STAMP)          ## five minutes (SOAK_SECONDS) of mixed load against the local server
	$(BIN)/python -m pytest -m soak

screenshots: $(STAMP)   ## the pictures of the guides, of the real program at a terminal
	$(BIN)/python docs/screenshots.py

clean:
	rm -rf $(VENV) dist build .mypy_cache .ruff_cache .pytest_cache
