PYTHON ?= python3
VENV := .venv
LOWEST := .venv-lowest
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
LOWEST_STAMP := $(LOWEST)/.installed
DOCS_STAMP := $(VENV)/.docs
PYTEST := -m pytest -n 2 --dist worksteal
# Tests hand over wrong types on purpose, and know more of a value than its declared type says.
TESTS_MAY := $(addprefix --disable-error-code ,arg-type assignment dict-item func-returns-value index list-item operator \
	union-attr var-annotated)

.PHONY: demo test test-lowest lint types docs docs-links clean

demo: $(STAMP)
	rm -rf demo_output
	$(BIN)/monai-ima demo --out demo_output

test: $(STAMP)
	$(BIN)/python $(PYTEST)

test-lowest: $(LOWEST_STAMP)
	$(LOWEST)/bin/python $(PYTEST)

# Runs the notebooks; warnings are errors, and every link within the site has to hold.
docs: $(DOCS_STAMP)
	rm -rf docs/generated
	$(BIN)/python -m sphinx -W --keep-going -q -b html docs docs/_build/html
	$(BIN)/python docs/check_links.py docs/_build/html
	@echo "The site: docs/_build/html/index.html"

# Links to other sites, which takes a network.
docs-links: $(DOCS_STAMP)
	MONAI_IMA_NOTEBOOKS=off $(BIN)/python -m sphinx -q -b linkcheck docs docs/_build/links

lint: types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports --no-cache

types: $(STAMP)
	$(BIN)/mypy
	$(BIN)/mypy tests --allow-untyped-defs --no-warn-unused-ignores $(TESTS_MAY)

clean:
	rm -rf $(VENV) $(LOWEST) demo_output docs/_build docs/generated .pytest_cache .mypy_cache .ruff_cache build *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[dev]'
	touch $@

$(DOCS_STAMP): $(STAMP)
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[docs]'
	touch $@

$(LOWEST_STAMP): pyproject.toml constraints-lowest.txt
	$(PYTHON) -m venv $(LOWEST)
	$(LOWEST)/bin/python -m pip install --quiet --upgrade pip
	$(LOWEST)/bin/python -m pip install --quiet -c constraints-lowest.txt -e '.[dev]'
	touch $@
