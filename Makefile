# Every command a person needs. `make help` lists them.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

CACHE    ?= $(or $(PENSTOCK_CACHE),$(HOME)/.cache/penstock)
PYTHON   ?= python3.11
UV       := $(CACHE)/uv/bin/uv
VENV     := .venv
BIN      := $(VENV)/bin
CLUSTER  := PENSTOCK_CACHE=$(CACHE) PYTHONPATH=cluster $(PYTHON) -m penstock_cluster
KUBECTL  := .cluster/bin/kubectl
HELM     := .cluster/bin/helm
IMAGE    ?= localhost/penstock:dev
EXAMPLES ?= localhost/penstock-examples:dev
export KUBECONFIG ?= $(CURDIR)/.cluster/kubeconfig

.PHONY: help
help: ## Show this list
	@awk 'BEGIN {FS = ":.*## "} /^##@/ {printf "\n\033[1m%s\033[0m\n", substr($$0, 5)} \
	  /^[a-zA-Z0-9_-]+:.*## / {printf "  \033[36m%-18s\033[0m %s\n", $$1, $$2}' $(MAKEFILE_LIST)

##@ Start here

.PHONY: demo
demo: install ## Bring up a cluster, install Penstock, run the example pipeline on both pool types
	@$(BIN)/python examples/weather/demo.py

# The seeds make it try the same things everywhere (of hashes too: the order of sets decides what the model tries), and so
# does a process of the model's own: Hypothesis also tries constants that it finds in whatever modules are loaded.
# `make model` and `make test-unit` try others each time.
.PHONY: test
test: venv test-programs container-engine ## Run every test: unit, integration (real control plane) and end to end (real node)
	@$(MAKE) --no-print-directory install
	PYTHONHASHSEED=$(or $(SEED),1) PENSTOCK_MODEL_STEPS=100000 $(BIN)/python -m pytest tests/model \
	  --hypothesis-seed=$(or $(SEED),1)
	PYTHONHASHSEED=$(or $(SEED),1) $(BIN)/python -m pytest tests --ignore tests/model --hypothesis-seed=$(or $(SEED),1)

##@ Development

.PHONY: venv
venv: $(VENV)/.ready ## Make .venv with Penstock (editable) and the development tools

$(UV):
	@echo "==> installing uv into $(CACHE)/uv"
	@mkdir -p $(CACHE) && $(PYTHON) -m venv $(CACHE)/uv && $(CACHE)/uv/bin/pip install --quiet 'uv>=0.5'

$(VENV)/.ready: pyproject.toml requirements/dev.txt | $(UV)
	@echo "==> making $(VENV)"
	@[ -x $(BIN)/python ] || $(UV) venv --quiet --python $(PYTHON) $(VENV)
	@UV_LINK_MODE=copy $(UV) pip install --quiet -p $(BIN)/python -r requirements/dev.txt -e .
	@touch $@

.PHONY: test-unit
test-unit: venv ## Unit tests only: no cluster, seconds
	$(BIN)/python -m pytest tests -m "not integration and not e2e"

.PHONY: test-integration
test-integration: venv test-programs container-engine ## Tests against a real etcd and kube-apiserver
	$(BIN)/python -m pytest tests -m integration

.PHONY: test-e2e
test-e2e: install test-programs ## Tests on a real node
	$(BIN)/python -m pytest tests -m e2e

.PHONY: model
model: venv ## The model of a run's life: 100,000 steps of misfortune (STEPS=n for more)
	PENSTOCK_MODEL_STEPS=$(or $(STEPS),100000) $(BIN)/python -m pytest tests/model -s

.PHONY: chaos
chaos: install ## Hundreds of runs while the node's parts are killed and cut off (SEED=n RUNS=n GAP=seconds SECONDS=n)
	PENSTOCK_CHAOS_SEED=$(SEED) PENSTOCK_CHAOS_RUNS=$(or $(RUNS),300) PENSTOCK_CHAOS_GAP=$(or $(GAP),7) \
	  PENSTOCK_CHAOS_SECONDS=$(or $(SECONDS),3600) \
	  $(BIN)/python -m pytest tests/chaos -s

.PHONY: check
check: venv ## Lint, types, import contracts and generated files
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/mypy cluster/penstock_cluster
	$(BIN)/lint-imports
	@$(MAKE) --no-print-directory verify

.PHONY: crds
crds: venv ## Generate the CRDs and their reference pages from the models
	$(BIN)/python -m penstock.api.crd_files
	$(BIN)/python -m penstock.settings docs/reference/settings.md

