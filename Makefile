# Two commands do everything: `make demo` and `make test`. Each creates its environment in .venv first.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
SOURCES := pyproject.toml constraints.txt
STATS := .venv-stats
# Eight test files at a time do not make two cores faster: one worker a core, one thread a worker.
WORKERS ?= 2
# Packages are installed without bytecode, and it is kept when it is first made: otherwise each of the many processes of the
# tests would compile torch and Lightning for itself, for twenty seconds.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo test docs lint types tests tests-stats test-postgres format browser notebooks calibration soak fuzz fuzz-tables wheel clean help \
	bench bench-venvs bench-accuracy bench-fev bench-quality bench-scaling bench-streaming bench-folders bench-gpu bench-serving bench-onnx ort-web

help:  ## List the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

demo: $(VENV)/.core  ## Train a small TFT on the bundled data; write forecasts and an HTML report
	$(BIN)/fusecast demo

# What takes one core is done two at a time before the tests, which take both.
test:  ## Lint, type-check, run all tests
	@$(MAKE) --no-print-directory -j 2 lint types tests-stats browser ort-web
	@$(MAKE) --no-print-directory tests

# Nothing is downloaded, neither here nor by a reader; site/index.html may be opened as a file.
docs: $(VENV)/.dev  ## Build the documentation site in site/
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.dev
	$(BIN)/mypy

tests: $(VENV)/.dev browser ort-web
	FUSECAST_ORT_WEB=$(abspath $(ORT_WEB)) OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder

# statsforecast holds pandas below 3. It is installed into a folder of its own, added to the path for its tests alone; where it
# cannot be installed, they are skipped.
tests-stats: $(VENV)/.dev $(STATS)/.installed  ## Run the tests of AutoETS and AutoTheta
	PYTHONPATH=$(STATS) OMP_NUM_THREADS=1 $(BIN)/python -m pytest tests/evaluation/baselines/test_statistical.py

$(STATS)/.installed: $(VENV)/.python constraints.txt
	@rm -rf $(STATS)
	-$(PIP) install -q --no-compile --target $(STATS) -c constraints.txt 'pandas<3' 'statsforecast>=2.0'
	@mkdir -p $(STATS) && touch $@

# docs/reliability.md explains the table that is printed. FUZZ_ARGS="--only tables --tables 50" runs a part.
fuzz: $(VENV)/.dev  ## Damage every file that is read, and feed in hostile tables (half an hour)
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.reliability.fuzz $(FUZZ_ARGS)

# FUZZ_TABLES_ARGS="--tables 500 --seed 3" runs others.
fuzz-tables: $(VENV)/.dev  ## Draw 10,000 tables as people have them; each is forecast, or refused in words (a quarter of an hour)
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.reliability.fuzz_tables $(FUZZ_TABLES_ARGS)

# The server is Debian's, in a temporary folder and on a free port; it is stopped when the tests have ended, however they end.
test-postgres: $(VENV)/.dev  ## Run the tests of databases beside a private PostgreSQL server, installed where it is missing
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.helpers.postgres \
		$(BIN)/python -m pytest tests/io/databases tests/cli/test_databases.py

format: $(VENV)/.dev  ## Format the code
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

browser:  ## Install Debian's chromium for the browser tests where it is missing and can be installed
	@command -v chromium >/dev/null 2>&1 || \
	if command -v apt-get >/dev/null 2>&1 && [ "$$(id -u)" = 0 ]; then \
		apt-get update -qq && apt-get install -y -qq chromium chromium-driver fonts-dejavu-core >/dev/null; \
	else echo "chromium is missing and cannot be installed here: browser tests will be skipped"; fi

# The example in JavaScript, examples/onnx_forecast.js, needs it; its test is skipped where npm is missing, or finds nothing.
ORT_WEB ?= .ort-web
ort-web: $(ORT_WEB)/.installed
$(ORT_WEB)/.installed:
	-@if command -v npm >/dev/null 2>&1; then npm install --silent --no-audit --no-fund --prefix $(ORT_WEB) onnxruntime-web@1.30.0; fi
	@mkdir -p $(ORT_WEB) && touch $@

$(VENV)/.python:
	$(PYTHON) -m venv $(VENV)
	@touch $@

# Few of the modules that are installed are ever imported: these are compiled then.
$(VENV)/.core: $(VENV)/.python $(SOURCES)
	$(PIP) install -q --no-compile -c constraints.txt -e .
	@touch $@

$(VENV)/.dev: $(VENV)/.python $(SOURCES)
	$(PIP) install -q --no-compile -c constraints.txt -e '.[dev]'
	@touch $@ $(VENV)/.core

# NOTEBOOKS=power_prices runs one.
notebooks: $(VENV)/.dev browser  ## Execute the notebooks of examples/notebooks, and save them with their outputs
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.helpers.notebooks $(NOTEBOOKS)

# Each library that the benchmarks compare with has an environment of its own, .venv-<name>. FUSECAST_BENCH_VENVS names a folder of environments that are there already.
PEERS := pytorch-forecasting neuralforecast darts gluonts
COMMA := ,
BENCH_ROUNDS ?= 3
BENCH_ONLY ?=
BENCH_LIBRARIES ?=
BENCH_ARGS ?=
# Only the environments of the requested libraries are created.
REQUESTED = $(subst $(COMMA), ,$(BENCH_LIBRARIES))
PEER_VENVS = $(if $(FUSECAST_BENCH_VENVS),,$(patsubst %,.venv-%/.installed,$(if $(REQUESTED),$(filter $(REQUESTED),$(PEERS)),$(PEERS))))
BENCH_COMMON = --libraries "$(BENCH_LIBRARIES)" $(BENCH_ARGS)

.venv-%/.installed: benchmarks/peers/requirements/%.txt constraints.txt
	$(PYTHON) -m venv .venv-$*
	@# A library that cannot be installed is reported in the table and does not stop the others.
	-.venv-$*/bin/python -m pip --disable-pip-version-check install -q -c constraints.txt -r $< && touch $@

bench-venvs: $(PEER_VENVS)  ## Make an environment for each library that the benchmarks compare with

bench: $(VENV)/.core bench-venvs  ## Measure speed and memory beside four other libraries: BENCH_ROUNDS, BENCH_ONLY=w1,training
	$(BIN)/python -m benchmarks.speed --rounds $(BENCH_ROUNDS) --only "$(BENCH_ONLY)" $(BENCH_COMMON)

bench-accuracy: $(VENV)/.core bench-venvs  ## Compare accuracy at equal budget; what is done is kept
	$(BIN)/python -m benchmarks.accuracy $(BENCH_COMMON)

# The package that scores has an environment of its own too. FEV_ARGS="--tasks hospital --seeds 0,1,2" runs a part.
bench-fev: $(VENV)/.core $(if $(FUSECAST_BENCH_VENVS),,.venv-fev/.installed)  ## Run the published tasks of fev-bench; what is done is kept
	$(BIN)/python -m benchmarks.fev $(FEV_ARGS)

# QUALITY_ARGS="--sets etth1 --steps 1000" runs a part.
bench-quality: $(VENV)/.core $(if $(FUSECAST_BENCH_VENVS),,.venv-darts/.installed .venv-pytorch-forecasting/.installed)  ## Seconds until the validation loss of the peers; what is done is kept
	$(BIN)/python -m benchmarks.time_to_quality $(QUALITY_ARGS)

bench-scaling: $(VENV)/.dev  ## Measure how cost grows with series, rows, lookback, variables, hidden size
	$(BIN)/python -m benchmarks.scaling $(BENCH_ARGS)

bench-folders: $(VENV)/.core  ## Measure memory and time of forecasting folders of few and many partitions
	$(BIN)/python -m benchmarks.folders $(BENCH_ARGS)

bench-streaming: $(VENV)/.dev  ## Run a Parquet file in pieces, beside the same in memory: STREAM_ARGS="--rows 1000000,10000000"
	$(BIN)/python -m benchmarks.streaming $(STREAM_ARGS)

# SERVING_ARGS="--clients 10 --seconds 20 --run RUN" measures another load.
bench-serving: $(VENV)/.dev  ## Latency of the server with 50 clients at once, for a minute
	$(BIN)/python -m benchmarks.serving $(SERVING_ARGS)

bench-gpu: $(VENV)/.core  ## Measure training and inference on the GPU, in one call
	$(BIN)/python -m benchmarks.gpu $(BENCH_ARGS)

bench-onnx: $(VENV)/.dev  ## Measure one forecast of an ONNX file on one core beside PyTorch: ONNX_ARGS="--rounds 500"
	FUSECAST_KERNELS=0 OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.onnx_latency $(ONNX_ARGS)
	OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.onnx_latency $(ONNX_ARGS)

calibration: $(VENV)/.core  ## Coverage on the test span of every real set, raw and calibrated (a quarter of an hour)
	$(BIN)/python -m benchmarks.calibration

soak: $(VENV)/.dev  ## Kill trainings at random moments and at every rename, and resume them (a quarter of an hour)
	OMP_NUM_THREADS=1 $(BIN)/python tests/reliability/soak.py $(SOAK_ARGS)

# WHEEL_ARGS="--demo '--max-minutes 0.5'" trains for a shorter time.
wheel: $(VENV)/.dev  ## Build dist/, and run the demo of the wheel in a new environment without a compiler (ten minutes)
	$(BIN)/python -m tests.packaging.wheel $(WHEEL_ARGS)

clean:  ## Remove what make and the tests have created, the environment too
	rm -rf $(VENV) .venv-* $(ORT_WEB) .pytest_cache .mypy_cache .ruff_cache .hypothesis build dist site src/*.egg-info
