# The README's commands. Each installs what it needs, and says what it does.
# ARGS is passed on: make demo ARGS=--stay

TARGET := $(or $(CARGO_TARGET_DIR),target)
# What is shipped: stripped, with its symbols beside it.
AFRESH := $(TARGET)/ship/afresh
# What cargo-deb finds whatever the target directory is.
PACKAGED := $(TARGET)/release/packaged
# Files of a package are as old as the last commit: two builds in the same directory, by the same toolchain, are the same bytes.
EPOCH = $(shell git log -1 --format=%ct 2>/dev/null || echo 1000000000)
# Tools look at a few files: what is compiled fast serves as well as what runs fast.
QUICK_TOOL := env -u CARGO_TARGET_DIR -u RUSTFLAGS CARGO_PROFILE_RELEASE_OPT_LEVEL=0 CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16

.PHONY: demo build packaged cargo-deb deb package-test vm cargo-cyclonedx dist deps deps-test deps-apps deps-lint test check lint form deny quick root-tests seeds accuracy mutants fuzz bench e2e month apps guard-story guard-aws guard-faults guard-second guard-compare clean

demo: build
	$(AFRESH) demo $(ARGS)

build: deps
	cargo build --release --locked --bin afresh
	@mkdir -p $(TARGET)/ship
	@objcopy --only-keep-debug $(TARGET)/release/afresh $(AFRESH).debug
	@cd $(TARGET)/ship && objcopy --strip-all --remove-section=.comment --add-gnu-debuglink=afresh.debug ../release/afresh afresh

deps:
	@tools/deps.sh

deps-lint: deps
	@command -v cargo-deny >/dev/null || $(QUICK_TOOL) cargo install --locked --no-default-features cargo-deny@0.20.2

# QEMU and the like, for tests only: the verbs that use them say what to install.
deps-test:
	@tools/deps.sh test

# Databases and brokers, for `make apps` only.
deps-apps: deps
	@tools/deps.sh apps

# Everything: quick tests, those that need root, and the whole machine once.
test: deps-test quick
	@if [ "$$(id -u)" -eq 0 ]; then $(MAKE) --no-print-directory root-tests; else echo "not root: the tests that need root were left out"; fi

quick:
	@begun=$$(date +%s); cargo test --workspace --locked --no-run && built=$$(date +%s) && echo "quick tests: built in $$((built - begun)) s" && \
		cargo test --workspace --locked && echo "quick tests: took $$(($$(date +%s) - built)) s"

# Kills and days are few here; `make e2e` and `make month` have all of them.
# The simulator's long searches are not among them: `make seeds`.
root-tests: deps-test
	AFRESH_KILLS=2 AFRESH_DAYS=5 tools/root-tests.sh

# The everyday loop: under a minute when warm.
check:
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --locked -- -D warnings
	cargo test --workspace --locked

# Form, lints, and what may be built in.
lint: form deny

form: deps
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --locked -- -D warnings

deny: deps-lint
	cargo fetch --locked --quiet
	cargo deny --locked --offline check --hide-inclusion-graph licenses bans sources

# kill -9 at forty random moments, where a rotation's time goes, every kind of step run twice. About ten minutes.
e2e: build
	cargo test --release --locked -p afresh --test all machine:: -- --ignored --nocapture --test-threads 1 $(ARGS)

# A month of images that get newer day by day, some of them broken, under a client. About seven minutes.
month: build
	cargo test --release --locked -p afresh --test all month:: -- --ignored --nocapture $(ARGS)

# Real applications that are not ours (examples/), upgraded and rolled back under load. About ten minutes. ARGS selects by name.
apps: build deps-apps
	AFRESH=$(abspath $(AFRESH)) e2e/apps.sh $(ARGS)

# One exposure from its report to the rule that refuses it, told in commands and their answers. About two minutes.
guard-story: build
	e2e/guard_story.sh $(AFRESH)

# The scan of AWS beside the labels of an estate on an emulator (moto, from PyPI), and containments judged by the state of the account.
# About ten minutes. e2e/guard_compare.sh adds other scanners.
guard-aws: build
	e2e/guard_aws.sh $(AFRESH)
	e2e/guard_contain.sh $(AFRESH)

guard-faults guard-second guard-compare: build
	e2e/$(subst -,_,$@).sh $(AFRESH)

# 20,000 simulated histories, every planted bug, and a crash at every pair of points. About ten minutes.
seeds:
	cargo test --release --locked -p sim -- --ignored --nocapture

# Formulas of capacity against long simulations, and 100,000 damaged lines. Several minutes.
accuracy:
	cargo test --release --locked -p capacity -- --ignored --nocapture

# One plausible mistake at a time in a copy of the sources: which of them does no test notice? ARGS selects by file or note.
mutants:
	cargo run -q --locked -p xtask -- mutants $(ARGS)

# Every parser under a coverage-guided fuzzer, FUZZ_S seconds each; what is found lies in fuzz/found.
fuzz:
	tools/fuzz.sh $(ARGS)

bench: build deps-test
	e2e/bench.sh $(AFRESH)

clean:
	cargo clean

# What is shipped beside the program, made by it. AFRESH: another program, such as a debug build, to look at the package of.
packaged:
	@rm -rf $(PACKAGED) && mkdir -p $(PACKAGED) && cp $(AFRESH) $(PACKAGED)/afresh
	@$(AFRESH) man $(PACKAGED)/man && gzip -9n $(PACKAGED)/man/* && gzip -9n <packaging/changelog >$(PACKAGED)/changelog.gz
	@$(AFRESH) completions bash >$(PACKAGED)/afresh.bash
	@$(AFRESH) completions zsh >$(PACKAGED)/_afresh
	@$(AFRESH) completions fish >$(PACKAGED)/afresh.fish

cargo-deb:
	@cargo deb --version 2>/dev/null | grep -q ' 3\.8\.0$$' || $(QUICK_TOOL) cargo install --locked cargo-deb@3.8.0

# A Debian package in target/debian: units, manual pages, completions, a commented configuration.
deb: build packaged cargo-deb
	@rm -f $(TARGET)/debian/*.deb
	SOURCE_DATE_EPOCH=$(EPOCH) cargo deb --locked --no-build --no-strip -p afresh

# The package in a Debian root of its own: lintian, install, 20 upgrades under load, remove, purge. About five minutes after the build.
package-test: deb
	AFRESH=$(AFRESH) e2e/package.sh $(TARGET)/debian/afresh_*_amd64.deb

# The same in a virtual machine with systemd, without KVM: install, deploy, reload, watchdog, power cut, reboot. About half an hour.
vm: deb
	AFRESH=$(AFRESH) e2e/vm.sh $(TARGET)/debian/afresh_*_amd64.deb

cargo-cyclonedx:
	@cargo cyclonedx --version 2>/dev/null | grep -q ' 0\.5\.9$$' || $(QUICK_TOOL) cargo install --locked cargo-cyclonedx@0.5.9

# What is published, in target/dist: tarball, OCI image of the control plane, package, bill of materials, checksums. Needs root, and a mirror.
dist: deb cargo-cyclonedx
	tools/dist.sh $(AFRESH) $(PACKAGED) $(TARGET)/debian/afresh_*_amd64.deb $(TARGET)/dist $(EPOCH)
