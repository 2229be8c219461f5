# make run      build the proxy and start it on 127.0.0.1:3128
#               (ARGS="--user sam:secret --log json" is passed on)
# make test     build and run the tests (ONLY='[tunnel]' or a name for some of them)
# make check    the tests with g++ and clang++ and with sanitizers, the format, which
#               folder includes which, fuzzing, peers that are silent, random traffic
# make interop  real clients and servers, other proxies, a network that misbehaves,
#               the labs, and every command of the notes
# make notes    run the commands of the README and the lessons, and compare
# make bench    measure the proxy and its peers side by side (ARGS=--trace: what
#               the trace costs)
# make compare  the same experiments against our proxy and one in Python
#               (REFERENCE=path/to/forward-proxy.py for one of your own)
# make lab      LAB=name: the proxy with a famous defect, and what to try on it
# make lab LAB=mystery   one of them, at random; make lab-guess NAME=... says if
#               it was found
# make labs     check that each of these defects can be seen, and that a test finds it
# make grade    PROXY='python3 my_proxy.py {port}': what a proxy can do, in any
#               language (ARGS="--user sam:secret --verbose"; see tests/grade.py)
# make exercise NAME=pump: a copy in which one function is yours to write (see
#               notes/exercises.md); make grade NAME=pump judges it
# make exercises   check that each can be solved, and that wrong answers are found
# make fuzz     feed the parsers with random input
#               (FUZZ_SECONDS=20 for each of them)
# make coverage print the lines of the product that no test has run
# make mutate   change the product in many places, one at a time, and list the
#               changes that no test notices (SECONDS=600)
# make format   rewrite the sources with clang-format
# make install  copy the proxy and its man page below PREFIX (/usr/local), inside
#               DESTDIR; make uninstall removes both
# make clean    remove build/
#
# Each first installs what it needs and does not find, with .ci/need, which prints the
# command before it runs it.

KIND ?= plain# or asan, tsan, clang, fuzz: folders under build/
ARGS ?=
JOBS ?= $(shell getconf _NPROCESSORS_ONLN)

FUZZ_SECONDS ?= 20
SECONDS ?= 600
PREFIX ?= /usr/local
BINARY = $(DESTDIR)$(PREFIX)/bin/forward_proxy
MANUAL = $(DESTDIR)$(PREFIX)/share/man/man1/forward_proxy.1

ifneq ($(filter clang fuzz,$(KIND)),)
CXX = clang++
endif
FLAGS_plain = -O2 -g
FLAGS_clang = -O2 -g
# vptr opens a pipe to look at memory, so it reports errors that are none in tests that
# have no descriptor left; -Wmaybe-uninitialized does in <regex> and <variant>.
FLAGS_asan  = -O1 -g -fsanitize=address,undefined -fno-sanitize=vptr \
              -fno-sanitize-recover=all -Wno-maybe-uninitialized
FLAGS_tsan  = -O1 -g -fsanitize=thread -Wno-maybe-uninitialized
FLAGS_coverage = -O0 -g --coverage -fprofile-update=atomic -Wl,--wrap=_Exit
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
PARTS  = $(filter-out forward_proxy.cpp,$(STORY)) \
         $(wildcard support/*.cpp support/*/*.cpp)
