# Every target is one call of the `levelbench` command; `make help` lists them.
# Variables: BACKEND MODEL USERS DURATION WORKLOAD PROFILE RELEASE RUNTIME ACCELERATOR GPUS PREFIX_CACHE EXTRA_ARG SERVING
#            PORT BASE RUN JSON PLAN KEEP METHOD WAIT CELL GPU_PRICE OUT
# for nightly: MATRIX SUBSET ONLY SEED NEW RESUME FAILED; over several hosts FLEET PARTITION GRES LOGIN RESULTS PUSH PIN
# HOST runs any of them on another host
# for reproduce, compare, export, import: RESULT FROM ALSO A B OUT FILE
# and for selftest: FULL SAVE PEERS SHARDS

PYTHON ?= python3
VENV ?= .venv
# Processes that `make test` runs on: most tests wait more than they compute
JOBS ?= 4

# Values go to the shell as they were typed: expanded by neither make nor the shell, quoted, not exported.
unexport BACKEND MODEL USERS DURATION WORKLOAD PROFILE RELEASE RUNTIME ACCELERATOR GPUS PREFIX_CACHE EXTRA_ARG SERVING METHOD
unexport PORT BASE RUN MARK KEEP PEERS SHARDS CELL MATRIX SUBSET ONLY SEED RESUME FLEET PARTITION GRES LOGIN RESULTS PUSH PIN
unexport RESULT FROM ALSO A B OUT FILE GPU_PRICE
quoted = '$(subst ','\'',$(value $(1)))'
word_of = $(if $(value $(1)),$(call quoted,$(1)))
option = $(if $(value $(2)),--$(1) $(call quoted,$(2)))
# HOST counts on the command line only: some shells export a HOST of their own
ON_HOST = $(if $(filter command line,$(origin HOST)),on $(call quoted,HOST))
LEVELBENCH = $(VENV)/bin/levelbench $(ON_HOST) $(call option,base-image,BASE) $(call option,port,PORT) $(if $(WAIT),--wait)
OPTIONS = $(call option,backend,BACKEND) $(call option,model,MODEL) $(call option,users,USERS) \
	$(call option,duration,DURATION) $(call option,workload,WORKLOAD) $(call option,profile,PROFILE) \
	$(call option,release,RELEASE) $(call option,runtime,RUNTIME) $(call option,accelerator,ACCELERATOR) $(call option,gpus,GPUS) \
	$(call option,prefix-cache,PREFIX_CACHE) $(call option,extra-arg,EXTRA_ARG) \
	$(call option,serving,SERVING) \
	$(if $(JSON),--json)

.DEFAULT_GOAL := help
.PHONY: help bench nightly plan quantize report site history reproduce claims compare export import doctor selftest test check clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-11s%s\n", $$1, $$2 }' Makefile

bench: $(VENV)/.ready ## measure an engine: BACKEND=llama-cpp,vllm MODEL=small USERS=1,4,16 (PLAN=1 only plans)
	@$(LEVELBENCH) $(if $(PLAN),plan,bench) $(OPTIONS)

nightly: $(VENV)/.ready ## measure a whole matrix: MATRIX=article SUBSET=first ONLY=backend=vllm PLAN=1; goes on after a crash (NEW=1: not); FLEET=slurm on a cluster
	@$(LEVELBENCH) $(if $(value RESUME),resume $(call quoted,RESUME) $(if $(FAILED),--only-failed),\
		matrix $(or $(call word_of,MATRIX),article) $(call option,subset,SUBSET) $(call option,only,ONLY) \
		$(call option,seed,SEED) $(call option,fleet,FLEET) $(call option,partition,PARTITION) $(call option,gres,GRES) \
		$(call option,login,LOGIN) $(call option,results,RESULTS) $(call option,push,PUSH) $(call option,pin,PIN) \
		$(if $(PLAN),--plan) $(if $(NEW),--new)) $(if $(JSON),--json)

plan: $(VENV)/.ready ## print what bench would do, and touch nothing
	@$(LEVELBENCH) plan $(OPTIONS)

