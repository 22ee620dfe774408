# Each target sets up what it needs: `make demo` on a fresh machine is enough.
PYTHON := .venv/bin/python
# cpu or gpu: which build of vLLM and torch to install; what .venv has already, unless said.
BUILD ?= $(or $(firstword $(shell cat .venv/installed 2>/dev/null)),cpu)

.PHONY: setup demo demo-smollm2 demo-toolbench test test-faults test-interop test-experiment lint bench clean

setup:
	@sh requirements/setup.sh $(BUILD)

# The whole experiment on a generated tool world: teacher, live distillation, comparison.
demo: setup
	@$(PYTHON) -m cluster demo cluster/configs/demo.yaml

# A real pretrained model, SmolLM2, made an expert and distilled live.
demo-smollm2: setup
	@$(PYTHON) -m cluster demo-smollm2 cluster/configs/demo-smollm2.yaml

# The same pipeline on real ToolBench files: make demo-toolbench TOOLBENCH=folder
demo-toolbench: setup
	@test -n "$(TOOLBENCH)" || { echo "error: say where ToolBench's files are: make $@ TOOLBENCH=folder" >&2; exit 2; }
	@$(PYTHON) -m cluster demo-toolbench cluster/configs/demo-toolbench.yaml --toolbench "$(TOOLBENCH)"

test: setup
	@$(PYTHON) -m pytest

# Everything that kills something, three times.
test-faults: setup
	@for round in 1 2 3; do $(PYTHON) -m pytest tests/faults -m "" -s || exit 1; done

# Real clients of a served student; each is installed into an environment of its own under .venv-interop.
test-interop: setup
	@$(PYTHON) -m pytest tests/interop -m interop -s

# A whole experiment, small: expert, students, gate, report.
test-experiment: setup
	@$(PYTHON) -m pytest tests/cluster/test_experiment.py -m experiment

lint: setup
	@$(PYTHON) -m ruff check .
	@$(PYTHON) -m ruff format --check .
	@$(PYTHON) -m mypy

# Every benchmark under tests/benchmarks, then one table.
bench: setup
	@$(PYTHON) -m tests.benchmarks

# Caches alone: runs/, .venv and .venv-interop stay.
clean:
	@rm -rf .mypy_cache .pytest_cache .ruff_cache .hypothesis
	@find . -name __pycache__ -not -path "./.venv*" -prune -exec rm -rf {} +
