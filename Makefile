# Odradek. Needs Python 3.11 or newer and make; everything else is set up in .venv.
#
#   make test      lint, then every tier of tests (ARGS="-k name" narrows it)
#   make demo      thirty orders on real Kafka, with crashes (KEEP=1 leaves it running)
#   make bench     throughput and latency; JSON to $BENCH_OUT
#   make lint      ruff, mypy --strict, import-linter
#   make facts     what Kafka and Faust really do: the facts that the design stands on
#   make simulate  random programs and faults on a simulated Kafka: SEEDS=10000, from SEED=2000 on
#   make chaos     the long kill -9 loops
#   make slow      every test that make test leaves out for its length
#   make cluster   three Kafka brokers on this machine until Ctrl-C
#   make dev       one Kafka broker, and the server with API and UI, until Ctrl-C
#   make docs      the pages that are made of the code, into build/docs
#   make clean     remove .venv and caches (not the cached Kafka jars)

.DEFAULT_GOAL := help
.PHONY: help venv docs test demo bench lint format kafka facts slow simulate chaos cluster dev clean

# The first that really runs, is new enough and can make a venv: a name on the PATH alone proves nothing (pyenv's shims).
USABLE := import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))
PYTHON ?= $(shell for p in python3.13 python3.12 python3.11 python3 python; do \
	$$p -c '$(USABLE)' >/dev/null 2>&1 && { command -v $$p; break; }; done)

VENV := .venv
PY := $(VENV)/bin/python
STAMP := $(VENV)/.complete
ARGS ?=
# Hundreds of short processes: each would compile all its modules anew (0.2 s of CPU) where the environment forbids to keep bytecode.
test slow facts chaos demo bench: export PYTHONDONTWRITEBYTECODE :=
# Test files run beside each other, each worker with a broker of its own: most tests wait for Kafka, not for a core. Five keep two
# cores busy for most of the time; with six, a run is a minute shorter and tests meet more of each other's load.
WORKERS ?= 5

help:
	@sed -n 's/^#   //p' Makefile

venv: $(STAMP)

# Complete only when every package is in: an interrupted set-up starts again, a change of pyproject.toml too.
$(STAMP): pyproject.toml
	@test -n "$(PYTHON)" || { echo "error: Odradek needs Python 3.11 or newer with venv and none is on the PATH (found: $$(python3 --version 2>&1)). Install one, or: make PYTHON=/path/to/python3.11" >&2; exit 1; }
	@"$(PYTHON)" -c '$(USABLE)' 2>/dev/null || { echo "error: $(PYTHON) does not run, is older than Python 3.11, or lacks venv (on Debian: the package python3-venv)" >&2; exit 1; }
	@$(PY) -c '$(USABLE)' >/dev/null 2>&1 || { echo "==> making $(VENV) with $(PYTHON)"; rm -rf $(VENV); "$(PYTHON)" -m venv $(VENV); }
	@echo "==> installing packages into $(VENV) (a minute or two, once)"
	@$(PY) -m pip install --disable-pip-version-check --progress-bar off -e '.[all,dev]' > $(VENV)/install.log 2>&1 & pid=$$!; \
	while kill -0 $$pid 2>/dev/null; do sleep 1; \
		step=$$(grep -cE '^ *(Collecting|Downloading|Using cached)' $(VENV)/install.log 2>/dev/null); \
		if [ "$$step" != "$$last" ] && { [ -t 1 ] || [ $$(( $${n:=0} % 10 )) = 0 ]; }; then \
			if [ -t 1 ]; then printf '\r    %s packages looked at' "$$step"; else echo "    $$step packages looked at"; fi; fi; last=$$step; n=$$((n + 1)); \
	done; if [ -t 1 ]; then echo; fi; \
	wait $$pid || { tail -5 $(VENV)/install.log >&2; echo "error: packages could not be installed; all of pip's output: $(VENV)/install.log" >&2; exit 1; }
	@touch $@

lint: $(STAMP)
	@echo "==> ruff";          $(PY) -m ruff check . && $(PY) -m ruff format --check --quiet . || { echo "error: formatting differs; run: make format" >&2; exit 1; }
	@echo "==> mypy --strict"; $(PY) -m mypy
	@echo "==> import-linter"; PYTHONPATH=streams:. $(VENV)/bin/lint-imports --no-logo

format: $(STAMP)
	$(PY) -m ruff check --fix --exit-zero --quiet .
	$(PY) -m ruff format .

# Before pytest, which would hide the progress and count the time against the first test's limit.
kafka: $(STAMP)
	@$(PY) -m odradek.broker.fetch

# Each worker would compile all tests for itself (10 s of a core, in a fresh clone): done once, beside the linters.
test: $(STAMP)
	@$(PY) -m pytest --collect-only -qq >/dev/null 2>&1 & $(MAKE) --no-print-directory lint kafka; status=$$?; wait; exit $$status
	@echo "==> tests (all tiers but what is marked slow)"
	@$(PY) -m pytest -m "not slow" -n $(WORKERS) --dist loadfile --no-loadscope-reorder $(ARGS)

# Pages made of the code, for a release: settings, metrics, the command line, promises and their tests.
docs: $(STAMP)
	@mkdir -p build/docs
	@$(PY) -m odradek.config > build/docs/settings.md
	@$(PY) -m odradek.telemetry.metrics > build/docs/metrics.md
	@$(PY) -m odradek.cli.page > build/docs/cli.md
	@$(PY) -m tests.promises > build/docs/promises.md
	@echo "==> build/docs"; ls build/docs

facts: kafka
	@$(PY) -m pytest tests/facts $(ARGS)

slow: kafka
	@$(PY) -m pytest -m slow -n $(WORKERS) --dist loadfile --no-loadscope-reorder $(ARGS)

SEED ?= 2000
SEEDS ?= 10000
simulate: $(STAMP)
	@PYTHONPATH=streams:. $(PY) -m tests.simulation --seed $(SEED) --seeds $(SEEDS)

chaos: kafka
	@$(PY) -m pytest tests/chaos $(ARGS)

demo: $(STAMP)
	@KEEP=$(KEEP) $(PY) -m services.demo $(ARGS)

bench: $(STAMP)
	@$(PY) -m benchmarks $(ARGS)

cluster: $(STAMP)
	@$(PY) -m odradek.broker.dev --brokers 3 $(ARGS)

dev: $(STAMP)
	@$(PY) -m odradek.cli dev $(ARGS)

clean:
	rm -rf $(VENV) dist build .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
