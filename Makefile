# Every task of a developer has one name here; `make help` lists them.
# After `make setup`, nothing but `make lock` needs the network.

PYTHON := .venv/bin/python
BIN := .venv/bin
# What the tests use that want tokens and no meaning; the model in the box is in the repository.
MODEL := models/babbler.gguf

export PYTHONPATH := $(CURDIR)
.DELETE_ON_ERROR:

.PHONY: help
help: ## Lists the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "%-15s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# --- For users -----------------------------------------------------------------------------------

.PHONY: setup
setup: ## Makes .venv and compiles llama.cpp; once a few minutes, then milliseconds
	@bin/setup

.PHONY: run
run: setup ## Runs the example agent on six real services
	@bin/actionvm demo

.PHONY: test
test: $(MODEL) ## Runs the tests on all cores; ARGS="-k name" selects
	@$(PYTHON) -m pytest -n logical --dist worksteal --hypothesis-profile repeatable $(ARGS)

# --- For developers ------------------------------------------------------------------------------

.PHONY: check
check: lint types test ## Everything that a commit must pass, without a network

.PHONY: lint
lint: setup ## Contracts, generated code, style and imports
	$(BIN)/buf lint
	$(BIN)/buf format --diff --exit-code
	$(BIN)/buf breaking --against protos/baseline.binpb
	$(PYTHON) protos/generate.py --check
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/lint-imports

.PHONY: types
types: setup ## Checks the types
	$(BIN)/mypy

.PHONY: format
format: setup ## Formats Python and contracts
	$(BIN)/ruff check --fix-only
	$(BIN)/ruff format
	$(BIN)/buf format --write

.PHONY: protos
protos: setup ## Generates actionvm/ from protos/
	$(PYTHON) protos/generate.py

.PHONY: baseline
baseline: setup ## Accepts the contracts of today as the ones that must not break
	$(BIN)/buf build --exclude-source-info --output protos/baseline.binpb

.PHONY: golden
golden: $(MODEL) ## Rewrites the golden files; review the diff
	$(PYTHON) -m pytest --golden-rewrite

.PHONY: soak
soak: $(MODEL) ## Runs the long tests: many seeds, many examples
	$(PYTHON) -m pytest -n logical --hypothesis-profile soak --timeout 3600 -m '' $(ARGS)

.PHONY: bench
bench: $(MODEL) ## Runs one benchmark: make bench NAME=gas
	@test -f benchmarks/$(NAME).py || { echo "there is no benchmarks/$(NAME).py; there are:" \
		$(or $(sort $(notdir $(basename $(wildcard benchmarks/[a-z]*.py)))),none yet) >&2; exit 2; }
	$(PYTHON) benchmarks/$(NAME).py $(ARGS)

.PHONY: bench-peers
bench-peers: setup ## Installs what `make bench NAME=linker` compares with, in the cache
	@benchmarks/install-peers

.PHONY: bench-runtime-peers
bench-runtime-peers: setup ## Installs what `make bench NAME=runtime` compares with, in the cache
	@benchmarks/install-runtime-peers

# torch is not locked: it comes with the extra `train`, for who trains (models/README.md).
TINY := .tiny
TINY_MODEL := models/actionvm-tiny.gguf

.PHONY: model
model: setup ## Trains the model in the box, or goes on training it; ARGS="--minutes 60"
	@$(PYTHON) -c 'import torch' 2>/dev/null \
		|| { echo "make model needs torch: $(BIN)/pip install 'torch==2.13.0'" >&2; exit 1; }
	$(PYTHON) -m models.tiny.train --folder $(TINY) $(ARGS)
	$(PYTHON) -m models.tiny.export --folder $(TINY) --output $(TINY_MODEL)

.PHONY: model-evaluate
model-evaluate: setup ## Measures the model in the box on dialogues that it has not seen
	@test -f $(TINY_MODEL) || { echo "there is no $(TINY_MODEL): make model trains it" >&2; exit 1; }
	$(PYTHON) -m models.evaluate $(TINY_MODEL) $(ARGS)

# Versions stay as they are where they can; ARGS=--upgrade takes the newest. llama-cpp-python has a
# lock of its own: it is compiled, the rest are wheels.
.PHONY: lock
lock: ## Locks what pyproject.toml asks for (needs uv and the network)
	@command -v uv >/dev/null || { echo "make lock needs uv: install it first" >&2; exit 1; }
	cat requirements.lock requirements-native.lock > .all.lock
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
		--extra dev --extra native --extra postgres \
		--no-annotate --no-header --no-emit-index-url pyproject.toml --output-file .all.lock $(ARGS)
	awk '/^[^ ]/ { native = /^llama-cpp-python==/ } !native' .all.lock > requirements.lock
	awk '/^[^ ]/ { native = /^llama-cpp-python==/ } native' .all.lock > requirements-native.lock
	rm .all.lock

.PHONY: clean
clean: ## Removes what was made here; the cached llama.cpp stays
	rm -rf .venv .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	rm -f $(MODEL)
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(MODEL): models/babbler.py models/babbler.txt models/chatml.jinja | setup
	$(PYTHON) models/babbler.py --output $@
