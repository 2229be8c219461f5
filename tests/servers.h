// Real servers for the tests: nginx and openssl.  They inherit a listening
// socket, so a test can connect at once.

#pragma once

#include <memory>
#include <string>
#include <vector>

#include "harness.h"

/// A key, and two certificates for it and for localhost, both self-signed: one
/// that will do, and one that ends at this moment.
class Certificates {
public:
    Certificates();

    std::string key() const { return dir_ / "key.pem"; }
    std::string good() const { return dir_ / "good.pem"; }
    std::string expired() const { return dir_ / "expired.pem"; }
    const TempDir& dir() const { return dir_; }

private:
    TempDir dir_;
};

/// nginx, which serves the files of the certificates' directory.
class Nginx {
public:
    /// Each text is a server block without its "listen" and the address; port()
    /// has them in the same order.
    Nginx(const Certificates& certificates,
        const std::vector<std::string>& server_blocks);

    std::string port(std::size_t n = 0) const { return sockets_[n]->port(); }
    std::string authority(std::size_t n = 0) const
    {
        return "localhost:" + port(n);
    }

private:
    std::vector<std::unique_ptr<Origin>> sockets_;
    std::unique_ptr<Child> child_;
};

/// openssl s_server.
class TlsServer {
public:
    TlsServer(const Certificates& certificates, const std::string& certificate,
        const std::vector<std::string>& options = {});

    std::string url(const std::string& host = "localhost") const
    {
        return "https://" + host + ":" + port_ + "/";
    }

private:
    std::unique_ptr<Child> child_;
    std::string port_;
};
