# Everything a visitor or a contributor runs. `make` alone lists the targets.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-builtin-rules --no-print-directory
.DELETE_ON_ERROR:
# Where an image sets it, each of the processes that a run starts would compile our code anew.
unexport PYTHONDONTWRITEBYTECODE

VENV ?= .venv
BIN := $(VENV)/bin
VERSITYGW_VERSION := v1.8.0
CACHE := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/batch-inference-operator
export BIJ_TOOLS_DIR ?= $(CACHE)/tools/versitygw-$(VERSITYGW_VERSION)

# The first Python of these that runs and is new enough; `make PYTHON=/path/to/python` overrides it.
PYTHON ?= $(shell for candidate in python3.11 python3.12 python3.13 python3; do \
	"$$candidate" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' \
	2>/dev/null && echo "$$candidate" && break; done)

# What is installed is named by the hash of what asks for it, so a warm start installs nothing.
DEMO_PINS := requirements/build.txt requirements/runtime.txt requirements/examples.txt
DEV_PINS := $(DEMO_PINS) requirements/operator.txt requirements/dev.txt
DEMO_PROJECTS := crds/pyproject.toml runner/pyproject.toml
DEV_PROJECTS := $(DEMO_PROJECTS) operator/pyproject.toml
DEMO_STAMP := $(VENV)/.demo-$(shell cat $(DEMO_PINS) $(DEMO_PROJECTS) | sha256sum | cut -c1-16)
DEV_STAMP := $(VENV)/.dev-$(shell cat $(DEV_PINS) $(DEV_PROJECTS) | sha256sum | cut -c1-16)
CLUSTER := PYTHONPATH=tests $(BIN)/python -m testkit.cluster
# What runs side by side prints whole lines only.
WHOLE_LINES := sed --unbuffered ''
# What only computes steps back behind what waits for others to be ready.
STEP_BACK := nice -n 5
# They mostly wait, for pods and the like, so two clusters share them; another provider has but one.
CLUSTERS := $(if $(filter-out local,$(BIJ_CLUSTER_PROVIDER)),0,2)
PIP := $(BIN)/python -m pip --disable-pip-version-check --no-input

.PHONY: help demo venv test test-here test-ray test-cluster-and-ray test-cluster check format tools cluster cluster-install cluster-shell cluster-down soak images manifests bench bench-full pins clean

help: ## List the targets.
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-15s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(DEMO_STAMP) ## Train a model, score millions of rows, kill the run half-way, resume it, check the result.
	@$(BIN)/python examples/demo.py

venv: $(DEV_STAMP) ## Create .venv with everything for development, pinned and hash-checked.
	@echo "Ready: . $(BIN)/activate"

test: $(DEV_STAMP) tools ## Run every test: on a real cluster and with Ray, and beside them all others (about 25 minutes).
	@$(MAKE) --keep-going --jobs=2 test-cluster-and-ray test-here

# One after the other: beside each other their pods and nodes are so slow that tests wait in vain.
test-cluster-and-ray:
	@$(MAKE) --keep-going --jobs=1 test-cluster test-ray

test-here: $(DEV_STAMP) tools ## Run the tests that need neither Ray nor a cluster: unit, repository, integration, faults.
	@echo "==> Tests: unit, repository, integration, faults"
	@$(STEP_BACK) $(BIN)/python -m pytest -m "not ray and not cluster" | $(WHOLE_LINES)

test-ray: $(DEV_STAMP) tools ## Run the tests that start Ray on this machine.
	@echo "==> Tests that start Ray, in a network namespace of their own: Ray listens on every address"
	@$(BIN)/python tests/tools/private_network.py $(BIN)/python -m pytest tests/integration tests/faults -m ray -o cache_dir=.pytest_cache/ray | $(WHOLE_LINES)

test-cluster: $(DEV_STAMP) tools ## Run the tests on a real Kubernetes cluster of this machine.
	@tests/tools/install_cluster_packages
	@$(CLUSTER) build
	@echo "==> Tests on a real Kubernetes cluster of this machine"
	@$(BIN)/python -m pytest tests/cluster -n $(CLUSTERS) --dist loadfile -o cache_dir=.pytest_cache/cluster | $(WHOLE_LINES)

soak: $(DEV_STAMP) tools ## Kill and disturb for hours, here and on the cluster.
	@tests/tools/install_cluster_packages
	@$(CLUSTER) build
	@BIJ_SOAK=1 $(BIN)/python -m pytest -m soak --durations=0 -rsP

check: $(DEV_STAMP) ## Lint, formatting, types, import contracts, and generated files in sync.
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(BIN)/python -m batch_inference_api.crd --check
	@$(BIN)/python tests/tools/write_values_table.py --check

format: $(DEV_STAMP) ## Format the code and write the generated files.
	@$(BIN)/ruff check --fix-only --quiet .
	@$(BIN)/ruff format .
	@$(BIN)/python -m batch_inference_api.crd --write
	@$(BIN)/python tests/tools/write_values_table.py

tools: $(BIJ_TOOLS_DIR)/versitygw ## Get the S3 server and Prometheus that tests use, into a cache outside the checkout.
	@tests/tools/unpack_prometheus $(CACHE)/tools/prometheus

$(BIJ_TOOLS_DIR)/versitygw:
	@tests/tools/build_s3_server $(VERSITYGW_VERSION) $(BIJ_TOOLS_DIR)

cluster: $(DEV_STAMP) ## Start a real Kubernetes on this machine (root on Debian; built once, in 20 minutes).
	@tests/tools/install_cluster_packages
	@$(CLUSTER) up

cluster-install: $(DEV_STAMP) ## Build the images of this checkout, and install the operator in that cluster.
	@$(CLUSTER) install

cluster-shell: $(DEV_STAMP) ## Open a shell whose kubectl and helm talk to that cluster.
	@$(CLUSTER) shell

cluster-down: $(DEV_STAMP) ## Remove that cluster and everything it has made but its cache.
	@$(CLUSTER) down

manifests: $(DEV_STAMP) ## Write build/install.yaml for `kubectl apply --server-side -f` (needs helm); OPERATOR_IMAGE=, RUNNER_IMAGE=.
	@mkdir -p build
	@PATH="$$PATH:$(lastword $(sort $(wildcard $(CACHE)/tools/helm-v*)))" $(BIN)/python operator/manifests/render.py \
		--operator-image "$(OPERATOR_IMAGE)" --runner-image "$(RUNNER_IMAGE)" > build/install.yaml
	@echo "Wrote build/install.yaml"

images: $(DEV_STAMP) ## Build both images without a registry (root on Debian; once, in 5 minutes) and say where.
	@tests/tools/install_cluster_packages
	@PYTHONPATH=tests $(BIN)/python -m testkit.images

bench: $(DEV_STAMP) ## Compare bij with a plain script and Ray Data on 2 million rows (about 3 minutes).
	@$(BIN)/python tests/benchmarks/bench_first_row.py
	@$(BIN)/python tests/benchmarks/bench_throughput.py --profile quick

bench-full: $(DEV_STAMP) ## The same on 10 million rows, and memory against 2 million (about 20 minutes).
	@$(BIN)/python tests/benchmarks/bench_throughput.py --profile full

pins: $(DEV_STAMP) ## Resolve requirements/*.in again (needs uv).
	@cd requirements && for layer in build runtime gpu examples operator dev; do \
		uv pip compile $$layer.in --output-file $$layer.txt --quiet --upgrade --universal \
		--python-version 3.11 --generate-hashes --no-header --no-annotate \
		--no-emit-index-url --no-emit-find-links; done

clean: ## Remove the virtual environment, caches and everything the examples made.
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	rm -rf examples/*/data examples/*/model examples/*/output examples/*/scoring

$(BIN)/python:
	@[ -n "$(PYTHON)" ] || { echo "Python 3.11, 3.12 or 3.13 is needed, and none was found." \
		"On Debian or Ubuntu: apt-get install python3 python3-venv" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { echo "$(PYTHON) cannot create virtual" \
		"environments. On Debian or Ubuntu: apt-get install python3-venv" >&2; exit 1; }
	@echo "==> Creating $(VENV) with $(PYTHON)"
	@$(PYTHON) -m venv $(VENV)

$(DEMO_STAMP): | $(BIN)/python
	@echo "==> Installing the runner and what trains the examples' models (about 400 MB, once)"
	@$(PIP) install --require-hashes $(addprefix -r ,$(DEMO_PINS))
	@$(PIP) install --no-deps --no-build-isolation -e crds -e runner
	@$(BIN)/python -m compileall -q crds/src runner/src  # as pip does, but not for editable ones
	@rm -f $(VENV)/.demo-* && touch $@

$(DEV_STAMP): | $(DEMO_STAMP)
	@echo "==> Installing the operator, and what tests and checks need (once)"
	@$(PIP) install --require-hashes $(addprefix -r ,$(DEV_PINS))
	@$(PIP) install --no-deps --no-build-isolation -e operator
	@$(BIN)/python -m compileall -q operator/src
	@rm -f $(VENV)/.dev-* && touch $@
