# Sonde: `make help` lists what there is. All of it works in a clean clone with Python >= 3.11 (with venv) alone.

PYTHON ?= python3
BIN := .venv/bin
# The environment belongs to this directory: a clone that was copied or moved makes its own anew.
READY := .venv/.ready-$(shell pwd | cksum | cut -d' ' -f1)

# Debian packages, installed only where apt may run (packaging/apt.sh). Nothing else needs them.
APT_LAB := charon-systemd dnsmasq-base gcc iperf3 iproute2 iputils-ping libc6-dev libcharon-extauth-plugins \
	libcharon-extra-plugins libstrongswan-extra-plugins libstrongswan-standard-plugins nftables nginx-light openvpn \
	wireguard-go wireguard-tools
# Debian's npm brings three hundred packages: only where none is there yet.
APT_NODE := $(shell command -v npm >/dev/null || echo nodejs npm)
APT_TEST := $(APT_LAB) $(APT_NODE) binutils curl faketime haproxy lintian mmdebstrap openssh-client openssh-server \
	pgbouncer postgresql prometheus systemd systemd-container tcpdump
APT_DEB := binutils python3
APT_BENCH := $(APT_LAB) fping prometheus-blackbox-exporter tcpdump

# Three for two cores: most tests wait for a network, a clock or another program most of the time.
WORKERS := 3

.DEFAULT_GOAL := help
.PHONY: help demo test test-fast soak bench deb lint proto lock clean apt-demo apt-test apt-bench apt-deb

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## /  make \1\t/p' Makefile | expand -t 20

demo: $(READY) apt-demo ## the whole pipeline, live, on this machine (SECONDS=60 ends it)
	@$(BIN)/sonde-lab demo $(if $(SECONDS),--seconds $(SECONDS))

test: $(READY) apt-test lint ## everything but the soak, with real PostgreSQL; < 20 minutes
	@packaging/test.sh $(BIN)/pytest $(WORKERS)

test-fast: $(READY) ## unit and property tests: no root, no apt, < 60 s
	@$(BIN)/pytest -q -n $(WORKERS) --dist loadgroup -m "not soak" tests/unit

soak: $(READY) apt-test ## the long counts: 1000 rounds of faults
	@$(BIN)/pytest -m soak --timeout 0

bench: $(READY) apt-bench ## the figures of benchmarks/RESULTS.md (ONLY=NAME,... for some)
	@$(BIN)/python benchmarks/run.py $(if $(ONLY),--only $(ONLY))

deb: $(READY) apt-deb ## Debian packages for this release and architecture, each with its SBOM, in dist/
	@$(BIN)/python packaging/deb/build.py

lint: $(READY) ## generated code, format, lint, walls, types
	@$(BIN)/python proto/gen.py --check
	@$(BIN)/ruff format --quiet --check .
	@$(BIN)/ruff check --quiet .
	@$(BIN)/lint-imports --no-logo >.venv/lint-imports.log || { cat .venv/lint-imports.log; exit 1; }
	@$(BIN)/mypy --no-error-summary

proto: $(READY) ## regenerate the protobuf code
	@$(BIN)/python proto/gen.py

lock: ## write requirements.lock anew (UPGRADE=1 for newer versions)
	@$(PYTHON) packaging/lock.py $(if $(UPGRADE),--upgrade)

clean: ## remove .venv, var/ and caches
	@rm -rf .venv var .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache .benchmarks
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

apt-demo:
	@packaging/apt.sh "make demo" $(APT_LAB)

apt-test:
	@packaging/apt.sh "make test" $(APT_TEST)

apt-deb:
	@packaging/apt.sh "make deb" $(APT_DEB)

apt-bench:
	@packaging/apt.sh "make bench" $(APT_BENCH)

$(READY): requirements.lock $(wildcard */pyproject.toml) packaging/setup.sh
	@PYTHON="$(PYTHON)" packaging/setup.sh $@
