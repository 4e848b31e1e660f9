# All of these need Python 3.10 or later and pip's package index, nothing else.
# Another interpreter: make test PYTHON=python3.12

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
LAB ?=
DEMO := runs/demo
DEMO_LORA := runs/demo-lora
SITE := docs/site

.PHONY: help demo demo-lora study notebooks docs test check-all clean
.DEFAULT_GOAL := help

help:
	@echo "make demo       train a character-level GPT, plot its losses and print what it writes: two minutes"
	@echo "make demo-lora  teach a small Llama, with LoRA, to answer like a parrot: a minute or two"
	@echo "make study      make the pages that step through a backward in the browser, and name the exercises"
	@echo "make notebooks  open the notebooks on backpropagation and makemore, docs/notebooks, in JupyterLab"
	@echo "make docs       build the documentation site, with these pages and the notebooks, in $(SITE): some minutes"
	@echo "make test       run the test suite"
	@echo "make check-all  run everything that .ci/run does, then the slow tests: half an hour or more"
	@echo "make clean      remove $(VENV) and the demos' output, and $(SITE)"
	@echo "PYTHON=...      the interpreter to make $(VENV) with (default: $(PYTHON))"
	@echo "LAB=...         options for JupyterLab, such as --allow-root or --no-browser"

demo: $(VENV)/.installed-gpt
	rm -rf $(DEMO)
	$(BIN)/python -m gpt train --preset demo --out $(DEMO)
	@echo "What it writes now (the first time, the kernels for this are compiled: some seconds):"
	$(BIN)/python -m gpt sample --out $(DEMO) --temperature 0.7
	@echo
	@echo "The losses are plotted in $(DEMO)/loss.png. What to do next:"
	@echo
	@echo "  let it continue your words:"
	@echo "    $(BIN)/python -m gpt sample --out $(DEMO) --temperature 0.7 --prompt 'The class '"
	@echo "  train it for longer:"
	@echo "    $(BIN)/python -m gpt train --resume --out $(DEMO) --max-iters 6000"
	@echo "  train a model of another text, Shakespeare's plays (a download of 1 MB):"
	@echo "    $(BIN)/python -m gpt train --preset demo --data shakespeare --out runs/plays"
	@echo "  see where each of its heads looks, in a page for the browser:"
	@echo "    $(BIN)/python -m gpt attend --out $(DEMO) --prompt 'The class '"
	@echo "  see how a table of character pairs becomes a GPT, in stages:"
	@echo "    $(BIN)/python -m gpt stages --max-iters 500"
	@echo "  find out how it learns: step through a backward, do the exercises, open the notebooks:"
	@echo "    make study; make notebooks"

demo-lora: $(VENV)/.installed-lora
	rm -rf $(DEMO_LORA)
	$(BIN)/python -m lora train --out $(DEMO_LORA)
	@echo "The losses are plotted in $(DEMO_LORA)/loss.png. What to do next:"
	@echo
	@echo "  ask it something (a question ends in a line feed, as in its training):"
	@printf '%s\n' "    $(BIN)/python -m lora generate --adapter $(DEMO_LORA)/best --greedy --prompt \$$'Who made the tuple?\\n'"
	@echo "  see all commands:"
	@echo "    $(BIN)/python -m lora --help"

study: $(VENV)/.installed-study
	$(BIN)/python -m tinytorch.study site $(SITE)/study
	@echo "What to do next:"
	@echo
	@echo "  write a backward yourself; this lists twenty exercises, and docs/exercises.md tells of them:"
	@echo "    $(BIN)/python -m tinytorch.study exercise"
	@echo "  take one number of a gradient apart:"
	@echo "    $(BIN)/python -m tinytorch.study why attention 'dq[1,0]'"
	@echo "  derive whole backwards, in notebooks:"
	@echo "    make notebooks"

docs: $(VENV)/.installed-docs
	$(BIN)/python -m docs.generate $(SITE)

# JupyterLab's root is the whole project, so that the notebooks' links to other pages open too.
notebooks: $(VENV)/.installed-notebooks
	@case "$$(id -u) $(LAB)" in *--allow-root*) ;; "0 "*) echo "error: JupyterLab runs as root only if told to: make notebooks LAB=--allow-root" >&2; exit 2;; esac
	$(BIN)/python -m jupyterlab --LabApp.default_url=/lab/tree/docs/notebooks $(LAB)

test: $(VENV)/.installed-test
	$(BIN)/python -m pytest -n auto --maxprocesses 4

check-all:
	.ci/run
	$(BIN)/python -m pytest -n auto --maxprocesses 4 -m slow --require-oracle

clean:
	rm -rf $(VENV) $(DEMO) $(DEMO_LORA) $(SITE)

# One stamp for each extra: a second run installs nothing unless the metadata has changed.
$(VENV)/.installed-%: $(BIN)/python setup.cfg pyproject.toml
	@echo "Installing what this needs into $(VENV): a minute or so"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[$*]'
	@touch $@

$(BIN)/python:
	@command -v $(PYTHON) >/dev/null || { echo "error: no '$(PYTHON)' on the PATH; name a Python of 3.10 or later: make PYTHON=python3.12 ..." >&2; exit 1; }
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(v < (3, 10) and "error: Python 3.10 or later is needed, but $(PYTHON) is %d.%d; name another one: make PYTHON=python3.12 ..." % v[:2])'
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { echo "error: $(PYTHON) cannot make virtual environments; install its venv module (on Debian and Ubuntu: apt install python3-venv)" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

.SECONDARY: $(BIN)/python
.DELETE_ON_ERROR:
