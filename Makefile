# What each way of switching the debug registers costs at guest entry and exit on ARM. Start with: make help

BOARD    ?= qemu-neoverse-n1
PROFILE  ?= default
KERNEL   ?=
KCONFIG  ?=
LLVM     ?=
ENDS     ?=
comma    := ,
blank    := $() $()
# A name of what is asked for, without what means something to make, to a path or in a kernel.
named     = $(addprefix -,$(subst /,-,$(subst =,-,$(subst :,-,$(subst $(comma),-,$(1))))))
# A series that is kept as lines becomes a repository, whose base and branch have these names. The words of its letter are those of the
# one that is shipped, whatever campaign the letter is of.
WORDS  :=
ifneq ($(SERIES),)
WORDS  := paper/series$(call named,$(basename $(notdir $(SERIES))))/series.txt
REPO   := .cache/$(basename $(notdir $(SERIES)))
BASE   := base
BRANCH := topic
endif
CAMPAIGN ?= data/$(if $(SERIES)$(filter series,$(MAKECMDGOALS)),series$(call named,$(if $(SERIES),$(basename $(notdir $(SERIES))),$(BRANCH))),$(PROFILE)$(call named,$(KERNEL)))
TITLE    ?= KVM: arm64: switch the debug registers only when needed
VERSION  ?= 1
SINCE    ?=
SMALLEST ?= 1%
REPO     ?= .
BRANCH   ?=
BASE     ?=
TOOL     ?= git
KEEP     ?=
TO       ?=
COPY     ?=
CELLS    ?=
GUESTS   ?=
WORKLOADS ?=
LONGER   ?=
TABLE    ?=
FLEET    ?= boards.toml
GIC      ?=
EXITS    ?=
SERIES    ?=
PIXELS   ?= 1600
PORT     ?= 8000
NEWCOMER ?= make study; make test

PYTHON   ?= python3
BIN      := .venv/bin
STUDY    := $(BIN)/study
# The last part of the campaign's path: what is a blank there, make would take for the end of a word.
PATHS    := $(subst $(blank),|,$(CAMPAIGN))
OUT      := paper/$(subst |,$(blank),$(notdir $(PATHS:/=)))
PAGES    := $(OUT)/notebooks

# Free text reaches a recipe through the environment, so that the shell never reads it as code.
# What builds kernels is of the user's own only if it was said here: an environment's CC is for other programs.
STUDY_CC      := $(if $(filter command,$(firstword $(origin CC))),$(CC))
STUDY_LLVM    := $(LLVM)
STUDY_KCONFIG := $(KCONFIG)
export STUDY_CC STUDY_LLVM STUDY_KCONFIG ENDS
export BOARD PROFILE FLEET KERNEL EXITS SERIES CAMPAIGN TITLE VERSION SINCE SMALLEST URL REPO BRANCH BASE TOOL KEEP TO COPY CELLS GUESTS WORKLOADS LONGER TABLE PIXELS PORT PYTHON OUT PAGES WORDS NEWCOMER

.DEFAULT_GOAL := help
.PHONY: help study series fleet setup setup-python setup-system setup-board doctor collect receipts guests analyze figures mail reply html serve lab module simulation bench \
        test check newcomer faults fuzz lint lock clean

