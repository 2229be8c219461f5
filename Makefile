# make run      build the proxy and start it on 127.0.0.1:3128
#               (ARGS="--user sam:secret --log json" is passed on)
# make test     build and run the tests
# make check    the tests plain, with each sanitizer and with clang++, warnings
#               as errors, and the format
# make notes    run the commands of the README and the lessons, and compare
# make bench    measure the proxy and its peers side by side (ARGS=--trace: what
#               the trace costs)
# make compare  the same experiments against our proxy and one in Python
#               (REFERENCE=path/to/forward-proxy.py for one of your own)
# make lab      LAB=name: the proxy with a famous defect, and what to try on it
# make labs     show that each of these defects shows, and that a test finds it
# make fuzz     feed the parsers with what nobody would think of
#               (FUZZ_SECONDS=20 for each of them)
# make format   rewrite the sources with clang-format
# make clean    remove build/
#
# What is missing is installed first, by .ci/need, which says what it runs.

KIND ?= plain# or portable, asan, tsan, clang, fuzz: folders under build/
ARGS ?=
JOBS ?= $(shell getconf _NPROCESSORS_ONLN)

FUZZ_SECONDS ?= 20

ifneq ($(filter clang fuzz,$(KIND)),)
CXX = clang++
endif
FLAGS_plain = -O2 -g
FLAGS_clang = -O2 -g
FLAGS_portable = -O1 -g -DPORTABLE_COPY# no splice(2), as on other systems
# vptr opens a pipe to look at memory, and cries wolf in tests without descriptors;
# -Wmaybe-uninitialized does in <regex>.
FLAGS_asan  = -O1 -g -fsanitize=address,undefined -fno-sanitize=vptr \
              -fno-sanitize-recover=all -Wno-maybe-uninitialized
FLAGS_tsan  = -O1 -g -fsanitize=thread
FLAGS_fuzz  = -O1 -g -fsanitize=fuzzer-no-link,address,undefined \
              -fno-sanitize-recover=all

WARN   = -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wold-style-cast
BREW  := $(shell brew --prefix 2>/dev/null)
FLAGS  = -std=c++20 $(WARN) $(WERROR) $(FLAGS_$(KIND)) -I. -pthread -MMD -MP \
         $(if $(BREW),-isystem $(BREW)/include -L$(BREW)/lib)
# Catch2 3 is a library, 2 is one header.
CATCH  = $(shell printf '\043include <catch2/catch_all.hpp>' | \
           $(CXX) $(FLAGS) -E -x c++ - >/dev/null 2>&1 && echo -lCatch2)
OUT    = build/$(KIND)
STORY  = forward_proxy.cpp tunnel.cpp http_relay.cpp
PARTS  = $(filter-out forward_proxy.cpp,$(STORY)) $(wildcard support/*.cpp)
TESTS  = $(wildcard tests/*.cpp)
FUZZED = $(patsubst tests/fuzz/%.cpp,%,$(wildcard tests/fuzz/*.cpp))

all: $(OUT)/forward_proxy

run:
	@.ci/need cxxopts
	@$(MAKE) --no-print-directory -j$(JOBS) all
	@$(OUT)/forward_proxy $(ARGS)

test:
	@.ci/need cxxopts catch2 curl openssl nginx
	@$(MAKE) --no-print-directory -j$(JOBS) $(OUT)/run_tests all
	@$(OUT)/run_tests $(ONLY)

test-portable:
	@$(MAKE) --no-print-directory KIND=portable ONLY='[copy],[tunnel],[relay]' test

check:
	@.ci/need cxxopts catch2 curl openssl nginx clang++ clang-format \
	    python3 python3-websockets python3-requests ip haproxy libfuzzer \
	    git nc wget node chromium
	@.ci/check

fuzz:
	@.ci/need cxxopts clang++ libfuzzer
	@$(MAKE) --no-print-directory -j$(JOBS) KIND=fuzz $(FUZZED:%=build/fuzz/%)
	@.ci/fuzz $(FUZZ_SECONDS) $(FUZZED)

build/fuzz/%: build/fuzz/tests/fuzz/%.o $(PARTS:%.cpp=build/fuzz/%.o)
	$(CXX) $(FLAGS) -fsanitize=fuzzer $^ -o $@

compare:
	@.ci/need cxxopts curl python3
	@$(MAKE) --no-print-directory -j$(JOBS) all
	@python3 tests/compare.py $(REFERENCE) $(if $(MARKDOWN),--markdown)

lab:
	@.ci/need cxxopts git curl openssl python3 nc
	@python3 tests/labs.py --start "$(LAB)" $(ARGS)

labs:
	@.ci/need cxxopts catch2 git curl openssl nginx python3 ip nc
	@$(MAKE) --no-print-directory -j$(JOBS) $(OUT)/run_tests all
	@python3 tests/labs.py

notes:
	@.ci/need cxxopts curl openssl python3 ip nc
	@$(MAKE) --no-print-directory -j$(JOBS) all
	@python3 tests/notes.py

bench:
	@.ci/need cxxopts python3 tinyproxy squid apache2 haproxy
	@$(MAKE) --no-print-directory -j$(JOBS) all build/plain/load
	@python3 tests/bench/bench.py $(ARGS)

build/plain/load: tests/bench/load.cpp
	$(CXX) $(FLAGS) $< -o $@

$(OUT)/forward_proxy: $(STORY:%.cpp=$(OUT)/%.o) $(PARTS:%.cpp=$(OUT)/%.o)
	$(CXX) $(FLAGS) $(sort $^) -o $@

$(OUT)/run_tests: $(PARTS:%.cpp=$(OUT)/%.o) $(TESTS:%.cpp=$(OUT)/%.o)
	$(CXX) $(FLAGS) $^ $(CATCH) -o $@

$(OUT)/%.o: %.cpp
	@mkdir -p $(@D)
	$(CXX) $(FLAGS) -c $< -o $@

$(OUT)/tests/%.o: FLAGS += -DPROXY_BINARY='"$(OUT)/forward_proxy"'

format:
	clang-format -i *.h *.cpp support/*.h support/*.cpp tests/*.h tests/*.cpp \
	    tests/bench/*.cpp tests/fuzz/*.h tests/fuzz/*.cpp

clean:
	rm -rf build

.PHONY: all run test test-portable check fuzz compare lab labs notes bench format clean
.DELETE_ON_ERROR:
-include $(shell find build -name '*.d' 2>/dev/null)
