# For a fresh Debian 12 or 13 machine with python3 and make:
#
#   make run    the daemon, built-in defaults, 127.0.0.1:8462, in the foreground
#   make demo   the daemon at work in a small world of its own; no internet, 10 s
#   make demo-shell   a shell in that world, for trying every command of README.rst
#   make check  what to run before each commit: format, lint, types, imports,
#               spelling, unit tests; under a minute, no root, no Debian packages
#   make test   install what the tests need, check the code, run all tests
#   make deb    the Debian packages, built and tried in clean chroots; as root
#   make wheel  the packages for pip, built and tried
#   make install, make uninstall   without a package; DESTDIR= PREFIX= (docs/install.rst)
#
# PYTHON=python3.13 make test takes another Python. As root, `make test` also
# installs Debian's servers and tests against them, in namespaces of its own.
# TESTS=tests/core/test_policy.py makes `make check` and `make test` run that alone.

PYTHON = python3
VERSION := $(shell $(PYTHON) -c 'import sys; print("%d.%d.%d" % sys.version_info[:3])')
VENV = .venv
BIN = $(VENV)/bin

# The Debian releases that `make deb` builds for.
RELEASES = bookworm trixie

# command:package, for tests/integration and the manual pages
SERVERS = nsd:nsd knotd:knot unbound:unbound nginx:nginx-light redis-server:redis-server postmap:postfix ip:iproute2 faketime:faketime groff:groff debootstrap:debootstrap promtool:prometheus pebble:pebble named:bind9 nsupdate:bind9-dnsutils chromium:chromium chromedriver:chromium-driver zsh:zsh fish:fish tinyproxy:tinyproxy microsocks:microsocks buildah:buildah podman:podman

# Where `make run` has its configuration and its store: never /var/lib, where
# what root writes would shut out the service of an installed package.
RUN = $(CURDIR)/.run

# What `make install` puts where, FROM:TO; DESTDIR is a folder that stands for /.
PREFIX = /usr/local
SYSCONFDIR = /etc
LIB = $(PREFIX)/lib
SHARE = $(PREFIX)/share
INSTALLED = \
	man/postfix-mtasts.1:$(SHARE)/man/man1/postfix-mtasts.1 \
	man/postfix-mtasts.yml.5:$(SHARE)/man/man5/postfix-mtasts.yml.5 \
	man/postfix-mtasts.8:$(SHARE)/man/man8/postfix-mtasts.8 \
	completions/postfix-mtasts:$(SHARE)/bash-completion/completions/postfix-mtasts \
	completions/_postfix-mtasts:$(SHARE)/zsh/site-functions/_postfix-mtasts \
	completions/postfix-mtasts.fish:$(SHARE)/fish/vendor_completions.d/postfix-mtasts.fish \
	debian/postfix-mtasts.service:$(LIB)/systemd/system/postfix-mtasts.service \
	debian/postfix-mtasts.socket:$(LIB)/systemd/system/postfix-mtasts.socket \
	debian/postfix-mtasts.sysusers:$(LIB)/sysusers.d/postfix-mtasts.conf \
	debian/postfix-mtasts.tmpfiles:$(LIB)/tmpfiles.d/postfix-mtasts.conf \
	debian/postfix-mtasts-owner.postfix-mtasts-serve.service:$(LIB)/systemd/system/postfix-mtasts-serve.service \
	debian/postfix-mtasts-owner.postfix-mtasts-serve.socket:$(LIB)/systemd/system/postfix-mtasts-serve.socket \
	debian/postfix-mtasts-owner.sysusers:$(LIB)/sysusers.d/postfix-mtasts-owner.conf \
	debian/postfix-mtasts-owner.tmpfiles:$(LIB)/tmpfiles.d/postfix-mtasts-owner.conf \
	contrib/apparmor/postfix-mtasts:$(SHARE)/postfix-mtasts/apparmor/postfix-mtasts \
	contrib/apparmor/postfix-mtasts-serve:$(SHARE)/postfix-mtasts/apparmor/postfix-mtasts-serve \
	contrib/freebsd/postfix_mtasts:$(SHARE)/postfix-mtasts/freebsd/postfix_mtasts \
	contrib/openrc/postfix-mtasts.confd:$(SHARE)/postfix-mtasts/openrc/postfix-mtasts.confd \
	contrib/openrc/postfix-mtasts.initd:$(SHARE)/postfix-mtasts/openrc/postfix-mtasts.initd \
	debian/config.yml:$(SHARE)/postfix-mtasts/config.yml

