# Replay a release: `make sample` runs the whole pipeline on a synthetic tile, `make test` checks it.
SHELL := /bin/bash
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

SURVEY ?= sample
TRACTS ?=
JOBS ?= 2
ENGINE ?=
export FUSION_ENGINE := $(ENGINE)
# Without compiled bytecode every notebook would compile its libraries anew: seconds each.
unexport PYTHONDONTWRITEBYTECODE
TESTS ?= tests

STAGES := 0 1 2 3 4 5
FILE := $(if $(wildcard dmu0/surveys/$(SURVEY).yaml),dmu0/surveys/$(SURVEY).yaml,$(SURVEY))
NAME := $(shell sed -n 's/^name:[[:space:]]*\([a-z0-9_]*\).*/\1/p' "$(FILE)" 2>/dev/null | head -n 1)

# An activated environment is used as it is; otherwise .venv is made from requirements.lock.
ifneq ($(VIRTUAL_ENV)$(filter-out base,$(CONDA_DEFAULT_ENV)),)
PYTHON := python
ENVIRONMENT := active-environment
else
PYTHON := .venv/bin/python
ENVIRONMENT := .venv/.made-from
endif
WORKFLOW = $(PYTHON) -m workflow
SAID = --survey "$(SURVEY)" --tracts "$(TRACTS)"

.PHONY: help sample release records test bench status lint lock active-environment FORCE $(STAGES:%=clean-dmu%)

help: ## print this help
	@echo "make sample              environment and release of the synthetic sample tile"
	@echo "make release SURVEY=name-or-path [TRACTS=\"8524 8525\"] [ENGINE=local|bps] [JOBS=2]"
	@echo "make test                the tests (after make sample); TESTS=path for some of them"
	@echo "make status SURVEY=...   each step: done, stale, failed or to do, and how long it took"
	@echo "make bench               speed and memory against peers, as ratios"
	@echo "make lint                style, imports, notebooks"
	@echo "make lock                pin the dependencies again"
	@echo "make clean-dmuN SURVEY=. remove the products of one stage"

# Only what is stale is run: the workflow compares digests, writes plan.mk with what is left to do, and calls make for it.
# No make in between: a process between this make and the workflow would live on when this make is killed.
RELEASE = $(WORKFLOW) release --jobs "$(if $(findstring jobserver,$(MAKEFLAGS)),,$(JOBS))"

sample: $(ENVIRONMENT) ## the release of the sample tile
	+@$(RELEASE) --survey sample --tracts ""

release: $(ENVIRONMENT)
	+@$(RELEASE) $(SAID)

ifneq ($(NAME),)
-include dmu0/data/$(NAME)/plan.mk
endif
records: $(RECORDS)

define stage_rule
dmu$(1)/data/$$(NAME)/runs/%.ipynb: dmu$(1)/%.ipynb FORCE
	@$$(WORKFLOW) run dmu$(1)/$$*.ipynb $$(SAID)
endef
$(foreach stage,$(STAGES),$(eval $(call stage_rule,$(stage))))

status: $(ENVIRONMENT)
	@$(WORKFLOW) status $(SAID)

# A worker that dies ends the tests: with a new one in its place they would wait for ever.
test: sample
	$(PYTHON) -m pytest --numprocesses $(JOBS) --dist loadfile --no-loadscope-reorder --max-worker-restart 0 $(TESTS)

bench: $(ENVIRONMENT)
	@for file in tests/benchmarks/bench_*.py; do echo "== $$file"; $(PYTHON) $$file || exit 1; done

lint: $(ENVIRONMENT)
	$(PYTHON) -m ruff check .
	$(PYTHON) -m ruff format --check .
	$(PYTHON) -c "from importlinter.cli import lint_imports_command as lint; lint()"

lock:
	@bash workflow/make_environment.sh lock

$(STAGES:%=clean-dmu%): clean-dmu%:
	$(if $(NAME),rm -rf "dmu$*/data/$(NAME)",$(error There is no survey $(SURVEY)))

.venv/.made-from: requirements.lock pyproject.toml
	@bash workflow/make_environment.sh

active-environment:
	@$(PYTHON) workflow/check_environment.py requirements.lock

FORCE:
