# make demo, make test: each sets up its own environment on first use. make test-slow runs the tests that make test
# leaves out; continuous integration runs both, and asks for a coverage of 95 % together.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
DATA := $(wildcard $(CURDIR)/../shared/data)
export FOCVS_DATA ?= $(DATA)

.PHONY: demo test test-slow check format docs audit wheel package clean

demo: $(STAMP)
	$(BIN)/focvs demo demo

PYTEST = $(BIN)/python -m pytest -n auto --maxprocesses 4 --dist worksteal

test: $(STAMP)
	$(PYTEST) -m "not slow"

test-slow: $(STAMP)
	$(PYTEST) -m slow

check: $(STAMP)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	if [ -x $(BIN)/hadolint ]; then $(BIN)/hadolint Dockerfile; fi

format: $(STAMP)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt "torch==2.13.0"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dev]"
	touch $(STAMP)

# the site of the documents, into docs/_build; a warning is an error
docs: $(STAMP)
	$(BIN)/python -m sphinx -W --keep-going -q -b html docs docs/_build/html

# licences of what an installation brings, and known weaknesses of it, for which the network is asked
audit: $(STAMP)
	$(BIN)/python scripts/audit.py
	$(BIN)/python -m pip install --quiet --disable-pip-version-check pip-audit
	$(BIN)/python -m pip freeze --exclude-editable > $(VENV)/audit.txt
	$(BIN)/pip-audit --disable-pip --no-deps --progress-spinner off -r $(VENV)/audit.txt

clean:
	rm -rf $(VENV) demo dist docs/_build .coverage .pytest_cache .mypy_cache .ruff_cache

# sdist and wheel, as an index wants them
package: $(STAMP)
	rm -rf dist
	$(BIN)/python -m hatchling build -d dist
	$(BIN)/python -m twine check --strict dist/*
	$(BIN)/check-wheel-contents dist/*.whl

# the wheel must work from an empty directory, with its own conf/ and prior
wheel: package
	mkdir -p dist/check/empty
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --target dist/check/site dist/focvs-*.whl
	cd dist/check/empty && PYTHONPATH=../site $(CURDIR)/$(BIN)/python -c "from focvs.config import checkpoints_dir as c; \
	  from focvs.priors.pretrained import load_prior; assert 'dist/check/site' in str(c()); \
	  [load_prior(c() / name) for name in ('head2d', 'mean2d', 'unconditional2d')]"
	cd dist/check/empty && PYTHONPATH=../site $(CURDIR)/$(BIN)/python -m focvs.cli --cfg job > /dev/null
