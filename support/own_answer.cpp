#include "own_answer.h"

#include <algorithm>

#include "forwarding.h"

namespace {

constexpr std::string_view page
    = "This is forward_proxy, an HTTP/1.1 forward proxy.\n"
      "\n"
      "It fetches things for you when you name it as your proxy:\n"
      "\n"
      "    curl -x http://ADDRESS-OF-THIS-PAGE http://example.com/\n"
      "    curl -x http://ADDRESS-OF-THIS-PAGE https://example.com/\n"
      "\n"
      "The first is relayed: the proxy reads it. The second is a tunnel: the\n"
      "proxy connects, and then passes on bytes that it cannot read.\n";

std::string answer(
    const RequestHead& request, std::string_view type, std::string_view body)
{
    ResponseHead head{Version::http_1_1, 200, "OK", {}};
    if (!body.empty())
        head.fields.push_back({"Content-Type", std::string{type}});
    head.fields.push_back({"Content-Length", std::to_string(body.size())});
    head.fields.push_back({"Connection", "close"});
    return to_string(head).append(request.method == "HEAD" ? "" : body);
}

// The request as it came, without what a client would not have shown to
// whoever can read the response (RFC 9110 §9.3.8).
std::string reflect(const RequestHead& request)
{
    RequestHead shown = request;
    std::erase_if(shown.fields, [](const FieldLine& field) {
        constexpr std::string_view secret[]{
            "Authorization", "Proxy-Authorization", "Cookie"};
        return std::any_of(
            std::begin(secret), std::end(secret), [&](std::string_view name) {
                return equal_ignoring_case(field.name, name);
            });
    });
    return to_string(shown);
}

}  // namespace

std::optional<std::string> own_answer(const RequestHead& request)
{
    const bool is_get = request.method == "GET" || request.method == "HEAD";
    if (is_get && request.target == "/")
        return answer(request, "text/plain; charset=utf-8", page);
    if (request.method == "OPTIONS" && request.target == "*")
        return answer(request, "", "");
    if (max_forwards(request) != std::uint64_t{0})
        return std::nullopt;
    if (request.method == "TRACE")
        return answer(request, "message/http", reflect(request));
    return answer(request, "", "");
}
