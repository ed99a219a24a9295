# Written for GNU make 3.81 and the BSD tools, so that it runs on macOS as it is.

PYTHON ?= python3
VENV ?= .venv
PYTEST_FLAGS ?= -n 2 --dist worksteal

TEST := .venv-test
BARE := .venv-bare
DIST := build/dist

PIP := -m pip --disable-pip-version-check install --quiet --constraint constraints.txt
FOLDERS := src/valuegym envs agents leaderboards
TEXTS := $(FOLDERS) examples studies benchmarks tools tests docs README.md CHANGELOG.md Makefile
METADATA := setup.cfg setup.py pyproject.toml constraints.txt src/valuegym/_version.py
FILES := $(shell find $(FOLDERS) -type f ! -path '*/__pycache__/*' | sort)

.DEFAULT_GOAL := help
.PHONY: help demo demo-language test lint types unit docs wheel bare slow clean FORCE

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-13s %s\n", $$1, $$2}' Makefile

demo: $(VENV)/installed ## a short tour, without torch; with DATA=folder it also reads the human data there
	$(VENV)/bin/valuegym demo $(if $(DATA),--data "$(DATA)")

demo-language: $(VENV)/language ## people and agents that are language models, trained on the spot: two cores, five minutes
	OMP_NUM_THREADS=1 $(VENV)/bin/python -m studies.language.people_tracks --short --units 5 --processes 2 \
	  --docs build/demo-language

test: lint types unit docs wheel bare ## everything below but slow and clean; what continuous integration runs

lint: $(TEST)/installed ## rules and format of code, spelling, avoided words, copies of code
	$(TEST)/bin/ruff check .
	$(TEST)/bin/ruff format --check .
	$(TEST)/bin/codespell $(TEXTS)
	$(TEST)/bin/python tools/check_words.py
	$(TEST)/bin/pylint -j 2 $(FOLDERS) studies benchmarks tools

types: $(TEST)/installed ## mypy, over the package as it is imported
	$(TEST)/bin/python tools/check_types.py

# Tests of the sandbox are skipped where there is none; VALUEGYM_REQUIRE_SANDBOX=1, as in .ci/run, lets them fail there.
unit: $(TEST)/installed ## the tests that are not slow; PYTEST_FLAGS="-n 2 --dist worksteal" by default
	$(TEST)/bin/pytest -m "not slow" $(PYTEST_FLAGS)

docs: $(TEST)/installed ## the documentation, in build/docs/site; a broken link or a public name without docstring fails
	COLUMNS=88 $(TEST)/bin/python tools/docs_site.py
	$(TEST)/bin/sphinx-build -q -j 2 -W --keep-going -c docs build/docs/source build/docs/site

slow: $(TEST)/installed ## the slow tests
	$(TEST)/bin/pytest -m slow $(PYTEST_FLAGS)

wheel: build/wheel.checked ## build the wheel and look inside it

bare: $(BARE)/installed ## tests/envs against the wheel, where only gymnasium, numpy and pytest (with xdist) are installed
	$(BARE)/bin/pytest -m "not slow" $(PYTEST_FLAGS) tests/envs

clean: ## remove environments, builds and caches
	rm -rf .venv $(TEST) $(BARE) build valuegym.egg-info .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/installed: $(METADATA)
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python $(PIP) -e ".[tracking,site]"
	@touch $@

$(VENV)/language: $(VENV)/installed
	$(if $(TORCH_INDEX),$(VENV)/bin/python $(PIP) torch --index-url $(TORCH_INDEX))
	$(VENV)/bin/python $(PIP) -e ".[text,site]"
	@touch $@

# torch's default build for Linux brings the CUDA libraries, gigabytes of them;
# TORCH_INDEX=https://download.pytorch.org/whl/cpu asks for the build without.
$(TEST)/installed: $(METADATA)
	$(PYTHON) -m venv $(TEST)
	$(if $(TORCH_INDEX),$(TEST)/bin/python $(PIP) torch --index-url $(TORCH_INDEX))
	$(TEST)/bin/python $(PIP) -e ".[agents,control,text,tracking,networks,site,play,completion,dev]"
	@touch $@

# The wheel is built from the source archive, never from the checkout, whose build/ may hold files since deleted.
build/wheel.checked: $(TEST)/installed build/files.txt $(FILES) README.md LICENSE tools/check_wheel.py
	rm -rf $(DIST)
	$(TEST)/bin/python -m build --outdir $(DIST) . > build/wheel.log 2>&1 || { cat build/wheel.log; exit 1; }
	$(TEST)/bin/python tools/check_wheel.py $(DIST)/*.whl
	@touch $@

$(BARE)/installed: build/wheel.checked
	$(PYTHON) -m venv $(BARE)
	$(BARE)/bin/python $(PIP) gymnasium numpy pytest pytest-xdist
	$(BARE)/bin/python $(PIP) --no-deps --force-reinstall $(DIST)/*.whl
	python=`pwd`/$(BARE)/bin/python && cd / && $$python -I -c "import valuegym; print(valuegym.__version__, valuegym.__file__)"
	@touch $@

# Changes only when a file comes or goes; a deleted file makes nothing newer.
build/files.txt: FORCE
	@mkdir -p build
	@echo $(FILES) | cmp -s - $@ || echo $(FILES) > $@

FORCE:
