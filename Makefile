# Everything here needs Python 3.11 or newer and make; the rest is installed into this folder.
PYTHON ?= python3
UV := .tools/bin/uv
RUN := .venv/bin

.PHONY: help
help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "%-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

$(UV):
	$(PYTHON) -m venv .tools
	.tools/bin/python -m pip install --quiet --disable-pip-version-check 'uv>=0.8.14'

.venv/.synced: pyproject.toml uv.lock | $(UV)
	$(UV) sync --frozen --quiet --python $(PYTHON)
	@touch $@

.PHONY: install
install: .venv/.synced ## Install the tap and its tools into .venv

.PHONY: lint
lint: install ## Check style and types
	$(RUN)/ruff check .
	$(RUN)/ruff format --check .
	$(RUN)/mypy
	$(RUN)/ty check
