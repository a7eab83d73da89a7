# Quipu: `make` lists the targets; `make demo` and `make test` each do everything they need.
PYTHON ?= python3
PIP_ARGS ?=
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.set-up

.DEFAULT_GOAL := help
.PHONY: help setup demo smoke test soak lint bench peers clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(STAMP) ## virtual environment, pinned packages, KenLM's trainer, compiled kernels (the command is then .venv/bin/quipu)

demo: setup ## raw corpora to an evaluated model on this machine, then the report (about 10 minutes)
	$(BIN)/quipu run configs/demo.yaml
	$(BIN)/quipu report

smoke: setup ## the same chain, smaller still
	$(BIN)/quipu run configs/smoke.yaml --store runs/smoke
	$(BIN)/quipu report --store runs/smoke

test: setup ## all tests but the long ones
	$(BIN)/python -m pytest tests

soak: setup ## kill the smoke recipe at random moments, again and again
	$(BIN)/python -m pytest tests/soak.py -s -n 0

lint: setup ## format, lint and types
	$(BIN)/ruff format --check . && $(BIN)/ruff check . && $(BIN)/mypy

bench: setup ## the figures of docs/performance.md
	$(BIN)/python -m bench.spine
	$(BIN)/python -m bench.train small
	$(BIN)/python -m bench.zero small
	$(BIN)/python -m bench.generate small small-alone
	$(BIN)/python -m bench.gpu

peers: .peers/.set-up ## the environment of the tools that bench.data compares with (about 1 GB)

.peers/.set-up: constraints/peers.txt
	@test -x .peers/bin/python || $(PYTHON) -m venv .peers
	@.peers/bin/python -m pip install --quiet --disable-pip-version-check $(PIP_ARGS) -r constraints/peers.txt
	@touch $@

clean: ## remove the environment and what was built; never runs/
	rm -rf $(VENV) .peers build *.egg-info

$(STAMP): constraints/cpu.txt pyproject.toml docker/build-kenlm
	@command -v $(PYTHON) >/dev/null || { echo "quipu: no $(PYTHON) here; install Python 3.11 or newer, or say make $(MAKECMDGOALS) PYTHON=…"; exit 2; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "quipu: $(PYTHON) is older than 3.11; say make $(MAKECMDGOALS) PYTHON=python3.11"; exit 2; }
	@$(PYTHON) -c 'import ensurepip, venv' || { echo "quipu: $(PYTHON) has no venv module; install it (Debian: python3-venv)"; exit 2; }
	@command -v c++ >/dev/null || command -v g++ >/dev/null || { echo "quipu: no C++ compiler here; install one (Debian: apt-get install g++), fastText and KenLM are built from source"; exit 2; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "quipu: installing pinned packages (about 0.8 GB, 3 to 5 minutes; without a CPU wheel of torch at hand pip takes the CUDA build, about 4 GB)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check $(PIP_ARGS) -c constraints/cpu.txt setuptools wheel
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check $(PIP_ARGS) -c constraints/cpu.txt -e '.[dev]'
	@echo "quipu: building KenLM's trainer"
	@docker/build-kenlm $(VENV)
	@$(BIN)/python -m tasks.kernels
	@touch $(STAMP)
	@echo "quipu: set up; the command is $(BIN)/quipu"
