# Two commands are enough: `make run` (set up, then the main job on shipped data) and `make test`.
PYTHON ?= python3
# For a CPU build of torch elsewhere: make test TORCH_ARGS="--index-url https://download.pytorch.org/whl/cpu"
TORCH_ARGS ?=
# make bench BENCH="optimizers sparse" JSON=out runs these two and writes their figures to out/
BENCH =
JSON =
# make laws EXAMPLES=1000 is a short one
EXAMPLES = 10000
PIP := .venv/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt

.PHONY: run test test-slow laws coverage check bench fuzz mutate docs wheel sbom lock check-install clean

run: .venv/.base
	.venv/bin/dwindle study --out runs/fashion

test: .venv/.dev
	.venv/bin/python -m pytest -q -n 2 -m "not slow and not browser"

test-slow: .venv/.dev
	.venv/bin/python -m pytest -q -n 2 --dist loadgroup -m "slow or browser"

# Each law with EXAMPLES examples (about an hour), and the state machines at length; ends in a table
laws: .venv/.dev
	.venv/bin/python -m pytest -q -n 2 -m law --examples $(EXAMPLES) --timeout 0

# Lines and branches the tests reach: of the core by its own tests (minutes), then of all by all (long)
coverage: .venv/.dev
	.venv/bin/python scripts/coverage_of.py core
	.venv/bin/python scripts/coverage_of.py all

check: .venv/.dev
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy

bench: .venv/.dev
	.venv/bin/python benchmarks $(BENCH) $(if $(JSON),--json "$(JSON)")

# Every reader in a process of its own for a minute each (half an hour); SECONDS=600 make fuzz is the long form
fuzz: .venv/.dev
	$(PIP) -e '.[fuzz]'
	.venv/bin/python fuzz/run.py --seconds $(or $(SECONDS),60) $(if $(ONLY),--only $(ONLY))

# A change of one operator, number or word of the core at a time: does a test fail? (an hour; SAMPLE=1000 takes ten minutes)
mutate: .venv/.dev
	$(PIP) -e '.[mutate]'
	.venv/bin/python scripts/mutate.py $(if $(SAMPLE),--sample $(SAMPLE)) $(if $(ONLY),--only $(ONLY))

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
