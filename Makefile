# What a person types. Everything else is in docs/.
# Empty: the newest suitable one that is installed (tools/python).
PYTHON ?=
INVENTORY ?= inventory/lab
BIN := $(CURDIR)/.venv/bin
export PATH := $(BIN):$(PATH)
export PYTHON
SHELL := /bin/bash

.PHONY: help site test test-all check check-trixie arm64 lint unit setup setup-browser setup-arm64 packages venv lab-up lab-down lock bench hardware-check

help:
	@echo 'make site      virtual lab from nothing, then site.yml to the report'
	@echo 'make test      lint, unit tests, then on labs of their own: the whole journey with a browser, and a cluster'"'"'s life'
	@echo 'make test-all  the same, with the image for Raspberry Pis, control processes killed in every stage, failed cards, the Ingress, three servers, a board flashed by hand, first boots cut short, and a board of arm64'
	@echo 'make check     lint and unit tests alone, no lab'
	@echo 'make check-trixie  the same on Debian 13, in a root file system made for it'
	@echo 'make arm64     builds the image for Raspberry Pis, and runs it by qemu-user as their processor'
	@echo 'make lab-up lab-down   the virtual boards alone (docs/lab.md)'
	@echo 'make hardware-check INVENTORY=inventory/home   what real boards are and how fast, in a report without addresses and names'
	@echo 'make venv      only the Python environment: enough for real boards (docs/hardware.md)'

setup:
	@tools/setup

# 130 MB of packages more.
setup-browser:
	@tools/setup --browser

# What runs programs of a Raspberry Pi here, and whole boards: 80 MB of packages more.
setup-arm64:
	@tools/setup --no-lab --arm64

# For what starts no virtual board: this machine need not be able to carry the lab.
packages:
	@tools/setup --no-lab

venv:
	@tools/venv

site: setup lab-up
	ansible-playbook -i $(INVENTORY) site.yml

lab-up: setup
	python -m lab up

hardware-check: venv
	ansible-playbook -i $(INVENTORY) playbooks/hardware-check.yml

lab-down: setup
	python -m lab down

check: lint unit

test: setup-browser check
	PYTEST_ADDOPTS='-m "not extended"' molecule test
	PYTEST_ADDOPTS='-m "not interrupted and not extended" --begin=finished' molecule test -s lifecycle

# With the Python and the ansible-core that Debian 13 gets.
check-trixie: packages
	tools/check-in-root trixie

arm64: setup-arm64
	pytest -v --durations=0 tests/arm64-image

test-all: setup-browser check check-trixie arm64
	molecule test
	molecule test -s lifecycle
	molecule test -s failed-cards
	molecule test -s ingress
	molecule test -s three-servers
	molecule test -s by-hand
	molecule test -s first-boot
	molecule test -s arm64

lint: packages
	tools/lint

unit: packages
	pytest -q --numprocesses auto --dist loadfile --no-loadscope-reorder tests/unit
	. lab/k3s/env.sh && go -C lab/k3s test ./...

lock:
	tools/lock
