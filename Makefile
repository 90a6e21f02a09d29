# Two commands do all the set-up: `make run` and `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: run test test-fast lint bench clean

run: $(VENV)/installed
	$(BIN)/roo run pipelines/wordcount.yaml

test: lint test-fast
	$(BIN)/pytest -m slow

test-fast: $(VENV)/installed-test
	$(BIN)/pytest -m "not slow"

lint: $(VENV)/installed-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	mkdir -p $(VENV)/types && ln -sfn ../../runner $(VENV)/types/roo
	MYPYPATH=$(VENV)/types $(BIN)/mypy

bench: $(VENV)/installed-test
	$(BIN)/python -m benchmarks

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/installed: $(VENV)/bin/python pyproject.toml
	$(BIN)/pip install --quiet --editable .
	touch $@

$(VENV)/installed-test: $(VENV)/bin/python pyproject.toml
	$(BIN)/pip install --quiet --editable ".[test]"
	touch $@ $(VENV)/installed

clean:
	rm -rf $(VENV) build dist out .roo *.egg-info
