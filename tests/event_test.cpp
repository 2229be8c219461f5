#include "support/log/event.h"

#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <new>

#include "catch.h"

TEST_CASE("an event as JSON has who, when, what, and its values", "[event]")
{
    Event event{"connected", {Side::proxy, Side::server},
        "connected to 192.0.2.1:80", Weight::story,
        {{"address", std::string{"192.0.2.1:80"}}}};
    event.connection = 12;
    event.exchange = 3;
    event.step = 4;
    event.time = std::chrono::microseconds{3140};
    CHECK(to_json(event)
        == "{\"connection\":12,\"exchange\":3,\"step\":4,\"ms\":3.1"
           ",\"kind\":\"connected\",\"from\":\"proxy\",\"to\":\"server\""
           ",\"weight\":\"story\",\"text\":\"connected to 192.0.2.1:80\""
           ",\"address\":\"192.0.2.1:80\"}");
}

TEST_CASE("each type of value has its form in JSON", "[event]")
{
    CHECK(to_json(Values{}) == "{}");
    CHECK(to_json({{"none", Value{}}, {"yes", true}, {"no", false},
              {"n", UINT64_MAX}, {"ms", 0.25}, {"text", std::string{"a"}}})
        == R"({"none":null,"yes":true,"no":false,"n":18446744073709551615,)"
           R"("ms":0.2,"text":"a"})");
    CHECK(to_json({{"empty", std::vector<std::string>{}},
              {"names", std::vector<std::string>{"h2", "http/1.1"}},
              {"fields", FieldChanges{{"Via", "1.1 p", "why"}}}})
        == R"({"empty":[],"names":["h2","http/1.1"],"fields":)"
           R"([{"name":"Via","value":"1.1 p","reason":"why"}]})");
}

// The browser's parser must get one line, whatever a peer has sent.
TEST_CASE("no byte of a value ends its string or its line", "[event]")
{
    CHECK(to_json({{"sni", std::string{"a\"b\\c\r\n\x1b\xff\xe2\x80\xae"}},
              {"list", std::vector<std::string>{"\"]}"}},
              {"fields", FieldChanges{{"\"", "\n", "\\"}}}})
        == R"({"sni":"a\"b\\c\u000d\u000a\u001b\\xff\u202e",)"
           R"("list":["\"]}"],"fields":)"
           R"([{"name":"\"","value":"\u000a","reason":"\\"}]})");
}

#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
// In a child process, whose memory is limited.
TEST_CASE("a value for whose copy there is no memory does no harm", "[event]")
{
    const pid_t child = ::fork();
    if (child == 0) {
        const Value value{std::string(64 * 1024 * 1024, 'x')};
        const rlimit none{1, 1};
        ::setrlimit(RLIMIT_AS, &none);
        try {
            const Value copy{value};
        } catch (const std::bad_alloc&) {
            ::_exit(0);
        }
        ::_exit(1);
    }
    int status = -1;
    REQUIRE(::waitpid(child, &status, 0) == child);
    CHECK(status == 0);
}
#endif
