# A newcomer needs two commands: make demo, make test. Python 3.11+ and make are all that must be there.
PYTHON ?= python3
BIN := .venv/bin
CONSTRAINTS := .ci/constraints.txt
HOME_DIR = $(abspath $(or $(DAGSTER_HOME),$(or $(DATA_DIR),data)/dagster_home))
PORT ?= 3000
SIMULATOR_PORT ?= 8776
DEMO_DIR := $(abspath data/dev-demo)
GENERATED := README.md sql/README.md sql/schema/duckdb.sql sql/schema/postgresql.sql

.PHONY: help demo test soak planted-bugs check docs bench sync dev dev-demo clean

help:
	@echo "make demo          several simulated days through the real job, then what the warehouse says"
	@echo "make test          all tests"
	@echo "make soak          the tests that take long, in an hour at most; ends in a table of figures"
	@echo "make planted-bugs  known mistakes planted one by one: each must fail a test"
	@echo "make check         ruff, mypy and the fast tests"
	@echo "make sync          one sync against the configured cloud (settings: README.md)"
	@echo "make dev           Dagster UI on http://127.0.0.1:$(PORT), daily schedule on"
	@echo "make dev-demo      the same against a simulated cloud whose days pass every minute"
	@echo "make bench         CPU seconds and memory of 100,000 shares; pages side by side; questions to a year of them, and to less on PostgreSQL"
	@echo "make docs          write the generated parts of README.md and sql/ again"

# The environment is made again only when the dependencies changed. uv is quicker and used where it is.
.venv/made: pyproject.toml $(CONSTRAINTS)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed: make PYTHON=python3.11"; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@if command -v uv >/dev/null 2>&1; then \
		echo "installing with uv"; uv pip install -q --python $(BIN)/python -c $(CONSTRAINTS) -e '.[dev]'; \
	else \
		echo "installing with pip, about a minute"; \
		$(BIN)/python -m pip install -q --disable-pip-version-check -c $(CONSTRAINTS) -e '.[dev]'; \
	fi
	@touch $@

demo: .venv/made
	@$(BIN)/backup-shares demo

test: .venv/made
	$(BIN)/pytest -n 2 --dist worksteal

soak: .venv/made
	$(BIN)/pytest -n 2 --dist worksteal -m soak

planted-bugs: .venv/made
	$(BIN)/python -m tests.planted

check: .venv/made
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/cog --check -p "import sys; sys.path.insert(0, '.')" $(GENERATED)
	$(BIN)/pytest -q -n 2 -m "not slow and not soak"

docs: .venv/made
	$(BIN)/cog -r -p "import sys; sys.path.insert(0, '.')" $(GENERATED)

bench: .venv/made
	$(BIN)/python -m tests.bench
	$(BIN)/python -m tests.bench_pages
	$(BIN)/python -m tests.bench_reports
	$(BIN)/python -m tests.bench_reports --postgresql --shares 20000 --days 100

sync: .venv/made
	@$(BIN)/backup-shares sync

dev: .venv/made
	@mkdir -p $(HOME_DIR) && { test -e $(HOME_DIR)/dagster.yaml || cp pipelines/dagster.yaml $(HOME_DIR)/; }
	DAGSTER_HOME=$(HOME_DIR) $(BIN)/dagster dev -w workspace.yaml -h 127.0.0.1 -p $(PORT)

# Everything is set here, so that a .env for a real cloud does not mix in (a lone comma names no cloud).
# The simulator ends with the UI.
dev-demo: .venv/made
	@mkdir -p $(DEMO_DIR) && rm -f $(DEMO_DIR)/cloud.env && umask 077; \
	$(BIN)/backup-shares simulate --port $(SIMULATOR_PORT) --day-seconds 60 > $(DEMO_DIR)/cloud.env & simulator=$$!; \
	trap 'kill $$simulator 2>/dev/null' EXIT INT TERM; \
	for i in 1 2 3 4 5 6 7 8 9 10; do test -s $(DEMO_DIR)/cloud.env && break; sleep 1; done; \
	set -a; . $(DEMO_DIR)/cloud.env; VBS_REGION=simulated VBS_CLOUDS=,; \
	echo 'projects: []' > $(DEMO_DIR)/policy.yaml; POLICY_FILE=$(DEMO_DIR)/policy.yaml; \
	DATA_DIR=$(DEMO_DIR) LANDING_DIR=$(DEMO_DIR)/landing WAREHOUSE_URL=duckdb:///$(DEMO_DIR)/warehouse.duckdb; \
	unset VBS_TOKEN_FILE DAGSTER_HOME; set +a; \
	$(MAKE) --no-print-directory dev DATA_DIR=$(DEMO_DIR) DAGSTER_HOME=

clean:
	rm -rf .venv .pytest_cache .mypy_cache .ruff_cache .hypothesis
