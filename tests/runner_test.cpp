// The runner of main.cpp: what it makes of cases that fail, crash or hang.
// Those are hidden cases of this file.

#include <signal.h>
#include <unistd.h>

#include "catch.h"
#include "harness.h"

#ifdef __linux__

namespace {

std::string this_program()
{
    return std::filesystem::read_symlink("/proc/self/exe");
}

}  // namespace

TEST_CASE("passes", "[.runner]") { }

TEST_CASE("fails, \"really\", \\ and [says] why", "[.runner]")
{
    CHECK(std::string{"this"} == "that");
}

TEST_CASE("crashes", "[.runner]")
{
    ::raise(SIGKILL);
}

TEST_CASE("hangs", "[.runner]")
{
    const Child child{{"sleep", "100"}};
    ::pause();
}

TEST_CASE("a case that fails, crashes or hangs is named", "[runner]")
{
    const Finished finished
        = run({"env", "TEST_DEADLINE=10", this_program(), "[.runner]"});
    CAPTURE(finished.output);
    CHECK(finished.status == 1);
    for (const char* text : {"\"this\" == \"that\"",
             "FAILED: fails, \"really\", \\ and [says] why\n",
             "FAILED: crashes: Killed\n",
             "FAILED: hangs: it took more than 10 s\n",
             "\n1 passed, 3 failed\n"})
        CHECK_THAT(finished.output, ContainsSubstring(text));
}

TEST_CASE("a spec that matches no case is a failure", "[runner]")
{
    const Finished finished = run({this_program(), "no such case"});
    CHECK(finished.status == 1);
    CHECK_THAT(finished.output, ContainsSubstring("0 passed, 0 failed\n"));
}

#endif
