# Needs Python >= 3.11 and make, nothing else; everything goes into .venv and build/.
.DEFAULT_GOAL := help
.PHONY: help tutorial test elsewhere lowest peer widgets lab site notebooks bench refresh weights exercises badges offline lint clean

PY  := .venv/bin/python
PIP := $(PY) -m pip --disable-pip-version-check -qq

# The pinned torch, without a comment that may follow it.
TORCH := $(shell sed -n 's/^torch==\([^ ]*\).*/\1/p' requirements.txt)
CPU_WHEELS := https://download.pytorch.org/whl/cpu

# A moved folder or a vanished interpreter leaves a .venv that looks whole and is not: make it again.
$(shell if [ -e .venv/.packages ] && ! { .venv/bin/python -c '' && \
    [ "$$(cat .venv/.where)" = "$$(pwd -P)" ]; } 2>/dev/null; then rm -f .venv/.packages; fi)

help:  ## list these targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' Makefile

tutorial: .venv/.kit  ## run every notebook on the sample mice; leaves build/notebooks and build/submission
	@$(PY) notebooks/run.py

notebooks: .venv/.kit  ## the same, or one of them: make notebooks ONLY=03, on another mouse: MOUSE=99003-1-1
	@$(PY) notebooks/run.py $(ONLY) $(if $(MOUSE),-p mouse "$(MOUSE)")

lab: .venv/.kit  ## open the notebooks in JupyterLab
	@# first of all the kernel of .venv, whatever else is installed
	@JUPYTER_PATH="$(CURDIR)/.venv/share/jupyter$${JUPYTER_PATH:+:$$JUPYTER_PATH}" \
	    $(PY) -m jupyterlab --notebook-dir=notebooks

site: build/site/.done  ## build the site, build/site/html/index.html: course, how-to pages, glossary, reference
	@build/site/bin/python docs/build.py

lint: .venv/.kit  ## ruff, the order of imports, and types
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	.venv/bin/lint-imports --no-logo
	.venv/bin/ty check --quiet --python .venv kit

# Two workers with one thread each: on few cores more threads are slower, not faster.
# CI silences progress bars; the sample mice are made once, in build/, for all the tests.
# Notebooks and tests are one queue, the longest first: no worker is idle while the other has work.
test elsewhere lowest peer widgets: export CI := 1
test elsewhere lowest peer widgets: export OMP_NUM_THREADS := 1
test lowest peer widgets: export KIT_DATA_DIR := $(CURDIR)/build/test-data
test: export KIT_OFFLINE := 1
test lowest widgets: export PYDEVD_DISABLE_FILE_VALIDATION := 1
test: lint peer build/scorer/.done build/site/.done  ## lint, comparisons with 2022, then committed notebooks (nbval) and all tests
	$(PY) -m pytest -n 2 --dist loadgroup --nbval-lax --nbval-current-env \
	    --nbval-cell-timeout=1800 --nbval-kernel-startup-timeout=600 notebooks tests

peer: build/peer/.done  ## compare with the library of 2022, and load a challenge as another program does
	build/peer/bin/python -m pytest -q tests/peer tests/hosting/test_croissant.py

widgets: build/widgets/.done  ## run the widgets' tests with the ipywidgets 7 that Colab has
	build/widgets/bin/python -m pytest -q tests/widgets

# What a sample mouse is and what the shipped models score must not depend on the processor: the
# same again as an old one would compute it, on mice that it simulates itself.
elsewhere: export KIT_DATA_DIR := $(CURDIR)/build/elsewhere-data
elsewhere: export ATEN_CPU_CAPABILITY := default
elsewhere: export MKL_CBWR := COMPATIBLE
elsewhere: export MKL_NUM_THREADS := 1
elsewhere: export ONEDNN_MAX_CPU_ISA := SSE41
elsewhere: export OPENBLAS_CORETYPE := Nehalem
elsewhere: export OPENBLAS_NUM_THREADS := 1
elsewhere: .venv/.kit  ## simulate the mice and score the shipped models as another processor would
	@# numpy names only what this machine has: it refuses to switch off anything else
	NPY_DISABLE_CPU_FEATURES="$$($(PY) tests/cpu_features.py)" \
	    $(PY) -m pytest -n 2 --dist loadgroup tests/data/test_simulation.py tests/models/test_pretrained.py

lowest: .venv/.kit  ## run the tests at the lowest versions that pyproject.toml allows (Python 3.11)
	$(PY) -m venv --clear build/lowest
	build/lowest/bin/python -m pip --disable-pip-version-check -qq install uv
	build/lowest/bin/uv pip install -q --python build/lowest/bin/python --resolution lowest-direct \
	    -e ".[notebooks,cluster,test]" "setuptools>=77" "pyparsing==3.1.4"  # later ones warn of how matplotlib 3.8 calls them
	build/lowest/bin/python -m pytest -n 2 --dist loadgroup tests

