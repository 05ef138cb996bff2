# Replay a release: `make sample` runs the whole pipeline on a synthetic tile, `make test` checks it.
SHELL := /bin/bash
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

SURVEY ?= sample
TRACTS ?=
JOBS ?= 2
ENGINE ?=
export FUSION_ENGINE := $(ENGINE)
# The environment may have been made for another checkout, but the code of this one must be run.
export PYTHONPATH := $(CURDIR)$(if $(PYTHONPATH),:$(PYTHONPATH))
# Without compiled bytecode every notebook would compile its libraries again, which takes seconds.
unexport PYTHONDONTWRITEBYTECODE
TESTS ?= tests

STAGES := 0 1 2 3 4 5
FILE := $(if $(wildcard dmu0/surveys/$(SURVEY).yaml),dmu0/surveys/$(SURVEY).yaml,$(SURVEY))
NAME := $(shell sed -n "s/^name:[[:space:]]*[\"']\{0,1\}\([a-z0-9_]*\).*/\1/p" "$(FILE)" 2>/dev/null | head -n 1)

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

.PHONY: mutants seeds help sample slow release check plan survey faults scale realdata records test fuzz coverage bench status lint types audit docs lock active-environment FORCE
.PHONY: $(STAGES:%=clean-dmu%)

# A mistyped path of tests is reported at once, not after the sample.
ifneq ($(filter test slow coverage,$(MAKECMDGOALS)),)
ifeq ($(filter -%,$(TESTS)),)
$(foreach path,$(TESTS),$(if $(wildcard $(firstword $(subst ::, ,$(path)))),,$(error There is no $(path): TESTS names files or folders below tests)))
endif
endif

# Each target for users has its help after ##: arguments, two spaces or more, and what it does.
help: ##  print this help
	@sed -nE 's/^([a-z]+|\$$\(STAGES:%=clean-dmu%\)):[^#]*## ?(.*)$$/\1 \2/p' Makefile \
	| sed -E 's/^\$$\(STAGES:%=clean-dmu%\)/clean-dmuN/' \
	| awk -F '  +' '{ printf "make %-32s %s\n", $$1, $$2; for (i = 3; i <= NF; i++) printf "%38s%s\n", "", $$i }'

# Only stale steps are run: the workflow compares digests, writes plan.mk with the remaining steps, and calls make for it.
# No make in between: a process between this make and the workflow would continue when this make is killed.
RELEASE = $(WORKFLOW) release --jobs "$(if $(findstring jobserver,$(MAKEFLAGS)),,$(JOBS))"

sample: $(ENVIRONMENT) ##  the environment, and the release of the synthetic sample tile
	+@$(RELEASE) --survey sample --tracts ""

release: $(ENVIRONMENT) ## SURVEY=name-or-path  the release of a survey;  TRACTS="8524 8525" for some tracts, ENGINE=local or bps, JOBS=2 notebooks at once
	+@$(RELEASE) $(SAID)

check: $(ENVIRONMENT) ## SURVEY=name-or-path  check a survey before its release, in seconds: contents, missing inputs, expected time and disk space
	@$(WORKFLOW) check $(SAID)

plan: $(ENVIRONMENT) ## SURVEY=name-or-path [CORES=2] [STACKS=0]  patches, quanta, CPU hours, memory, disk and duration of each step, before anything runs
	@$(WORKFLOW) plan $(SAID) --cores "$(or $(CORES),2)" --stacks "$(or $(STACKS),0)"

survey: $(ENVIRONMENT) ## FROM=folder [TO=file]  write a commented survey file for the FITS files of a folder
	@$(WORKFLOW) survey --folder "$(FROM)" --to "$(TO)"

ifneq ($(NAME),)
-include dmu0/data/$(NAME)/plan.mk
endif
records: $(RECORDS)

define stage_rule
dmu$(1)/data/$$(NAME)/runs/%.ipynb: dmu$(1)/%.ipynb FORCE
	@$$(WORKFLOW) run dmu$(1)/$$*.ipynb $$(SAID)
endef
$(foreach stage,$(STAGES),$(eval $(call stage_rule,$(stage))))

status: $(ENVIRONMENT) ## SURVEY=name-or-path  each step with its state, time and memory; every input, detector, coadd and patch by its state;  what failed, and why
	@$(WORKFLOW) status $(SAID)

# A worker that dies ends the tests: with a new one in its place they would wait for ever.
PYTEST = $(PYTHON) -m pytest --numprocesses $(JOBS) --dist loadfile --no-loadscope-reorder --max-worker-restart 0 --durations=20

