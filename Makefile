PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin

# Installed before all else: TORCH="torch --index-url URL" chooses another build of torch, such as
# one without CUDA (pytorch.org/get-started has the URL).
TORCH  ?=

.DEFAULT_GOAL := help
.PHONY: help setup dev demo report dashboard status test test-sweeps test-slow bench gpu-check lint docs dist clean

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 14

setup: $(VENV)/.bench  ## make the virtual environment in .venv, with the framework
dev: $(VENV)/.dev  ## the same with what the tests need

$(VENV)/.torch:
	@echo "making $(VENV): torch with its CUDA libraries takes about 6 GB; see TORCH in the Makefile for less"
	$(PYTHON) -m venv $(VENV)
	$(if $(TORCH),$(BIN)/pip install --quiet $(TORCH))
	@touch $@

$(VENV)/.bench: pyproject.toml $(VENV)/.torch
	$(BIN)/pip install --quiet --editable '.[bench]'
	@# CuPy for the CUDA version of torch, where there is a GPU.
	@cuda=$$($(BIN)/python -c 'import torch; print(torch.version.cuda.split(".")[0] if torch.cuda.is_available() else "")'); \
	  if [ -n "$$cuda" ]; then $(BIN)/pip install --quiet --editable ".[cuda$$cuda]"; fi
	@touch $@

$(VENV)/.dev: $(VENV)/.bench
	@echo "installing what the tests need: Ray, ONNX, mypy and others, about 600 MB"
	$(BIN)/pip install --quiet --editable '.[dev]'
	@touch $@

demo: setup  ## set up and run the main job: LeNet with Padé units on real digits; no data is downloaded
	$(BIN)/python -m pade_bench

report: setup  ## turn the runs in runs/ into the paper's tables and figures, in report/
	$(BIN)/python -m pade_bench.report

dashboard: setup  ## start TensorBoard with means over seeds of the runs in runs/
	$(BIN)/python -m pade_bench.dashboard

status: setup  ## say what runs are finished, running, failed or missing
	$(BIN)/python -m pade_bench.status

test: dev  ## set up and run the tests, those of two files at a time
	@# OpenMP's threads of one do not spin while those of the other have work.
	OMP_WAIT_POLICY=PASSIVE $(BIN)/python -m pytest -m "not slow" -n 2 --dist loadfile

test-sweeps: dev  ## run kills, two processes, and sweeps with every launcher: SLURM where it is installed
	$(BIN)/python -m pytest -m slow tests/sweeps tests/training tests/test_no_telemetry.py tests/test_notebook.py

test-slow: dev  ## run the slow tests too: every kernel for every GPU architecture, huge tensors
	$(BIN)/python -m pytest

bench: dev  ## time activations against ReLU; writes benchmarks/
	$(BIN)/pip install --quiet --no-deps rational-activations==0.2.0
	$(BIN)/python scripts/bench.py
	$(BIN)/python scripts/bench_training.py | tee benchmarks/training.md
	$(BIN)/python scripts/bench_compile.py | tee benchmarks/compile_cpu.md

gpu-check: setup  ## check kernels and time training steps on this machine's GPU, in six minutes; GPU_CHECK="--data DIR" adds options
	$(BIN)/python scripts/gpu_check.py $(GPU_CHECK)

lint: dev  ## check style, formatting and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: dev  ## build the site in build/site; a broken internal link is an error
	$(BIN)/mkdocs build --strict --site-dir build/site

# Links of the README are relative to the repository, and an index of packages shows it elsewhere.
dist: setup  ## build the wheel in dist/; URL=… of the repository makes the README's links absolute
	rm -rf build/dist && mkdir -p build/dist && git archive HEAD | tar -x -C build/dist
ifdef URL
	sed -i -E -e 's#(!\[[^]]*\]\()(docs/)#\1$(URL)/raw/HEAD/\2#' \
	  -e 's#(\]\()((docs|kernels)/|[A-Z]+\.)#\1$(URL)/blob/HEAD/\2#g' build/dist/README.md
	sed -i 's#^Paper = .*#&\nRepository = "$(URL)"#' build/dist/pyproject.toml
endif
	$(BIN)/pip wheel --quiet --no-deps --wheel-dir dist build/dist

clean:  ## remove the virtual environment and what tools cache; runs and data stay
	rm -rf $(VENV) build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
