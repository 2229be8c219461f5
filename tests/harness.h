// What end-to-end tests are made of: a proxy that really runs, an origin server
// and clients whose every byte the test chooses, and real programs.
//
// Every wait has a deadline and fails the test when it passes.  None of these
// calls may be used in another thread than the test's own, but for TestSocket.

#pragma once

#include <unistd.h>

#include <condition_variable>
#include <exception>
#include <filesystem>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "support/net/dial.h"

/// For whatever a test waits for.  Sanitizers on a busy machine are slow.
constexpr milliseconds test_deadline{30'000};

/// Waits until it is so, for test_deadline at most; false if it never was.
template <typename Condition> bool becomes_true(Condition condition)
{
    for (const auto deadline = Clock::now() + test_deadline;
         Clock::now() < deadline; ::usleep(1000))
        if (condition())
            return true;
    return false;
}

/// A thread whose exception is the test's: join() throws it again.
class Background {
public:
    explicit Background(std::function<void()> run)
        : thread_{[this, run = std::move(run)] {
              try {
                  run();
              } catch (...) {
                  error_ = std::current_exception();
              }
          }}
    {
    }
    ~Background()
    {
        if (thread_.joinable())
            thread_.join();
    }
    void join()
    {
        thread_.join();
        if (error_)
            std::rethrow_exception(error_);
    }

private:
    std::exception_ptr error_;
    std::thread thread_;
};

/// One end of a connection.  Throws runtime_error, which fails the test.
class TestSocket {
public:
    explicit TestSocket(Socket socket);

    void send(std::string_view bytes);
    void send_urgent(char byte);  ///< MSG_OOB
    void finish_sending() { socket_.shutdown_write(); }
    /// The close will be an RST.
    void reset_on_close() { socket_.reset_on_close(true); }

    std::string read_exactly(std::size_t n);
    /// Up to and with the delimiter.
    std::string read_until(std::string_view delimiter);
    std::string read_head() { return read_until("\r\n\r\n"); }
    /// Up to the FIN.  An RST throws.
    std::string read_to_end();
    /// Waits for an end of any kind, and says whether it was an RST.
    bool ends_with_reset();
    /// True if nothing more arrives until the peer has closed.
    bool is_at_end() { return read_to_end().empty(); }
    /// Of this end: what the proxy's log calls the client.
    std::string address() const;

private:
    bool receive_more();  // false at the FIN

    Socket socket_;
    std::string buffer_;
};

struct ConnectError : std::runtime_error {
    using std::runtime_error::runtime_error;
};

/// Throws ConnectError.
NamedSocket dial_test(const std::string& host, const std::string& port,
    milliseconds timeout = test_deadline);
TestSocket connect_to_port(const std::string& port);

/// The same from another address: on Linux all of 127.0.0.0/8 are this machine.
TestSocket connect_from(const std::string& source, const std::string& port);

/// A listening socket on loopback.
class Origin {
public:
    explicit Origin(const std::string& host = "127.0.0.1");

    TestSocket accept() const;
    /// True if no connection is waiting to be accepted.
    bool is_untouched() const;

    std::string authority() const { return listener_.address; }
    std::string port() const;
    std::string url(const std::string& path = "/") const
    {
        return "http://" + authority() + path;
    }
    const Socket& socket() const { return listener_.socket; }

private:
    NamedSocket listener_;
};

/// A port of this machine that refuses connections, and that no other program
/// is given while this lives: a socket is bound to it, and does not listen.  A
/// server with SO_REUSEADDR, as the proxy is, can be told to listen there.
class ReservedPort {
public:
    ReservedPort();

    const std::string& port() const { return port_; }
    std::string authority() const { return "127.0.0.1:" + port_; }
    std::string url() const { return "http://" + authority() + "/"; }

private:
    Socket socket_;
    std::string port_;
};

/// A program that runs beside the test, and the lines that it prints.
class Child {
public:
    enum class Output { to_pipe, to_terminal };

    /// `inherited`: descriptors that it gets, under the same numbers.
    explicit Child(std::vector<std::string> command,
        const std::vector<int>& inherited = {},
        Output output = Output::to_pipe);
    ~Child();

    int pid() const { return pid_; }
    void signal(int number) const;
    /// The exit status, or 128 plus the number of the signal that ended it.
    int wait();

    /// The next line, from standard output or error, that contains the text.
    std::string wait_for_line(const std::string& text);
    std::string output() const;

private:
    void read_output();

    int pid_ = -1;
    int output_ = -1;
    std::optional<int> status_;
    mutable std::mutex mutex_;
    std::condition_variable more_;
    std::string lines_;
    std::size_t seen_ = 0;
    bool ended_ = false;
    std::thread reader_;
};

/// How many threads a process has.  Linux only.
std::size_t threads_of(int pid);

/// The proxy under test: that of this build, or the one that the environment
/// variable TEST_PROXY names.
std::string proxy_binary();

/// A wrapper for Proxy: "-n 20" leaves it 20 descriptors.
std::vector<std::string> with_ulimit(const std::string& limit);

/// forward_proxy on a free port.
class Proxy {
public:
    /// `wrapper`: a command that runs another one, which follows it.
    explicit Proxy(const std::vector<std::string>& arguments = {},
        const std::string& listen = "127.0.0.1:0",
        std::vector<std::string> wrapper = {},
        Child::Output output = Child::Output::to_pipe);

    TestSocket connect() const { return connect_to_port(port_); }
    std::string authority() const { return "127.0.0.1:" + port_; }
    Child& child() { return *child_; }
    int pid() const { return child_->pid(); }

    /// The next line of the log that contains the text.
    std::string wait_for_log(const std::string& text)
    {
        return child_->wait_for_line(text);
    }
    /// SIGTERM, and the exit status.
    int stop();

private:
    std::unique_ptr<Child> child_;
    std::string port_;
};

/// The proxy of all cases that need no options: started by the first of them,
/// and stopped when this process ends.
Proxy& default_proxy();

/// Both ends of a connection inside this process.
std::pair<Socket, Socket> socket_pair();

const std::string established = "HTTP/1.1 200 Connection established\r\n\r\n";

std::string connect_request(const std::string& target);

/// Both ends of a tunnel.
struct Tunnel {
    explicit Tunnel(
        const Proxy& proxy = default_proxy(), const Origin& origin = Origin{});

    TestSocket client;
    TestSocket server;
};

struct Finished {
    int status;
    std::string output;  ///< standard output and error together
};

/// Runs a program to its end.
Finished run(const std::vector<std::string>& command);

/// A fresh directory, removed with its contents.
class TempDir {
public:
    TempDir();
    ~TempDir();
    std::string operator/(const std::string& name) const
    {
        return (path_ / name).string();
    }

private:
    std::filesystem::path path_;
};

void write_file(const std::string& path, std::string_view bytes);
std::string read_file(const std::string& path);

/// Bytes without a pattern, always the same for a length.
std::string some_bytes(std::size_t length);

/// The first line of a head.
std::string first_line(const std::string& head);

/// How often the part is in the text.
std::size_t count(const std::string& text, std::string_view part);

/// All lines of a head that start with `name:`, in any case, without the CRLF.
std::vector<std::string> field_lines(
    const std::string& head, const std::string& name);