# Tests that run whole releases take longer than all others together: those that TESTS names are run wherever they are.
test: sample ## [TESTS=path]  the tests, after make sample, without the slow ones; TESTS for some of them
	$(PYTEST) $(if $(filter tests,$(TESTS)),-m "not slow") $(COVERED) $(TESTS)

slow: sample ## [TESTS=path]  the tests that run whole releases: both engines, real surveys, surveys of any composition
	$(PYTEST) -m slow $(TESTS)

FAULTS = tests/faults tests/workflow/test_killed.py tests/dmu4/execution tests/dmu0/test_processes.py tests/dmu0/files/test_atomic.py \
	tests/dmu0/archives/test_transfer.py
faults: $(ENVIRONMENT) ##  kill, fill, cut off and corrupt what runs, on small surveys, and see that the next run completes it (docs/survival.md)
	$(PYTEST) $(FAULTS)

scale: $(ENVIRONMENT) ## [TRACTS=N] [GRAPHS=10]  coverage, jobs and graphs of a survey of 20,000 patches, without pixels: times and memory
	@$(PYTHON) -m tests.benchmarks.bench_survey $(if $(TRACTS),--tracts $(TRACTS)) --graphs $(or $(GRAPHS),10)

realdata: $(ENVIRONMENT) ##  fetch the real images of tests/real (25 MB, public, by their checksums); tests of them are skipped without
	@$(PYTHON) -m tests.real.fetch

coverage: COVERED = --cov --cov-report=term:skip-covered
coverage: test ## [TESTS=path]  the tests, and the fraction of the lines that they execute

fuzz: $(ENVIRONMENT) ## CASES=10000  test random surveys, catalogues and headers, the given number of each
	FUZZ_CASES=$(or $(CASES),10000) $(PYTHON) -m pytest --numprocesses $(JOBS) --max-worker-restart 0 --timeout 86400 -m fuzz tests

seeds: $(ENVIRONMENT) ## SEEDS="777 778"  the sample under other skies: made, judged as the sample is, and in the mean to half the limits
	@$(PYTHON) -m tests.skies $(or $(SEEDS),$(error give seeds, for example: make seeds SEEDS="777 778"))

bench: $(ENVIRONMENT) ##  speed and memory compared with other software, as ratios
	@missed=; for file in tests/benchmarks/bench_*.py; do \
		name=$$(basename $$file .py); echo "== $$name"; $(PYTHON) -m tests.benchmarks.$$name || missed="$$missed $$name"; \
	done; if [ -n "$$missed" ]; then echo "limits missed in:$$missed"; exit 1; else echo "all limits are kept"; fi

mutants: $(ENVIRONMENT) ## [ONLY="3 7"]  plant known mistakes one at a time, and see whether the tests notice
	@$(PYTHON) -m tests.mutants.run $(if $(ONLY),--only $(ONLY))

lint: $(ENVIRONMENT) ##  check style, imports and notebooks
	$(PYTHON) -m ruff check .
	$(PYTHON) -m ruff format --check .
	$(PYTHON) -c "from importlinter.cli import lint_imports_command as lint; lint()"

types: $(ENVIRONMENT) ## [UPDATE=1]  type errors, compared with a baseline that may only shrink
	@$(PYTHON) workflow/check_types.py $(if $(UPDATE),--update)

audit: ## [REQUIRED=1]  look the locked packages up in a database of vulnerabilities (network);  REQUIRED=1 fails without one
	@REQUIRED="$(REQUIRED)" bash workflow/make_environment.sh audit

docs: $(ENVIRONMENT) ## [SURVEY=name-or-path]  build the site docs/_build/html, with the executed notebooks of a survey
	@$(PYTHON) -m docs.builder --survey "$(NAME)"

lock: ##  pin the dependencies in pyproject.toml again
	@bash workflow/make_environment.sh lock

$(STAGES:%=clean-dmu%): clean-dmu%: ## SURVEY=name-or-path  remove the products of one stage
	$(if $(filter file,$(origin SURVEY)),$(error Products of which survey? Give it: make clean-dmu$* SURVEY=name-or-path))
	$(if $(NAME),rm -rf "dmu$*/data/$(NAME)",$(error There is no survey $(SURVEY)))

.venv/.made-from: requirements.lock pyproject.toml
	@bash workflow/make_environment.sh

active-environment:
	@$(PYTHON) workflow/check_environment.py requirements.lock

FORCE:
