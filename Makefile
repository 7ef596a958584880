# The thin face of ordinary commands: the README shows them without make.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.DEFAULT_GOAL := help
.PHONY: help install demo test orders package lint site clean

help:  ## Say what there is
	@sed -n 's/^\([a-z]*\):.*## /  make \1 \t/p' $(MAKEFILE_LIST) | expand -t 16

install: $(READY)  ## Make the virtual environment .venv with everything pinned

$(READY): pyproject.toml scripts/constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "Prunedex needs Python 3.11 or newer; $(PYTHON) is $$($(PYTHON) -V 2>&1)."; \
	  echo "Name another one: make $(MAKECMDGOALS) PYTHON=python3.12"; exit 1; }
	@echo "Installing into $(VENV) (pinned versions; torch is the largest part) …"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --constraint scripts/constraints.txt pip setuptools || { \
	  echo "pip could not install: is the package index reachable? Run the same command again later."; exit 1; }
	@PYTHONWARNINGS=ignore $(BIN)/python -m pip install --constraint scripts/constraints.txt --editable '.[dev]' || { \
	  echo "pip could not install: is the package index reachable? Run the same command again later."; exit 1; }
	@touch $(READY)

demo: $(READY)  ## Check the catalog, prune a real model, build the site
	$(BIN)/prunedex fetch
	$(BIN)/prunedex check
	$(BIN)/prunedex run wanda --model smollm2-135m --sparsity 0.5 --save checkpoints/wanda-smollm2 --overwrite
	$(BIN)/prunedex site build
	@echo
	@echo "Done. What to look at:"
	@echo "  the site        $(BIN)/prunedex site serve          (then open the address that it prints)"
	@echo "  the model       $(BIN)/prunedex eval checkpoints/wanda-smollm2"
	@echo "  the method      impl/methods/wanda.py               (beside the paper)"
	@echo "  the catalog     $(BIN)/prunedex list --runs-here"

test: $(READY)  ## Run all tests
	$(BIN)/python -m pytest

orders: $(READY)  ## Test on SmolLM2 which method is better, where papers claim it (ten minutes)
	$(BIN)/python -m pytest -m orders --numprocesses=0 -s tests/end_to_end/test_orders.py

package: $(READY)  ## Build the package, install it elsewhere and use it
	$(BIN)/python -m pytest -m package --numprocesses=0 tests/end_to_end/test_wheel.py

lint: $(READY)  ## Check style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

site: $(READY)  ## Build the site, warnings are errors
	$(BIN)/prunedex site build

clean:  ## Remove what was built (not the environment)
	rm -rf build checkpoints
