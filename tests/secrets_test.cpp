// What must not be shown: passwords, credentials, cookies.

#include "catch.h"
#include "harness.h"
#include "support/http/message.h"

TEST_CASE("user information is taken out of a target of any form", "[secrets]")
{
    const auto [target, shown] = GENERATE(table<std::string, std::string>({
        {"http://user:pw@h/a?b", "http://***@h/a?b"},
        {"HTTP://user:pw@[::1]:80/", "HTTP://***@[::1]:80/"},
        {"http://us@er:p@w@h", "http://***@h"},
        {"http://user:p/w@h/", "http://***@h/"},
        {"http://user:p@/w@h/", "http://***@h/"},
        {"http://user:p?w#@h/", "http://***@h/"},
        {"http://user:pw@h@x/a@b", "http://***@x/a@b"},
        {"http://user:pw@/", "http://***@/"},
        {"http:///user:pw@h/", "http://***@h/"},
        {"http://h\\user:pw@g/", "http://***@g/"},
        {"ftp://user:pw@h/", "ftp://***@h/"},
        {"//user:pw@h/", "//***@h/"},
        {"http:user:pw@h/", "***@h/"},
        {"http:/user:pw@h/", "***@h/"},
        {"user:pw@http://h/", "***@http://h/"},
        {"user:pw@h:443", "***@h:443"},
        {"user:p/w@h:443", "***@h:443"},
        {"user:pw@h", "***@h"},
        // No user information, although there is an "@":
        {"http://h/@user", "http://h/@user"},
        {"http://h:81?a=b@c", "http://h:81?a=b@c"},
        {"/a?b=c@d", "/a?b=c@d"},
        {"h:443", "h:443"},
        {"*", "*"},
    }));
    CAPTURE(target);
    CHECK(without_userinfo(target) == shown);
}

// What is no valid head has no certain fields.
TEST_CASE("a refused head that may hold a secret is not shown", "[secrets]")
{
    const auto head = GENERATE(as<std::string>{},
        "\r\nGET http://u:hunter2@h/ HTTP/1.1\r\nX : b\r\n",
        "GET / HTTP/1.1\r\nCookie: a=1;\r\n b=hunter2\r\n",
        "GET / HTTP/1.1\r\nProxy-Authorization: Basic\r\n hunter2\r\n",
        "GET  http://u:hunter2@h/", "GET\thttp://u:hunter2@h/",
        "GET / HTTP/1.1\r\n PROXY-AUTHORIZATION: hunter2\r\n",
        "GET / HTTP/1.1\r\nX: a\rset-cookie= hunter2\r\n",
        "GET / HTTP/1.1\r\nCoo\x01kie: hunter2\r\n");
    CAPTURE(head);
    CHECK(head_without_secrets(head).find("hunter2") == std::string::npos);
    CHECK(head_without_secrets("GET / HTTP/1.1\r\nX : b\r\n")
        == "GET / HTTP/1.1\r\nX : b\r\n");
}

// The harness reads standard output and standard error: log and trace.
TEST_CASE("no password of a URL is ever shown", "[secrets][trace]")
{
    const auto options = GENERATE(
        values<std::vector<std::string>>({{"--trace", "--log", "text"},
            {"--trace", "--log", "json"}, {"--trace", "--user", "sam:x"}}));
    const auto line = GENERATE(as<std::string>{},
        "GET http://user:hunter2@127.0.0.1:1/ HTTP/1.1",
        "GET http://user:hunter2@127.0.0.1:1/@home HTTP/1.0",
        "GET http://user:x/hunter2@127.0.0.1:1/ HTTP/1.1",
        "GET https://user:hunter2@127.0.0.1:1/ HTTP/1.1",
        "GET ftp://user:hunter2@127.0.0.1:1/ HTTP/1.1",
        "GET http:user:hunter2@127.0.0.1/ HTTP/1.1",
        "GET //user:hunter2@127.0.0.1/ HTTP/1.1",
        "CONNECT user:hunter2@127.0.0.1:1 HTTP/1.1",
        "TRACE http://user:hunter2@127.0.0.1:1/ HTTP/1.1");
    CAPTURE(options, line);
    Proxy proxy{options};
    TestSocket client = proxy.connect();
    client.send(line
        + "\r\nHost: h\r\nReferer: http://user:hunter2@h/\r\n"
          "Max-Forwards: 0\r\n\r\n");
    client.read_to_end();
    proxy.wait_for_log("total");
    const std::string output = proxy.child().output();
    CHECK(output.find("hunter2") == std::string::npos);
    CHECK_THAT(output, ContainsSubstring("***@127.0.0.1"));
}
