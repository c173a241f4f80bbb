# make app        the web application, on http://localhost:7860
# make analysis   a look inside the network, on http://localhost:8501
# make lab        the notebooks, in JupyterLab
# make notebooks  run every notebook anew and keep what it shows
# make docs       the documentation, in build/docs
# make space      a Hugging Face Space, in build/space; with SPACE=owner/name and a token it is uploaded
# make test       ruff, mypy, the documentation, and every test
# make clean      remove the virtual environment and the caches
#
# All but the last set up .venv, and again only when pyproject.toml or requirements.txt has changed.
#
# TORCH is what `pip install` is given for PyTorch. Alone it means the newest build, which on Linux has CUDA in it
# (about 6 GB installed). Name another version, or add pip's options, to get another build:
#     make app TORCH="torch==2.13.0"
TORCH ?= torch
PYTHON ?= python3

VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
INSTALL_CHROMIUM := export DEBIAN_FRONTEND=noninteractive; \
	apt-get -q update && apt-get -q install -y --no-install-recommends chromium
SET_UP_BY := pyproject.toml requirements.txt
BUILD_DOCS = $(BIN)/python -m sphinx -q -W --keep-going docs build/docs

.PHONY: app analysis lab notebooks docs space test browser clean

app: $(VENV)/.app
	$(BIN)/python app.py

analysis: $(VENV)/.app
	$(BIN)/python -m streamlit run demo/analysis.py

lab: $(VENV)/.app
	$(BIN)/python -m jupyter lab notebooks

notebooks: $(VENV)/.app
	$(BIN)/python -m jupyter nbconvert --to notebook --execute --inplace \
		--ExecutePreprocessor.record_timing=False notebooks/*.ipynb

# Warnings are errors: a name that is not found, a page that no other leads to.
docs: $(VENV)/.dev
	$(BUILD_DOCS)

space: $(VENV)/.app
	$(BIN)/python -m demo.space build/space $(if $(SPACE),--push $(SPACE))

test: $(VENV)/.dev browser
	$(BIN)/ruff check
	$(BIN)/mypy nrknet app.py benchmarks demo
	$(BUILD_DOCS)
	$(BIN)/python -m pytest

# The browser tests need a Chromium; they skip, saying so, where there is none.
browser: | $(BIN)/python
	@if command -v chromium || command -v chromium-browser || command -v google-chrome; then :; \
	elif [ "$$(id -u)" = 0 ] && [ -e /etc/debian_version ]; then \
		echo "Installing Chromium for the browser tests ..."; \
		{ $(INSTALL_CHROMIUM); } </dev/null >$(VENV)/chromium.log 2>&1 \
		|| echo "Chromium could not be installed ($(VENV)/chromium.log says why): the browser tests will be skipped."; \
	else echo "No Chromium here: the browser tests will be skipped."; fi

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

# PyTorch first and by itself, so that the choice of its build is TORCH's alone.
$(VENV)/.torch: | $(BIN)/python
	$(PIP) install $(TORCH)
	@touch $@

$(VENV)/.app: $(SET_UP_BY) $(VENV)/.torch
	$(PIP) install -r requirements.txt -e ".[app]"
	$(BIN)/python -m nrknet.fast.compiler
	@touch $@

# lpips is what our LPIPS is compared with, without the torchvision it asks for: that would replace the chosen PyTorch.
$(VENV)/.dev: $(SET_UP_BY) $(VENV)/.torch
	$(PIP) install -r requirements.txt -e ".[dev]"
	$(PIP) install --no-deps lpips==0.1.4
	$(BIN)/python -m nrknet.fast.compiler
	@touch $@ $(VENV)/.app

clean:
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache .hypothesis build *.egg-info
