// What /proc tells of a process.  Linux only.

#pragma once

#include <filesystem>
#include <string>

#include "harness.h"

/// Whether no thread of the process is running, or ready to.
inline bool is_asleep(int pid)
{
    const std::string tasks = "/proc/" + std::to_string(pid) + "/task";
    for (const auto& task : std::filesystem::directory_iterator{tasks}) {
        const std::string stat = read_file(task.path() / "stat");
        if (!stat.empty() && stat.substr(stat.rfind(')'), 3) != ") S")
            return false;
    }
    return true;
}

/// Whether it comes to be asleep twenty times in a row; a loop that tries again
/// and again instead of waiting is not.
inline bool stays_asleep(int pid)
{
    int times = 0;
    return becomes_true([&] {
        times = is_asleep(pid) ? times + 1 : 0;
        return times == 20;
    });
}