# The unit tests: those that need no server of Debian's and no root.
UNIT = tests --ignore=tests/integration --ignore=tests/fuzz

run: $(VENV)/installed-run
	@mkdir -p -m 700 $(RUN)
	@test -e $(RUN)/config.yml || printf 'cache:\n  directory: "%s/store"\n' '$(RUN)' >$(RUN)/config.yml
	@echo
	@echo "In main.cf, with the lines about TLS that README.rst shows:"
	@echo "              smtp_tls_policy_maps = socketmap:inet:127.0.0.1:8462:postfix"
	@echo "Settings:     .run/config.yml; postfix-mtasts.yml(5) has them all"
	@echo "Then try:     postmap -q gmail.com socketmap:inet:127.0.0.1:8462:postfix"
	@echo "              $(BIN)/postfix-mtasts query --explain gmail.com --config .run/config.yml"
	@echo "              $(BIN)/postfix-mtasts status --config .run/config.yml"
	@echo "              make demo-shell, for the commands of README.rst without the internet"
	@echo "Stop it with: Ctrl-C"
	@echo
	@exec $(BIN)/postfix-mtasts daemon --config $(RUN)/config.yml

demo: $(VENV)/installed-run
	$(BIN)/python -m demo.demo

demo-shell: $(VENV)/installed-owner
	@$(BIN)/python -m demo.shell

check: lint
	$(BIN)/python -X dev -W error -m pytest -q $(or $(TESTS),-n 4 --dist loadfile $(UNIT))

test: lint
	if [ "$$(id -u)" = 0 ]; then tests/support/apt-install $(SERVERS); fi
	$(BIN)/python -m tests.support.namespace $(BIN)/python -X dev -W error -m pytest $(or $(TESTS),--cov=postfix_mtasts)

lint: $(VENV)/installed-test
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/codespell
	$(BIN)/mypy
	$(BIN)/lint-imports

deb:
	tests/support/apt-install debootstrap:debootstrap ip:iproute2
	packaging/deb $(RELEASES)

wheel:
	packaging/wheel $(PYTHON)

