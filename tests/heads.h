// Heads for the tests of what is pure text, and what is wrong with them.

#pragma once

#include <string>
#include <string_view>

#include "catch.h"
#include "support/http/message.h"

/// The reason phrase of the MessageError that the call throws; no two kinds of
/// failures share one.
std::string_view reason_of(auto call)
{
    try {
        call();
    } catch (const MessageError& error) {
        return error.kind().reason;
    }
    FAIL("nothing was thrown");
    return {};
}

inline RequestHead request(
    const std::string& fields, const std::string& version = "1.1")
{
    return parse_request_head("POST http://h/ HTTP/" + version + "\r\n"
        + (version == "1.1" ? "Host: h\r\n" : "") + fields + "\r\n");
}

inline ResponseHead response(int status, const std::string& fields)
{
    return parse_response_head(
        "HTTP/1.1 " + std::to_string(status) + " Fine\r\n" + fields + "\r\n");
}
