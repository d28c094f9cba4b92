# make demo   set up, measure the shipped networks, and show where they collapse
# make test   set up, and run the tests
# make check  set up, and run the linter, the formatter, the type checker and the check of imports
# make bench  set up, and measure speed against bare forward passes (minutes; wants a quiet machine)

PYTHON ?= python3
BIN := .venv/bin
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt
NRCSCAN := $(BIN)/nrcscan
SWIMMER := fixtures/swimmer
PENDULUM := fixtures/pendulum

.PHONY: demo test check bench clean

demo: .venv/core
	@mkdir -p demo
	@echo; echo '== A swimmer imitation network, weight decay 0.01: collapsed'; echo
	$(NRCSCAN) extract $(SWIMMER)/wd0.01/epoch_600.pt $(SWIMMER)/data.npz -o demo/wd0.01.h5 --force
	$(NRCSCAN) report demo/wd0.01.h5
	@echo; echo '== The same without weight decay: not collapsed'; echo
	$(NRCSCAN) extract $(SWIMMER)/wd0/epoch_600.pt $(SWIMMER)/data.npz -o demo/wd0.h5 --force
	$(NRCSCAN) report demo/wd0.h5
	@echo; echo '== A convolutional network with a residual block, built by a factory'; echo
	$(NRCSCAN) extract $(PENDULUM)/model.safetensors $(PENDULUM)/data.npz \
	    --model $(PENDULUM)/network.py:build -o demo/pendulum.h5 --force
	$(NRCSCAN) report demo/pendulum.h5

test: .venv/dev
	$(BIN)/python -m pytest

check: .venv/dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: .venv/core
	$(BIN)/python benchmarks/bench.py --json bench.json

clean:
	rm -rf .venv demo build dist bench.json

.venv/core: pyproject.toml constraints.txt
	@echo 'Setting up .venv (once; torch makes it a minute or two)'
	@$(PYTHON) -m venv .venv
	@$(INSTALL) -e .
	@touch $@

.venv/dev: .venv/core
	@$(INSTALL) -e '.[dev]'
	@touch $@
