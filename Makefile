# make compare: the lecture's network, by hand next to PyTorch. make test: the tests.
# make check: format, lint, types, which room imports which. make house: the figures to hold.
# make test-page: the page in a headless Chromium (apt install chromium).
# make coverage, make mutants: what the tests run, and what they notice.

PYTHON ?= python3
ENV = .venv/bin

compare: .venv/ready
	$(ENV)/python scripts/compare.py

test: .venv/ready
	$(ENV)/python -m pytest -n auto --ignore=tests/page

check: .venv/ready-dev
	$(ENV)/ruff format --check .
	$(ENV)/ruff check .
	$(ENV)/lint-imports --no-logo
	$(ENV)/mypy

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

.venv/ready: requirements.txt
	test -x $(ENV)/python || $(PYTHON) -m venv .venv
	$(ENV)/pip install --quiet --disable-pip-version-check -r requirements.txt
	touch $@

.venv/ready-dev: requirements-dev.txt .venv/ready
	$(ENV)/pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	touch $@

.PHONY: compare test check house test-page pictures coverage mutants mutants-formulas mutants-verdict format
