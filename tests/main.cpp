// Runs the test cases, several at a time and each in its own process, and ends
// in one line that a script can read.
//
//     run_tests             all cases
//     run_tests SPEC...     those that match: names and tags, as for Catch2
//     run_tests -s SPEC...  with any option of Catch2: all in this process,
//                           for a debugger
//
// What a case prints is shown only if it fails.  A case that crashes, or runs
// for longer than TEST_DEADLINE seconds, fails; whatever it started is killed.
// TEST_PROCESSES says how many run at a time; those that measure, or use up
// what the machine has, are tagged [alone], [memory] or [scale], and run alone.

#define CATCH_CONFIG_RUNNER
#include "catch.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

namespace {

unsigned from_environment(const char* name, unsigned otherwise)
{
    const char* text = std::getenv(name);
    return text != nullptr ? static_cast<unsigned>(std::atoi(text)) : otherwise;
}

// Seconds, for alarm(2).
const unsigned case_deadline = from_environment("TEST_DEADLINE", 240);

// --- Catch2, version 2 or 3 -------------------------------------------------

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

struct Cases {
    std::vector<std::string> together;
    std::vector<std::string> alone;  // they measure, or use up the machine
};

Cases matching_cases(Catch::Session& session)
{
    Cases cases;
    const auto& config = session.config();
    const auto& specs = config.getTestsOrTags();
    const bool with_hidden = std::any_of(specs.begin(), specs.end(),
        [](const std::string& spec) { return spec.starts_with("[."); });
    for (const auto& test : Catch::filterTests(
             Catch::getAllTestCasesSorted(config), config.testSpec(), config)) {
        const auto& info = test.getTestCaseInfo();
        if (info.isHidden() && !with_hidden)  // "~[tag]" matches them, too
            continue;
        bool alone = false;
        for (const char* tag : {"[memory]", "[scale]", "[alone]"})
            alone |= info.tagsAsString().find(tag) != std::string::npos;
        (alone ? cases.alone : cases.together).push_back(info.name);
    }
    return cases;
}

// The spec that matches this name and no other.
std::string spec_of(const std::string& name)
{
    std::string spec;
    for (const char c : name) {
        if (std::strchr("\\,[\"", c) != nullptr)
            spec += '\\';
        spec += c;
    }
    return spec;
}

int run_here(Catch::Session& session, const std::string& name)
{
    Catch::ConfigData data = session.configData();
    data.testsOrTags = {spec_of(name)};
    session.useConfigData(data);
    return session.run() == 0 && test_cases.passed == 1 ? 0 : 1;
}

// --- Processes --------------------------------------------------------------

struct Running {
    std::atomic<pid_t> pid{0};  // its process group too; 0 if none
    std::string name;
    std::FILE* output = nullptr;
};

std::array<Running, 64> running;  // the signal handler reads the pids

// The cases have process groups of their own: Ctrl-C does not reach them.
extern "C" void end_all(int number)
{
    for (const Running& one : running)
        if (const pid_t pid = one.pid)
            ::kill(-pid, SIGKILL);
    ::signal(number, SIG_DFL);
    ::raise(number);
}

void become_case(std::FILE* output)
{
    ::signal(SIGINT, SIG_DFL);
    ::signal(SIGTERM, SIG_DFL);
    ::setpgid(0, 0);
    if (std::freopen("/dev/null", "r", stdin) == nullptr)
        std::abort();
    ::dup2(fileno(output), STDOUT_FILENO);
    ::dup2(fileno(output), STDERR_FILENO);
    ::alarm(case_deadline);
}

void start(Catch::Session& session, Running& slot, const std::string& name)
{
    slot.name = name;
    slot.output = std::tmpfile();
    if (slot.output == nullptr)
        throw std::runtime_error{"no room for the output of a case"};
    ::fcntl(fileno(slot.output), F_SETFD, FD_CLOEXEC);
    std::fflush(stdout);
    const pid_t pid = ::fork();
    if (pid == 0) {
        become_case(slot.output);
        std::exit(run_here(session, name));
    }
    if (pid < 0)
        throw std::runtime_error{"fork: " + std::string{std::strerror(errno)}};
    ::setpgid(pid, pid);  // here too, before anything signals the group
    slot.pid = pid;
}

void show_failure(const Running& slot, int status)
{
    std::rewind(slot.output);
    std::array<char, 4096> bytes;
    while (const std::size_t n
        = std::fread(bytes.data(), 1, bytes.size(), slot.output))
        std::fwrite(bytes.data(), 1, n, stdout);
    std::printf("FAILED: %s", slot.name.c_str());
    if (WIFSIGNALED(status) && WTERMSIG(status) == SIGALRM)
        std::printf(": it took more than %u s", case_deadline);
    else if (WIFSIGNALED(status))
        std::printf(": %s", ::strsignal(WTERMSIG(status)));
    std::printf("\n\n");
    std::fflush(stdout);
}

struct Result {
    int passed = 0;
    int failed = 0;
};

// Waits for the end of a case, and frees its slot.
void reap(Result& result)
{
    siginfo_t ended{};
    while (::waitid(P_ALL, 0, &ended, WEXITED | WNOWAIT) != 0)
        if (errno != EINTR)
            throw std::runtime_error{"waitid"};
    ::kill(-ended.si_pid, SIGKILL);  // what it left running
    int status = 0;
    ::waitpid(ended.si_pid, &status, 0);
    for (Running& slot : running) {
        if (slot.pid != ended.si_pid)
            continue;
        slot.pid = 0;
        ++(status == 0 ? result.passed : result.failed);
        if (status != 0)
            show_failure(slot, status);
        std::fclose(slot.output);
        return;
    }
}

void run_all(Catch::Session& session, const std::vector<std::string>& names,
    std::size_t at_once, Result& result)
{
    std::size_t active = 0;
    for (const std::string& name : names) {
        if (active == at_once)
            reap(result);
        else
            ++active;
        for (Running& slot : running)
            if (slot.pid == 0) {
                start(session, slot, name);
                break;
            }
    }
    for (; active > 0; --active)
        reap(result);
}

// Cases mostly wait, so a processor serves several.
std::size_t processes_at_once()
{
    return std::clamp<std::size_t>(from_environment("TEST_PROCESSES",
                                       4 * std::thread::hardware_concurrency()),
        1, running.size());
}

Result run_in_processes(Catch::Session& session)
{
    Result result;
    const Cases cases = matching_cases(session);
    ::signal(SIGINT, end_all);
    ::signal(SIGTERM, end_all);
    run_all(session, cases.together, processes_at_once(), result);
    run_all(session, cases.alone, 1, result);
    return result;
}

Result run_in_this_process(Catch::Session& session)
{
    session.run();
    return {static_cast<int>(test_cases.passed),
        static_cast<int>(test_cases.failed)};
}

}  // namespace

CATCH_REGISTER_LISTENER(CountTestCases)

int main(int argc, char* argv[])
{
    // A proxy under test that dies must fail its test, not end all of them.
    ::signal(SIGPIPE, SIG_IGN);
    rlimit limit{};  // for the tests that hold a thousand connections
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);

    Catch::Session session;
    if (const int status = session.applyCommandLine(argc, argv))
        return status;
    bool options = false;
    for (int i = 1; i < argc; ++i)
        options |= argv[i][0] == '-';
    const Result result
        = options ? run_in_this_process(session) : run_in_processes(session);
    std::printf("%d passed, %d failed\n", result.passed, result.failed);
    return result.failed == 0 && (options || result.passed > 0) ? 0 : 1;
}
