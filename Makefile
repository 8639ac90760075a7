# The first of these that has a version to go with requirements.txt, or `make PYTHON=...`.
PYTHONS := python3 python3.13 python3.12 python3.11
SUPPORTED := import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))
PYTHON ?= $(shell for p in $(PYTHONS); do $$p -c '$(SUPPORTED)' 2>/dev/null && echo $$p && break; done)
RUN := .venv/bin/python
RUN_POD := .venv-pod/bin/python

.PHONY: demo reproduce baselines test lint full pod-check pod-check-quick

# Draws the data set, trains, evaluates, and writes runs/demo/gallery.png: 12 to 15 minutes on 2 cores.
demo: .venv/ready
	$(RUN) main.py --config=configs/synthetic.py --workdir=runs/demo
	$(RUN) main.py --mode=eval --workdir=runs/demo
	$(RUN) main.py --mode=gallery --workdir=runs/demo

# SCAM and its ablations, three seeds each, and their report: less than an hour on 2 cores.
reproduce: .venv/ready
	$(RUN) main.py --mode=study --config=configs/synthetic_study.py

# SCAM and all its baselines, one seed each, and their report: about an hour on 2 cores.
baselines: .venv/ready
	$(RUN) main.py --mode=study --config=configs/synthetic_baselines.py

test: .venv/ready
	$(RUN) -m pytest -n 2 --dist=loadfile --no-loadscope-reorder

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

# A virtual environment with a list of requirements: $(call install,FOLDER,FILE).
define install
@"$(PYTHON)" -c '$(SUPPORTED)' 2>/dev/null || { echo "Python 3.11, 3.12 or 3.13 is needed, and" \
	"$(or $(PYTHON),python3) is $$($(or $(PYTHON),python3) --version 2>&1):" \
	"install one of them, or name it by make PYTHON=/path/to/python" >&2; exit 1; }
$(PYTHON) -m venv $(1)
$(1)/bin/pip install -qq --disable-pip-version-check -r $(2)
touch $(1)/ready
endef

.venv/ready: requirements.txt
	$(call install,.venv,requirements.txt)

.venv-pod/ready: requirements.txt requirements-pod.txt
	$(call install,.venv-pod,requirements-pod.txt)
