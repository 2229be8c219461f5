#include "options.h"

// A password may contain a comma, so a value is never a list.
#define CXXOPTS_VECTOR_DELIMITER '\0'
#include <cxxopts.hpp>

#include <charconv>
#include <cmath>
#include <sstream>

namespace {

using Strings = std::vector<std::string>;

constexpr const char* version = "forward_proxy 0.1";

cxxopts::Options describe_options()
{
    cxxopts::Options description{"forward_proxy",
        "An HTTP/1.1 forward proxy that can be read in one sitting.\n"};
    const auto text = [](const char* standard) {
        return cxxopts::value<std::string>()->default_value(standard);
    };
    // clang-format off
    description.add_options()
        ("listen", "listen there; may be repeated; port 0 picks a free one "
            "(default: 127.0.0.1:3128)",
            cxxopts::value<Strings>(), "HOST:PORT")
        ("user", "ask for these proxy credentials; may be repeated",
            cxxopts::value<Strings>(), "NAME:PASSWORD")
        ("allow", "serve these clients only; may be repeated",
            cxxopts::value<Strings>(), "ADDRESS[/BITS]")
        ("connect-ports", "tunnels to these ports only, as 443,8443; or any",
            text("any"), "PORTS")
        ("max-clients", "more than these get 503 at once", text("10000"), "N")
        ("connect-timeout", "for resolving a name and all of its addresses", text("10"),
            "SECONDS")
        ("head-timeout", "for a whole request head", text("30"), "SECONDS")
        ("idle-timeout", "silence of both client and server", text("600"),
            "SECONDS")
        ("log", "one line per exchange: text, json or off", text("text"),
            "FORMAT")
        ("trace", "tell the story of each connection, step by step")
        ("show-bodies", "with --trace, show the text of bodies too")
        ("version", "print the version and stop")
        ("help", "print this text and stop");
    // clang-format on
    return description;
}

OptionError bad_value(const std::string& option, const std::string& value,
    const std::string& wanted)
{
    return OptionError{
        "option --" + option + ": '" + value + "' is not " + wanted};
}

// Port 0, "any free one", is for us alone: no request target may have it.
Authority parse_listen_address(const std::string& text)
try {
    const bool any_port = text.ends_with(":0");
    Authority address = parse_authority_form(any_port ? text + "1" : text);
    if (any_port)
        address.port = "0";
    return address;
} catch (const MessageError&) {
    throw bad_value("listen", text, "HOST:PORT, such as 127.0.0.1:3128");
}

std::vector<std::string> parse_users(const Strings& users)
{
    for (const std::string& user : users)
        if (user.find(':') == std::string::npos)
            throw OptionError{"option --user: a value has no colon: it must "
                              "be NAME:PASSWORD"};
    return users;
}

Networks parse_networks(const Strings& texts)
{
    Networks networks;
    for (const std::string& text : texts)
        try {
            networks.add(text);
        } catch (const std::invalid_argument&) {
            throw bad_value(
                "allow", text, "an address or network, such as 192.168.0.0/16");
        }
    return networks;
}

std::vector<std::string> parse_ports(const std::string& text)
{
    std::vector<std::string> ports;
    if (text == "any")
        return ports;
    std::istringstream list{text + ","};
    for (std::string port; std::getline(list, port, ',');)
        try {
            ports.push_back(parse_authority_form("h:" + port).port);
        } catch (const MessageError&) {
            throw bad_value("connect-ports", text, "any, or like 443,8443");
        }
    return ports;
}

milliseconds parse_seconds(const std::string& option, const std::string& text)
{
    double seconds = 0;
    const char* const end = text.data() + text.size();
    const auto [stopped_at, error]
        = std::from_chars(text.data(), end, seconds, std::chars_format::fixed);
    if (error != std::errc{} || stopped_at != end || !(seconds >= 0.001)
        || seconds > 1e6)
        throw bad_value(option, text, "a number of seconds from 0.001 to 1e6");
    return milliseconds{std::lround(seconds * 1000)};
}

std::size_t parse_count(const std::string& option, const std::string& text)
{
    const auto number = parse_digits(text);
    if (!number || *number == 0)
        throw bad_value(option, text, "a number from 1 on");
    return static_cast<std::size_t>(*number);
}

LogFormat parse_log_format(const std::string& text)
{
    if (text == "text")
        return LogFormat::text;
    if (text == "json")
        return LogFormat::json;
    if (text == "off")
        return LogFormat::off;
    throw bad_value("log", text, "text, json or off");
}

Options from_parsed(const cxxopts::ParseResult& parsed)
{
    const auto strings = [&](const char* name) {
        return parsed.count(name) > 0 ? parsed[name].as<Strings>() : Strings{};
    };
    const auto seconds = [&](const char* name) {
        return parse_seconds(name, parsed[name].as<std::string>());
    };
    Options options;
    for (const std::string& address : strings("listen"))
        options.listen.push_back(parse_listen_address(address));
    if (options.listen.empty())
        options.listen.push_back({"127.0.0.1", "3128"});
    options.users = Users{parse_users(strings("user"))};
    options.allow = parse_networks(strings("allow"));
    options.connect_ports
        = parse_ports(parsed["connect-ports"].as<std::string>());
    options.max_clients
        = parse_count("max-clients", parsed["max-clients"].as<std::string>());
    options.connect_timeout = seconds("connect-timeout");
    options.head_timeout = seconds("head-timeout");
    options.idle_timeout = seconds("idle-timeout");
    options.log = parse_log_format(parsed["log"].as<std::string>());
    options.trace = {parsed.count("trace") > 0, parsed.count("show-bodies") > 0,
        options.log == LogFormat::json};
    if (options.trace.bodies && !options.trace.on)
        throw OptionError{"option --show-bodies: needs --trace"};
    return options;
}

}  // namespace

Options parse_command_line(int argc, const char* const* argv)
try {
    cxxopts::Options description = describe_options();
    const cxxopts::ParseResult parsed = description.parse(argc, argv);
    if (!parsed.unmatched().empty())
        throw OptionError{
            "'" + parsed.unmatched().front() + "' is not an option"};
    Options options = from_parsed(parsed);
    if (parsed.count("help") > 0)
        options.answer = description.help();
    else if (parsed.count("version") > 0)
        options.answer = std::string{version} + "\n";
    return options;
} catch (const cxxopts::exceptions::exception& error) {
    throw OptionError{error.what()};
}

std::optional<std::string> open_proxy_warning(const Options& options)
{
    for (const Authority& address : options.listen)
        if (!options.users.any() && !options.allow.any()
            && !is_loopback(address))
            return "warning: this is an open proxy: other machines can reach "
                + to_string(address) + ", and there is no --user or --allow";
    return std::nullopt;
}