.PHONY: verify
verify: crds ## Fail when a generated file is not what the sources say
	@git diff --exit-code -- crds charts/penstock/crds docs/reference || \
	  { echo "generated files differ: commit what 'make crds' wrote" >&2; exit 1; }

.PHONY: lock
lock: $(UV) ## Pin the newest allowed versions of all dependencies
	$(UV) pip compile --quiet --upgrade pyproject.toml --extra dev --python-version 3.11 \
	  --no-header --no-annotate -o requirements/dev.txt
	$(UV) pip compile --quiet pyproject.toml --extra operator --extra git --extra requirements --python-version 3.11 \
	  --no-header --no-annotate -c requirements/dev.txt -o requirements/image.txt

.PHONY: bench
bench: install ## Run the benchmarks; each prints ratios against a peer measured in the same run
	$(BIN)/python -m pytest tests/bench -o python_files='bench_*.py' -o python_functions='bench_*' -s --timeout 1800

.PHONY: bench-schedules
bench-schedules: venv ## Lateness of scheduled runs, CPU and memory of the operator, with 5,000 deployments (no root)
	$(BIN)/python -m pytest tests/bench/bench_schedules.py -o python_files='bench_*.py' \
	  -o python_functions='bench_*' -s --timeout 1800

.PHONY: bench-operator
bench-operator: venv ## Throughput, latency and memory of the operator, with pods that kwok simulates (no root)
	@$(CLUSTER) binaries --kwok >/dev/null
	$(BIN)/python -m pytest tests/bench/bench_operator.py -o python_files='bench_*.py' -o python_functions='bench_*' \
	  -s --timeout 3600

##@ Cluster

.PHONY: binaries
binaries: ## Build Kubernetes, etcd, CoreDNS and helm into the cache, where they are missing
	@$(CLUSTER) binaries

.PHONY: test-programs
test-programs: ## Besides, what tests need beside the cluster: S3 and Azure servers, kwok, Kueue
	@$(CLUSTER) binaries --s3 --azure --kwok --kueue

.PHONY: container-engine
container-engine: ## Besides, Podman, by which the workers of containers are tested
	@$(CLUSTER) binaries --podman >/dev/null

.PHONY: cluster
cluster: ## Bring up a real one-node Kubernetes for this checkout (kind where Docker is)
	@$(CLUSTER) up

.PHONY: cluster-down
cluster-down: ## Remove the cluster and every trace of it
	@$(CLUSTER) down

.PHONY: cluster-status
cluster-status: ## Show the parts of the cluster
	@$(CLUSTER) status

.PHONY: image
image: cluster build/wheels/.ready ## Build the images and load them into the cluster
	@$(CLUSTER) image build --tag $(IMAGE) --file Dockerfile --context . --load
	@$(CLUSTER) image build --tag $(EXAMPLES) --file examples/Dockerfile --context . \
	  --build-arg BASE=$(IMAGE) --load

# The wheels are fetched outside the image build, which therefore needs no network.
build/wheels/.ready: requirements/image.txt $(shell find sdk operator -name '*.py' -o -name py.typed) pyproject.toml | $(VENV)/.ready
	@echo "==> collecting wheels"
	@mkdir -p build/wheels build/examples build/dist
	@cmp -s requirements/image.txt build/wheels/requirements.txt || { rm -rf build/wheels/*; \
	  $(PYTHON) -m pip download --quiet --disable-pip-version-check --only-binary=:all: --dest build/wheels \
	  -r requirements/image.txt && cp requirements/image.txt build/wheels/requirements.txt; }
	@ls build/examples/*.whl >/dev/null 2>&1 || $(PYTHON) -m pip download --quiet --disable-pip-version-check \
	  --no-deps --dest build/examples vega-datasets==0.9.0
	@rm -f build/dist/*.whl && $(UV) build --quiet --wheel --out-dir build/dist . && rm -f build/dist/.gitignore
	@touch $@

.PHONY: install
install: venv image ## Install Penstock into the cluster with its Helm chart
	@$(BIN)/python charts/install.py --image $(IMAGE) --helm $(HELM) --kubectl $(KUBECTL)

.PHONY: uninstall
uninstall: ## Remove Penstock from the cluster
	@$(HELM) uninstall penstock --namespace penstock-system --ignore-not-found --wait

.PHONY: clean
clean: cluster-down ## Remove the cluster, .venv and everything built
	@rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache
