#include "support/failure.h"

#include <set>

#include "catch.h"

namespace {

constexpr auto last_cause = Cause::internal_error;

}  // namespace

// curl shows nothing else of a failed CONNECT.
TEST_CASE("every cause has a reason phrase of its own", "[failure]")
{
    std::set<std::string_view> reasons;
    for (int i = 0; i <= static_cast<int>(last_cause); ++i) {
        const CauseText& text = describe(static_cast<Cause>(i));
        CAPTURE(i, text.reason);
        CHECK(text.cause == static_cast<Cause>(i));
        CHECK(text.status >= 400);
        CHECK(text.status <= 599);
        CHECK_FALSE(text.advice.empty());
        CHECK(reasons.insert(text.reason).second);
    }
}

TEST_CASE(
    "a failure is a whole response that announces the close", "[failure][P17]")
{
    const Failure failure{Cause::connection_refused, "192.0.2.1:80: refused"};
    const std::string body
        = "502 Connection Refused\n"
          "192.0.2.1:80: refused\n"
          "The host is there, but nothing listens on that port.\n";
    const std::string head = "HTTP/1.1 502 Connection Refused\r\n"
                             "Content-Type: text/plain; charset=utf-8\r\n"
                             "Content-Length: "
        + std::to_string(body.size())
        + "\r\n"
          "Connection: close\r\n"
          "Proxy-Status: forward_proxy; error=connection_refused\r\n"
          "\r\n";
    CHECK(failure_response(failure, "GET") == head + body);
    CHECK(failure_response(failure, "HEAD") == head);
}

// RFC 9110 §15.5.8.
TEST_CASE("a 407 says how to authenticate", "[failure]")
{
    const auto cause
        = GENERATE(Cause::credentials_missing, Cause::credentials_wrong);
    CHECK_THAT(failure_response({cause, ""}, "GET"),
        ContainsSubstring(
            "\r\nProxy-Authenticate: Basic realm=\"forward_proxy\"\r\n"));
}

TEST_CASE("a malformed message is blamed on its sender", "[failure]")
{
    const MessageError error{Problem::malformed, "words"};
    CHECK(bad_request(error).cause == Cause::malformed_request);
    CHECK(bad_response(error).cause == Cause::malformed_response);
    CHECK(to_failure(error).cause == Cause::malformed_request);
    CHECK(to_failure(std::runtime_error{"x"}).cause == Cause::internal_error);
    CHECK(to_failure(error).what() == std::string{"words"});
    CHECK(bad_response({Problem::target_too_long, ""}).cause
        == Cause::malformed_response);
}
