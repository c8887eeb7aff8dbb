# `make demo` and `make test` need nothing but make and Python >= 3.10 (`make demo PYTHON=python3.12` for another one).
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test test-all check-gpu lint docs constraints

demo: .venv/installed
	$(BIN)/python train.py dataset=demo loss=contrastive model=lite0 data.batch_size=64 trainer.max_epochs=12
	$(BIN)/python train.py experiment=logos

test: .venv/installed
	$(BIN)/python -m pytest -q -n 2 --dist worksteal

test-all: .venv/installed
	$(BIN)/python -m pytest -q -n 2 --dist worksteal -m ''

# Mixed precision, compiled towers and several GPUs, on the GPUs of this machine; says so where there is none.
check-gpu: .venv/installed
	$(BIN)/python benchmarks/check_devices.py

lint: .venv/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# The site, in site/. A link to nothing, or a name that the reference does not find, ends it.
docs: .venv-docs/installed
	NO_MKDOCS_2_WARNING=1 .venv-docs/bin/mkdocs build --strict --quiet

.venv-docs/installed: constraints-docs.txt
	$(PYTHON) -m venv .venv-docs
	.venv-docs/bin/python -m pip install --quiet --require-hashes --requirement constraints-docs.txt
	@touch $@

.venv/installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || \
		{ echo "fashionclip needs Python >= 3.10, $(PYTHON) is older: make PYTHON=python3.12"; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --require-hashes --requirement constraints.txt
	$(BIN)/python -m pip install --quiet --no-deps --editable .
	@touch $@

# The versions that are tested, with hashes. torch and torchvision are chosen here; all else follows from pyproject.toml.
constraints: .venv/installed
	printf 'torch==2.14.1\ntorchvision==0.29.1\n' > .venv/torch.txt
	$(BIN)/uv pip compile pyproject.toml --extra dev --constraint .venv/torch.txt --universal --python-version 3.10 --generate-hashes \
		--no-emit-index-url --no-header --quiet --output-file constraints.txt
	$(BIN)/uv pip compile --group docs --universal --python-version 3.10 --generate-hashes \
		--no-emit-index-url --no-header --quiet --output-file constraints-docs.txt