help:  ## explain every target
	@echo "make study            everything: set up, collect, analyse, letter and page ($$BOARD, PROFILE=$$PROFILE)"
	@echo "make test             the tests, on real emulated boards"
	@echo
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1|\2/p' Makefile | while IFS='|' read name what; do printf '  %-14s %s\n' "$$name" "$$what"; done
	@echo
	@echo "Variables, with what they are now:"
	@echo "  BOARD=$$BOARD   what is measured; $(STUDY) boards lists them"
	@echo "  KERNEL=$$KERNEL   which kernels, such as 7.3 or 6.1,6.12,6.18,7.3; empty for 6.1 on an emulated board, and any on yours"
	@echo "  KERNEL=base=git:v7.3,v2=git:topic REPO=../linux   your own, built here; git:. is the working tree, mine=image:FOLDER an Image and config"
	@echo "  KCONFIG=FILE, LLVM=1, CC=...   more options for kernels that are built, and another compiler"
	@echo "  REPO=../linux BASE=v7.3 BRANCH=topic   with make series: what is built; ENDS=1 leaves out what is between base and tip"
	@echo "  SERIES=paper/series/debug-registers.toml   with make series and make mail: a series that is kept as the lines that it adds"
	@echo "  PROFILE=$$PROFILE   quick (1 min), default (3 min) or full (20 min a board); a rig takes half a minute"
	@echo "  GIC=no   guests without an interrupt controller, where a host can give them none"
	@echo "  EXITS=hvc,sysreg   what is measured of hvc, sysreg, wfx, vgic, mmio; wfx takes a GICv3, vgic a GIC"
	@echo "  CAMPAIGN=$$CAMPAIGN   folder of the data; results go to $$OUT"
	@echo "  TITLE, VERSION   of the series, for the letter; SINCE=data/v1 is what its last version reported; URL= is where data and page are"
	@echo "  BRANCH=topic REPO=../linux BASE=v7.3   with make mail: put the letter into that series; TOOL=git or b4, TO=, COPY="
	@echo "  KEEP=description or commit   where b4 keeps the letter of a branch that it does not know yet; else as it is configured"
	@echo "  SMALLEST=$$SMALLEST   the share that matters: differences that are not larger are of no interest"
	@echo "  CELLS='board=qemu-neoverse-n1 exit=hvc guest=mde'   what make reply shows, and make receipts traces"
	@echo "  GUESTS=linux-armmp WORKLOADS=timer,hackbench LONGER=20 TABLE=guests.toml   with make guests, on qemu-cortex-a57 by default"
	@echo "  PIXELS=$$PIXELS   width of the figures as PNG"
	@echo "  NEWCOMER='$$NEWCOMER'   what make newcomer runs"
	@echo "  STUDY_MODULE, STUDY_SSH_PYTHON, STUDY_SSH_CONFIG   for BOARD=ssh:HOST: the module's file, Python there, ssh's configuration"
	@echo "  STUDY_APT_SOURCES   a sources.list for the emulated board, where the machine's own will not do"

study:  ## set up, collect, analyse, write letter, figures and page
	@$(MAKE) --no-print-directory setup
	@$(MAKE) --no-print-directory collect
	@$(MAKE) --no-print-directory analyze mail html
	@echo
	@echo "letter:   $$OUT/letter.txt"
	@echo "figures:  $$OUT/figures.md"
	@echo "page:     paper/html/index.html"

series: setup-python  ## build BASE and each commit of BRANCH in REPO, measure every exit, and say what each patch moves
	@$(STUDY) series --repo "$$REPO" $(if $(SERIES),--lines "$$SERIES",--base "$$BASE" --branch "$${BRANCH:-HEAD}") --campaign "$$CAMPAIGN" \
	  $(if $(filter command,$(firstword $(origin BOARD))),--boards "$$BOARD") $(if $(ENDS),--ends) $(if $(EXITS),--exits "$$EXITS") $(if $(filter no,$(GIC)),--no-gic)
	@$(MAKE) --no-print-directory analyze html
	@echo
	@echo "table:    $$OUT/patches.md"
	@echo "figure:   $$OUT/patches.svg"
	@echo "page:     paper/html/index.html"
	@echo "letter:   make mail CAMPAIGN=$$CAMPAIGN BRANCH=$$BRANCH REPO=$$REPO BASE=$$BASE TITLE=..."

setup: setup-board  ## install what is needed, and build the emulated board

# --- what must be there -------------------------------------------------------------------------------------------

# Who cannot begin without a program, as packages.txt has it: the tests, or boards of a kind, named by the first word of
# BOARD. An arm64 machine builds with its own compiler.
KIND    = $(if $(filter test faults,$(MAKECMDGOALS)),tests,$(if $(filter check,$(MAKECMDGOALS)),check,$(if $(filter series,$(MAKECMDGOALS)),qemu build,$(if $(filter study setup%,$(MAKECMDGOALS)),$(firstword $(subst -, ,$(subst :, ,$(BOARD)))) $(if $(findstring git:,$(KERNEL)),build)))))
BUILDER = $(if $(filter aarch64,$(shell uname -m)),native,cross)
WHO     = all $(KIND) $(if $(filter qemu rig local ssh tests build,$(KIND)),$(BUILDER))
TOOLS   = $(shell sed -En 's/^([a-z\/][^ ]*) +([^ ]+) (.* )?($(subst $(blank),|,$(strip $(WHO))))( .*)?$$/\1=\2/p' packages.txt)
OLDEST := $(shell sed -n 's/^requires-python = ">=\(.*\)"/\1/p' pyproject.toml)

setup-system:
	@lacking=; packages=; \
	for tool in $(TOOLS); do \
	  command -v "$${tool%%=*}" >/dev/null || [ -e "$${tool%%=*}" ] || { lacking="$$lacking $${tool%%=*}"; packages="$$packages $${tool#*=}"; }; done; \
	[ -e .venv/ready ] || "$$PYTHON" -c 'import ensurepip' 2>/dev/null || { lacking="$$lacking $$PYTHON with its ensurepip"; packages="$$packages python3-venv"; }; \
	[ -z "$$packages" ] && exit 0; \
	if ! command -v apt-get >/dev/null; then \
	  echo "Missing, and to be had from this system's own packages:$$lacking (Debian's packages would be:$$packages)" >&2; exit 1; fi; \
	if [ "$$(id -u)" = 0 ]; then sudo=; elif sudo -n true 2>/dev/null; then sudo=sudo; else \
	  { echo "These packages are needed. Run this, then make again:"; echo "  sudo apt-get install --no-install-recommends$$packages"; } >&2; exit 1; fi; \
	echo "installing$$packages"; \
	$$sudo apt-get -qq update && DEBIAN_FRONTEND=noninteractive $$sudo apt-get -qq install --yes --no-install-recommends $$packages >/dev/null
	@[ -e .venv/ready ] || "$$PYTHON" -c 'import sys; sys.exit(sys.version_info < ($(subst .,$(comma),$(OLDEST))))' || { \
	  echo "$$PYTHON is $$("$$PYTHON" --version 2>&1), and Python $(OLDEST) or later is needed: name another with PYTHON=" >&2; exit 1; }

setup-python: .venv/ready

.venv/ready: requirements.lock pyproject.toml | setup-system
	@echo "installing the Python packages of requirements.lock into .venv (about a minute)"
	@"$$PYTHON" -m venv .venv
	@PYTHONWARNINGS=ignore $(BIN)/pip install --quiet --disable-pip-version-check --no-compile --no-deps --require-hashes -r requirements.lock  # compiled where used
	@PYTHONWARNINGS=ignore $(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

setup-board: setup-python
	@case "$$BOARD" in \
	  qemu-*) $(STUDY) image --kernels "$$KERNEL" --repo "$$REPO";; \
	  rig-cortex-a15|rig-cortex-a7) $(STUDY) rig armv7;; \
	  rig-*) $(STUDY) rig aarch64;; esac

# --- the study ----------------------------------------------------------------------------------------------------

doctor: setup-python  ## ready to measure? What is wrong with BOARD, and what mends it
	@$(STUDY) doctor "$$BOARD"

collect: setup-python  ## measure what the campaign still lacks on BOARD, with notebooks/collect.ipynb
	@$(STUDY) notebook collect "$$PAGES/collect-$$(printf %s "$$BOARD" | tr /: -).ipynb" --profile "$$PROFILE" -p board "$$BOARD" -p campaign "$$CAMPAIGN" -p kernels "$$KERNEL" $(if $(findstring git:,$(KERNEL)),-p repo "$$REPO") $(if $(EXITS),-p exits "$$EXITS") $(if $(filter no,$(GIC)),-p gic False)

fleet: setup-python  ## measure all boards of the file FLEET at the same time into CAMPAIGN
	@$(STUDY) collect --fleet "$$FLEET" --campaign "$$CAMPAIGN" --profile "$$PROFILE" $(if $(KERNEL),--kernels "$$KERNEL" --repo "$$REPO") $(if $(EXITS),--exits "$$EXITS") $(if $(filter no,$(GIC)),--no-gic)

guests: setup-python  ## real guests under the board's KVM: what they do with the debug registers, and what each strategy costs them
	@$(STUDY) guests $(if $(filter-out file,$(origin BOARD)),--board "$$BOARD") --campaign "$$CAMPAIGN" --profile "$$PROFILE" $(if $(KERNEL),--kernels "$$KERNEL" --repo "$$REPO") \
	  $(if $(GUESTS),--guests "$$GUESTS") $(if $(WORKLOADS),--workloads "$$WORKLOADS") $(if $(LONGER),--longer "$$LONGER") $(if $(TABLE),--table "$$TABLE")
	@$(STUDY) census "$$CAMPAIGN"

receipts: setup-python  ## trace CAMPAIGN on its emulated boards, or on BOARD: what a round trip is made of, function by function
	@$(STUDY) trace "$$CAMPAIGN" $(if $(filter command,$(firstword $(origin BOARD))),--board "$$BOARD") $(if $(CELLS),--cells "$$CELLS")

