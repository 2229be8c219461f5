// How the program ends, and starts again.

#include <signal.h>

#include "catch.h"
#include "relay.h"

TEST_CASE("SIGINT and SIGTERM end it with status 0", "[stop]")
{
    const int number = GENERATE(SIGINT, SIGTERM);
    Proxy proxy;
    Origin origin;
    TestSocket idle = proxy.connect();
    exchange(idle, origin);
    TestSocket tunnel = proxy.connect();
    tunnel.send(connect_request(origin.authority()));
    TestSocket server = origin.accept();
    tunnel.read_head();
    TestSocket silent = proxy.connect();

    proxy.child().signal(number);
    CHECK(proxy.child().wait() == 0);
    CHECK(tunnel.is_at_end());
    CHECK(server.is_at_end());
    CHECK(idle.is_at_end());
}

TEST_CASE("it can be started again at once on the same port", "[stop]")
{
    const ReservedPort port;
    const Origin origin;
    for (int i = 0; i < 2; ++i) {
        Proxy proxy{{}, port.authority()};
        TestSocket client = proxy.connect();
        exchange(client, origin);
        CHECK(proxy.stop() == 0);
    }
}
