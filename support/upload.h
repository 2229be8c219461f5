// upload -- the request body, going up in a thread of its own.
//
// It must overlap with the response.  A client that sent "Expect: 100-continue"
// holds its body back until it hears from the server (RFC 9110 §10.1.1), a
// server may answer long before the body ends (§7.5), and one that echoes the
// body stops reading when nobody reads the echo.

#pragma once

#include <atomic>
#include <exception>
#include <thread>

#include "connection.h"
#include "http_message.h"
#include "trace.h"

/// Copies one request body from the client to the server while the caller reads
/// the server and writes to the client.  Both connections must outlive it.
class Upload {
public:
    /// A body that is here already is sent without a thread.
    Upload(
        Connection& client, Connection& server, BodyFraming body, Trace& trace);
    ~Upload() { stop(); }

    /// Whether all of the body has been read, so that what the client sends
    /// next is its next request.  True before the server has the last byte: a
    /// server that answers when it has the whole body cannot be too early for
    /// it.
    bool has_read_all() const noexcept { return has_read_all_; }

    /// Lets the rest of the body go up.
    void wait();

    /// Nobody needs the rest.  What has gone up will not look complete.
    void stop();

    /// Stops, and throws what was wrong with the client or its body, if that is
    /// why the upload ended.
    void throw_client_failure();

private:
    void run(BodyFraming body) noexcept;
    void give_up(std::exception_ptr client_failure) noexcept;

    Connection& client_;
    Connection& server_;
    Trace& trace_;
    std::atomic<bool> has_read_all_{false};
    std::exception_ptr client_failure_;  // to be read after the join only
    std::thread thread_;
};