analyze: setup-python  ## figures and tables of CAMPAIGN, with notebooks/analyze.ipynb
	@$(STUDY) notebook analyze "$$PAGES/analyze.ipynb" -p campaign "$$CAMPAIGN" -p pixels "$$PIXELS" -p smallest "$$SMALLEST"

figures: analyze  ## the same: the figures are made with the tables

mail: setup-python  ## the cover letter of CAMPAIGN, with notebooks/cover-letter.ipynb; with BRANCH= into its series
	@[ ! -e "$$WORDS" ] || [ -e "$$OUT/series.txt" ] || { mkdir -p "$$OUT" && cp "$$WORDS" "$$OUT/series.txt"; }
	@$(STUDY) notebook cover-letter "$$PAGES/cover-letter.ipynb" -p campaign "$$CAMPAIGN" -p title "$$TITLE" -p version "$$VERSION" -p since "$$SINCE" -p url "$$URL" -p smallest "$$SMALLEST"
	@[ -z "$$BRANCH" ] || $(STUDY) mail "$$OUT/letter.txt" "$$OUT/series" --repo "$$REPO" --branch="$$BRANCH" --base="$$BASE" \
	  --tool "$$TOOL" --keep "$$KEEP" --version "$$VERSION" --to="$$TO" --cc="$$COPY"

reply: setup-python  ## a table of CELLS for a reply on the list
	@$(STUDY) reply "$$CAMPAIGN" --cells "$$CELLS"

html: analyze  ## static pages of CAMPAIGN, and of all others that were analysed, in paper/html
	@$(STUDY) html "$$CAMPAIGN"

serve: setup-python  ## show paper/html in a browser, on this machine only
	@[ -e paper/html/index.html ] || { echo "there is no page yet; make one with: make html CAMPAIGN='$$CAMPAIGN'"; exit 1; }
	@$(BIN)/python -m http.server --bind 127.0.0.1 --directory paper/html "$$PORT"

lab: setup-python  ## open the notebooks in JupyterLab, on this machine only
	@$(BIN)/jupyter lab --ServerApp.ip=127.0.0.1 --notebook-dir=notebooks $(if $(filter 0,$(shell id -u)),--allow-root)

module: setup-python  ## on an arm64 board: build the kernel module for the kernel that runs
	@$(STUDY) module

simulation: setup-python  ## what intervals and verdicts are worth, on campaigns whose truth is known (5 minutes)
	@$(STUDY) notebook simulation paper/simulation/notebooks/simulation.ipynb

# --- the house ----------------------------------------------------------------------------------------------------

test: setup-python  ## lint and test: boots emulated boards, builds two kernels, about half an hour
	@$(MAKE) --no-print-directory lint
	@$(BIN)/pytest

check: setup-python  ## lint and all tests that need neither emulator nor browser nor network: about two minutes
	@$(MAKE) --no-print-directory lint
	@PYTEST_CHECK=yes $(BIN)/pytest -m 'not board and not browser' --numprocesses 2

newcomer: setup-python  ## the two commands on a minimal Debian 12 of their own, as root and as a user without sudo (as root; an hour)
	@$(BIN)/python -m tests.newcomer --commands "$$NEWCOMER"

faults: setup-python  ## kill, starve and confuse campaigns in every way, and count what is lost (15 minutes)
	@$(BIN)/python -m tests.faults

fuzz: setup-python  ## feed rubbish to everything that reads a file, 100 000 times (5 minutes)
	@$(BIN)/python -m tests.fuzz

lint: setup-python  ## ruff and mypy
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/mypy --python-version 3.10 --package study.collect.onboard --module study.factors  # what boards run; mypy knows nothing older

bench: setup-python  ## what the study costs beside what it measures, as ratios of one run (three quarters of an hour; let nothing else run)
	@$(BIN)/python -m study.bench

lock: setup-python  ## resolve the Python packages anew (needs uv), and write environment.yml
	uv pip compile --quiet pyproject.toml --extra dev --generate-hashes --no-emit-index-url --no-emit-find-links \
	  --no-header --no-annotate --universal --python-version $(OLDEST) --upgrade --output-file requirements.lock
	$(BIN)/pyproject2conda yaml --output environment.yml --overwrite force

clean:  ## remove what was built (campaigns stay)
	rm -rf .venv .cache .mypy_cache .ruff_cache .pytest_cache .hypothesis *.egg-info
