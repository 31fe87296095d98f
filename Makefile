# make serve: set up and serve on port 5000.  make test: set up and run every test.
# Both work in a fresh clone; what is already there is not made again.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Ray has a virtual environment of its own: it is 450 MB that serving on one machine has no use for.
RAY := .venv-ray
# Test files that run side by side: many wait for a server to start or a time to pass.
WORKERS ?= 3
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check

.PHONY: serve cluster doctor setup test test-fast test-cluster lint format
.PHONY: bench bench-peers bench-http bench-cluster capacity clean

serve: $(VENV)/.ready
	@echo "troika: serving on http://localhost:$${PORT:-$${TROIKA_PORT:-5000}} (Ctrl-C stops it)"
	@exec $(BIN)/gunicorn -c config/gunicorn.py wsgi:app

cluster: $(RAY)/.ready
	@exec $(RAY)/bin/python -m app.engine.cluster trial

doctor: $(VENV)/.ready
	@$(BIN)/python -m app.doctor

setup: $(VENV)/.ready-dev

test: $(VENV)/.ready-dev
	@echo "troika: running every test (a few minutes)"
	@$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile

test-fast: $(VENV)/.ready-dev
	@$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile -m "not slow"

test-cluster: $(RAY)/.ready
	@$(RAY)/bin/python -m pip install --quiet --disable-pip-version-check -r tests/requirements.txt
	@$(RAY)/bin/python -m pytest tests/cluster tests/deploy/test_ray.py

lint: $(VENV)/.ready-dev
	@echo "troika: checking format, style and types"
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy

format: $(VENV)/.ready-dev
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

bench: $(VENV)/.ready-dev
	@$(BIN)/python -m benchmarks.engine $(if $(OUT),--out $(OUT))
	@$(BIN)/python -m benchmarks.training $(if $(OUT),--out $(basename $(OUT))-training$(suffix $(OUT)))

bench-peers: $(VENV)/.ready-dev
	@$(BIN)/python -m benchmarks.peers $(if $(QUICK),--quick) $(if $(OUT),--out $(OUT)) $(ARGS)

bench-http: $(VENV)/.ready-dev
	@$(BIN)/python -m benchmarks.http $(if $(OUT),--out $(OUT))
	@$(BIN)/python -m benchmarks.beside_training $(if $(OUT),--out $(basename $(OUT))-training$(suffix $(OUT)))

bench-cluster: $(RAY)/.ready
	@$(RAY)/bin/python -m benchmarks.cluster $(if $(OUT),--out $(OUT)) $(ARGS)

capacity: $(VENV)/.ready-dev
	@$(BIN)/python -m benchmarks.capacity $(ARGS)

$(VENV)/.ready: requirements.txt
	@echo "troika: making $(VENV) with $$($(PYTHON) --version)"
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "troika: Python 3.11 or newer is needed")'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "troika: installing requirements.txt (torch alone is some 200 MB: this takes a few minutes the first time)"
	@$(PIP) -r requirements.txt
	@echo "troika: compiling kernels"
	@$(BIN)/python -m app.engine.compile
	@touch $@

$(RAY)/.ready: requirements.txt requirements-ray.txt
	@echo "troika: making $(RAY) with requirements-ray.txt (a few minutes the first time)"
	@test -x $(RAY)/bin/python || $(PYTHON) -m venv $(RAY)
	@$(RAY)/bin/python -m pip install --quiet --disable-pip-version-check -r requirements-ray.txt
	@$(RAY)/bin/python -m app.engine.compile
	@touch $@

$(VENV)/.ready-dev: $(VENV)/.ready tests/requirements.txt
	@echo "troika: installing what the tests need"
	@$(PIP) -r tests/requirements.txt
	@touch $@

clean:
	rm -rf $(VENV) $(RAY) .mypy_cache .ruff_cache .pytest_cache .hypothesis
