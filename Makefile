# Every command is one of `cargo xtask`; `make help` lists them.

.PHONY: help demo build test test-long scenarios bench lint setup coverage

help:
	@echo 'make demo        HTTP through the switch, from nothing, on this machine'
	@echo 'make test        everything that can be tested here (what cannot is named)'
	@echo 'make test-long   the same, long forms'
	@echo 'make scenarios   the part with real traffic alone'
	@echo 'make bench       measurements'
	@echo 'make build       all programs, optimised, in target/release'
	@echo 'make lint        format, clippy, tidy'
	@echo 'make setup       install what is missing (Debian 12; asks for root)'
	@echo 'make coverage    which requirement has code, which has a test'

demo:
	@cargo xtask demo

build:
	@cargo xtask build

test:
	@cargo xtask test

test-long:
	@cargo xtask test --long

scenarios:
	@cargo xtask scenarios

bench:
	@cargo xtask bench

lint:
	@cargo xtask lint

setup:
	@cargo xtask setup

coverage:
	@cargo xtask coverage
