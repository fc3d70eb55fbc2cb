# ticklake on one machine. `make` alone prints the targets.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

ARGS ?=
# The uv that is fetched where the machine has none; every other version stands in requirements.lock.
UV_VERSION := 0.13.9
UV := $(or $(shell command -v uv 2>/dev/null),.uv/bin/uv)
BIN := .venv/bin

MEMBERS := $(sort $(dir $(wildcard services/*/pyproject.toml spark-apps/*/pyproject.toml)))
SOURCES := $(wildcard services/*/src spark-apps/*/src)
INSTALL = $(UV) pip install --quiet --python $(BIN)/python --constraint requirements.lock \
          $(foreach member,$(MEMBERS),--editable $(member))

##@ Use
.PHONY: run live up down status
run: .venv/.runtime ## Run the batch pipeline and a short live part once, end to end (ARGS="--source simulated …")
	@$(BIN)/onebox run $(ARGS)
live: .venv/.runtime ## Keep everything running until Ctrl-C
	@$(BIN)/onebox live $(ARGS)
up: .venv/.runtime ## Start broker, store, warehouse and a warm Spark in the background
	@$(BIN)/onebox up $(ARGS)
down: .venv/.runtime ## Stop what `up` started
	@$(BIN)/onebox down $(ARGS)
status: .venv/.runtime ## Show what runs
	@$(BIN)/onebox status $(ARGS)

##@ Develop
.PHONY: test lint fmt bench lock setup clean
setup: .venv/.dev ## Install everything that tests and checks need
test: .venv/.dev ## Run all tests
	@$(BIN)/onebox fetch-jars
	@$(BIN)/pytest -n 2 --dist loadfile $(ARGS)
lint: .venv/.dev ## Check style and types; changes nothing
	@$(BIN)/ruff check services spark-apps tests
	@$(BIN)/ruff format --check services spark-apps tests
	@$(BIN)/mypy $(SOURCES)
fmt: .venv/.dev ## Format the code
	@$(BIN)/ruff check --fix services spark-apps tests
	@$(BIN)/ruff format services spark-apps tests
bench: .venv/.dev ## Measure against the old design; prints ratios within one run
	@$(BIN)/python -m tests.bench $(ARGS)
lock: | $(filter .uv/bin/uv,$(UV)) ## Resolve all dependencies anew into requirements.lock
	@$(UV) pip compile pyproject.toml --group dev --group airflow --universal --python-version 3.11 \
	  --generate-hashes --quiet --custom-compile-command "make lock" --output-file requirements.lock \
	  $(foreach member,$(MEMBERS),--no-emit-package $(notdir $(patsubst %/,%,$(member))))
clean: ## Remove the environment and caches; the data of runs (.onebox) stays
	rm -rf .venv .uv .ruff_cache .mypy_cache .pytest_cache .hypothesis

.PHONY: help
help: ## Show this
	@awk 'BEGIN {FS = ":.*## "} /^##@/ {printf "\n%s\n", substr($$0, 5)} \
	  /^[a-z-]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# --- set-up ---------------------------------------------------------------------------------------------------------

.uv/bin/uv:
	@echo "Getting uv $(UV_VERSION) …"
	@python3 -m pip install --quiet --disable-pip-version-check --root-user-action=ignore --target .uv "uv==$(UV_VERSION)" || { \
	  echo "ticklake needs uv, and this Python has no pip to get it with." >&2; \
	  echo "Install uv, or pip (Debian, Ubuntu: apt-get install python3-pip), and run make again." >&2; exit 2; }

.venv/pyvenv.cfg: | $(filter .uv/bin/uv,$(UV))
	@$(UV) venv --quiet --python ">=3.11,<3.13" .venv

.venv/.runtime: requirements.lock $(addsuffix pyproject.toml,$(MEMBERS)) | .venv/pyvenv.cfg
	@echo "Installing the platform's packages …"
	@$(INSTALL)
	@touch $@

.venv/.dev: requirements.lock pyproject.toml $(addsuffix pyproject.toml,$(MEMBERS)) | .venv/pyvenv.cfg
	@echo "Installing the platform's and the tests' packages …"
	@$(INSTALL) --group dev
	@touch $@ .venv/.runtime
