// What --trace tells of an exchange, as text.

#pragma once

#include <sstream>
#include <string>
#include <vector>

#include "harness.h"

inline std::vector<std::string> lines_of(const std::string& text)
{
    std::vector<std::string> lines;
    std::istringstream stream{text};
    for (std::string line; std::getline(stream, line);)
        lines.push_back(line);
    return lines;
}

/// A request and its response, which the test chooses, through a proxy that
/// traces; the story up to the line of the log.  ORIGIN is replaced.
inline std::string story_of(const std::string& request,
    const std::string& response, const std::vector<std::string>& options)
{
    Proxy proxy{options};
    Origin origin;
    std::string to_send = request;
    for (std::size_t at; (at = to_send.find("ORIGIN")) != std::string::npos;)
        to_send.replace(at, 6, origin.authority());
    TestSocket client = proxy.connect();
    client.send(to_send);
    TestSocket server = origin.accept();
    server.read_head();
    server.send(response);
    server.finish_sending();
    client.finish_sending();
    client.read_to_end();
    proxy.wait_for_log(" total=");
    return proxy.child().output();
}
