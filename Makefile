# movierec: `make run` shows it, `make test` checks it. Works with GNU make 3.81 and a POSIX shell (Debian, macOS).

PORT ?= 8000
HOST ?= 127.0.0.1
DATA ?= demo
VENV ?= .venv
# What `make install` adds to the core: the service, the figures of `movierec report`. Extra words for pip, such as an index of CPU-only builds: PIP_ARGS.
EXTRAS ?= serve,reports,baselines,tf,text,vision
PIP_ARGS ?=

MOVIEREC_HOME ?= artifacts
# Each data set has a bundle of its own; only the demo's is where the service looks unasked.
ifeq ($(DATA),demo)
BUNDLE = $(or $(MOVIEREC_BUNDLE),$(MOVIEREC_HOME)/bundle)
else
BUNDLE = $(or $(MOVIEREC_BUNDLE),$(MOVIEREC_HOME)/bundles/$(DATA))
endif

# OpenMP's waiting threads spin by default, which slows torch several times as soon as anything else wants a core.
OMP_WAIT_POLICY = PASSIVE
export MOVIEREC_HOME OMP_WAIT_POLICY VENV

BIN = $(VENV)/bin
PIP = $(BIN)/python -m pip --disable-pip-version-check install --quiet $(PIP_ARGS) -c constraints.txt

.PHONY: help install dev bundle run tour test lint readme sync clean distclean

help:  ## show this list (the default)
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' Makefile

install: $(VENV)/.installed  ## make .venv with all that the service and every model need
bundle: $(VENV)/.installed  ## only build it, where it isn't there yet
	@if [ ! -f "$(BUNDLE)/manifest.json" ]; then \
	    if ! $(BIN)/python -c "import sys; from movierec.data.movielens import find_dataset; \
	        sys.exit('$(DATA)' != 'demo' and find_dataset('$(DATA)') is None)"; then \
	        $(BIN)/movierec data get "$(DATA)" || exit 1; fi; \
	    $(BIN)/movierec build --data "$(DATA)" --out "$(BUNDLE)"; fi
run: bundle  ## build the demo if need be, then serve it: PORT=8000, DATA=demo or a MovieLens name (ml-1m)
	@echo "movierec on $(DATA): open http://127.0.0.1:$(PORT)   (the API: /docs; to stop: Ctrl-C)"
	@MOVIEREC_BUNDLE="$(BUNDLE)" $(BIN)/uvicorn movierec.serve:app --host $(HOST) --port $(PORT)

tour: $(if $(URL),,bundle)  ## ask every call of the API with curl, and show the answers: DATA=demo, or URL=… (and KEY=…) of a running service
	@$(BIN)/python tools/tour.py $(if $(URL),--url "$(URL)" --key "$(KEY)",--bundle "$(BUNDLE)")

test: $(VENV)/.dev  ## run every notebook and every test (real data: MOVIEREC_DATA=folder)
	@tools/system_parts.sh
	@unset MOVIEREC_HOME; MOVIEREC_PROGRESS=0 tools/test.sh

dev: $(VENV)/.dev  ## add what tests, notebooks and linters need to .venv
lint: $(VENV)/.dev  ## ruff, and who may import whom
	@$(BIN)/ruff check .
	@$(BIN)/lint-imports

sync: $(VENV)/.dev  ## notebooks -> modules and README.md (after every edit of a notebook)
	@PATH="$(CURDIR)/$(BIN):$$PATH"; nbdev_clean && nbdev_export && python tools/readme.py

readme: $(VENV)/.dev  ## README.md from nbs/index.ipynb
	@$(BIN)/python tools/readme.py

clean:  ## remove caches and build leftovers; data, bundles, reports and .venv stay
	rm -rf build dist _proc _docs .pytest_cache .ruff_cache .import_linter_cache .hypothesis nbs/artifacts
	find movierec tests tools benchmarks nbs -name __pycache__ -o -name .ipynb_checkpoints | xargs rm -rf

distclean: clean  ## clean, and remove .venv
	rm -rf $(VENV) movierec.egg-info

$(BIN)/python:
	@tools/venv.sh $(VENV)

# The stamps: pip runs again only when what is asked for has changed.
$(VENV)/.installed: settings.ini setup.py constraints.txt | $(BIN)/python
	@echo "Installing movierec into $(VENV) (a few minutes the first time) ..."
	@$(PIP) -e '.[$(EXTRAS)]'
	@touch $@

$(VENV)/.dev: $(VENV)/.installed
	@echo "Installing what tests need into $(VENV) ..."
	@$(PIP) -e '.[$(EXTRAS),dev]'
	@touch $@
