# `make search` and `make test` need Python 3.11+, pip and make, nothing else.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: search test test-slow test-alone test-system lint format docs benchmarks clean help

help:
	@echo "make search       install into .venv, run the default search (handwritten digits), print the front"
	@echo "make test         install into .venv, run the tests"
	@echo "make test-slow    longer real runs (needs ../shared/data)"
	@echo "make test-alone   the measuring code with numpy, PyYAML and onnxruntime only, in an environment of its own"
	@echo "make test-system  needs Debian's chromium and openssh-server; writes docs/test-system.log"
	@echo "make lint         ruff and mypy"
	@echo "make format       let ruff rewrite"
	@echo "make docs         run every example of the docs and take the screenshots anew"

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "niwaki needs Python 3.11 or newer; type: make PYTHON=python3.11 ...")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $(READY)

search: $(READY)
	$(BIN)/niwaki search examples/digits.yaml

# Two files at a time; one thread each, for two that wait for each other at every step are slower than one. The files as
# tests/conftest.py orders them: by itself xdist has those with few tests last, which are the long ones.
test: $(READY)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

test-slow: $(READY)
	$(BIN)/python -m pytest -m slow --timeout 3600

# Makes an environment of its own, so it needs none of ours.
test-alone:
	$(PYTHON) tests/alone.py

test-system: $(READY)
	@command -v chromium >/dev/null && command -v chromedriver >/dev/null && test -x /usr/sbin/sshd || \
	  { echo "make test-system needs Debian packages: apt-get install chromium chromium-driver openssh-server"; exit 3; }
	$(BIN)/python -m pytest -vv -rs --no-header -m system --timeout 900 > docs/test-system.log 2>&1; code=$$?; cat docs/test-system.log; exit $$code

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(READY)
	$(BIN)/python docs/screenshots.py

clean:
	rm -rf build .pytest_cache .mypy_cache .ruff_cache
