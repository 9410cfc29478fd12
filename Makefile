# Everything here needs Python 3.11 or newer and make; the rest is installed into this folder.
PYTHON ?= python3
UV := .tools/bin/uv
RUN := .venv/bin

# It doubles the start-up time of every Python process.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help
help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "%-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: python
python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
		echo "Python 3.11 or newer is needed. If it has another name: PYTHON=python3.12 make ..." >&2; \
		exit 1; }

$(UV): | python
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
		echo "$(PYTHON) lacks the module venv. On Debian and Ubuntu: apt install python3-venv" >&2; \
		exit 1; }
	$(PYTHON) -m venv .tools
	.tools/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes --requirement release/uv.txt

.PHONY: install
install: $(UV) python ## Install the tap and its tools into .venv
	@$(UV) sync --frozen --quiet --no-python-downloads --python "$$(command -v $(PYTHON))"
	@# Meltano does not see that the dependencies of an editable plugin changed.
	@if [ -d .meltano/extractors ] && [ uv.lock -nt .meltano/extractors ]; then rm -rf .meltano/extractors; fi
	@if [ -d .meltano/utilities ] && [ report/pyproject.toml -nt .meltano/utilities ]; then rm -rf .meltano/utilities; fi

.PHONY: lint
lint: install ## Check style and types
	$(RUN)/ruff check .
	$(RUN)/ruff format --check .
	$(RUN)/mypy
	$(RUN)/ty check
	$(RUN)/zizmor --offline --quiet --persona pedantic .github

# Examples in the documentation, and keys of the sandbox. Tests are full of made-up keys: only what
# has the form of a real one counts there.
NO_SECRET := user:password@|_KEY=\.\.\.|_SECRET=\.\.\.|settings_group_validation|sandbox-app-key-1|sends its secret|given.pop|adoption-tracking-events|"uid":"[0-9a-f]{32}"|How the person logged in
MADE_UP := KeywordDetector BasicAuthDetector HexHighEntropyString Base64HighEntropyString

.PHONY: secrets
secrets: install ## Look for credentials in the repository
	@git ls-files -z ':!tests' ':!*.lock' ':!*requirements.txt' | xargs -0 \
		$(RUN)/detect-secrets-hook --no-verify --exclude-lines '$(NO_SECRET)'
	@git ls-files -z tests | xargs -0 \
		$(RUN)/detect-secrets-hook --no-verify $(addprefix --disable-plugin ,$(MADE_UP))

.PHONY: audit
audit: $(UV) ## Compare the locked dependencies with the known vulnerabilities
	@found=$$($(UV) audit --frozen 2>&1); status=$$?; echo "$$found"; \
	if [ $$status -ne 0 ] && [ -z "$$CI" ] && echo "$$found" | grep -q "error sending request"; then \
		echo "The list of vulnerabilities cannot be reached from here: nothing was compared."; \
	else exit $$status; fi

.PHONY: test
# Tests run side by side, and several of them need dbt or the report.
test: lint browser rsyslog dbt .report/bin/celonis-audit-report ## Check style and types, and run all tests
	$(RUN)/pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder

.PHONY: hub
hub: install ## Write the entry for Meltano Hub from what the tap says about itself
	$(RUN)/python -m hub

# What a release is built and checked with has an environment of its own, each file known by its hash.
RELEASE := .release/bin

$(RELEASE)/hatchling: release/requirements.txt | $(UV) python
	$(UV) venv --quiet --clear --no-python-downloads --python "$$(command -v $(PYTHON))" .release
	$(UV) pip install --quiet --python .release --require-hashes --requirements $<
	@touch $@

