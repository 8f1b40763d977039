# Two commands are enough: `make run` (set up, then the main job on shipped data) and `make test`.
PYTHON ?= python3
# For a CPU build of torch elsewhere: make test TORCH_ARGS="--index-url https://download.pytorch.org/whl/cpu"
TORCH_ARGS ?=
# make bench BENCH="optimizers sparse" JSON=out runs these two and writes their figures to out/
BENCH =
JSON =
PIP := .venv/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt

.PHONY: run test test-slow check bench docs wheel sbom lock check-install clean

run: .venv/.base
	.venv/bin/dwindle study --out runs/fashion

test: .venv/.dev
	.venv/bin/python -m pytest -q -n 2 -m "not slow and not browser"

test-slow: .venv/.dev
	.venv/bin/python -m pytest -q -n 2 -m "slow or browser"

check: .venv/.dev
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy

bench: .venv/.dev
	.venv/bin/python benchmarks $(BENCH) $(if $(JSON),--json "$(JSON)")

docs: .venv/.dev
	$(PIP) -e '.[docs]'
	.venv/bin/python -m sphinx -q -W --keep-going -b html docs docs/_build

# Built twice into dist/ and compared; what the wheel is made of; both installed in fresh environments and used (long)
wheel: .venv/.release
	.venv/bin/python scripts/make_wheel.py

sbom: .venv/.dev wheel
	.venv/bin/python scripts/make_sbom.py

check-install: wheel
	TORCH_ARGS="$(TORCH_ARGS)" .venv/bin/python scripts/check_install.py

lock: .venv/.release
	.venv/bin/python scripts/make_lock.py

clean:
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis

.venv/bin/python:
	$(PYTHON) -c "import sys; sys.exit('dwindle needs Python 3.11 or newer') if sys.version_info < (3, 11) else None"
	$(PYTHON) -m venv .venv

.venv/.base: pyproject.toml constraints.txt | .venv/bin/python
	$(PIP) -e '.[fast]'
	@touch $@

.venv/.release: .venv/.base
	$(PIP) -e '.[release]'
	@touch $@

.venv/.dev: .venv/.base
	$(PIP) $(TORCH_ARGS) torch
	$(PIP) -e '.[dev]'
	@# read by tests only, without what they would pull in (torchvision, an older torch)
	$(PIP) --no-deps timm mosaicml
	@touch $@