quantize: $(VENV)/.ready ## make a portable checkpoint: MODEL=8b METHOD=awq (then bench MODEL=8b.awq)
	@$(LEVELBENCH) quantize $(call option,model,MODEL) $(call option,method,METHOD) \
		$(call option,runtime,RUNTIME) $(call option,accelerator,ACCELERATOR) $(if $(JSON),--json)

report: $(VENV)/.ready ## write and print the reports of RUN= (default: the latest): GPU_PRICE=1.89 adds the cost per million tokens
	@$(LEVELBENCH) report $(if $(value RUN),$(call quoted,RUN)) $(call option,gpu-price,GPU_PRICE) $(if $(JSON),--json)

site: $(VENV)/.ready ## static pages over all runs: the latest matrix, series over time, every report (OUT=site)
	@$(LEVELBENCH) site $(call option,out,OUT)

reproduce: $(VENV)/.ready ## run one result again: RESULT=article/8b/lmdeploy/u100, runs/RUN or an export (PLAN=1, FROM=run, ALSO=matched)
	@$(LEVELBENCH) reproduce $(call quoted,RESULT) $(if $(PLAN),--plan) $(call option,also,ALSO) \
		$(call option,from,FROM) $(if $(JSON),--json)

claims: $(VENV)/.ready ## what the published benchmark says, and what the newest runs say of it
	@$(LEVELBENCH) claims $(if $(JSON),--json)

compare: $(VENV)/.ready ## hold run B= against run A=, cell by cell
	@$(LEVELBENCH) compare $(call quoted,A) $(call quoted,B) $(if $(JSON),--json)

export: $(VENV)/.ready ## put a run into one file to hand on: RUN= (default: the latest)
	@$(LEVELBENCH) export $(if $(value RUN),$(call quoted,RUN),latest) $(call option,out,OUT)

import: $(VENV)/.ready ## verify an exported run and put it beside the others: FILE=
	@$(LEVELBENCH) import $(call quoted,FILE)

history: $(VENV)/.ready ## print every series of runs, regressions and their causes: BACKEND= MODEL= CELL=
	@$(LEVELBENCH) history $(call option,backend,BACKEND) $(call option,model,MODEL) \
		$(call option,cell,CELL) $(if $(JSON),--json)

doctor: $(VENV)/.ready ## say what this host can measure, and what to do about the rest
	@$(LEVELBENCH) doctor $(if $(JSON),--json)

selftest: $(VENV)/.ready ## measure the load client itself: FULL=1 takes 7 min, SAVE=1, PEERS=aiperf,guidellm,vllm
	@$(LEVELBENCH) selftest $(if $(FULL),--full) $(if $(SAVE),--save) $(call option,peers,PEERS) \
		$(call option,shards,SHARDS) $(if $(JSON),--json)

test: $(VENV)/.ready-dev ## run the tests; MARK=docker, MARK=engine or MARK=browser for those with real parts
	@$(VENV)/bin/python -m pytest $(if $(value MARK),-m $(call quoted,MARK),-n $(JOBS))

check: $(VENV)/.ready-dev ## ruff, format, mypy strict, architecture tests
	@$(VENV)/bin/ruff check . && $(VENV)/bin/ruff format --check . && $(VENV)/bin/mypy && $(VENV)/bin/python -m pytest -q tests/test_architecture.py

clean: $(VENV)/.ready ## remove what dead runs left, images and caches (KEEP=100G: the cache down to that); runs stay
	@$(LEVELBENCH) clean $(call option,keep,KEEP)

$(VENV)/.ready: requirements.lock pyproject.toml
	@PYTHON="$(PYTHON)" VENV="$(VENV)" sh .ci/venv requirements.lock
	@touch $@

$(VENV)/.ready-dev: requirements-dev.lock $(VENV)/.ready
	@PYTHON="$(PYTHON)" VENV="$(VENV)" sh .ci/venv requirements-dev.lock
	@touch $@
