#include "options.h"

// A password may contain a comma, so a value is never a list.
#define CXXOPTS_VECTOR_DELIMITER '\0'
#include <cxxopts.hpp>

#include <chrono>
#include <cmath>
#include <cstdlib>
#include <sstream>

namespace {

using Strings = std::vector<std::string>;

constexpr const char* version = "forward_proxy 0.1";

cxxopts::Options describe_options()
{
    cxxopts::Options description{"forward_proxy",
        "An HTTP/1.1 forward proxy for teaching, with one thread per "
        "client.\n"};
    const auto text = [](const char* standard) {
        return cxxopts::value<std::string>()->default_value(standard);
    };
    // clang-format off
    description.add_options()
        ("listen", "listen at this address; may be repeated; port 0 picks a free one "
            "(default: 127.0.0.1:3128)",
            cxxopts::value<Strings>(), "HOST:PORT")
        ("user", "require these proxy credentials; may be repeated",
            cxxopts::value<Strings>(), "NAME:PASSWORD")
        ("allow", "serve these clients only; may be repeated",
            cxxopts::value<Strings>(), "ADDRESS[/BITS]")
        ("allow-local-destinations", "let clients on other machines reach the "
            "proxy's loopback and link-local addresses")
        ("connect-ports", "make tunnels to these ports only, such as 443,8443",
            text("any"), "PORTS")
        ("max-clients", "serve at most N clients; others get 503 at once", text("10000"), "N")
        ("connect-timeout", "limit for connecting to a server, after its name is resolved", text("10"),
            "SECONDS")
        ("head-timeout", "limit for the whole head of a request or a response", text("30"), "SECONDS")
        ("idle-timeout", "close after SECONDS without traffic in either direction", text("600"),
            "SECONDS")
        ("log", "one line per exchange: text, json or off", text("text"),
            "FORMAT")
        ("trace", "print each step of each connection")
        ("show-bodies", "with --trace, print the text of bodies too")
        ("live", "draw each connection on the page http://HOST:PORT/")
        ("version", "print the version and exit")
        ("help", "print this text and exit");
    // clang-format on
    return description;
}

OptionError bad_value(const std::string& option, const std::string& value,
    const std::string& wanted)
{
    return OptionError{
        "option --" + option + ": '" + value + "' is not " + wanted};
}

// Port 0 means any free port here, and is invalid in a request target.
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

std::chrono::milliseconds parse_seconds(
    const std::string& option, const std::string& text)
{
    // strtod() would also take spaces, a sign, an exponent and "inf".
    const bool is_decimal
        = text.find_first_not_of("0123456789.") == std::string::npos;
    char* end = nullptr;
    const double seconds = is_decimal ? std::strtod(text.c_str(), &end) : 0;
    if (!(seconds >= 0.001) || seconds > 1e6 || *end != '\0')
        throw bad_value(option, text, "a number of seconds from 0.001 to 1e6");
    return std::chrono::milliseconds{std::lround(seconds * 1000)};
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
    if (parsed.count("allow-local-destinations") > 0)
        options.destinations.allow_local();
    options.connect_ports
        = parse_ports(parsed["connect-ports"].as<std::string>());
    options.max_clients
        = parse_count("max-clients", parsed["max-clients"].as<std::string>());
    options.connect_timeout = seconds("connect-timeout");
    options.head_timeout = seconds("head-timeout");
    options.idle_timeout = seconds("idle-timeout");
    options.log = parse_log_format(parsed["log"].as<std::string>());
    options.show_trace = parsed.count("trace") > 0;
    options.trace.bodies = parsed.count("show-bodies") > 0;
    if (options.trace.bodies && !options.show_trace)
        throw OptionError{"option --show-bodies: needs --trace"};
    if (parsed.count("live") > 0)
        options.live = std::make_shared<LivePage>();
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
        options.help_text = description.help();
    else if (parsed.count("version") > 0)
        options.help_text = std::string{version} + "\n";
    return options;
} catch (const cxxopts::exceptions::exception& error) {
    throw OptionError{error.what()};
}

std::optional<std::string> open_proxy_warning(
    const Options& options, const std::string& bound)
{
    const auto listener = parse_endpoint(bound);
    if (options.users.any() || options.allow.any()
        || (listener && networks::loopback.contain(listener->address)))
        return std::nullopt;
    return "warning: this is an open proxy: other machines can reach " + bound
        + ", and there is no --user or --allow";
}
