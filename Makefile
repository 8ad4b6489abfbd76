# Everything runs in .venv, which the first target that needs it builds. Fresh machine: Python 3.10 or newer, and make.
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready
BENCH_READY := .venv-bench/.ready
HOSPITAL_READY := .venv-hospital/.ready
LABEL_READY := .venv-label/.ready
DEMO_OUTPUT := demo_output
STUDIES ?=
PORT ?= 8000
COMMA := ,
OUTSIDE_TOOLS := orthanc orthanc-dicomweb dicom3tools dcm2niix dcmtk chromium

.DEFAULT_GOAL := help
.PHONY: help demo test outside-tools sbom lint format bench oracle label-server label-test studies-named clean
.DELETE_ON_ERROR:

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(READY)  ## a real chest film becomes a CT, with pictures
	@$(BIN)/python -m xct_components demo --output $(DEMO_OUTPUT)
	@echo "Look at: $(CURDIR)/$(DEMO_OUTPUT)/ct_of_film/report.html (in a browser), or preview.png beside it"

test: $(READY)  ## all tests, with every annotated shape and type checked
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -rs -n auto --maxprocesses 4 --dist loadfile

outside-tools:  ## Debian's Orthanc, DICOM validators and Chromium, which some tests ask; no service is left running (as root)
	@policy=/usr/sbin/policy-rc.d; test -e $$policy || \
		{ printf '#!/bin/sh\nexit 101\n' > $$policy && chmod +x $$policy && trap "rm -f $$policy" EXIT; }; \
		apt-get update -q && apt-get install -q -y --no-install-recommends $(OUTSIDE_TOOLS) && \
		{ systemctl disable orthanc 2>/dev/null || true; }

sbom: $(HOSPITAL_READY)  ## the software bill of materials of a hospital's installation: sbom.cdx.json
	@test -x .venv-sbom/bin/cyclonedx-py || { $(PYTHON) -m venv .venv-sbom && \
		.venv-sbom/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt cyclonedx-bom; } || \
		{ rm -rf .venv-sbom; echo "make: cyclonedx-bom could not be installed; its last lines above say why"; exit 1; }
	@.venv-sbom/bin/python scripts/make_sbom.py --environment .venv-hospital/bin/python --output sbom.cdx.json

lint: $(READY)  ## ruff and mypy
	@$(BIN)/ruff check . || { echo "lint: ruff objects; 'make format' repairs what can be repaired by itself"; exit 1; }
	@$(BIN)/ruff format --check . || { echo "lint: layout differs; run 'make format'"; exit 1; }
	@$(BIN)/mypy || { echo "lint: the type checker objects; each line above says where"; exit 1; }

format: $(READY)  ## lay out the code and sort the imports
	@$(BIN)/ruff check --fix --quiet . || true
	@$(BIN)/ruff format --quiet .

bench: $(BENCH_READY)  ## the projector beside its peers (its own .venv-bench)
	@.venv-bench/bin/python -m benchmarks.projector $(ARGS)

oracle: $(BENCH_READY)  ## our projector against RTK's, ray by ray (in .venv-bench)
	@.venv-bench/bin/python -m pytest -q benchmarks/outside_oracle

label-server: studies-named $(READY) $(LABEL_READY)  ## MONAI Label on your films: make label-server STUDIES=FOLDER_OR_URL
	@.venv-label/bin/python monailabel/serve.py start_server --app monailabel --studies $(STUDIES) \
		--host 127.0.0.1 --port $(PORT) --verbose WARNING $(ARGS)

label-test: $(READY) $(LABEL_READY)  ## the tests of the MONAI Label app, which 'make test' skips without .venv-label
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -rs tests/monailabel

studies-named:
	@test -n "$(STUDIES)" || { echo "make: name a folder of films, or a DICOMweb address: make label-server STUDIES=..."; exit 1; }

clean:  ## remove environments, caches and outputs
	@rm -rf .venv .venv-bench .venv-label $(DEMO_OUTPUT) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

# $(call environment,FOLDER,EXTRAS): an environment with this checkout and the tested versions of everything else.
define environment
	@command -v $(PYTHON) >/dev/null || { echo "make: no '$(PYTHON)' here; name yours: make PYTHON=/path/to/python3"; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || \
		{ echo "make: $(PYTHON) is older than 3.10; name a newer one: make PYTHON=python3.11"; exit 1; }
	@test -x $(1)/bin/python || $(PYTHON) -m venv $(1) || \
		{ rm -rf $(1); echo "make: no environment; on Debian and Ubuntu: apt install python3-venv"; exit 1; }
	@echo "Installing into $(1); the first time takes some minutes ..."
	@$(1)/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[$(2)]" || \
		{ echo "make: pip could not install; its last lines above say why. Offline? Set PIP_INDEX_URL, then run make again"; exit 1; }
	@$(1)/bin/python scripts/fetch_viewer.py || true
	@touch $@
endef

$(READY): pyproject.toml constraints.txt
	$(call environment,.venv,dev$(COMMA)report$(COMMA)dicom$(COMMA)pacs)

$(HOSPITAL_READY): pyproject.toml constraints.txt
	$(call environment,.venv-hospital,dicom$(COMMA)report$(COMMA)pacs)

$(BENCH_READY): pyproject.toml constraints.txt
	$(call environment,.venv-bench,bench)

# The server's own pins, not those of this project; what it serves is computed in .venv.
$(LABEL_READY): constraints-monailabel.txt
	@test -x .venv-label/bin/python || $(PYTHON) -m venv .venv-label
	@echo "Installing into .venv-label: about 10 minutes, 8 GB ..."
	@.venv-label/bin/python -m pip install --quiet --disable-pip-version-check -c constraints-monailabel.txt monailabel || \
		{ echo "make: pip could not install; its last lines above say why. Offline? Set PIP_INDEX_URL, then run make again"; exit 1; }
	@touch $@
