// A fixture for exchanges that are relayed: a client of a proxy, and an origin
// server.  A case shows only what its request and its response have of their
// own.

#pragma once

#include <string>

#include "harness.h"

const std::string ok = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

struct Relay {
    explicit Relay(Proxy& through = default_proxy())
        : proxy{through}, client{proxy.connect()}
    {
    }

    /// A request for the origin server in absolute-form.  `rest` follows the
    /// Host field: more fields, the empty line, the body.
    std::string request(const std::string& method,
        const std::string& rest = "\r\n", const std::string& path = "/") const
    {
        return method + " " + origin.url(path) + " HTTP/1.1\r\nHost: h\r\n"
            + rest;
    }
    std::string get(const std::string& rest = "\r\n") const
    {
        return request("GET", rest);
    }
    std::string post(const std::string& rest) const
    {
        return request("POST", rest);
    }

    /// Sends a request; returns the origin server's end of the connection that
    /// the proxy makes for it, once the request head has been read there.
    TestSocket send(const std::string& bytes)
    {
        client.send(bytes);
        return accept();
    }
    TestSocket accept()
    {
        TestSocket server = origin.accept();
        request_head = server.read_head();
        return server;
    }

    /// The status line of the next response that the client gets.
    std::string status_line() { return first_line(client.read_head()); }
    /// The next line of the log that names the client.
    std::string log_line()
    {
        return proxy.wait_for_log(" " + client.address() + " ");
    }

    Proxy& proxy;
    Origin origin;
    TestSocket client;
    std::string request_head;  // the latest that the origin server got
};

/// One exchange from end to end: the client's connection has its thread then.
inline void exchange(TestSocket& client, const Origin& origin)
{
    client.send("GET " + origin.url() + " HTTP/1.1\r\nHost: h\r\n\r\n");
    TestSocket server = origin.accept();
    server.read_head();
    server.send(ok);
    client.read_until("\r\n\r\nok");
}
