// options -- the command line.

#pragma once

#include <cstddef>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

#include "access.h"
#include "http_message.h"
#include "socket.h"
#include "story.h"

struct Options {
    std::vector<Authority> listen;
    Users users;
    Networks allow;  ///< of clients; none: anybody
    std::vector<std::string> connect_ports;  ///< none: any
    std::size_t max_clients = 0;
    milliseconds connect_timeout{};
    milliseconds head_timeout{};
    milliseconds idle_timeout{};
    LogFormat log = LogFormat::text;
    TraceSettings trace;

    std::string answer;  ///< not empty: --help or --version; print it and stop
};

/// what() names the option that is wrong.
struct OptionError : std::runtime_error {
    using std::runtime_error::runtime_error;
};

Options parse_command_line(int argc, const char* const* argv);

/// A sentence, if anybody on other machines may use the proxy and so hide
/// behind it: an address that is not loopback, and no credentials or
/// addresses asked for.
std::optional<std::string> open_proxy_warning(const Options& options);
