# `make` lists the targets. Each one builds the environment it needs.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := python -m pip --disable-pip-version-check install --quiet
export DO_NOT_TRACK := 1
DOCUMENTS ?= 100000
TREES ?= 3000
SECONDS ?= 120
KILLS ?= 200
ON_ALL_CORES := -n auto --maxprocesses 8 --dist worksteal

# Apart from the others, for which clients and engines are installed changes what is tested.
SERVERS := .venv-integration
MLFLOW := .venv-mlflow
OLDEST_MLFLOW := .venv-mlflow-oldest
DOCS := .venv-docs
PYODIDE := .cache/pyodide
AZURITE := .cache/azurite/node_modules/.bin/azurite-blob

# The lower bounds in pyproject.toml.
OLDEST := kedro==1.0.0 omegaconf==2.3.0 fsspec==2025.3.2 joblib==1.3.0 numpy==1.24.0 polars==1.24.0 \
	pyyaml==6.0.1 tqdm==4.60.0 typing-extensions==4.12.0 universal-pathlib==0.3.9 \
	filelock==3.13.0 platformdirs==4.0.0 click==8.1.0 rich==12.0.0 pandas==2.2.1 plotly==5.23.0

.DEFAULT_GOAL := help
.PHONY: demo demo-sqlite demo-hydra demo-incremental demo-s3 test lint format test-oldest test-newest docs \
	package integration pyodide bench fuzz prove mutants notebook clean help

##@ See what it does

demo: $(VENV)/demo.stamp ## Rank the runs of the example sweep in a Kedro pipeline, and draw pictures: start here
	$(BIN)/kedro run
	@$(SHOW_RESULTS) base sweep_runs sweep

demo-sqlite: $(VENV)/demo.stamp ## The same with a sweep in MLflow's database
	$(BIN)/kedro run --env sqlite
	@$(SHOW_RESULTS) sqlite sweep_runs sqlite

demo-hydra: $(VENV)/demo.stamp ## Rank the runs of a sweep of Hydra without MLflow
	$(BIN)/kedro run --env hydra --pipelines curves
	@$(SHOW_RESULTS) hydra curve_runs hydra

demo-incremental: $(VENV)/demo.stamp ## Process a sweep that grows, in three runs of a pipeline
	$(BIN)/python examples/growing_sweep.py $(BIN)/kedro run --env incremental --pipelines incremental
	@$(SHOW_RESULTS) incremental new_runs growing

demo-s3: $(VENV)/demo-s3.stamp ## The same with the sweep in a bucket, on an S3 server of this machine
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python examples/on_s3.py sh -c \
		'kedro run --env s3 && python examples/show_results.py s3 sweep_runs s3'

##@ Before you commit a change

test: $(VENV)/test.stamp ## Run the tests, with branch coverage
	$(BIN)/python -m pytest $(ON_ALL_CORES) -m "not integration" --cov --cov-report=term

lint: $(VENV)/lint.stamp ## Check style (ruff), types (mypy, pyright) and the direction of imports
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	PYRIGHT_PYTHON_IGNORE_WARNINGS=1 $(BIN)/pyright # which warns of newer versions of itself
	$(BIN)/lint-imports

format: $(VENV)/lint.stamp ## Put the code into the common format
	$(BIN)/ruff check --fix-only .
	$(BIN)/ruff format .

##@ What CI runs, too

test-oldest: ## Run the tests on Python 3.10 with the oldest supported packages
	@$(call test-on,3.10,oldest,$(OLDEST))

test-newest: ## Run the tests on Python 3.13 with the newest packages
	@$(call test-on,3.13,newest,--upgrade kedro omegaconf)

docs: $(DOCS)/stamp ## Build the documentation site in .cache/site; a broken link is an error
	NO_MKDOCS_2_WARNING=1 $(DOCS)/bin/mkdocs build --strict
	cp src/kedro_hydraflow/catalog.schema.json .cache/site

