# Everything a newcomer needs; `make help` lists it. Needs Python 3.11 and make, installs the rest into .venv.
SHELL := /bin/bash
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
NAME ?= flights_reference
SECONDS ?= 3600
SEED ?= 0
export RAY_ENABLE_UV_RUN_RUNTIME_ENV := 0

.DEFAULT_GOAL := help
.PHONY: help setup demo test promtool chaos check fmt up down bench clean

help: ## show this list
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## (.*)/  make \1\t\2/' | expand -t 16

$(STAMP): pyproject.toml constraints.txt
	@command -v $(PYTHON) >/dev/null || { echo "raypipe needs Python 3.11: install it, or say where it is with PYTHON=/path/to/python3.11"; exit 2; }
	@echo "setting up $(VENV) (a few minutes the first time)"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[local,optuna,protobuf,flights,dev]'
	@touch $@

setup: $(STAMP) ## install into .venv

demo: setup ## the whole loop on real flights, about 5 minutes; FAST=1 for a small one
	@$(BIN)/python configs/flights/demo.py $(if $(FAST),--fast)
	@echo && echo "Stop everything with: make down"

test: setup check promtool ## lint, types, import contracts, then every test (e2e beside the others)
	@log=$$(mktemp); code=0; \
	( rest=0; $(BIN)/python -m pytest tests/unit tests/ray || rest=$$?; \
	  $(BIN)/python -m pytest tests/chaos || rest=$$?; exit $$rest ) > $$log 2>&1 & rest=$$!; \
	$(BIN)/python -m pytest tests/e2e || code=$$?; \
	wait $$rest || code=$$?; \
	cat $$log; rm $$log; exit $$code

# Without it the tests of the alerts are skipped, and say so.
promtool: setup
	@command -v promtool >/dev/null || test -x $(BIN)/promtool || .ci/promtool $(BIN) \
	  || echo "promtool could not be fetched (it is in Debian's package prometheus): the alerts will not be checked"

chaos: setup ## kill ingestion and streams for an hour, prove that nothing is lost; SECONDS=600 SEED=1
	@$(BIN)/python tests/chaos/run.py --seconds $(SECONDS) --seed $(SEED)

check: setup ## lint, formatting, types, import contracts
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

fmt: setup ## format and sort imports
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

up: setup ## start the local platform
	@$(BIN)/raypipe up

down: setup ## stop the local platform
	@$(BIN)/raypipe down

bench: setup ## measure, as in: make bench NAME=flights_reference
	@$(BIN)/python -m benchmarks.$(NAME)

clean: down ## stop the platform and delete its state
	@rm -rf .raypipe
