# One word a task; `make help` lists them.

PYTHON ?= python3
VENV ?= .venv
PYTEST_ARGS ?=
TOUR_ARGS ?=
# Latency tables and accuracies of others; what needs them skips where the folder is absent.
NAS_DATA ?= ../shared/data
export NAS_DATA

BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip -qq --disable-pip-version-check
CODE := $(wildcard search_spaces devices predictors nas dashboard tests benchmarks)
TEXT := $(wildcard *.md docs Makefile pyproject.toml)
BASE := $(VENV)/.installed-base
DEV := $(VENV)/.installed-dev

.DEFAULT_GOAL := help
.PHONY: help demo test check lint types fix bench tour fit-accuracy fit-few-shot browser clean

help: ## list the tasks
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  \1	\2/p' $(MAKEFILE_LIST) | expand -t 16

demo: $(BASE) ## search for a network that takes 5 ms on this machine
	$(BIN)/nas search --device local --space mobilenetv3 --budget 5ms --output demo-run
	@echo "Results: $(CURDIR)/demo-run"

test: lint types browser ## what CI runs: lint, types, every test that needs no accelerator
	$(BIN)/python -m pytest -m "not gpu" $(PYTEST_ARGS)

check: lint types ## lint, types and the fast tests
	$(BIN)/python -m pytest -m "not slow and not gpu" $(PYTEST_ARGS)

lint: $(DEV) ## style, imports between rooms, spelling
	$(BIN)/ruff check $(CODE)
	$(BIN)/ruff format --check $(CODE)
	$(BIN)/lint-imports --no-logo
	$(BIN)/codespell $(CODE) $(TEXT)
	@found=$$(find tests -name __init__.py); if [ -n "$$found" ]; then \
	    echo "tests/ must have no __init__.py, it would shadow a room: $$found" >&2; exit 1; fi

types: $(DEV) ## mypy, strict
	$(BIN)/mypy

fix: $(DEV) ## mend what ruff can mend
	$(BIN)/ruff check --fix $(CODE)
	$(BIN)/ruff format $(CODE)

bench: $(DEV) ## the main job from end to end, timed
	$(BIN)/python benchmarks/main_job.py

tour: $(DEV) browser ## every room once, on real input; needs NAS_DATA
	$(BIN)/python benchmarks/tour.py $(TOUR_ARGS)

fit-few-shot: $(DEV) ## refit the packaged few-shot predictors from NAS_DATA
	$(BIN)/python -m predictors.fit_few_shot

fit-accuracy: $(DEV) ## refit the packaged accuracy predictors from NAS_DATA
	$(BIN)/python -m nas.evaluators.ofa_accuracy_fit

# The explorer's tests drive a real browser; without one and without root they are skipped.
browser:
	@if ! command -v chromium >/dev/null && ! command -v google-chrome >/dev/null \
	    && [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	    apt-get update -qq && apt-get install -y -qq --no-install-recommends chromium >/dev/null; fi

clean: ## remove caches and results; the environment stays
	rm -rf build dist demo-run .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find $(CODE) -name __pycache__ -type d -prune -exec rm -rf {} +

# The measuring tests need the machine for themselves, so that nothing here runs in parallel.
.NOTPARALLEL:

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(BASE): pyproject.toml constraints.txt | $(BIN)/python
	$(PIP) install -c constraints.txt -e .
	@touch $@

$(DEV): pyproject.toml constraints.txt | $(BIN)/python
	$(PIP) install -c constraints.txt -e '.[dev]'
	@touch $@ $(BASE)
