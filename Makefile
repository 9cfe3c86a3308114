# The README's commands. Each installs what it needs, and says what it does.
# ARGS is passed on: make demo ARGS=--stay

TARGET := $(or $(CARGO_TARGET_DIR),target)
AFRESH := $(TARGET)/release/afresh

.PHONY: demo build deps deps-test test check quick root-tests seeds bench e2e month clean

demo: build
	$(AFRESH) demo $(ARGS)

build: deps
	cargo build --release --locked --bin afresh

deps:
	@tools/deps.sh

# QEMU and the like, for tests only: the verbs that use them say what to install.
deps-test:
	@tools/deps.sh test

# Everything: quick tests, those that need root, and the whole machine once.
test: deps-test
	cargo test --workspace --locked
	@if [ "$$(id -u)" -eq 0 ]; then $(MAKE) --no-print-directory root-tests; else echo "not root: the tests that need root were left out"; fi

# They share the machine's network and mounts, so one after the other. Kills are few here; `make e2e` has all of them.
# The simulator's long searches are not among them: `make seeds`.
root-tests: deps-test
	AFRESH_KILLS=2 AFRESH_DAYS=5 cargo test -p store -p host -p image -p server -p afresh --locked -- --ignored --test-threads 1

# The everyday loop: under a minute when warm.
check:
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --locked -- -D warnings
	cargo test --workspace --locked

# kill -9 at forty random moments, where a rotation's time goes, every kind of step run twice. About ten minutes.
e2e: build
	cargo test --release --locked -p afresh --test all machine:: -- --ignored --nocapture --test-threads 1 $(ARGS)

# A month of images that get newer day by day, some of them broken, under a client. About seven minutes.
month: build
	cargo test --release --locked -p afresh --test all month:: -- --ignored --nocapture $(ARGS)

# 20,000 simulated histories, every planted bug, and a crash at every pair of points. About ten minutes.
seeds:
	cargo test --release --locked -p sim -- --ignored --nocapture

bench: build
	e2e/bench.sh $(AFRESH)

clean:
	cargo clean
