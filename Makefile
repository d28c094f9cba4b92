# make demo   set up, measure the shipped networks, and show where they collapse
# make test   set up, and run the tests
# make test-kernels  run the tests that compare numbers as another processor would compute them
# make check  set up, and run the linter, the formatter, the type checker and the check of imports
# make docs   set up, and build the pages into build/docs
# make pictures  set up, and make the pictures of the README anew
# make test-oldest  set up a second environment with the oldest versions allowed, and run the tests
# make reproduce  set up, train the networks of reproduction/ and measure them (about 25 minutes)
# make reproduce-reduced  the same with five small ones (under a minute)
# make crash  set up, and fail and kill it at every call that touches an output (hours; wants strace)
# make fuzz   set up, and damage files of every kind that is read: COUNT=100000 SEED=1 say how many
# make hostile  set up, and open pickles that ask for what no checkpoint needs, in all that holds one
# make flips  set up, and flip bits of statistics files: COUNT=10800 SEED=1 say how many
# make stress  set up, and compare numbers at their ends with exact ones: COUNT=10000 SEED=0
# make soak   set up, and extract and report in one process: COUNT=2000 times
# make peak-memory  set up, and measure the memory that large files take (an hour; 35 GB of disk)
# make bench  set up, and measure speed against bare forward passes (minutes; wants a quiet machine)

PYTHON ?= python3
BIN := .venv/bin
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt
NRCSCAN := $(BIN)/nrcscan
SWIMMER := fixtures/swimmer
PENDULUM := fixtures/pendulum

# The page is tested in a browser: that of the system, else Playwright's, else the distribution's.
define BROWSER
for one in chromium chromium-browser google-chrome google-chrome-stable; do \
	    command -v $$one >/dev/null && exit 0; done; \
	$(BIN)/python -m playwright install --only-shell chromium \
	    || { apt-get update -qq && apt-get install -y -qq chromium; } \
	    || echo 'No browser could be installed: the tests of pages will fail. Install Chromium.'
endef

.PHONY: demo test test-kernels test-oldest check docs pictures reproduce reproduce-reduced
.PHONY: crash fuzz hostile flips stress soak peak-memory bench clean

demo: .venv/core
	@mkdir -p demo
	@echo; echo '== A swimmer imitation network, weight decay 0.01'; echo
	$(NRCSCAN) extract $(SWIMMER)/wd0.01/epoch_600.pt $(SWIMMER)/data.npz -o demo/wd0.01.h5 --force
	$(NRCSCAN) report demo/wd0.01.h5
	@echo; echo '== The same without weight decay'; echo
	$(NRCSCAN) extract $(SWIMMER)/wd0/epoch_600.pt $(SWIMMER)/data.npz -o demo/wd0.h5 --force
	$(NRCSCAN) report demo/wd0.h5
	@echo; echo '== A convolutional network with a residual block, built by a factory'; echo
	$(NRCSCAN) extract $(PENDULUM)/model.safetensors $(PENDULUM)/data.npz \
	    --model $(PENDULUM)/network.py:build -o demo/pendulum.h5 --force
	$(NRCSCAN) report demo/pendulum.h5

test: .venv/dev
	$(BIN)/python -m pytest -n auto --dist worksteal

# Kernels that no processor has by default, and that every one can run: on a processor with AVX-512
# as on one without, the two runs add the same products in different orders. Two threads, so two lanes.
ifeq ($(shell uname -m),x86_64)
test-kernels: export OPENBLAS_CORETYPE := Prescott
test-kernels: export MKL_CBWR := COMPATIBLE
test-kernels: export ONEDNN_MAX_CPU_ISA := SSE41
test-kernels: export ATEN_CPU_CAPABILITY := default
endif
test-kernels: export OPENBLAS_NUM_THREADS := 2
test-kernels: export OMP_NUM_THREADS := 2
test-kernels: .venv/dev
	$(BIN)/python -m pytest -n auto --dist worksteal -m numerical tests

check: .venv/dev .venv/docs  # the types of docs/conf.py are those of Sphinx
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

docs: .venv/docs
	$(BIN)/python -m sphinx --fail-on-warning --nitpicky --fresh-env -q -c docs . build/docs
	@echo 'The pages are in build/docs/index.html'

pictures: .venv/dev
	$(BIN)/python docs/pictures.py docs/pictures

test-oldest: .venv-oldest/dev
	.venv-oldest/bin/python -m pytest

reproduce: .venv/dev
	$(BIN)/python -m reproduction

reproduce-reduced: .venv/dev
	$(BIN)/python -m reproduction --reduced

crash: .venv/dev
	OMP_NUM_THREADS=1 $(BIN)/python tests/crash.py

SEED ?= 0
fuzz: COUNT ?= 100000
fuzz: .venv/dev
	$(BIN)/python tests/fuzz.py --count $(COUNT) --seed $(SEED)

hostile: .venv/dev
	$(BIN)/python tests/hostile.py

flips: COUNT ?= 10800
flips: .venv/dev
	$(BIN)/python tests/flips.py --count $(COUNT) --seed $(SEED)

stress: COUNT ?= 10000
stress: .venv/dev
	$(BIN)/python tests/stress.py --count $(COUNT) --seed $(SEED)

soak: COUNT ?= 2000
soak: .venv/dev
	OMP_NUM_THREADS=1 $(BIN)/python tests/soak.py --count $(COUNT)

peak-memory: .venv/dev
	$(BIN)/python benchmarks/peak_memory.py
	$(BIN)/python benchmarks/peak_memory.py --only npz npz-stored --sizes 30

bench: .venv/core
	$(BIN)/python benchmarks/bench.py --json bench.json

clean:
	rm -rf .venv .venv-oldest demo build dist bench.json

.venv/core: pyproject.toml constraints.txt
	@echo 'Setting up .venv (once; torch makes it a minute or two)'
	@$(PYTHON) -m venv .venv
	@$(INSTALL) --upgrade pip  # the one that comes with Python 3.11 knows no dependency groups
	@$(INSTALL) -e .
	@touch $@

.venv/dev: .venv/core
	@$(INSTALL) -e '.[all]' --group dev
	@$(BROWSER)
	@touch $@

.venv/docs: .venv/core
	@$(INSTALL) --group docs
	@touch $@

.venv-oldest/dev: pyproject.toml constraints-oldest.txt
	@echo 'Setting up .venv-oldest (once)'
	@$(PYTHON) -m venv .venv-oldest
	@.venv-oldest/bin/python -m pip install --quiet --disable-pip-version-check --upgrade pip
	@.venv-oldest/bin/python -m pip install --quiet -c constraints-oldest.txt -e '.[all]' --group test
	@$(subst $(BIN),.venv-oldest/bin,$(BROWSER))
	@touch $@