.PHONY: build
build: $(RELEASE)/hatchling ## Build wheel and source distribution into dist
	rm -rf dist
	$(UV) build --quiet --no-build-isolation --python .release
	$(RELEASE)/twine check --strict dist/*.whl dist/*.tar.gz

# RESOLUTION=lowest-direct takes the oldest dependencies that pyproject.toml allows. The tests run
# away from the source, so that they cannot see but the wheel. Those that are about the repository
# itself, or need what only `make install` brings, stay out: they name its ROOT, or import it, or
# lie in a folder of their own.
WHEEL_TESTS := .wheel-tests
RESOLUTION ?= highest
WHEEL_TEST_FILES = $(shell grep -LE '^(ROOT|(from|import) (bench|demo|examples|hub|meltano|psycopg))\b' \
	tests/test_*.py)

.PHONY: check
check: $(UV) python ## Run the tests on the built wheel (DIST=folder: one that is built already)
	$(if $(DIST),,$(MAKE) build)
	rm -rf $(WHEEL_TESTS)
	$(UV) venv --quiet --no-python-downloads --python "$$(command -v $(PYTHON))" $(WHEEL_TESTS)/.venv
	$(UV) pip install --quiet --python $(WHEEL_TESTS)/.venv --resolution $(RESOLUTION) \
		--group test --requirements pyproject.toml $(or $(DIST),dist)/*.whl
	cp -r tests docs pyproject.toml $(WHEEL_TESTS)/
	cd $(WHEEL_TESTS) && .venv/bin/pytest --numprocesses 2 --dist loadfile $(WHEEL_TEST_FILES)

define VALIDATE_SBOM
import sys
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
sys.exit(JsonStrictValidator(SchemaVersion.V1_5).validate_str(sys.stdin.read()))
endef
export VALIDATE_SBOM

.PHONY: release-check
release-check: $(RELEASE)/hatchling ## Say what a release still lacks (TAG=v1.2.3: and fail)
	@$(RELEASE)/python -m release check "$$TAG"

# Beside the packages, a release has a list of what it was tested with, its part of the changelog, and
# the sums of its files. What is built from the source distribution, elsewhere, has the same bytes.
.PHONY: release-dry-run
release-dry-run: release-check build ## Build, and try what was built as a user installs it; publishes nothing
	@set -e; folder=$$(mktemp -d); trap 'rm -rf "$$folder"' EXIT; \
	tar -xzf dist/*.tar.gz -C "$$folder"; \
	$(UV) build --quiet --no-build-isolation --python .release --out-dir "$$folder/again" "$$folder"/tap_*; \
	for built in dist/*.whl dist/*.tar.gz; do \
		cmp "$$built" "$$folder/again/$${built#dist/}"; \
		UV_TOOL_DIR=$$folder/tools UV_TOOL_BIN_DIR=$$folder/bin $(UV) tool install --quiet --force "$$built"; \
		$$folder/bin/tap-celonis-audit --version; \
		$$folder/bin/tap-celonis-audit --about --format=json > /dev/null; \
	done; \
	PIPX_HOME=$$folder/pipx PIPX_BIN_DIR=$$folder/pipx-bin $(RELEASE)/pipx install --quiet dist/*.whl > /dev/null; \
	$$folder/pipx-bin/tap-celonis-audit --version; \
	mkdir -p output/release; \
	$(UV) export --quiet --locked --no-default-groups --format cyclonedx1.5 > output/release/sbom.cdx.json; \
	$(RELEASE)/python -c "$$VALIDATE_SBOM" < output/release/sbom.cdx.json; \
	$(RELEASE)/python -m release notes > output/release/notes.md; \
	cd dist && sha256sum *.whl *.tar.gz | tee ../output/release/SHA256SUMS

.PHONY: demo
demo: install ## Copy a made-up Celonis team into PostgreSQL with Meltano, and prove it
	@$(RUN)/python -m demo

.PHONY: sandbox
sandbox: install ## Play the Celonis API on this machine, for --environment sandbox
	$(RUN)/python -m tap_celonis_audit.sandbox --port 8765 --seed 1

# dbt has an environment of its own: nothing of it is installed with the tap.
DBT := .dbt/bin/dbt

$(DBT): transform/requirements.txt | $(UV) python
	$(UV) venv --quiet --clear --no-python-downloads --python "$$(command -v $(PYTHON))" .dbt
	$(UV) pip install --quiet --compile-bytecode --python .dbt --requirements $<
	@touch $@

.PHONY: dbt
dbt: $(DBT) ## Install dbt for PostgreSQL and DuckDB into .dbt

.PHONY: models
models: $(DBT) ## Build the models in transform (DBT_TARGET=postgres or duckdb)
	cd transform && ../$(DBT) build

.PHONY: ocsf
ocsf: $(DBT) ## Write the events that are new as OCSF into output/ocsf
	.dbt/bin/python transform/ocsf_export.py

# So has the report, which is made from the models.
REPORT := .report/bin/celonis-audit-report

$(REPORT): report/pyproject.toml | $(UV) python
	$(UV) venv --quiet --clear --no-python-downloads --python "$$(command -v $(PYTHON))" .report
	$(UV) pip install --quiet --compile-bytecode --python .report --editable report
	@touch $@

.PHONY: report
report: $(REPORT) ## Make output/report.html from the models (DBT_TARGET=postgres or duckdb)
	@$(REPORT)

# The browser of the system opens the report in the tests.
.PHONY: browser
browser: ## Install Chromium for the tests of the report, if it is missing and this is root on Debian
	@command -v chromium >/dev/null || command -v chromium-browser >/dev/null || \
	command -v google-chrome >/dev/null || { \
		[ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && apt-get update -qq && \
		DEBIAN_FRONTEND=noninteractive apt-get install -qq --no-install-recommends -y \
			chromium fonts-dejavu-core >/dev/null || \
		echo "Chromium is missing: the tests that open the report are skipped (with CI=true, they" \
			"fail). On Debian and Ubuntu: sudo apt-get install chromium" >&2; }

# What docs/siem.md shows is run by it.
.PHONY: rsyslog
rsyslog: ## Install rsyslog for the tests of forwarding, if it is missing and this is root on Debian
	@PATH="$$PATH:/usr/sbin" command -v rsyslogd >/dev/null || { \
		[ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && apt-get update -qq && \
		DEBIAN_FRONTEND=noninteractive apt-get install -qq --no-install-recommends -y rsyslog >/dev/null || \
		echo "rsyslog is missing: the tests of forwarding are skipped (with CI=true, they fail)." \
			"On Debian and Ubuntu: sudo apt-get install rsyslog" >&2; }

.PHONY: bench-losses
bench-losses: install ## Count what this tap and others lose and double (7 minutes)
	$(RUN)/python -m bench.losses

.PHONY: bench-bounded
bench-bounded: install ## Measure memory and state up to a million events (6 minutes)
	$(RUN)/python -m bench.bounded

.PHONY: bench-speed
bench-speed: install ## Compare the speed of this tap and others (20 minutes; QUICK=1: 3 minutes)
	$(RUN)/python -m bench.speed $(if $(QUICK),--quick) $(if $(RESUME),--resume)

.PHONY: targets
targets: install ## Copy 100,000 events into every target of docs/targets.md, and compare (10 minutes)
	$(RUN)/pytest --numprocesses 0 tests/targets/bulk.py

.PHONY: soak
soak: install ## Try to confuse the reader for a long time (SOAK=20000 examples, half an hour)
	SOAK=$${SOAK:-20000} $(RUN)/pytest --numprocesses 0 tests/test_kill.py tests/test_quiet_runs.py tests/test_machine.py tests/test_random_worlds.py
