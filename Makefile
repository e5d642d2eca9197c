# Needs Python 3.11 or newer and make; fetches the rest into .tools/ and .venv/.

PYTHON ?= python3
UV_VERSION := 0.13.9

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory --warn-undefined-variables
.DELETE_ON_ERROR:

UV := .tools/uv/bin/uv
BIN := .venv/bin
MANIFESTS := pyproject.toml uv.lock $(wildcard proto/pyproject.toml client/pyproject.toml plugins/pyproject.toml connectors/*/pyproject.toml server/pyproject.toml)
TYPED := $(wildcard client/src plugins/src connectors/*/src server/src tests bench scripts)
GEN_PROTO := $(UV) run --quiet --locked --script scripts/gen_proto.py

# Where whole certifications by the kit are: minutes of their own.
CONFORMANCE := tests/conformance tests/docs/test_connector_guide.py tests/packaging/test_template.py

# Where every read is explained by MongoDB: a minute of its own.
PLANS := tests/integration/plans

# Where processes are killed and stalled, work is cut short at each of its steps, and primaries are lost: minutes of
# their own.
FAULTS := tests/replicaset tests/integration/processes tests/e2e/test_g15_two_servers.py $(wildcard tests/*/*/test_*crashes.py)
WRITING := tests/writing

# What wheels, images and plugins of others are made of, and that they serve: a minute of its own.
PACKAGING := tests/packaging

# Options, each shown with the target that reads it.
SERVE ?=
DATA ?=
ARGS ?=
# Tests wait for servers, leases and time limits half of their time.
JOBS ?= $(shell $(PYTHON) -c 'import os; print(2 * (os.cpu_count() or 1))')
SEEDS ?=
WRITES ?= 1000
OF ?= unchanged

export PATH := $(CURDIR)/$(BIN):$(CURDIR)/.tools/bin:$(PATH):$(CURDIR)/.tools/uv/bin
# Pyright runs on the Node of the lock, and does not ask whether a newer pyright exists.
export PYRIGHT_PYTHON_GLOBAL_NODE := 0
export PYRIGHT_PYTHON_IGNORE_WARNINGS := 1
# Somebody else's active environment must not be mistaken for ours.
unexport VIRTUAL_ENV UV_PROJECT_ENVIRONMENT

.PHONY: help demo test faults conformance packaging plans certificates test-quick lint fmt proto proto-check proto-breaking proto-baseline simulate mutants bench bench-quick profile wheels writes secrets lock clean sync

help: ## list the targets
	@awk 'BEGIN { FS = ":.*## " } /^[a-z-]+:.*## / { printf "  %-15s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: .venv/.run ## one school from a simulated MIS to gRPC and back; SERVE=1 stays up, DATA=DIR reads CSV files
	$(BIN)/schoolgate demo $(if $(SERVE),--serve) $(if $(DATA),--data "$(DATA)") $(ARGS)

# A few whole histories only: `make simulate` plays as many as there is time for.
test: .venv/.dev ## all tests but those of the next five targets; ARGS="-k word tests/unit" picks some, JOBS=0 runs in one process
	SCHOOLGATE_TEST_SEEDS=16 $(BIN)/python -m pytest -n $(JOBS) --dist loadgroup $(addprefix --ignore ,$(CONFORMANCE) $(PLANS) $(FAULTS) $(WRITING) $(PACKAGING)) $(ARGS)

faults: .venv/.dev ## lose servers at every step of what they do, and primaries of a set of three: killed, stalled, cut short
	$(BIN)/python -m pytest -n $(JOBS) --dist loadgroup $(FAULTS) $(ARGS)

writes: .venv/.dev ## WRITES=N (a thousand) writes of each class through servers that are killed; RECORD=FILE keeps the table
	SCHOOLGATE_TEST_WRITES=$(WRITES) $(if $(RECORD),SCHOOLGATE_TEST_WRITES_RECORD=$(RECORD)) $(BIN)/python -m pytest -o faulthandler_timeout=0 $(WRITING) $(ARGS)

conformance: .venv/.dev ## certify the connectors with the kit, and ones made from the template; see that each check can fail
	$(BIN)/python -m pytest -n $(JOBS) --dist loadgroup $(CONFORMANCE) $(ARGS)

packaging: .venv/.dev ## build wheels and what is in images, install them, and serve from them, beside plugins of others
	$(BIN)/python -m pytest -n $(JOBS) --dist loadgroup $(PACKAGING) --ignore tests/packaging/test_template.py $(ARGS)

plans: .venv/.dev ## explain every read that the API can send; fails on one that reads a collection or sorts what grows
	$(BIN)/python -m pytest $(PLANS) $(ARGS)

certificates: .venv/.dev ## issue the connectors' certificates again; one that says the same but for its date stays as it is
	for name in bromcom wonde; do $(BIN)/schoolgate connector check $$name --out connectors/$$name/certificate.json; done

test-quick: .venv/.dev ## tests/unit only, in one process (no mongod)
	$(BIN)/python -m pytest tests/unit $(ARGS)

lint: .venv/.dev proto-check proto-breaking ## ruff, mypy, pyright, import contracts, buf; changes nothing
	$(UV) lock --check
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports --no-logo
	$(BIN)/mypy $(TYPED)
	$(BIN)/pyright
	$(BIN)/buf lint
	$(BIN)/buf format --diff --exit-code
	$(BIN)/shellcheck .ci/run
	$(BIN)/hadolint Dockerfile

fmt: .venv/.dev ## format Python and proto sources, and apply ruff's safe fixes
	$(BIN)/ruff check --fix-only .
	$(BIN)/ruff format .
	$(BIN)/buf format --write

proto: $(UV) ## write proto/gen again from the .proto files
	$(GEN_PROTO)

proto-check: $(UV) ## fail if proto/gen does not match the .proto files
	$(GEN_PROTO) --check

# The baseline is the API of the last release, as an image under version control: what was never released may still
# change, a clone without history or tags can check, and giving up compatibility shows in a diff.
proto-breaking: .venv/.dev ## fail if the API breaks callers of the last release
	@if [[ -e proto/baseline.binpb ]]; then \
		echo "$(BIN)/buf breaking --against proto/baseline.binpb"; \
		$(BIN)/buf breaking --against proto/baseline.binpb; \
	else \
		echo "buf breaking: skipped, proto/baseline.binpb does not exist (make proto-baseline writes it)"; \
	fi

proto-baseline: .venv/.dev ## part of a release: make the present API the one that must not break
	$(BIN)/buf build --exclude-source-info --output proto/baseline.binpb

simulate: .venv/.dev ## whole histories from seeds: SEEDS=N the first N, SEEDS=A-B a range, SEEDS=A-A one; RECORD=FILE keeps the summary
	$(if $(SEEDS),SCHOOLGATE_TEST_SEEDS=$(SEEDS)) $(if $(RECORD),SCHOOLGATE_TEST_RECORD=$(RECORD)) $(BIN)/python -m pytest -n $(JOBS) --dist loadgroup tests/simulation $(ARGS)

mutants: .venv/.dev ## take out what is behind each guarantee, one by one, and see its test fail; ARGS="g01 g05" picks some
	$(BIN)/python -m scripts.mutants $(ARGS)

bench: .venv/.bench ## all benchmarks at full size, beside dlt; writes bench/results.json and docs/performance.md
	$(BIN)/python -m bench $(ARGS)

bench-quick: .venv/.bench ## the same at small sizes, as a smoke test; writes bench/results-quick.json
	$(BIN)/python -m bench --quick $(ARGS)

profile: .venv/.bench ## sample the server while it syncs; OF=unchanged (or first_load) says what, ARGS="--pupils 150" how much
	$(BIN)/python -m bench.profile $(OF) $(ARGS)

wheels: $(UV) ## build the wheels of all four distributions into dist/
	$(UV) build --quiet --all-packages --wheel --out-dir dist

secrets: .venv/.run ## write the secret files that compose.yaml mounts, where they are missing
	$(BIN)/python scripts/compose_secrets.py

lock: $(UV) ## resolve again after a change of dependencies; UPGRADE=1 takes the newest
	$(UV) lock $(if $(filter-out undefined,$(origin UPGRADE)),--upgrade)
	$(UV) lock --script scripts/gen_proto.py $(if $(filter-out undefined,$(origin UPGRADE)),--upgrade)

clean: ## remove environments, tools, caches and build output
	rm -rf .venv .tools build dist .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

sync: .venv/.dev

$(UV):
	@$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed; this is " + sys.version.split()[0] + ": make PYTHON=...") if sys.version_info < (3, 11) else None'
	@$(PYTHON) -m venv .tools/uv || { echo "no venv module: install python3-venv, or the like of your system" >&2; exit 1; }
	.tools/uv/bin/python -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)
	@touch $@

# Stages, so that the demo does not wait for linters, nor tests for dlt. --inexact: the first must not take away what
# the others added; the second does, and the third then adds it again.
.venv/.run: $(MANIFESTS) | $(UV)
	$(UV) sync --quiet --frozen --no-dev --inexact --python "$$($(PYTHON) -c 'import sys; print(sys.executable)')"
	@touch $@

.venv/.dev: $(MANIFESTS) | $(UV)
	$(UV) sync --quiet --frozen --python "$$($(PYTHON) -c 'import sys; print(sys.executable)')"
	@touch $@ .venv/.run

.venv/.bench: .venv/.dev
	$(UV) sync --quiet --frozen --group bench --python "$$($(PYTHON) -c 'import sys; print(sys.executable)')"
	@touch $@
