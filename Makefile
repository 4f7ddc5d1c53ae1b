# `make` alone lists the tasks.

UV_VERSION := 0.13.9
UV := $(or $(shell command -v uv),$(CURDIR)/.tools/bin/uv)
RUN := $(UV) run

ROUNDS ?= 5
SECONDS_PER_SLICE ?= 3
RESULTS ?= benchmarks

# A machine may keep wheels in a folder that pip knows of: PyTorch for CPUs, of which the index has
# none. uv would load gigabytes instead.
ifdef PIP_FIND_LINKS
export UV_FIND_LINKS := $(PIP_FIND_LINKS)
endif

# Hundreds of processes import the same libraries: where no bytecode is written, each compiles them.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help demo test nightly quick chassis render project package bench bench-observed lint format derive clean

help: ## list the tasks
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 12

demo: $(UV) ## make a project in build/demo, train its model, serve it, predict
	UV=$(UV) tools/demo.sh

test: lint ## all tests: ten minutes
	$(RUN) pytest -n 4 # they often wait for others

nightly: export NIGHTLY = 1
nightly: test ## all tests, with every combination of answers and full soaks: hours

quick: lint ## what a contributor runs all day: two minutes
	$(RUN) pytest tests/render tests/chassis -n 3 -m "not slow"

chassis: $(UV) ## tests of the library
	$(RUN) pytest tests/chassis -n 3 # they often wait for others

render: $(UV) ## tests of what is generated, and of its manifests: seconds
	$(RUN) pytest tests/render tests/delivery -n 2

project: $(UV) ## tests that use generated projects, workflows and images: minutes
	$(RUN) pytest tests/project -n 3 # they often wait for others

package: $(UV) ## build the distribution of the library in build/package
	rm -rf build/package
	$(UV) build --quiet template/chassis --out-dir build/package

bench: $(UV) ## measure the service beside what a user would pick instead: 40 minutes
	$(RUN) python -m benchmarks.run --rounds $(ROUNDS) --seconds $(SECONDS_PER_SLICE) --results $(RESULTS)

bench-observed: $(UV) ## measure what logs, labels, monitor and traces cost: 25 minutes
	$(RUN) python -m benchmarks.observed

lint: $(UV) ## style, types, layers of the library, and that derived files are current
	$(RUN) ruff check
	$(RUN) ruff format --check
	$(RUN) mypy
	cd template && $(RUN) --project $(CURDIR) mypy
	cd template/chassis && $(RUN) --project $(CURDIR) ruff check
	cd template/chassis && $(RUN) --project $(CURDIR) ruff format --check
	cd template/chassis && $(RUN) --project $(CURDIR) mypy
	cd template/chassis && $(RUN) --project $(CURDIR) lint-imports --no-cache --no-logo
	$(RUN) python tools/derive.py --check
	$(RUN) zizmor --offline --no-progress --quiet .github
	$(RUN) actionlint

format: $(UV) ## repair the style where a tool can
	$(RUN) ruff format
	$(RUN) ruff check --fix

derive: $(UV) ## write cookiecutter.json and the options table from copier.yml
	$(RUN) python tools/derive.py

clean: ## remove environments, caches, the demo and the container engine
	[ ! -d .containers ] || tools/container-engine.sh .containers down
	rm -rf .containers .venv .tools build .mypy_cache .pytest_cache .ruff_cache

$(CURDIR)/.tools/bin/uv:
	python3 -m venv .tools
	.tools/bin/pip install --quiet uv==$(UV_VERSION)
