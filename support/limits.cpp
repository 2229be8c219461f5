#include "limits.h"

#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <system_error>
#include <vector>

namespace {

struct Limit {
    double used;
    double limit;
    std::string what;  // with its name, and how to look at it
};

double first_number(const std::string& path)
{
    double number = 0;
    std::ifstream{path} >> number;
    return number;  // 0 for "max", and for what is not there
}

// The number behind a word in a file of lines "Word:  number ...".
double number_behind(const std::string& path, const std::string& word)
{
    std::ifstream file{path};
    double number = 0;
    for (std::string line; std::getline(file, line);)
        if (line.starts_with(word))
            std::istringstream{line.substr(word.size())} >> number;
    return number;
}

double soft_limit(int resource)
{
    rlimit limit{};
    if (::getrlimit(static_cast<decltype(RLIMIT_NOFILE)>(resource), &limit) != 0
        || limit.rlim_cur == RLIM_INFINITY)
        return 0;
    return static_cast<double>(limit.rlim_cur);
}

double threads_of_this_user()
{
    double threads = 0;
    std::error_code gone;
    for (const auto& entry :
        std::filesystem::directory_iterator{"/proc", gone}) {
        const std::string status = entry.path() / "status";
        if (number_behind(status, "Uid:") == ::getuid())
            threads += number_behind(status, "Threads:");
    }
    return threads;
}

// /proc/loadavg: "0.10 0.05 0.01 2/345 6789", 345 being all the threads.
double threads_of_the_system()
{
    std::ifstream file{"/proc/loadavg"};
    std::string loads;
    std::getline(file, loads, '/');
    double threads = 0;
    file >> threads;
    return threads;
}

double memory_mappings()
{
    std::ifstream file{"/proc/self/maps"};
    double lines = 0;
    for (std::string line; std::getline(file, line);)
        ++lines;
    return lines;
}

// The group that a container runs in; the second version of cgroups only.
std::string control_group()
{
    std::ifstream file{"/proc/self/cgroup"};
    std::string line;
    std::getline(file, line);
    return "/sys/fs/cgroup"
        + line.substr(std::min(line.size(), line.find('/')));
}

// Nothing can be opened to count them, but then all of them are in use.
std::vector<Limit> descriptor_limits()
{
    const double all = soft_limit(RLIMIT_NOFILE);
    return {{all, all,
        "open descriptors (RLIMIT_NOFILE, see ulimit -n; a tunnel has two)"}};
}

// A thread is a process id, a stack (two memory mappings), and memory.
std::vector<Limit> thread_limits()
{
    const double threads = threads_of_the_system();
    return {{threads, first_number("/proc/sys/kernel/pid_max"),
                "process ids of the whole system (sysctl kernel.pid_max)"},
        {threads, first_number("/proc/sys/kernel/threads-max"),
            "threads of the whole system (sysctl kernel.threads-max)"},
        {memory_mappings(), first_number("/proc/sys/vm/max_map_count"),
            "memory mappings (sysctl vm.max_map_count; a thread has two)"},
        {threads_of_this_user(), soft_limit(RLIMIT_NPROC),
            "threads of this user (RLIMIT_NPROC, see ulimit -u)"},
        {first_number(control_group() + "/pids.current"),
            first_number(control_group() + "/pids.max"),
            "threads of this container (pids.max of its cgroup)"},
        {number_behind("/proc/self/status", "VmSize:") * 1024,
            soft_limit(RLIMIT_AS),
            "bytes of address space (RLIMIT_AS, see ulimit -v)"}};
}

std::vector<Limit> limits_behind(int error)
{
    switch (error) {
    case EMFILE:
        return descriptor_limits();
    case EAGAIN:
    case ENOMEM:
        return thread_limits();
    default:
        return {};
    }
}

}  // namespace

bool is_limit(int error)
{
    return error == EMFILE || error == ENFILE || error == EAGAIN
        || error == ENOMEM || error == ENOBUFS;
}

std::string with_limit(const std::string& words, int error)
{
    std::vector<Limit> limits = limits_behind(error);
    std::erase_if(limits, [](const Limit& l) { return l.limit <= 0; });
    if (limits.empty())
        return words;
    const Limit& fullest = *std::max_element(
        limits.begin(), limits.end(), [](const Limit& a, const Limit& b) {
            return a.used / a.limit < b.used / b.limit;
        });
    std::ostringstream text;
    text << words << ": " << std::fixed;
    text.precision(0);
    text << fullest.used << " of " << fullest.limit << ' ' << fullest.what;
    return text.str();
}

std::string with_limit(const std::exception& error)
{
    const auto* const system = dynamic_cast<const std::system_error*>(&error);
    return system == nullptr ? error.what()
                             : with_limit(error.what(), system->code().value());
}