package: $(VENV)/package.stamp ## Build the wheel and the sdist, check them, and follow docs/start.md with the wheel alone
	rm -rf dist
	$(BIN)/python -m build
	$(BIN)/twine check --strict dist/*
	$(BIN)/python -m tests.package

integration: $(SERVERS)/stamp $(MLFLOW)/stamp $(OLDEST_MLFLOW)/stamp $(AZURITE) ## Run the tests against real S3, GCS, Azure, SFTP, web, MLflow and database servers
	@PATH="$$PATH:/usr/sbin"; for pair in nginx:nginx-light sshd:openssh-server \
		mariadbd:mariadb-server pg_ctlcluster:postgresql chromium:chromium; do \
		command -v "$${pair%:*}" > /dev/null || \
			echo "$${pair%:*} is missing: apt-get install $${pair#*:} (on Debian)"; \
	done
	$(SERVERS)/bin/python -m pytest -m integration -n 2 --dist loadfile --timeout 300 --timeout-method thread tests/integration

pyodide: ## Try the package on CPython 3.14 in WebAssembly, as far as it goes without Polars
	@if ! command -v npm > /dev/null; then echo "SKIPPED pyodide: there is no npm"; exit 0; fi; \
	$(MAKE) --silent --no-print-directory $(PYODIDE)/stamp && \
	node tests/pyodide/run.mjs $(PYODIDE)/node_modules/pyodide $(PYODIDE)/packages

##@ Look further: minutes to an hour

bench: $(VENV)/test.stamp ## Time the package beside the floor and, where installed, hydraflow
	$(BIN)/python benchmarks/compare.py --repeat 5
	$(BIN)/python benchmarks/database.py --runs 3000 --server-runs
	$(BIN)/python benchmarks/filters.py --database-runs 3000
	$(BIN)/python benchmarks/frames.py --rows 100000
	$(BIN)/python benchmarks/slow_disk.py --milliseconds 1 --repeat 2 --cold-runs 0

fuzz: $(VENV)/test.stamp ## Compare what we read from YAML with OmegaConf, for 100,000 documents
	$(BIN)/python -m tests.fuzz --documents $(DOCUMENTS)

prove: $(SERVERS)/stamp $(MLFLOW)/stamp ## Look for wrong values: 3,000 random trees, MLflow writing beside readers, processes killed
	$(SERVERS)/bin/python -m tests.model --trees $(TREES) $(if $(SEED),--seed $(SEED))
	$(SERVERS)/bin/python -m tests.prove.writing --seconds $(SECONDS)
	$(SERVERS)/bin/python -m tests.prove.killing --kills $(KILLS) $(if $(SEED),--seed $(SEED))

mutants: $(VENV)/test.stamp ## Change the code in 300 small ways, and look whether the tests notice: half an hour
	$(BIN)/python -m tests.mutants

##@ Besides

notebook: $(VENV)/test.stamp ## Run the notebook of the example sweep, and write what its cells give
	$(BIN)/python -m tests.notebook

clean: ## Remove the environments and everything that was generated
	rm -rf .venv .venv-* .cache .coverage .hypothesis .mypy_cache .pytest_cache .ruff_cache
	rm -rf .import_linter_cache benchmarks/data examples/data/reporting dist

help: ## List the targets
	@awk -F ':.*## ' '/^##@ / {printf "\n%s\n", substr($$0, 5)} \
		/^[a-z0-9-]+:.*## / {printf "  make %-16s  %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# A stamp stands for the environment with one group of pyproject.toml installed.
$(VENV)/%.stamp: pyproject.toml | $(BIN)/python
	@echo "Installing what 'make $*' needs into $(VENV): a minute or so, the first time"
	$(BIN)/$(PIP) --editable . --group $*
	@touch $@

# Reads the docstrings without importing the package, which so needs no installation here.
$(DOCS)/stamp: pyproject.toml
	[ -x $(DOCS)/bin/python ] || $(PYTHON) -m venv $(DOCS)
	$(DOCS)/bin/$(PIP) --upgrade 'pip>=25.1'
	$(DOCS)/bin/$(PIP) --group docs
	@touch $@

$(SERVERS)/stamp: pyproject.toml
	[ -x $(SERVERS)/bin/python ] || $(PYTHON) -m venv $(SERVERS)
	$(SERVERS)/bin/$(PIP) --upgrade 'pip>=25.1'
	$(SERVERS)/bin/$(PIP) --editable '.[azure,gcs,http,mlflow,obstore,s3,sftp,sql,webdav]' --group integration
	@touch $@

# The newest HydraFlow, MLflow and kedro-mlflow (which needs kedro-datasets), apart from what this
# package is tested with. Without Python 3.13 the tests on them are skipped, or fail where
# REQUIRE_SERVERS=1 is set. With everything compiled, which little of is used, it would take three
# times as long.
$(MLFLOW)/stamp: Makefile
	@$(call find-python,3.13); \
	if [ -z "$$python" ]; then echo "there is no Python 3.13 for MLflow's server"; exit 0; fi; \
	[ -x $(MLFLOW)/bin/python ] || "$$python" -m venv $(MLFLOW); \
	$(MLFLOW)/bin/$(PIP) --no-compile --upgrade 'hydraflow>=0.23' 'mlflow[auth]>=3' boto3 \
		'psycopg[binary]' pymysql kedro-mlflow kedro-datasets --editable . && touch $@

# The oldest MLflow whose servers are supported, which does not know the newest SQLAlchemy.
$(OLDEST_MLFLOW)/stamp: Makefile
	@$(call find-python,3.11); \
	if [ -z "$$python" ]; then echo "there is no Python 3.11 for MLflow's oldest server"; exit 0; fi; \
	[ -x $(OLDEST_MLFLOW)/bin/python ] || "$$python" -m venv $(OLDEST_MLFLOW); \
	$(OLDEST_MLFLOW)/bin/$(PIP) --no-compile 'mlflow==2.14.*' 'sqlalchemy<2.1' && touch $@

# The dependencies but for NumPy and Polars. Of PyYAML, it takes what is in Python.
$(PYODIDE)/stamp: pyproject.toml | $(BIN)/python
	npm install --silent --no-fund --no-audit --prefix $(PYODIDE) 'pyodide@^314.0.7'
	$(BIN)/$(PIP) --no-compile --upgrade --target $(PYODIDE)/packages click filelock fsspec joblib kedro \
		omegaconf platformdirs pyyaml rich tqdm typing-extensions universal-pathlib
	@touch $@

# Without npm the tests on Azure are skipped, or fail where REQUIRE_SERVERS=1 is set.
$(AZURITE):
	-npm install --silent --no-fund --no-audit --prefix .cache/azurite 'azurite@^3.35'

$(BIN)/python:
	@echo "Making the environment $(VENV)"
	$(PYTHON) -m venv $(VENV)
	$(BIN)/$(PIP) --upgrade 'pip>=25.1'

# How many runs a demo found and took, and what it has written.
SHOW_RESULTS = $(BIN)/python examples/show_results.py

# $(call find-python,VERSION): sets $$python, to nothing where there is no such interpreter.
find-python = for python in python$(1) $$HOME/.pyenv/versions/$(1).*/bin/python ''; do \
		"$$python" -c '' 2>/dev/null && break; \
	done

# $(call test-on,VERSION,NAME,PACKAGES): an interpreter that is missing is named, not hidden.
define test-on
	set -e; \
	$(call find-python,$(1)); \
	if [ -z "$$python" ]; then \
		echo "SKIPPED test-$(2): there is no Python $(1) on this machine"; exit 0; \
	fi; \
	[ -x .venv-$(2)/bin/python ] || "$$python" -m venv .venv-$(2); \
	.venv-$(2)/bin/$(PIP) --upgrade 'pip>=25.1'; \
	.venv-$(2)/bin/$(PIP) --editable . --group test $(3); \
	.venv-$(2)/bin/python -m pip list 2>/dev/null | grep -iE '^(kedro|omegaconf|polars|fsspec|joblib) '; \
	.venv-$(2)/bin/python -m pytest $(ON_ALL_CORES) -m "not integration"
endef
