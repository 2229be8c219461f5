// limits -- which limit of the system is behind an error, when it has no more
// to give.

#pragma once

#include <exception>
#include <string>

/// Whether an errno value says that something has run out.
bool is_limit(int error);

/// The words, and of the limits that the errno value can come from the one that
/// is nearest to full: "accept: Too many open files: 20000 of 20000 open
/// descriptors (RLIMIT_NOFILE, see ulimit -n; a tunnel has two)".
std::string with_limit(const std::string& words, int error);

/// The same for a system_error; what() for any other.
std::string with_limit(const std::exception& error);
