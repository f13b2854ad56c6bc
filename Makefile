# Every target sets up what it needs first: .venv from requirements.lock. The second time that takes no time.
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory
BIN := .venv/bin

.PHONY: help setup demo run test check generate bench lock clean

help:
	@echo "Penstock. Needs Python 3.11 or later; everything else goes into .venv."
	@echo
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup:
	@.ci/setup

demo: setup ## A real run: 336,776 flights in, batched, landed, queried, the ledger shown
	@$(BIN)/penstock demo

run: setup ## The clickstream example: HTTP on :8080, gRPC on :9090, metrics on :9464
	@$(BIN)/penstock run examples/clickstream/pipeline.yaml

test: setup ## Every test that needs no cluster, the quick ones first
	@$(BIN)/python -m pytest -q tests/unit tests/golden
	@$(BIN)/python -m pytest -q tests/integration

check: setup ## Format, lint, types, import contracts, layout, generated files
	@$(BIN)/ruff format --check --quiet
	@$(BIN)/ruff check --quiet
	@$(BIN)/lint-imports --no-logo
	@$(BIN)/mypy
	@$(BIN)/python -m pytest -q tests/unit/test_layout.py
	@.ci/check-generated

generate: setup ## Rewrite the generated files: protobuf code, metrics reference, JSON Schema
	@.ci/generate

bench: setup ## CPU time per event of each stage, beside a plain Python reference
	@$(BIN)/python -m benchmarks

lock: setup ## Rewrite requirements.lock from pyproject.toml
	@.ci/lock

clean: ## Remove what was built, cached or landed by examples; keeps .venv
	@rm -rf build dist .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis .penstock
	@find services operator tests benchmarks examples -name __pycache__ -type d -prune -exec rm -rf {} +