# The modules have a folder of their own, which no other program looks into; what
# they import comes from PYTHON. A configuration that is there already stays.
install:
	rm -rf '$(DESTDIR)$(LIB)/postfix-mtasts'
	mkdir -p '$(DESTDIR)$(LIB)/postfix-mtasts' '$(DESTDIR)$(PREFIX)/bin' '$(DESTDIR)$(SYSCONFDIR)/postfix-mtasts'
	cp -R postfix_mtasts '$(DESTDIR)$(LIB)/postfix-mtasts/'
	find '$(DESTDIR)$(LIB)/postfix-mtasts' -name __pycache__ -prune -exec rm -rf {} +
	find '$(DESTDIR)$(LIB)/postfix-mtasts' -type d -exec chmod 755 {} + -o -type f -exec chmod 644 {} +
	$(PYTHON) -m compileall -q -s '$(DESTDIR)' -p / '$(DESTDIR)$(LIB)/postfix-mtasts'
	$(PYTHON) -c 'import sys; print("#!%s\nimport sys\n\nsys.path.insert(0, \"$(LIB)/postfix-mtasts\")\nfrom postfix_mtasts.cli.main import main\n\nif __name__ == \"__main__\":\n    sys.exit(main())" % sys.executable)' >'$(DESTDIR)$(PREFIX)/bin/postfix-mtasts'
	chmod 755 '$(DESTDIR)$(PREFIX)/bin/postfix-mtasts'
	for each in $(INSTALLED); do \
	    mkdir -p "$(DESTDIR)$$(dirname "$${each#*:}")" && install -m 644 "$${each%%:*}" "$(DESTDIR)$${each#*:}" || exit; \
	done
	sed -i 's,/usr/bin/postfix-mtasts,$(PREFIX)/bin/postfix-mtasts,; s, file:[^ ]*/README.Debian,,' '$(DESTDIR)$(LIB)'/systemd/system/postfix-mtasts*.service
	test -e '$(DESTDIR)$(SYSCONFDIR)/postfix-mtasts/config.yml' || install -m 644 debian/config.yml '$(DESTDIR)$(SYSCONFDIR)/postfix-mtasts/config.yml'

# The configuration and the policies stay.
uninstall:
	rm -rf '$(DESTDIR)$(LIB)/postfix-mtasts' '$(DESTDIR)$(PREFIX)/bin/postfix-mtasts'
	for each in $(INSTALLED); do rm -f "$(DESTDIR)$${each#*:}"; done
	rm -rf '$(DESTDIR)$(SHARE)/postfix-mtasts'

completions: $(VENV)/installed-test
	$(BIN)/python packaging/completions

fuzz: $(VENV)/installed-test
	$(BIN)/python -m tests.fuzz.targets 60
	$(BIN)/python -m tests.fuzz.damage 20000

bench: $(VENV)/installed-test
	$(BIN)/python -m tests.support.namespace $(BIN)/python -m benchmarks.bench $(BENCH)

bench-peers: $(VENV)/installed-test
	$(PYTHON) -m venv $(VENV)-peers
	$(VENV)-peers/bin/pip install -q postfix-mta-sts-resolver[uvloop]
	$(BIN)/python -m tests.support.namespace $(BIN)/python -m benchmarks.bench \
		--mta-sts-daemon $(VENV)-peers/bin/mta-sts-daemon --tlspol postfix-tlspol $(BENCH)

# Ten minutes, on a machine that does nothing else.
docs/performance.svg:
	$(MAKE) bench-peers BENCH="--rounds 5 --svg docs/performance.svg --page docs/performance.rst"

bench-publishing: $(VENV)/installed-test
	$(BIN)/python -m tests.support.namespace $(BIN)/python -m benchmarks.publishing

bench-fleet: $(VENV)/installed-test
	$(BIN)/python -m tests.support.namespace $(BIN)/python -m benchmarks.fleet $(FLEET)
	$(BIN)/python -m tests.support.namespace $(BIN)/python -m benchmarks.fleetlookups

bad-fleet: $(VENV)/installed-test
	$(BIN)/python -m tests.support.namespace $(BIN)/python -m benchmarks.fleetfaults $(BAD)

soak: $(VENV)/installed-test
	$(BIN)/python -m tests.support.namespace $(BIN)/python -m benchmarks.soak $(SOAK)

bad-minutes: $(VENV)/installed-test
	$(BIN)/python -m tests.support.namespace $(BIN)/python -m benchmarks.badminutes $(BAD)

clean:
	rm -rf $(VENV) $(VENV)-peers $(RUN) build dist *.egg-info .coverage* .*_cache .hypothesis
	find . -name __pycache__ -prune -exec rm -rf {} +

# The virtual environment is made anew for another Python, and what is in it is
# installed again when pyproject.toml or setup.cfg changes.
$(VENV)/$(VERSION):
	$(PYTHON) -c 'import ensurepip' 2>/dev/null || tests/support/apt-install nothing:$(notdir $(PYTHON))-venv
	$(PYTHON) -m venv --clear $(VENV)
	touch $@

$(VENV)/installed-run: $(VENV)/$(VERSION) pyproject.toml setup.cfg setup.py
	$(BIN)/pip install -q --use-pep517 -e .
	touch $@

$(VENV)/installed-owner: $(VENV)/$(VERSION) pyproject.toml setup.cfg setup.py
	$(BIN)/pip install -q --use-pep517 -e '.[owner]'
	touch $@

$(VENV)/installed-test: $(VENV)/$(VERSION) pyproject.toml setup.cfg setup.py
	$(BIN)/pip install -q --use-pep517 -e '.[dev,uvloop]'
	touch $@

.PHONY: run demo demo-shell check test lint deb wheel install uninstall completions fuzz bench bench-peers docs/performance.svg bench-publishing bench-fleet bad-fleet soak bad-minutes clean
