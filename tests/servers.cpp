#include "servers.h"

#include <unistd.h>

#include <cstdlib>

Certificates::Certificates()
{
    run({"openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt",
        "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2", "-subj",
        "/CN=localhost", "-addext", "subjectAltName=DNS:localhost", "-keyout",
        key(), "-out", good()});
    run({"openssl", "x509", "-in", good(), "-signkey", key(), "-days", "0",
        "-out", expired()});
}

Nginx::Nginx(const Certificates& certificates,
    const std::vector<std::string>& server_blocks)
{
    std::string servers;
    std::string names;
    std::vector<int> descriptors;
    for (const std::string& block : server_blocks) {
        sockets_.push_back(std::make_unique<Origin>());
        descriptors.push_back(sockets_.back()->socket().descriptor());
        names += std::to_string(descriptors.back()) + ";";
        servers += "server { listen " + sockets_.back()->authority() + " "
            + block + " }\n";
    }
    write_file(certificates.dir() / "nginx.conf",
        std::string{::geteuid() == 0 ? "user root;\n" : ""}
            + "daemon off; worker_processes 1; pid nginx.pid;\n"
              "error_log stderr warn; events {}\n"
              "http { access_log off; default_type text/plain; root .;\n"
              "client_body_temp_path t1; proxy_temp_path t2;\n"
              "fastcgi_temp_path t3; uwsgi_temp_path t4; scgi_temp_path t5;\n"
              "ssl_certificate good.pem; ssl_certificate_key key.pem;\n"
            + servers + "}\n");
    child_ = std::make_unique<Child>(
        std::vector<std::string>{"env",
            "PATH=" + std::string{std::getenv("PATH")} + ":/usr/sbin",
            "NGINX=" + names, "nginx", "-e", "stderr", "-p",
            certificates.dir() / "", "-c", "nginx.conf"},
        descriptors);
}

TlsServer::TlsServer(const Certificates& certificates,
    const std::string& certificate, const std::vector<std::string>& options)
{
    std::vector<std::string> command{"openssl", "s_server", "-accept",
        "127.0.0.1:0", "-cert", certificate, "-key", certificates.key(),
        "-www"};
    command.insert(command.end(), options.begin(), options.end());
    child_ = std::make_unique<Child>(command);
    const std::string line = child_->wait_for_line("ACCEPT");
    port_ = line.substr(line.rfind(':') + 1);
}
