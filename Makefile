PYTHON ?= python3.11
RUN := .venv/bin/python

.PHONY: demo test lint full

# Draws the data set, trains, evaluates, and writes runs/demo/gallery.png: about 12 minutes on 2 cores.
demo: .venv/ready
	$(RUN) main.py --config=configs/synthetic.py --workdir=runs/demo
	$(RUN) main.py --mode=eval --workdir=runs/demo
	$(RUN) main.py --mode=gallery --workdir=runs/demo

test: .venv/ready
	$(RUN) -m pytest

# Full-size networks against the authors' numbers: some gigabytes of memory.
full: .venv/ready
	$(RUN) -m pytest -m full

lint: .venv/ready
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .

.venv/ready: requirements.txt
	$(PYTHON) -m venv .venv
	.venv/bin/pip install --quiet --disable-pip-version-check -r requirements.txt
	touch $@
