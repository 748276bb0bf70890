# Two commands need nothing before them but git, make and python3:   make demo   and   make test
# Both work in ./.venv, which they make themselves. Another interpreter: make test PYTHON=python3.12

PYTHON  ?= python3
EXTRAS  ?= dev
VENV    := .venv
BIN     := $(VENV)/bin
CREATED := $(VENV)/.created-by-$(notdir $(PYTHON))
RUNTIME := $(VENV)/.installed-runtime
DEV     := $(VENV)/.installed-$(EXTRAS)
KERNELS := $(wildcard src/tessflow/kernels/*.cpp src/tessflow/kernels/*.h)
SOURCES := $(wildcard src tests benchmarks examples experiments)

.DEFAULT_GOAL := help
.PHONY: help demo gallery test lint format bench clean

help: ## list these targets
	@awk -F ':.*## ' '/^[a-z]+:.*## /{ printf "make %-7s %s\n", $$1, $$2 }' Makefile

demo: $(RUNTIME) ## fit Connect-4, print held-out likelihood and sampled boards, draw pictures in runs/demo
	$(BIN)/python examples/connect4_demo.py --out runs/demo

gallery: $(RUNTIME) ## train flows and mixtures on densities in the plane, draw them in runs/gallery
	$(BIN)/tessflow gallery --out runs/gallery

test: lint ## lint, then all tests and doctests
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 2

lint: $(DEV) ## style, types and the order of the layers
	$(BIN)/ruff check $(SOURCES)
	$(BIN)/ruff format --check $(SOURCES)
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(DEV) ## rewrite the sources in the house style
	$(BIN)/ruff check --fix $(SOURCES)
	$(BIN)/ruff format $(SOURCES)

bench: $(RUNTIME) ## time the cell transform against its floor and the paper's algorithm
	$(BIN)/python benchmarks/cell_transform.py

clean: ## remove the environment, caches and builds (runs/ stays)
	rm -rf $(VENV) build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache src/*.egg-info
	find $(SOURCES) -name __pycache__ -type d -prune -exec rm -rf {} +

# The stamps below live in the environment, so they disappear with it.

$(CREATED):
	$(check_python)
	$(PYTHON) -m venv --clear $(VENV)
	@touch $@

$(RUNTIME): $(CREATED) pyproject.toml constraints.txt $(KERNELS)
	$(BIN)/python -m pip install --disable-pip-version-check -c constraints.txt -e .
	@touch $@

$(DEV): $(CREATED) pyproject.toml constraints.txt $(KERNELS)
	$(BIN)/python -m pip install --disable-pip-version-check -c constraints.txt -e '.[$(EXTRAS)]'
	@touch $(RUNTIME) $@

ask  = $(shell $(PYTHON) -c '$(1)' 2>/dev/null)
need = tessflow needs Python 3.10 or newer, with venv; name one as in "make test PYTHON=python3.12"
define check_python
$(if $(shell command -v $(PYTHON) 2>/dev/null),,$(error $(PYTHON) was not found: $(need)))\
$(if $(call ask,import sys; print("ok" if sys.version_info >= (3, 10) else "")),,\
  $(error $(PYTHON) is $(or $(shell $(PYTHON) -V 2>&1),not a working Python): $(need)))\
$(if $(call ask,import ensurepip; import venv; print("ok")),,\
  $(error $(PYTHON) lacks venv or ensurepip (Debian and Ubuntu: "apt install python3-venv"): $(need)))
endef
