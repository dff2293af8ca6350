.DEFAULT_GOAL := help
TEST_TOOLS := redis-server=redis-server faketime=faketime libnss_wrapper.so=libnss-wrapper
.PHONY: help wheel test-wheel run run-ocr run-text build build-portable runtime page test test-load bulk-check test-page abuse abuse-short abuse-memory fuzz test-clients test-conformance convert-check test-observability chaos image-check infra-check deploy-check deploy-check-short bench bench-text bench-rank bench-bulk bench-first bench-guard bench-micro lint clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-18s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: ## build without optimisation and serve on http://127.0.0.1:7071 (SCORE_PORT)
	@scripts/build.sh --quick
	@scripts/run.sh

run-ocr: ## the same with a model that reads a line of text in a picture: a miss takes 10 to 100 times a hit (fetches 50 MB once)
	@scripts/build.sh --quick
	@scripts/run-ocr.sh

run-text: ## the same with all-MiniLM-L6-v2: texts in, vectors out (fetches 84 MB once)
	@scripts/build.sh --quick
	@scripts/run-text.sh

build: ## release build, to ship and to measure: bin/handler and the ONNX Runtime library
	@scripts/build.sh

build-portable: ## release builds for the glibc of Azure's hosts, x86_64 and aarch64: dist/MACHINE/bin
	@scripts/build-portable.sh

wheel: build ## the release build as a wheel for machines like this one: pip install dist/score_onnx-*.whl
	@scripts/build-wheel.sh bin/handler dist

runtime: ## fetch the ONNX Runtime library into bin/, nothing else
	@scripts/fetch-onnxruntime.sh

page: ## build the browser page after a change in page/src
	@scripts/build-page.sh

test: ## install what the tests need, then run all of them
	@scripts/setup.sh $(TEST_TOOLS)
	@scripts/setup-messaging.sh
	@scripts/fetch-onnxruntime.sh
	cargo test --workspace --locked

test-load: ## kill and load tests with the release build, with tighter limits
	@scripts/setup.sh redis-server=redis-server
	@scripts/fetch-onnxruntime.sh
	cargo test --release --locked -p handler --test load -- --nocapture

bulk-check: build ## score a million rows and many texts under kills, as files and as blobs of Azurite, and check memory (3 minutes)
	@scripts/setup.sh redis-server=redis-server
	@scripts/setup-messaging.sh
	CHAOS=long TEST_PROGRAM=$(CURDIR)/bin/handler cargo test --locked -p handler --test app \
	  -- --include-ignored --nocapture bulk_check killed_again_and_again

test-page: ## test the browser page in Chromium
	@scripts/test-page.sh

abuse: build ## attack bin/handler in every known way, beside an ordinary client, in bounded memory; prints a table (SIZE=2)
	@python3 tests/abuse/abuse.py --size $(or $(SIZE),1)

abuse-short: build ## the same without the attacks that take long, as in CI
	@python3 tests/abuse/abuse.py --short

abuse-memory: build ## compare the memory formula of docs/settings.md with measured peaks for three settings
	@python3 tests/abuse/abuse.py --formula

fuzz: ## run every fuzz target for FUZZ_SECONDS (30); needs no nightly compiler
	@scripts/fuzz.sh

test-clients: ## call the handler with client libraries from PyPI and npm, and with generated ones
	@scripts/test-clients.sh

test-wheel: ## install the wheel into a fresh venv by pip and serve models with it
	@scripts/test-wheel.sh

test-conformance: ## test against ONNX's test data, Triton's client, scikit-learn, other projects' models
	@scripts/test-conformance.sh

convert-check: ## convert scikit-learn models with tools/to_onnx.py and compare the handler's answers
	@scripts/convert-check.sh

test-observability: ## read the metrics with Prometheus, promtool and two parsers; run the dashboard's queries
	@scripts/test-observability.sh

chaos: ## the long form of the chaos suite: every fault of Redis, a million rows; writes target/chaos.md
	@scripts/setup.sh $(TEST_TOOLS)
	@scripts/fetch-onnxruntime.sh
	CHAOS=long cargo test --release --locked -p handler --test chaos -- --nocapture

image-check: ## build the Dockerfile on stand-ins for its base images and run the handler; needs root, not Docker
	@scripts/image-check.sh

deploy-check: ## run deploy/az with the real az against a stand-in of Azure, every kind of deployment (15 minutes)
	@scripts/deploy-check.sh

deploy-check-short: ## the same for one kind of deployment, as in CI
	@scripts/deploy-check.sh --short

bench: build ## compare bin/handler with a minimal program, Node and Azure ML's server (benches/README.md)
	@scripts/setup-bench.sh
	@python3 benches/bench.py
	@python3 benches/text.py

bench-text: build ## the part of it that compares embeddings of texts, with FastAPI and Node (4 minutes)
	@scripts/setup-bench.sh
	@python3 benches/text.py

bench-rank: build ## measure rerankings beside FastAPI (2 minutes)
	@scripts/setup-bench.sh
	@scripts/make-heads.sh
	@PYTHONPATH=target/bench/texts-fastapi python3 benches/rank.py

bench-bulk: build ## measure handler score beside a loop of pandas and onnxruntime (2 minutes)
	@scripts/install-python.sh target/bench/bulk benches/peers/bulk/requirements.txt
	@PYTHONPATH=target/bench/bulk python3 benches/bulk.py

bench-first: wheel ## measure the time to a first answer in a fresh clone and fresh venvs, beside two peers (10 minutes)
	@scripts/make-minilm.sh
	@python3 benches/first_answer.py

bench-guard: build ## count the instructions of bin/handler per request; fail if there are more than stored
	@scripts/setup.sh redis-server=redis-server vgdb=valgrind
	@python3 benches/guard.py

bench-micro: ## time single parts of a request: reading, digests, writing
	@scripts/setup.sh
	cargo bench --locked -p micro

infra-check: ## check Bicep files, GitHub workflows and Kubernetes manifests without Azure
	@scripts/infra-check.sh

lint: ## check formatting, clippy, docs, licences, shell scripts, Dockerfile
	@scripts/lint.sh

clean: ## remove everything that was built or fetched
	rm -rf target bin dist
