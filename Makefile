# The first of some commands that runs a supported Python: $(call find,COMMANDS).
SUPPORTED := import ensurepip, sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))
find = $(shell for p in $(1); do $$p -c '$(SUPPORTED)' 2>/dev/null && echo $$p && break; done)
PYTHON ?= $(call find,python3 python3.13 python3.12 python3.11)
RUN := .venv/bin/python
RUN_POD := .venv-pod/bin/python
MODEL ?= models/people64
RUN_NEWEST := .venv-newest/bin/python

.PHONY: demo transfer people studio reproduce baselines test test-slow test-studio test-benchmarks test-newest \
	chaos lint full pod-check pod-check-quick

# Draws the data set, trains, evaluates, and writes runs/demo/gallery.png and the release
# runs/demo/release: 8 to 25 minutes on 2 cores.
demo: .venv/ready
	$(RUN) main.py --config=configs/synthetic.py --workdir=runs/demo
	$(RUN) main.py --mode=eval --workdir=runs/demo
	$(RUN) main.py --mode=gallery --workdir=runs/demo
	$(RUN) main.py --mode=export --workdir=runs/demo --output=runs/demo/release --license=apache-2.0

# Puts one drawn person into another's scene with the model in models/people64: 1 to 2 minutes.
transfer: .venv/ready
	$(RUN) main.py --mode=transfer --workdir=models/people64 --output=runs/transfer.png \
		--subject=models/people64/examples/00_subject.png,models/people64/examples/00_subject_labels.png \
		--target=models/people64/examples/00_target.png,models/people64/examples/00_target_labels.png

# Trains a small model on Clothing Co-Parsing, cloned beside this file, into runs/ccp_small.
people: .venv/ready
	$(RUN) main.py --config=configs/ccp.py:size=small

# Opens a trained model in the browser, that of models/people64 or make studio MODEL=runs/demo.
studio: .venv/ready
	$(RUN) main.py --mode=studio --workdir=$(MODEL)

# SCAM and its ablations, three seeds each, and their report: less than an hour on 2 cores.
reproduce: .venv/ready
	$(RUN) main.py --mode=study --config=configs/synthetic_study.py

# SCAM and all its baselines, one seed each, and their report: about an hour on 2 cores.
baselines: .venv/ready
	$(RUN) main.py --mode=study --config=configs/synthetic_baselines.py

test: .venv/ready
	$(RUN) -m pytest -n 2 --dist=loadfile --no-loadscope-reorder --durations=10

# Several processes, kills, whole runs of the program, an installation of the wheel.
test-slow: .venv/ready
	$(RUN) -m pytest -m slow -n 2 --dist=loadfile --no-loadscope-reorder --durations=10 \
		--ignore=tests/test_benchmarks.py

# The studio in Chromium, which comes from the system's packages.
test-studio: .venv/browser
	$(RUN) -m pytest -m browser tests/test_studio_browser.py

# Every script of benchmarks/ at toy size.
test-benchmarks: .venv/ready
	$(RUN) -m pytest -m slow tests/test_benchmarks.py

# Parity, a loss, training steps and a checkpoint, with the newest Python and packages there are.
# Of the four golden steps three: in the last one, which side of 0 an activation is on follows from
# the rounding of gradients that are 0, and so from the version of XLA.
test-newest: PYTHON = $(call find,python3.13 python3.12 python3.11 python3)
test-newest:
	$(call create,.venv-newest)
	$(RUN_NEWEST) -m pip install $(QUIET) --upgrade --upgrade-strategy=eager -e '.[train,dev]'
	$(RUN_NEWEST) -m pip list --format=freeze 2>/dev/null | grep -E '^(flax|grain|jax|numpy|orbax-checkpoint)='
	$(RUN_NEWEST) -m pytest -n 2 --dist=loadfile -m 'not full' tests/test_models.py tests/test_losses.py \
		tests/test_checkpoints.py $(foreach i,0 1 2,'tests/test_steps.py::test_losses_of_a_step[$(i)]')

# Full-size networks against the authors' numbers: some gigabytes of memory.
full: .venv/ready
	$(RUN) -m pytest -m full

lint: .venv/ready
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .
	$(RUN) -m mypy

# The training step, compiled for TPU pods without a TPU; writes benchmarks/pod.md: some 20 minutes.
pod-check: .venv-pod/ready
	$(RUN_POD) -m benchmarks.pod

# A small size of the same step.
pod-check-quick: .venv-pod/ready
	$(RUN_POD) -m scam_jax.cost --config=configs/celeba.py --topology=v5e:4x4 \
		--config.data.height=64 --config.data.width=64 --config.train.batch_size=256 \
		--config.model.dtype=bfloat16 --config.model.encoder.num_blocks=4 \
		--config.model.generator.num_up_layers=4 --config.model.generator.features=8 \
		--config.model.discriminator.features=8

QUIET := -qq --disable-pip-version-check

# A virtual environment: $(call create,FOLDER).
define create
@"$(PYTHON)" -c '$(SUPPORTED)' 2>/dev/null || { echo "Python 3.11, 3.12 or 3.13 with venv is needed," \
	"and $(or $(PYTHON),python3) is $$($(or $(PYTHON),python3) --version 2>&1):" \
	"install one of them, or name it by make PYTHON=/path/to/python" >&2; exit 1; }
$(PYTHON) -m venv $(1)
endef

.venv/ready: requirements.txt
	$(call create,.venv)
	$(RUN) -m pip install $(QUIET) -r requirements.txt
	touch $@

.venv/browser: .venv/ready requirements-browser.txt
	command -v chromium || { apt-get -qq update && apt-get -qq install -y --no-install-recommends chromium; }
	$(RUN) -m pip install $(QUIET) -r requirements-browser.txt
	touch $@

.venv-pod/ready: requirements.txt requirements-pod.txt
	$(call create,.venv-pod)
	$(RUN_POD) -m pip install $(QUIET) -r requirements-pod.txt
	touch $@

ROUNDS := 20
MINUTES := 2

# Faults planted in toy runs and photos, and what comes of them; writes benchmarks/chaos.md.
chaos: .venv/ready
	PYTHONPATH=tests:. $(RUN) -m chaos --rounds=$(ROUNDS) --minutes=$(MINUTES) --output=benchmarks/chaos.md
