# make compare: the lecture's network, by hand next to PyTorch. make test: the tests. make check: format, lint, types.
# make test-page: the page in a headless Chromium (apt install chromium).

PYTHON ?= python3
ENV = .venv/bin

compare: .venv/ready
	$(ENV)/python scripts/compare.py

test: .venv/ready
	$(ENV)/python -m pytest --ignore=tests/page

check: .venv/ready-dev
	$(ENV)/ruff format --check .
	$(ENV)/ruff check .
	$(ENV)/mypy

test-page: .venv/ready-dev
	$(ENV)/python -m pytest tests/page

pictures: .venv/ready-dev
	$(ENV)/python -m tests.page.pictures

coverage: .venv/ready-dev
	$(ENV)/python -m pytest -p pytest_cov --cov --cov-report=term --cov-fail-under=100

mutants: .venv/ready-dev
	$(ENV)/python -m tests.campaigns.mutants

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

.PHONY: compare test check test-page pictures coverage mutants format