# UNITS=1: only those tests that call functions of the product themselves.
TESTS  = $(filter-out $(if $(UNITS),$(shell grep -L '"support/' tests/*_test.cpp)), \
           $(wildcard tests/*.cpp))
EXTRA_coverage = build/coverage/tests/coverage/dump_before_exit.o
FORMATTED = $(wildcard $(foreach folder,. support support/* tests tests/bench \
              tests/fuzz,$(folder)/*.h $(folder)/*.cpp))
FUZZED = $(patsubst tests/fuzz/%.cpp,%,$(wildcard tests/fuzz/*.cpp))

all: $(OUT)/forward_proxy

run:
	@.ci/need cxxopts
	@$(MAKE) --no-print-directory -j$(JOBS) all
	@$(OUT)/forward_proxy $(ARGS)

NEEDED_BY_TEST = cxxopts catch2 curl openssl nginx
NEEDED_BY_CHECK = $(NEEDED_BY_TEST) clang++ libfuzzer clang-format python3 ip
NEEDED_BY_INTEROP = $(NEEDED_BY_TEST) python3 websockets requests ip nc git wget \
                    node chromium chromedriver haproxy tinyproxy squid

test:
	@.ci/need $(NEEDED_BY_TEST)
	@$(MAKE) --no-print-directory -j$(JOBS) $(OUT)/run_tests all
	@$(OUT)/run_tests $(ONLY)

check:
	@.ci/need $(NEEDED_BY_CHECK)
	@.ci/steps check

interop:
	@.ci/need $(NEEDED_BY_INTEROP)
	@$(MAKE) --no-print-directory -j$(JOBS) all
	@.ci/steps interop

# For .ci/run.
needed-by-all:
	@.ci/need $(NEEDED_BY_CHECK) $(NEEDED_BY_INTEROP)

coverage:
	@.ci/need $(NEEDED_BY_TEST) python3
	@$(MAKE) --no-print-directory -j$(JOBS) KIND=coverage \
	    build/coverage/run_tests build/coverage/forward_proxy
	@find build/coverage -name '*.gcda' -delete
	@chmod -R a+rwX build/coverage  # one test runs the proxy as another user
	@umask 0; build/coverage/run_tests $(or $(ONLY),'~[memory]~[scale]') || failed=1; \
	    python3 tests/coverage.py && [ -z "$$failed" ]

mutate:
	@.ci/need $(NEEDED_BY_TEST) python3
	@$(MAKE) --no-print-directory -j$(JOBS) build/plain/run_tests build/plain/forward_proxy
	@python3 tests/mutate.py --seconds $(SECONDS) $(ARGS)

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
	@.ci/need cxxopts git curl openssl python3 ip nc
	@python3 tests/labs.py --start "$(LAB)" $(ARGS)

lab-guess:
	@python3 tests/labs.py --guess "$(NAME)" || true

labs:
	@.ci/need cxxopts catch2 git curl openssl nginx python3 ip nc
	@$(MAKE) --no-print-directory -j$(JOBS) $(OUT)/run_tests all
	@python3 tests/labs.py

grade:
	@.ci/need python3
	@$(if $(NAME),python3 tests/exercise.py grade "$(NAME)",python3 tests/grade.py $(ARGS))

exercise:
	@.ci/need cxxopts python3
	@python3 tests/exercise.py start "$(NAME)"

exercises:
	@.ci/need cxxopts python3
	@$(MAKE) --no-print-directory -j$(JOBS) all
	@python3 tests/exercise.py check

notes:
	@.ci/need cxxopts catch2 curl openssl python3 ip nc
	@$(MAKE) --no-print-directory -j$(JOBS) $(OUT)/run_tests all
	@python3 tests/notes.py

bench:
	@.ci/need cxxopts python3 tinyproxy squid apache2 haproxy
	@$(MAKE) --no-print-directory -j$(JOBS) all build/plain/load
	@python3 tests/bench/bench.py $(ARGS)

build/plain/load: tests/bench/load.cpp
	@mkdir -p $(@D)
	$(CXX) $(FLAGS) $< -o $@

$(OUT)/forward_proxy: $(STORY:%.cpp=$(OUT)/%.o) $(PARTS:%.cpp=$(OUT)/%.o) \
                      $(EXTRA_$(KIND))
	$(CXX) $(FLAGS) $(sort $^) -o $@

$(OUT)/run_tests: $(PARTS:%.cpp=$(OUT)/%.o) $(TESTS:%.cpp=$(OUT)/%.o) \
                  $(EXTRA_$(KIND))
	$(CXX) $(FLAGS) $^ $(CATCH) -o $@

# The page as a C++ literal, for support/live.cpp to include.
$(OUT)/support/live.o: $(OUT)/live_page.inc
$(OUT)/support/live.o: FLAGS += -I$(OUT)
$(OUT)/live_page.inc: support/log/live.html
	@mkdir -p $(@D)
	@{ echo 'R"page('; cat $<; echo ')page"'; } >$@

$(OUT)/%.o: %.cpp
	@mkdir -p $(@D)
	$(CXX) $(FLAGS) $(PCH) -c $< -o $@

$(OUT)/tests/%.o: FLAGS += -DPROXY_BINARY='"$(OUT)/forward_proxy"'
# Tests are compiled more often than run, and optimizing took half of the time.
$(TESTS:%.cpp=$(OUT)/%.o): FLAGS += -O0

# Half of the time to compile a test went into Catch2's header: g++ reads it compiled,
# and make removes the 90 MB afterwards.
ifeq ($(CXX),g++)
WITH_CATCH = $(filter %_test.o,$(TESTS:%.cpp=$(OUT)/%.o))
$(WITH_CATCH): tests/catch.h | $(OUT)/catch.h.gch
$(WITH_CATCH): private PCH = -include $(OUT)/catch.h
.INTERMEDIATE: $(OUT)/catch.h.gch
$(OUT)/catch.h.gch: tests/catch.h
	@mkdir -p $(@D)
	@echo '#include "$<"' >$(@:.gch=)
	$(CXX) $(filter-out -Wl%,$(FLAGS)) -O0 -x c++-header $(@:.gch=) -o $@
endif

# ARGS="--dry-run -Werror" changes nothing, and fails where it would.
format:
	clang-format $(or $(ARGS),-i) $(FORMATTED)

install: all
	install -D -m 755 $(OUT)/forward_proxy $(BINARY)
	install -D -m 644 notes/forward_proxy.1 $(MANUAL)

uninstall:
	rm -f $(BINARY) $(MANUAL)

clean:
	rm -rf build

.PHONY: all run test check interop needed-by-all coverage mutate fuzz compare lab lab-guess labs grade exercise exercises notes bench format install uninstall clean
.DELETE_ON_ERROR:
-include $(shell find $(OUT) -name '*.d' 2>/dev/null)
