# Everything starts from a bare machine: Python >= 3.10 with pip, gcc, git, make.
# Node and Chromium are optional; steps that need one say so when it is missing.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/pip --disable-pip-version-check --quiet
RAY := 2.60.0
PANEL_SOURCES := $(wildcard $(shell git ls-files extension kernels 2>/dev/null))
INSTALL_INPUTS := pyproject.toml constraints.txt hatch_build.py rayjup/_version.py $(PANEL_SOURCES)

.DEFAULT_GOAL := help
.PHONY: help binder-test demo test lab lint bench bench-peers chaos clusters conformance-ray chromium clean

help:  ## this list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' Makefile | expand -t 20

# Debian without python3-venv has no ensurepip: there the system's pip puts pip into the environment.
$(VENV)/.made:
	$(PYTHON) -m venv $(VENV) 2>/dev/null \
	    || { rm -rf $(VENV) && $(PYTHON) -m venv --without-pip $(VENV) \
	         && $(PYTHON) -m pip --python $(BIN)/python install --quiet pip; }
	$(PIP) install --upgrade 'pip>=24'
	@touch $@

# The demonstration needs no panel, so it needs no Node; `make test` and `make lab` build it.
$(VENV)/.demo: $(VENV)/.made $(INSTALL_INPUTS)
	RAYJUP_SKIP_LABEXTENSION=1 $(PIP) install -c constraints.txt -e '.[notebooks]'
	@touch $@

$(VENV)/.lab: $(VENV)/.made $(INSTALL_INPUTS)
	$(PIP) install -c constraints.txt -e '.[lab]'
	@touch $@ $(VENV)/.demo

$(VENV)/.test: $(VENV)/.made $(INSTALL_INPUTS)
	$(PIP) install -c constraints.txt -e '.[test]'
	@touch $@ $(VENV)/.lab $(VENV)/.demo

demo: $(VENV)/.demo  ## execute the tour headless, write notebook and HTML to out/, print what ran
	@mkdir -p out
	$(BIN)/python notebooks/execute.py notebooks/01_tour.ipynb --out out/

lab: $(VENV)/.lab  ## JupyterLab with the panel, the kernel and the tour
	$(BIN)/jupyter lab notebooks/01_tour.ipynb

lint: $(VENV)/.test  ## ruff, mypy, layers
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# The tests find programs of the environment (jupyter, node) on the path, as a user's shell would. Many wait for
# processes to start and end, so two run at a time; files stay together, because their tests share clusters.
TEST_WORKERS ?= 2

test: $(VENV)/.test chromium lint  ## everything: lint, unit, cluster, conformance, notebooks, browser
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m pytest -n $(TEST_WORKERS) --dist loadfile --no-loadscope-reorder

