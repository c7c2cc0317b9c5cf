PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt
CLIENTS := tests/clients

.PHONY: run test test-vllm fuzz lint format bench protos clean

run: $(VENV)/.installed
	@$(BIN)/python manage.py serve

# Two processes share the files, since much of a test is waiting for a server; torch's threads must not wait by spinning
test: $(VENV)/.installed-dev $(VENV)/.installed-clients
	OMP_WAIT_POLICY=passive $(BIN)/python -m pytest --numprocesses 2 --dist loadfile

test-vllm: $(VENV)/.installed-dev
	@test -n "$(LAB_TEST_VLLM_URL)" || { echo "Set LAB_TEST_VLLM_URL to a vLLM server: see docs/backends.md"; exit 2; }
	$(BIN)/python -m pytest tests/routing/test_real_vllm.py

fuzz: $(VENV)/.installed-dev
	FUZZ_SECONDS=900 $(BIN)/python -m pytest tests/openapi/test_fuzz.py

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/python manage.py makemigrations --check --dry-run
	DATABASE_URL=postgresql:///unused $(BIN)/mypy

format: $(VENV)/.installed-dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(VENV)/.installed-dev
	$(BIN)/python -m benchmarks

protos: $(VENV)/.installed-dev
	cd inference/rpc && ../../$(BIN)/python -m grpc_tools.protoc -Iprotos --python_out=generated \
		--grpc_python_out=generated --pyi_out=generated protos/*.proto
	sed -i.bak 's/^import \(hybrie_[a-z]*_pb2\)/from inference.rpc.generated import \1/' inference/rpc/generated/*_grpc.py
	rm inference/rpc/generated/*.bak

clean:
	rm -rf $(VENV) var build *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis

$(VENV)/.installed: pyproject.toml constraints.txt
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "Installing Lab Workspace into $(VENV) (the first time takes a few minutes) ..."
	@$(PIP) --editable .
	@touch $@

$(VENV)/.installed-clients: $(CLIENTS)/llamaindex/requirements.txt $(CLIENTS)/node/package-lock.json $(VENV)/.installed
	@echo "Installing the clients that the tests try ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --upgrade \
		--target $(VENV)/llamaindex --requirement $<
	@npm ci --silent --prefix $(CLIENTS)/node || echo "OpenAI's SDK for Node is not installed: its tests are skipped."
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	@echo "Installing the development tools ..."
	@$(PIP) --editable '.[dev]'
	@touch $@
