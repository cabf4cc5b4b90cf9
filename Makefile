# What an operator and a newcomer type. Everything sets itself up and says what it does.
CARGO ?= cargo
DEMO_DIR ?= target/demo
DEMO_LISTEN ?= 127.0.0.1:0
DEMO_FLAGS ?=
FUZZ_SECONDS ?= 10

.PHONY: help demo build test check conformance bench fuzz doc kill-test

help:
	@echo "make demo                 build, then run the twin of the eastern Pacific on sixty years of observations"
	@echo "make test                 everything that must hold; starts what it needs (PostgreSQL, Chromium, …)"
	@echo "make check                formatting, lints, documentation"
	@echo "make conformance AREA=edge   real clients against a running engine; areas: $(notdir $(patsubst %/run.sh,%,$(wildcard conformance/*/run.sh)))"
	@echo "make fuzz                 hostile bytes for every parser that meets the network, guided by coverage; FUZZ_SECONDS=10 for each"
	@echo "make bench                ratios against the peers, on this machine, in one run"

build:
	$(CARGO) build --release -p dte -p enso-model

demo: build
	rm -rf $(DEMO_DIR)
	target/release/dte demo --data-dir $(DEMO_DIR) --listen $(DEMO_LISTEN) $(DEMO_FLAGS)

test:
	scripts/test.sh

check:
	scripts/check.sh

conformance:
	@test -n "$(AREA)" || { echo "say which: make conformance AREA=edge"; exit 2; }
	scripts/conformance.sh $(AREA)

bench: build
	bench/run.sh

fuzz:
	scripts/fuzz.sh $(FUZZ_SECONDS)

doc:
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --workspace --no-deps

kill-test:
	DTE_TEST_MONTHS=372 DTE_TEST_KILLS=20 DTE_TEST_KILL_SPAN_MS=4000 $(CARGO) test --release -p dte --test twin_faults the_end_state_survives_kills -- --nocapture