refresh: .venv/.kit  ## run the committed notebooks in place, then rewrite README's table and pictures
	@$(PY) notebooks/run.py --in-place
	@$(PY) notebooks/make_exercises.py
	$(PY) benchmarks/readme.py
	$(PY) -m pytest -q tests/browser/test_lab.py -k playground
	cp build/browser/07-playground.png benchmarks/playground.png

bench: build/peer/.done  ## time opening, steps, predictions and memory beside the 2022 library, threads, the laboratory, the page, the widgets, the competition
	build/peer/bin/python benchmarks/bench.py
	$(PY) benchmarks/threads.py
	$(PY) benchmarks/lab.py
	$(PY) benchmarks/page.py
	$(PY) benchmarks/widgets.py
	$(PY) benchmarks/challenge.py

weights: .venv/.kit  ## train the sample models again: kit/weights and their card
	$(PY) benchmarks/weights.py

exercises: .venv/.kit  ## make the exercise notebooks from the solutions
	@$(PY) notebooks/make_exercises.py

badges: .venv/.kit  ## write the repository's name, set in pyproject.toml, into badges and %pip lines
	@$(PY) notebooks/badges.py

offline: .venv/.kit  ## pack a folder for USB sticks that installs without a network, and try it; SOLUTIONS=no leaves them out
	@$(PY) workshop/offline.py --cpu-wheels $(CPU_WHEELS) $(if $(filter no,$(SOLUTIONS)),--without-solutions)

clean:  ## remove everything that make has made
	rm -rf .venv build notebooks/build notebooks/solutions/build .pytest_cache .ruff_cache .import_linter_cache .hypothesis *.egg-info

# Two stamps, each written last: an interrupted install is done again from the start.
# Only changed pins rebuild .venv; changed metadata or settings reinstall the kit alone (seconds).
.venv/.kit: .venv/.packages pyproject.toml
	@$(PIP) install --no-deps --no-build-isolation -e .
	@touch $@

# Environments on top of .venv: the library of 2022 and what that imports; Colab's ipywidgets; Sphinx.
build/peer/.done: tests/peer/requirements.txt
build/widgets/.done: tests/widgets/requirements.txt
build/site/.done: docs/requirements.txt
build/peer/.done build/widgets/.done build/site/.done: build/%/.done: .venv/.kit
	@echo "installing $(filter %.txt,$^) into build/$*"
	@$(PY) -m venv --clear build/$*
	@where='import sysconfig; print(sysconfig.get_path("purelib"))'; \
	    echo "import site; site.addsitedir('$$($(PY) -c "$$where")')" \
	    > "$$(build/$*/bin/python -c "$$where")/kit.pth"
	@build/$*/bin/python -m pip --disable-pip-version-check -qq install -r $(filter %.txt,$^)
	@touch $@

# What the hosting platform has, for its scoring program: Python 3.12 where there is one, numpy 1.26
# and nothing else. There is none for Python 3.13; tests then use .venv.
build/scorer/.done: .venv/.kit
	@echo "installing numpy 1.26 into build/scorer"
	@python3.12 -m venv --clear build/scorer 2>/dev/null || $(PY) -m venv --clear build/scorer
	@build/scorer/bin/python -m pip --disable-pip-version-check -qq install --only-binary :all: \
	    "numpy==1.26.4" || rm -f build/scorer/bin/python
	@touch $@

.venv/.packages: requirements.txt
	@python="$(PYTHON)"; \
	for p in $${python:-python3 python3.14 python3.13 python3.12 python3.11}; do \
	    if "$$p" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; \
	    then found=$$p; break; fi; \
	done; \
	if [ -z "$$found" ]; then \
	    echo "The kit needs Python 3.11 or newer, and $${python:-python3} is not;" \
	         "install it, or name one: make PYTHON=/path/to/python3.11"; exit 1; \
	fi; \
	echo "making .venv with $$("$$found" --version) (once, a few minutes)"; \
	"$$found" -m venv --clear .venv
	@# A plain torch on Linux brings gigabytes of CUDA, of no use without an NVIDIA driver.
	@if [ "$$(uname)" = Linux ] && ! nvidia-smi >/dev/null 2>&1; then \
	    echo "installing torch $(TORCH), CPU build (no NVIDIA driver found)"; \
	    $(PIP) install "torch==$(TORCH)+cpu" 2>/dev/null || \
	    $(PIP) install "torch==$(TORCH)+cpu" --extra-index-url $(CPU_WHEELS) 2>/dev/null || \
	    echo "no CPU build was found, taking the full one (several gigabytes)"; \
	fi
	@echo "installing the packages of requirements.txt"
	@$(PIP) install -r requirements.txt
	@pwd -P > .venv/.where
	@touch $@
