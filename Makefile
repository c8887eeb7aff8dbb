# `make demo` and `make test` need nothing but make and Python >= 3.10 (`make demo PYTHON=python3.12` for another one).
# On Linux torch brings 5 GB of CUDA libraries; `make demo TORCH=cpu` takes PyTorch's own build without them, where its
# index can be reached (or TORCH=cu128, rocm6.4, auto: what `uv pip --torch-backend` knows). Versions are the same, but
# hashes, which are of the builds on PyPI, are not checked. TORCH counts when .venv is made: remove it to choose anew.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test test-all test-lowest check-gpu lint docs constraints

demo: .venv/installed
	$(BIN)/python train.py dataset=demo loss=contrastive model=lite0 data.batch_size=64 trainer.max_epochs=12
	$(BIN)/python train.py experiment=logos

test: .venv/installed
	$(BIN)/python -m pytest -q -n 2 --dist worksteal

test-all: .venv/installed
	$(BIN)/python -m pytest -q -n 2 --dist worksteal -m ''

# What trains, exports and indexes, on the lowest versions that pyproject.toml allows, and on the oldest Python, which uv
# looks for (or OLDEST=/path/to/python3.10).
OLDEST ?= 3.10
LOWEST := .venv-lowest/bin/python
test-lowest: .venv-lowest/installed
	$(LOWEST) -m pytest -q -n 2 --dist worksteal tests/app/test_run.py tests/app/test_config.py tests/app/commands tests/training tests/models \
		tests/losses/test_metric_learning.py tests/retrieval/export tests/retrieval/index/test_stores.py tests/end_to_end/test_doors.py

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
ifdef TORCH
	$(BIN)/python -m pip install --quiet uv
	$(BIN)/uv pip install --quiet --torch-backend $(TORCH) --no-verify-hashes --constraint constraints.txt --editable '.[dev]'
else
	$(BIN)/python -m pip install --quiet --require-hashes --requirement constraints.txt
	$(BIN)/python -m pip install --quiet --no-deps --editable .
endif
	@touch $@

.venv-lowest/installed: pyproject.toml .venv/installed
	$(BIN)/uv venv --quiet --clear --python $(OLDEST) .venv-lowest
	sed -n '/^dependencies = /,/^dev = /p' pyproject.toml | grep -oE '"[A-Za-z0-9_-]+[>=]=[0-9.]+"' | tr -d '"' | sed 's/>=/==/' > .venv-lowest/versions
	$(BIN)/uv pip install --quiet --python $(LOWEST) --requirement .venv-lowest/versions pytest pytest-xdist openpyxl 'setuptools>=77'
	$(BIN)/uv pip install --quiet --python $(LOWEST) --no-deps --no-build-isolation --editable .
	@touch $@

# The versions that are tested, with hashes. torch and torchvision are chosen here; all else follows from pyproject.toml.
constraints: .venv/installed
	printf 'torch==2.14.1\ntorchvision==0.29.1\n' > .venv/torch.txt
	$(BIN)/uv pip compile pyproject.toml --extra dev --constraint .venv/torch.txt --universal --python-version 3.10 --generate-hashes \
		--no-emit-index-url --no-header --quiet --output-file constraints.txt
	$(BIN)/uv pip compile --group docs --universal --python-version 3.10 --generate-hashes \
		--no-emit-index-url --no-header --quiet --output-file constraints-docs.txt
