# Every target sets up what it needs first: .venv from requirements.lock. The second time that takes no time.
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory
BIN := .venv/bin

.PHONY: help setup setup-servers demo run test check generate fuzz bench bench-peers chaos gate mutants images cluster-up cluster-down e2e lock clean

help:
	@echo "Penstock. Needs Python 3.11 or later; everything else goes into .venv."
	@echo
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup:
	@.ci/setup

demo: setup ## A real run: 336,776 flights in, batched, landed, queried, the ledger shown
	@$(BIN)/penstock demo

run: setup ## The clickstream example: HTTP on :8080, gRPC on :9090, metrics on :9464
	@$(BIN)/penstock run examples/clickstream/pipeline.yaml

setup-servers: setup
	@$(BIN)/python -m tests.servers.setup

test: setup setup-servers ## Every test that needs no cluster, the quick ones first
	@$(BIN)/python -m pytest -q tests/unit tests/golden tests/fuzz
	@$(BIN)/python -m pytest -q tests/integration tests/hostile

check: setup ## Format, lint, types, import contracts, layout, generated files
	@$(BIN)/ruff format --check --quiet
	@$(BIN)/ruff check --quiet
	@$(BIN)/lint-imports --no-logo
	@$(BIN)/mypy
	@$(BIN)/python -m pytest -q tests/unit/test_layout.py
	@.ci/check-generated

generate: setup ## Rewrite the generated files: protobuf code, metrics reference, JSON Schema, CRDs
	@.ci/generate

fuzz: setup ## Fuzzers for SECONDS=600 with fresh inputs; what they find is kept in tests/fuzz/findings
	@$(BIN)/python -m tests.fuzz --seconds $(or $(SECONDS),600)

bench: setup ## CPU time per event of each stage, beside a plain Python reference
	@$(BIN)/python -m benchmarks

bench-peers: setup-servers ## Penstock beside Benthos, Flink SQL, Bytewax and a loop by hand, on one Kafka; ROUNDS=3, 5 to publish
	@$(BIN)/python -m benchmarks.peers.tools
	@$(BIN)/python -m benchmarks.peers --rounds $(or $(ROUNDS),3)

mutants: setup ## Break each invariant in a copy of the tree and see whether the tests notice
	@$(BIN)/python -m tests.mutants

gate: setup ## Half a minute: no stage may have become slower, beside its reference, than recorded
	@$(BIN)/python -m benchmarks --gate

chaos: setup setup-servers ## Faults under load, each many times; the tables in docs/reliability.md
	@PYTHONPATH=services:. $(BIN)/python -m e2e.chaos --page
	@PYTHONPATH=services:. $(BIN)/python -m e2e.chaos.kafka --page

images: setup ## The image of every role, in build/images/penstock.tar: with Docker, or without
	@$(BIN)/python -m e2e.cluster images

cluster-up: setup ## A real Kubernetes on this machine, without Docker; needs root (PROVIDER=kind: needs Docker)
	@$(BIN)/python -m e2e.cluster up --provider $(or $(PROVIDER),local)

cluster-down: setup ## Take it away again
	@$(BIN)/python -m e2e.cluster down --provider $(or $(PROVIDER),local)

e2e: setup setup-servers ## Scenarios on a real cluster, Penstock installed by Helm; root. PROVIDER=kind, ONLY="part of a name", SHORT=1, LONG=1
	@PYTHONPATH=.:services:operator $(BIN)/python -m e2e --provider $(or $(PROVIDER),local) $(if $(ONLY),--only "$(ONLY)") $(if $(SHORT),--short) $(if $(LONG),--long)

lock: setup ## Rewrite requirements.lock from pyproject.toml
	@.ci/lock

clean: ## Remove what was built, cached or landed by examples; keeps .venv
	@rm -rf build dist .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis .penstock
	@find services operator tests benchmarks examples -name __pycache__ -type d -prune -exec rm -rf {} +
