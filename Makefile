# `make demo` and `make test` are all the set-up there is; `make` alone lists the rest.

.DEFAULT_GOAL := help
.NOTPARALLEL:
PY := .venv/bin/python
FUZZ_SECONDS ?= 60
SEED ?= 1
WORKERS ?= 3
EVENTS ?= 1000000

.PHONY: help setup assets servers demo test quick lint types rules changes tests format api changelog bench faults fuzz screenshots wheel clean

help: ## list these targets
	@sed -n 's/^\([a-z]*\):[^#]*## /  make \1\t/p' Makefile | expand -t 20

setup: ## make .venv with everything but the benchmarks' peers
	@tools/setup test lint

assets: setup ## what the console's pages load, built from npm's packages (setup does it too), and what only tests need
	@$(PY) tools/assets.py --tests

servers: ## install the servers that tests run against, where they are missing (apt-get)
	@tools/servers

demo: ## a real service under load while its configuration changes, under a minute
	@tools/setup
	@.venv/bin/herz demo

test: lint types rules changes tests ## all that CI checks; pytest's closing line comes last

lint: setup ## ruff: rules and format
	@echo "== lint"
	@$(PY) -m ruff check .
	@$(PY) -m ruff format --check .

types: setup ## mypy, strict for src
	@echo "== types"
	@$(PY) -m mypy $(wildcard src tests tools examples benchmarks)

rules: setup ## who may import whom
	@echo "== import rules"
	@.venv/bin/lint-imports --no-cache --no-logo

changes: setup ## the changelog that the fragments would make
	@echo "== changelog"
	@said=$$($(PY) -m towncrier build --draft 2>&1) && echo "fragments are fine" || { echo "$$said"; exit 1; }

tests: setup ## tests, examples and the guide's examples
	@tools/servers || echo "the tests that need them are skipped"
	@$(PY) tools/assets.py --tests
	@echo "== tests, examples, guide"
	@$(PY) -m pytest

quick: setup ## the tests without the slow ones, and laws on a fifth of the examples
	@$(PY) tools/assets.py --tests
	@FUZZ_SECONDS=1 $(PY) -m pytest -q -m "not slow" --hypothesis-profile=quick -n $(WORKERS) --dist loadscope

format: setup ## let ruff write the format
	@$(PY) -m ruff check --fix .
	@$(PY) -m ruff format .

api: setup ## accept the public API as it is now
	@$(PY) tools/public_api.py >tests/repository/public_api.txt
	@echo "tests/repository/public_api.txt is written: read its diff as a user would"

changelog: setup ## show the next release's changes
	@$(PY) -m towncrier build --draft --version next

bench: ## Herz and its peers in one run, one table
	@tools/setup bench
	@$(PY) -m benchmarks

faults: ## break a real etcd under EVENTS (1000000) writes, repeated by SEED (1); LOG=FILE keeps the table
	@tools/setup test
	@tools/servers
	@$(PY) -m herz.testing.fault_bench.run --seed $(SEED) --events $(EVENTS) $(if $(LOG),--log $(LOG))

fuzz: setup ## feed every decoder random bytes for FUZZ_SECONDS each (60)
	@FUZZ_SECONDS=$(FUZZ_SECONDS) $(PY) -m pytest -m fuzz -o timeout=0

screenshots: setup ## pictures of every page of the console, in build/screenshots
	@tools/servers chromium
	@$(PY) tools/screenshots.py

wheel: setup ## dist/herz-VERSION-py3-none-any.whl
	@$(PY) -m build --wheel --no-isolation

clean: ## remove .venv, caches and builds
	@rm -rf .venv dist build frontend/node_modules src/herz/server/console/static/vendor .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
