# make compare: the lecture's network, by hand next to PyTorch.
# make test: the tests but those that are marked as slow, which make coverage runs too.
# make check: format, lint, types, which room imports which, the documentation, the archives.
# make docs: the documentation as a site. make house: the figures to hold.
# make test-page: the page in a headless Chromium (apt install chromium).
# make coverage, make mutants: what the tests run, and what they notice.

PYTHON ?= python3
ENV = .venv/bin
PIP = $(ENV)/python -m pip install --quiet --disable-pip-version-check

# Where pip finds PyTorch for the CPU: on Linux, PyPI's own build has CUDA in it, several gigabytes.
# Another index: make TORCH_INDEX=https://…; PyPI's build: make TORCH_INDEX=
# It is left out where pip is configured with indexes or links of its own.
ifeq ($(shell uname -s),Linux)
TORCH_INDEX ?= https://download.pytorch.org/whl/cpu
endif

compare: .venv/ready
	$(ENV)/python scripts/compare.py

test: .venv/ready
	$(ENV)/python -m pytest -n auto -m "not slow" --ignore=tests/page

check: .venv/ready-dev
	$(ENV)/ruff format --check .
	$(ENV)/ruff check .
	$(ENV)/lint-imports --no-logo
	$(ENV)/mypy
	@$(MAKE) --no-print-directory docs package

docs: .venv/ready-dev
	NO_MKDOCS_2_WARNING=1 $(ENV)/mkdocs build --strict --quiet

package: .venv/ready-dev
	@folder=$$(mktemp -d) && trap 'rm -r "$$folder"' EXIT && \
	if $(ENV)/python -m build --no-isolation --outdir "$$folder" . > "$$folder/log" 2>&1; \
	then $(ENV)/twine check --strict "$$folder"/*.whl "$$folder"/*.tar.gz; \
	else cat "$$folder/log"; exit 1; fi

house: .venv/ready-dev
	$(ENV)/python -m tests.house

test-page: .venv/ready-dev
	$(ENV)/python -m pytest -n auto tests/page

pictures: .venv/ready-dev
	$(ENV)/python -m tests.page.pictures

coverage: .venv/ready-dev
	$(ENV)/python -m pytest -n auto -p pytest_cov --cov --cov-report=term --cov-fail-under=100

mutants: mutants-formulas mutants-verdict

mutants-formulas: .venv/ready-dev
	$(ENV)/python -m tests.campaigns.mutants manual_backprop

mutants-verdict: .venv/ready-dev
	$(ENV)/python -m tests.campaigns.mutants lockstep

format: .venv/ready-dev
	$(ENV)/ruff format .
	$(ENV)/ruff check --fix .

$(ENV)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	{ echo 'Python 3.11 or later is needed. Name one: make PYTHON=python3.12'; exit 1; } >&2
	@$(PYTHON) -m venv .venv || { rm -rf .venv; exit 1; }

.venv/ready: requirements.txt | $(ENV)/python
	@echo 'Installing PyTorch and the rest of requirements.txt into .venv, once (about 250 MB).'
	@index='$(TORCH_INDEX:%=--extra-index-url %)'; \
	if $(ENV)/python -m pip config list | grep -E 'index-url|find-links' > /dev/null; then index=; fi; \
	$(PIP) $$index -r requirements.txt
	@touch $@

.venv/ready-dev: requirements-dev.txt .venv/ready
	@echo 'Installing requirements-dev.txt into .venv, once (about 300 MB).'
	@$(PIP) -r requirements-dev.txt
	@touch $@

.PHONY: compare test check docs package house test-page pictures coverage mutants mutants-formulas mutants-verdict format
