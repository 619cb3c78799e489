.DEFAULT_GOAL := help
PYTHON ?= $(shell for p in python3.12 python3.11 python3; do $$p -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 13))' 2>/dev/null && echo $$p && break; done)
BIN := .venv/bin

.PHONY: help demo test slow quick thorough check chaos fuzz explore bench guard docs schemas audit image lock clean

help: ## Show what there is to make
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-8s %s\n", $$1, $$2}'

.venv/installed: locks/dev.txt pyproject.toml
	@test -n "$(PYTHON)" || { echo "Millstream needs Python 3.11 or 3.12; none was found on the PATH (or set PYTHON=…)"; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r locks/dev.txt
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

demo: .venv/installed ## Payments from Kafka to tables on this machine; DATA=file.parquet replays a file
	@$(BIN)/millstream demo $(if $(DATA),--file "$(DATA)")

test: .venv/installed ## The tests; most wait for servers, so six files at a time
	$(BIN)/pytest -n 6 --dist loadfile --no-loadscope-reorder -m "not slow"

slow: .venv/installed ## The tests that take longest and that few changes touch
	$(BIN)/pytest -n 4 --dist loadfile -m slow

PURE := tests/operators --ignore=tests/operators/connectors --ignore=tests/operators/steps

quick: .venv/installed ## The pure core's tests, with few examples: under a minute
	$(BIN)/pytest -q -n 2 --hypothesis-profile=quick $(PURE)

thorough: .venv/installed ## The pure core's tests with a thousand new examples each: an hour
	$(BIN)/pytest -q -n 2 --hypothesis-profile=thorough $(PURE)

check: .venv/installed schemas ## Format, lint, types, import contracts and schemas
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

chaos: .venv/installed ## Faults by the hundred, whole tables compared (STREAM=payments, KILLS=500, MINUTES=…)
	$(BIN)/python -m tests.chaos --stream $(or $(STREAM),payments) --kills $(or $(KILLS),500) $(if $(MINUTES),--minutes $(MINUTES))

fuzz: .venv/installed ## A million mutated payloads, one verdict each (PAYLOADS=…, SEED=…)
	$(BIN)/python -m tests.fuzz.payloads --payloads $(or $(PAYLOADS),1000000) --seed $(or $(SEED),0)

explore: .venv/installed ## An hour of inputs that coverage leads to (SECONDS=…, FOUND=folder)
	$(BIN)/python -m tests.fuzz.explore --seconds $(or $(SECONDS),3600) --found $(or $(FOUND),.local/fuzz)

bench: .venv/installed ## The payments flow beside its pieces alone: docs/benchmarks.md, and the picture
	$(BIN)/python -m benchmarks roofline

guard: .venv/installed ## Fails where the payments flow has become slower beside its pieces than make bench had it
	$(BIN)/python -m benchmarks roofline --guard --payments $(or $(PAYMENTS),1000000)

docs: .venv/installed ## What is made of the code and of rules: settings, metrics, views, PrometheusRule
	$(BIN)/python -m ops.reference

schemas: .venv/installed ## Published schemas unchanged, new ones compatible
	$(BIN)/millstream schemas check

audit: .venv/installed ## Known vulnerabilities of what the image has
	$(BIN)/pip-audit --require-hashes --disable-pip -r locks/runtime.txt

image: ## The flows' image (IMAGE=millstream)
	docker build -f k8s/Dockerfile -t $(or $(IMAGE),millstream) .

lock: .venv/installed ## Renew locks/ from pyproject.toml
	$(BIN)/pip install --quiet uv
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --upgrade \
	  --no-emit-find-links --extra local --extra bi --extra telemetry --extra train --group dev pyproject.toml -o locks/dev.txt
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	  --no-emit-find-links -c locks/dev.txt pyproject.toml -o locks/runtime.txt
	echo cyclonedx-bom | $(BIN)/uv pip compile --quiet --universal --python-version 3.12 --generate-hashes \
	  --no-emit-find-links - -o locks/sbom.txt

clean: ## Remove the environment and what demos left
	rm -rf .venv .local demo state tables
