# Every target sets up what it needs; all may be run from any folder and any number of times.
PYTHON ?= python3
ROOT := $(shell cd "$$(dirname '$(strip $(MAKEFILE_LIST))')" && pwd)
PY := cd "$(ROOT)" && .venv/bin/python

.PHONY: help setup demo test lint bench

help:
	@echo "make demo    load a shop's real orders, define segments, refresh them, show who is in"
	@echo "             (make demo ARGS=--serve leaves the admin running)"
	@echo "make test    run the tests on a Postgres of their own; ARGS go to pytest"
	@echo "             (make test ARGS=\"-m 'not slow'\" leaves out what takes long)"
	@echo "make lint    ruff and mypy"
	@echo "make bench   measure refreshes and membership checks on a million users"
	@echo "DATABASE_URL=postgres://... uses a running server, PG_BIN=/path/to/bin other binaries."

setup:
	@cd "$(ROOT)" && PYTHON="$(PYTHON)" sh demo/setup.sh

demo: setup
	@$(PY) -m demo $(ARGS)

test: setup
	@$(PY) -m pytest -n auto --dist worksteal $(ARGS)

lint: setup
	@$(PY) -m ruff check . && .venv/bin/python -m ruff format --check . && .venv/bin/python -m mypy

bench: setup
	@$(PY) -m benchmarks $(ARGS)
