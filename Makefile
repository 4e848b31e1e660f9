# `make demo`, `make demo-lora` and `make test` need Python 3.10 or later and pip's package index, nothing else.
# Another interpreter: make test PYTHON=python3.12

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DEMO := runs/demo
DEMO_LORA := runs/demo-lora

.PHONY: help demo demo-lora test clean
.DEFAULT_GOAL := help

help:
	@echo "make demo    train the character-level GPT for a minute or two, plot its losses, print a sample"
	@echo "make demo-lora  teach a small Llama to answer as a parrot, for a minute or two, with LoRA"
	@echo "make test    run the test suite"
	@echo "make clean   remove $(VENV) and the demos' output"
	@echo "PYTHON=...   the interpreter to make $(VENV) with (default: $(PYTHON))"

demo: $(VENV)/.installed-gpt
	rm -rf $(DEMO)
	$(BIN)/python -m gpt train --preset nano-cpu --max-iters 1000 --out $(DEMO)
	$(BIN)/python -m gpt sample --out $(DEMO)
	@echo "The losses are drawn in $(DEMO)/loss.png"

demo-lora: $(VENV)/.installed-lora
	rm -rf $(DEMO_LORA)
	$(BIN)/python -m lora train --out $(DEMO_LORA)
	@echo "The losses are drawn in $(DEMO_LORA)/loss.png"

test: $(VENV)/.installed-test
	$(BIN)/python -m pytest -m "not slow"

clean:
	rm -rf $(VENV) $(DEMO) $(DEMO_LORA)

# One stamp for each extra: a second run installs nothing unless the metadata has changed.
$(VENV)/.installed-%: $(BIN)/python setup.cfg pyproject.toml
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[$*]'
	@touch $@

$(BIN)/python:
	@command -v $(PYTHON) >/dev/null || { echo "error: no '$(PYTHON)' on the PATH; name a Python of 3.10 or later: make PYTHON=python3.12 ..." >&2; exit 1; }
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(v < (3, 10) and "error: Python 3.10 or later is needed, but $(PYTHON) is %d.%d; name another one: make PYTHON=python3.12 ..." % v[:2])'
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { echo "error: $(PYTHON) cannot make virtual environments; install its venv module (on Debian and Ubuntu: apt install python3-venv)" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

.SECONDARY: $(BIN)/python
.DELETE_ON_ERROR:
