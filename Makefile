# make demo: see it work.  make test: everything a machine can check.  make bench: how fast it is.
# make test-24: the tests with Dovecot 2.4, as root; they build themselves a Debian 13 first.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# Outside the checkout, because paths of unix sockets are short.
DOVECOT24_CHROOT ?= /var/tmp/ringdirector-dovecot24

.PHONY: demo test test-24 dovecot24 bench bench-quick format clean

demo: $(STAMP)
	$(BIN)/director demo

# Two files at a time, because the tests with real Dovecot mostly wait.
test: $(STAMP)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder

test-24: dovecot24
	DOVECOT24_CHROOT=$(DOVECOT24_CHROOT) $(BIN)/pytest -m interop24

dovecot24: $(STAMP)
	tests/interop24/build-chroot $(DOVECOT24_CHROOT) $(BIN)/python

# Beside the real director where Debian's dovecot-core 2.3 is installed and make runs as root.
bench: $(STAMP)
	$(BIN)/python -m sim.bench

bench-quick: $(STAMP)
	$(BIN)/python -m sim.bench --quick

format: $(STAMP)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

$(STAMP): pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed, this is " + sys.version.split()[0] + ": try make PYTHON=python3.11")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[test]'
	touch $@

clean:
	rm -rf $(VENV) build .mypy_cache .pytest_cache .ruff_cache .hypothesis