# Only for the browser test, which says why it is skipped when there is no Chromium.
chromium:
	@command -v chromium >/dev/null || { [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null \
	    && apt-get update -qq && apt-get install -y -qq --no-install-recommends chromium >/dev/null; } \
	    || echo "Chromium is missing and cannot be installed here: the browser test will be skipped."

bench: $(VENV)/.demo  ## rayjup's column of the core benchmark
	@mkdir -p out
	$(BIN)/python -m rayjup.as_ray benchmarks/core.py --json out/core_rayjup.json
	$(BIN)/python benchmarks/report.py --rayjup out/core_rayjup.json
	$(BIN)/python -m rayjup.as_ray benchmarks/scale.py --json out/scale_rayjup.json
	$(BIN)/python benchmarks/report.py --title Scale --rayjup out/scale_rayjup.json
	$(BIN)/python -m rayjup.as_ray benchmarks/objects.py --json out/objects_rayjup.json
	$(BIN)/python benchmarks/report.py --title Objects --rayjup out/objects_rayjup.json

$(VENV)-ray/.made: Makefile
	$(PYTHON) -m venv $(VENV)-ray 2>/dev/null \
	    || { rm -rf $(VENV)-ray && $(PYTHON) -m venv --without-pip $(VENV)-ray \
	         && $(PYTHON) -m pip --python $(VENV)-ray/bin/python install --quiet pip; }
	$(VENV)-ray/bin/pip --disable-pip-version-check --quiet install -c constraints.txt \
	    'ray[data,default,serve,train,tune]==$(RAY)' numpy psutil pytest pytest-timeout \
	    httpx lightgbm optuna polars scikit-learn torch xgboost-cpu
	@touch $@

bench-peers: $(VENV)/.demo $(VENV)-ray/.made  ## the same benchmark on Ray and on rayjup, one after the other
	@mkdir -p out
	$(VENV)-ray/bin/python benchmarks/core.py --json out/core_ray.json
	$(BIN)/python -m rayjup.as_ray benchmarks/core.py --json out/core_rayjup.json
	$(BIN)/python benchmarks/report.py --ray out/core_ray.json --rayjup out/core_rayjup.json \
	    --out benchmarks/results/core.md
	$(VENV)-ray/bin/python benchmarks/scale.py --most 20000 --json out/scale_ray.json
	$(BIN)/python -m rayjup.as_ray benchmarks/scale.py --json out/scale_rayjup.json
	$(BIN)/python benchmarks/report.py --title Scale --ray out/scale_ray.json \
	    --rayjup out/scale_rayjup.json --out benchmarks/results/scale.md
	$(VENV)-ray/bin/python benchmarks/objects.py --json out/objects_ray.json
	$(BIN)/python -m rayjup.as_ray benchmarks/objects.py --json out/objects_rayjup.json
	$(BIN)/python benchmarks/report.py --title Objects --ray out/objects_ray.json \
	    --rayjup out/objects_rayjup.json --out benchmarks/results/objects.md
	$(VENV)-ray/bin/python benchmarks/clusters.py --json out/clusters_ray.json
	$(BIN)/python -m rayjup.as_ray benchmarks/clusters.py --json out/clusters_rayjup.json
	$(BIN)/python benchmarks/report.py --title Clusters --ray out/clusters_ray.json \
	    --rayjup out/clusters_rayjup.json --out benchmarks/results/clusters.md

conformance-ray: $(VENV)-ray/.made  ## the conformance tests against Ray itself
	RAYJUP_CONFORMANCE_ENGINE=ray $(VENV)-ray/bin/python -m pytest tests/conformance -W default

learning: $(VENV)/.test  ## do the algorithms learn? long runs over several seeds
	$(BIN)/python benchmarks/learning.py --out benchmarks/results/learning.md

# CHAOS_SECONDS and CHAOS_SEED say how long and which.
chaos: $(VENV)/.test  ## kill processes at random for ten minutes; counts wrong answers, hangs, leaks
	PYTHONPATH=tests $(BIN)/python -m chaos.run benchmarks/results/chaos.md

binder-test: $(VENV)/.made  ## Binder's steps without Docker: install, start JupyterLab and a cluster, measure
	$(BIN)/python binder/reproduce.py --constraints constraints.txt

# Machines are namespaces of this one: they need root. What Debian lacks is installed, where that is possible.
clusters: $(VENV)/.test  ## launchers for real: ssh to machines of their own, jobs of Slurm; ports scanned from outside
	$(PIP) install -c constraints.txt -e '.[test,hpc,azure,gcp,gateway]' dask-gateway-server
	@# Apart: Amazon's client and the newest one of Kubernetes want different python-dateutil, and work with either.
	$(PIP) install 'boto3>=1.34' 'moto[ec2,ecs,secretsmanager,server]>=5'
	@{ command -v slurmctld && command -v sshd && command -v rsync; } >/dev/null || { [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null \
	    && apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
	        openssh-client openssh-server munge rsync slurm-client slurmctld slurmd >/dev/null; } \
	    || echo "sshd or Slurm is missing and cannot be installed here: their tests will be skipped."
	RAYJUP_TEST_CLUSTERS=1 $(BIN)/python -m pytest -rs tests/cluster/test_ssh.py tests/cluster/test_launchers.py \
	    tests/cluster/test_kubernetes.py tests/cluster/test_gateway.py \
	    tests/unit/test_aws.py tests/unit/test_cloud_launchers.py

clean:  ## remove the environments and what was built
	rm -rf $(VENV) $(VENV)-ray out build dist extension/lib extension/rayjup_lab/labextension
