// options -- the command line.

#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

#include "access.h"
#include "http/message.h"
#include "live.h"
#include "log/access_log.h"

struct Options {
    std::vector<Authority> listen;
    Users users;
    Networks allow;  ///< of clients; none: all
    std::vector<std::string> connect_ports;  ///< none: any
    Destinations destinations;  ///< main() adds our listeners
    std::size_t max_clients = 0;
    std::chrono::milliseconds connect_timeout{};
    std::chrono::milliseconds head_timeout{};
    std::chrono::milliseconds idle_timeout{};
    LogFormat log = LogFormat::text;
    bool show_trace = false;
    TraceSettings trace;
    std::shared_ptr<LivePage> live;  ///< none without --live

    std::string help_text;  ///< of --help or --version: print it and exit
};

/// what() names the option that is wrong.
struct OptionError : std::runtime_error {
    using std::runtime_error::runtime_error;
};

Options parse_command_line(int argc, const char* const* argv);

/// A warning, if every client on other machines may use the proxy: it listens
/// on an address that is not loopback ("0.0.0.0:3128"), without --user and
/// --allow.
std::optional<std::string> open_proxy_warning(
    const Options& options, const std::string& bound);
