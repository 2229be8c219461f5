// Runs all tests, and ends in one line that a script can read.
#define CATCH_CONFIG_RUNNER
#include "catch.h"

#include <sys/resource.h>

#include <csignal>
#include <cstdio>

namespace {

#if __has_include(<catch2/catch_all.hpp>)
using Listener = Catch::EventListenerBase;
#else
using Listener = Catch::TestEventListenerBase;
#endif

Catch::Counts test_cases;

struct CountTestCases : Listener {
    using Listener::Listener;
    void testRunEnded(const Catch::TestRunStats& stats) override
    {
        test_cases = stats.totals.testCases;
    }
};

}  // namespace

CATCH_REGISTER_LISTENER(CountTestCases)

int main(int argc, char* argv[])
{
    // A proxy under test that dies must fail its test, not end all of them.
    std::signal(SIGPIPE, SIG_IGN);
    rlimit limit{};  // for the tests that hold a thousand connections
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
    const int status = Catch::Session().run(argc, argv);
    std::printf("%llu passed, %llu failed\n",
        static_cast<unsigned long long>(test_cases.passed),
        static_cast<unsigned long long>(test_cases.failed));
    return status;
}
