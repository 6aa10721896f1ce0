# make demo     see it work
# make test     the whole test suite, with 100 % branch coverage of the core
# make check    static checks
# make guard    whether something has become slow, against bare trio in the same process
# make interop  the tests with programs of others, which it installs outside of .venv
# make build    wheel and sdist, and the test suite against the installed wheel
# make matrix   the wheel's test suite on every Python in PYTHONS
# make lowest   the same with the oldest releases that pyproject.toml allows
# make format   rewrite the code as `make check` wants it
# make clean    remove what these made
#
# Needs Python 3.11 or newer, with venv, and make. Everything else is installed into .venv.

SHELL := /bin/bash
MAKEFLAGS += --no-print-directory
.DELETE_ON_ERROR:

# The first Python on PATH that is new enough; `make PYTHON=...` to choose.
PYTHON ?= $(shell for p in python3 python python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
PYTHONS ?= python3.11 python3.12 python3.13
# How many processes share the tests.
JOBS ?= auto
PYTEST_ARGS ?=

BIN := .venv/bin
export PIP_DISABLE_PIP_VERSION_CHECK := 1
export PYRIGHT_PYTHON_IGNORE_WARNINGS := 1

# Storeys 0 to 5 of tests/test_layers.py.
CORE := trioworkers/messages.py,trioworkers/errors.py,trioworkers/abc.py,trioworkers/_*.py
CORE := $(CORE),trioworkers/wire/*,trioworkers/hub/core.py
NOT_CORE := trioworkers/_cli/*,trioworkers/__main__.py

TYPED := trioworkers $(wildcard examples tests/type_tests)
CODE := trioworkers tests $(wildcard examples benchmarks)

# 910 and above want a checkpoint on every way through a function: send() is one at least every 64 times only.
# 124 wants a function without await to be sync: a hook or handler is async by contract.
# 114 and 128 do not see that a task status is handed on.
NO_ASYNC := ASYNC9,ASYNC114,ASYNC124,ASYNC128

.PHONY: demo test check guard interop build matrix lowest format venv clean

demo: .venv/cli.stamp
	$(BIN)/trioworkers demo

test: .venv/dev.stamp
	@$(BIN)/coverage erase
	$(BIN)/coverage run -m pytest -n $(JOBS) $(PYTEST_ARGS)
	@$(BIN)/coverage combine --quiet
	@echo 'Coverage of the whole package:'
	@$(BIN)/coverage report --skip-empty
	@echo 'Coverage of the core:'
	@$(BIN)/coverage report --include='$(CORE)' --omit='$(NOT_CORE)' --fail-under=100

check: .venv/dev.stamp
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/flake8-async --disable=$(NO_ASYNC) $$(find $(CODE) -name '*.py')
	$(BIN)/mypy $(TYPED)
	$(BIN)/pyright
	$(BIN)/pyright --project tests/pyrightconfig.json
	PATH="$(CURDIR)/$(BIN):$$PATH" pyright --verifytypes trioworkers --ignoreexternal # looks at the python on PATH
	$(BIN)/python tests/check_promises.py

guard: .venv/dev.stamp
	$(BIN)/python -m benchmarks.guard

interop: .venv/dev.stamp
	$(BIN)/python -m benchmarks.peers.environments --yes
	TRIOWORKERS_INTEROP=require $(BIN)/python -m pytest tests/interop $(PYTEST_ARGS)

build: dist
	.ci/test-wheel $(PYTHON) -n $(JOBS) $(PYTEST_ARGS)

matrix: dist
	@set -e; for python in $(PYTHONS); do .ci/test-wheel $$python -n $(JOBS) $(PYTEST_ARGS); done

lowest: dist
	$(BIN)/python .ci/lowest.py > dist/lowest.txt
	PIP_CONSTRAINT=$(CURDIR)/dist/lowest.txt .ci/test-wheel $(PYTHON) -n $(JOBS) $(PYTEST_ARGS)

.PHONY: dist
dist: .venv/dev.stamp
	rm -rf dist
	$(BIN)/python -m build --outdir dist

format: .venv/dev.stamp
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

venv: .venv/dev.stamp

.venv/bin/python:
	@test -n '$(PYTHON)' || { echo 'No Python 3.11 or newer was found; name one with make PYTHON=...' >&2; exit 1; }
	$(PYTHON) -m venv .venv

.venv/cli.stamp: pyproject.toml | .venv/bin/python
	$(BIN)/python -m pip install -qq --editable '.[cli]'
	@touch $@

.venv/dev.stamp: pyproject.toml | .venv/bin/python
	$(BIN)/python -m pip install -qq --editable '.[dev]'
	@touch $@ .venv/cli.stamp

clean:
	rm -rf .venv dist build .coverage .coverage.* .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find trioworkers tests $(wildcard examples benchmarks docs) -name __pycache__ -type d -prune -exec rm -rf {} +
