# Two commands set everything up: `make quickstart` and `make test`. Everything lands in .venv and runs/.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest
PIP    := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt

.PHONY: help env gpaw dev quickstart test test-remote check docs format clean

help:            ## this list
	@grep -E '^[a-z-]+: .*##|^[a-z-]+:  *##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | expand -t 14

env: $(VENV)/.base                ## Python environment with the three packages

$(VENV)/.base: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' || { echo "error: $(PYTHON) is $$($(PYTHON) -V 2>&1); Python 3.11-3.13 is needed. Mend: make $(MAKECMDGOALS) PYTHON=python3.11" >&2; exit 2; }
	@$(PYTHON) -m venv $(VENV) || { echo "error: no venv module. Mend: apt-get install python3-venv" >&2; exit 2; }
	@echo "installing the Python packages into $(VENV) (1-3 minutes)"
	@$(PIP) -e .
	@touch $@

gpaw: env                         ## GPAW, the open-source PBE+U engine (system packages + compile, about 1 minute)
	@sh scripts/install_gpaw.sh $(BIN)/python

dev: $(VENV)/.dev                 ## the tools for checking and testing as well

$(VENV)/.dev: $(VENV)/.base
	@echo "installing the test tools"
	@$(PIP) -e '.[dev]'
	@touch $@

quickstart: env gpaw              ## a real NiO campaign, a trained and tested model, a report
	$(BIN)/spinmultinet run configs/campaigns/quickstart_nio.yaml

test: dev gpaw check docs         ## environment, then every check and every test
	$(PYTEST) -n auto --dist worksteal -m "not remote"
	$(PYTEST) -m remote

test-remote: dev                  ## campaigns through a real Slurm, sshd and queue on this machine (as root, Linux)
	SPINMULTINET_REQUIRE_REMOTE=1 $(PYTEST) tests/remote

check: dev                        ## style, types and who may import whom
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

docs: dev                         ## the documentation site in build/docs; warnings are errors
	$(BIN)/sphinx-build -q -W --keep-going -b html docs build/docs

format: dev                       ## put the code into the project's format
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:                            ## remove the environment and caches; runs/ stays
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache .import_linter_cache build dist *.egg-info
