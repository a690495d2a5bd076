# make book   build the book, and say where to open it
# make test   recompute every output of the book, and run every other test
# make quick  run the library's tests alone, in under a minute
# make lab    open the notebooks in JupyterLab
# make exercises  check your answers to the exercises, and show how far you are (ARGS="scaled", ARGS=--watch, …)
# make bench  measure the library beside its peers (a few minutes; on a machine that does nothing else)
# All of them make the virtual environment .venv first where it is missing or stale.

PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready
PIP := $(BIN)/pip install --quiet --disable-pip-version-check
PAGE := _build/html/index.html
# One thread a process: sums come out in one order, and two processes share two cores.
ONE_THREAD := OMP_NUM_THREADS=1
WORKERS ?= 2

.PHONY: help book test quick lab exercises bench outputs style browser clean

help:
	@sed -n 's/^# //p' Makefile

$(READY): requirements.lock requirements.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "This book needs Python 3.11 or newer; set PYTHON=/path/to/python3"; exit 1; }
	$(PYTHON) -m venv .venv
	$(PIP) --no-deps --require-hashes -r requirements.lock
	$(PIP) "$$(grep '^torch==' requirements.txt)"
	$(PIP) --no-deps --no-build-isolation -e .
	@touch $@

book: $(READY)
	@$(BIN)/python -m tools.build
	@echo "The book is ready. Open file://$(CURDIR)/$(PAGE)"

test: book browser style
	$(ONE_THREAD) $(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --nbval --nbval-current-env --durations 15 chapters tests

# The numerics of the library's modules, in the order of the chapters.
QUICK := attention multihead positions stack training tokens fragment generation pretrained
quick: $(READY)
	$(ONE_THREAD) $(BIN)/python -m pytest -q -n $(WORKERS) --durations 5 $(QUICK:%=tests/test_%.py)

style: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/codespell
	$(BIN)/python -m tools.scripts

browser: $(READY)
	@$(BIN)/python -m tools.browser

lab: $(READY)
	$(BIN)/jupyter lab --notebook-dir=chapters

exercises: $(READY)
	@$(BIN)/python -m transformer_lib.exercises $(ARGS)

bench: $(READY)
	$(BIN)/python -m benchmarks $(BENCH)

outputs: $(READY)
	$(BIN)/python -m tools.outputs $(NOTEBOOKS)

clean:
	rm -rf _build .venv
