# Two commands set everything up: `make demo` and `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
export HF_HUB_OFFLINE := 1

.PHONY: demo test quality format clean

demo: $(VENV)/installed
	$(BIN)/unimse demo demo

test: $(VENV)/installed
	$(BIN)/python -m pytest

quality: $(VENV)/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(VENV)/installed
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# The constraint pins torch: a CPU build is enough, and an open range would pull several GB of CUDA packages.
$(VENV)/installed: setup.py constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[test,quality]"
	touch $@

clean:
	rm -rf $(VENV) demo runs build *.egg-info
