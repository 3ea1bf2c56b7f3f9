# Two commands for a fresh machine: `make demo` and `make test`. Both set everything up and are safe to repeat.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# Settings for every run of ours on a CPU: idle OpenMP threads sleep instead of spinning against their neighbours.
export OMP_WAIT_POLICY ?= PASSIVE
# Every process of the tests would compile what the first one has compiled.
unexport PYTHONDONTWRITEBYTECODE

# Where CIFAR-100 is for the study, and a time such as 90m, in which no run is begun
# that cannot end (the longest teacher takes two hours of a core).
STUDY_DATA ?= ../shared/data/cifar100
STUDY_TIME ?=

# Of torch, torchvision and Python, what the suite is run with besides constraints.txt: TORCHES=2.6.0,0.21.0,python3.11
TORCHES ?= 2.6.0,0.21.0,python3.11 2.11.0,0.26.0,python3.12
VERSION_TESTS ?= -n auto --dist worksteal -m "not slow and not gpu"

.PHONY: help setup demo dist notebooks docs lint test test-slow test-gpu test-versions bench mutation study study-status clean

help:
	@echo "make demo       teacher, students, scores and a choice on the bundled digits"
	@echo "make notebooks  execute the notebooks of analysis/, outputs and all; any error ends it"
	@echo "make test       ruff, mypy, codespell, the documentation and the tests"
	@echo "make docs       the documentation as a site: open site/index.html"
	@echo "make test-slow  the long tests: the published code's values on real images"
	@echo "make test-gpu   the tests that need a CUDA device"
	@echo "make test-versions  the tests with other versions of torch, each in an environment of its own (several GB each)"
	@echo "make study      go on with the study on CIFAR-100, at the lowest priority (STUDY_DATA=DIR, STUDY_TIME=90m)"
	@echo "make study-status  how far it is, and how long is left"
	@echo "make bench      speed of scoring, training and statistics against plain references, and what a sweep adds"
	@echo "make dist       wheel and sdist in dist/, and the demo from that wheel in an environment of its own"
	@echo "make mutation   500 wrong versions of the code against the tests: which does no test notice?"

setup: $(STAMP)

$(STAMP): setup.cfg pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev,docs]'
	touch $(STAMP)

demo: $(STAMP)
	$(BIN)/dametric demo -o demo

# The wheel is installed where no file of this folder is seen: what it lacks is missed here.
dist: $(STAMP)
	rm -rf dist
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev,release]'
	$(BIN)/python -m build --outdir dist .
	$(PYTHON) -m venv dist/environment
	dist/environment/bin/python -m pip install --quiet --constraint constraints.txt dist/*.whl
	cd dist && environment/bin/dametric --version && environment/bin/dametric demo -o demo

notebooks: $(STAMP)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev,notebooks]'
	$(BIN)/python -m experiments.notebooks

# Without a network; any link to nowhere ends it. Its search wants a server: python -m http.server -d site
docs: $(STAMP)
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs --quiet build --strict

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/codespell

test: lint docs
	$(BIN)/python -m pytest -n auto --dist worksteal -m "not slow and not gpu"

test-slow: $(STAMP)
	$(BIN)/python -m pytest -m "slow and not gpu"

# Such a machine comes with a torch of its own, which is used: nothing is installed.
test-gpu:
	$(PYTHON) -m pytest -m gpu

# Each in an environment of its own below .versions/, made once; the versions of everything else are those of
# constraints.txt as far as that torch takes them.
test-versions: $(TORCHES:%=test-version-%)

test-version-%: .versions/%/.installed
	OMP_NUM_THREADS=1 $(<D)/bin/python -m pytest $(VERSION_TESTS)

comma := ,
.PRECIOUS: .versions/%/.installed
.versions/%/.installed: setup.cfg pyproject.toml constraints.txt
	test -x $(@D)/bin/python || $(word 3,$(subst $(comma), ,$*)) -m venv $(@D)
	grep -vE '^(torch|torchvision|triton|sympy|nvidia-.*|cuda-.*)==' constraints.txt > $(@D)/constraints.txt
	$(@D)/bin/python -m pip install --quiet --constraint $(@D)/constraints.txt --editable '.[dev]' \
		torch==$(word 1,$(subst $(comma), ,$*)) torchvision==$(word 2,$(subst $(comma), ,$*))
	touch $@

bench: $(STAMP)
	$(BIN)/python -m experiments.benchmarks.score
	$(BIN)/python -m experiments.benchmarks.train
	$(BIN)/python -m experiments.benchmarks.sweep
	$(BIN)/python -m experiments.benchmarks.statistics

mutation: $(STAMP)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev,mutation]'
	OMP_NUM_THREADS=1 $(BIN)/python -m experiments.mutation

study: $(STAMP)
	nice -n 19 $(BIN)/python -m experiments.study.run --data $(STUDY_DATA) $(if $(STUDY_TIME),--time-budget $(STUDY_TIME))

study-status: $(STAMP)
	@$(BIN)/python -m experiments.study.status

clean:
	rm -rf $(VENV) .versions demo build dist site *.egg-info
