#include "harness.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <fstream>
#include <random>
#include <stdexcept>

#include "support/http_message.h"

extern char** environ;

namespace {

std::runtime_error waited_in_vain(const std::string& what)
{
    return std::runtime_error{"waited in vain for " + what};
}

}  // namespace

// --- TestSocket -------------------------------------------------------------

void TestSocket::send(std::string_view bytes)
{
    while (!bytes.empty()) {
        const auto n = socket_.send_some({&bytes, 1}, test_deadline);
        if (!n)
            throw waited_in_vain("the peer to read");
        bytes.remove_prefix(*n);
    }
}

bool TestSocket::receive_more()
{
    std::array<char, 64 * 1024> bytes;
    const auto n = socket_.receive(bytes, test_deadline);
    if (!n)
        throw waited_in_vain("bytes; so far: " + buffer_.substr(0, 2000));
    buffer_.append(bytes.data(), *n);
    return *n > 0;
}

std::string TestSocket::read_exactly(std::size_t n)
{
    while (buffer_.size() < n)
        if (!receive_more())
            throw std::runtime_error{
                "the stream ended early, after: " + buffer_.substr(0, 2000)};
    std::string bytes = buffer_.substr(0, n);
    buffer_.erase(0, n);
    return bytes;
}

std::string TestSocket::read_until(std::string_view delimiter)
{
    std::size_t at = 0;
    while ((at = buffer_.find(delimiter)) == std::string::npos)
        if (!receive_more())
            throw std::runtime_error{"the stream ended before "
                + std::string{delimiter}
                + ", after: " + buffer_.substr(0, 2000)};
    return read_exactly(at + delimiter.size());
}

std::string TestSocket::read_to_end()
{
    while (receive_more()) { }
    return std::exchange(buffer_, {});
}

bool TestSocket::ends_with_reset()
{
    try {
        read_to_end();
        return false;
    } catch (const std::system_error& error) {
        return error.code() == std::errc::connection_reset;
    }
}

TestSocket connect_to_port(const std::string& port)
{
    return TestSocket{connect_to({"127.0.0.1", port}, test_deadline).socket};
}

// --- Origin -----------------------------------------------------------------

Origin::Origin(const std::string& host) : listener_{listen_on({host, "0"})} { }

std::string Origin::port() const
{
    return parse_authority_form(listener_.address).port;
}

TestSocket Origin::accept() const
{
    pollfd waiting{listener_.socket.descriptor(), POLLIN, 0};
    if (::poll(&waiting, 1, static_cast<int>(test_deadline.count())) <= 0)
        throw waited_in_vain("a connection to the origin server");
    return TestSocket{std::move(accept_from(listener_.socket).socket)};
}

bool Origin::is_untouched() const
{
    pollfd waiting{listener_.socket.descriptor(), POLLIN, 0};
    return ::poll(&waiting, 1, 0) == 0;
}

// --- Child ------------------------------------------------------------------

Child::Child(
    std::vector<std::string> command, const std::vector<int>& inherited)
{
    std::array<int, 2> ends{};
    if (::pipe(ends.data()) != 0)
        throw std::runtime_error{"pipe failed"};
    ::fcntl(ends[0], F_SETFD, FD_CLOEXEC);
    ::fcntl(ends[1], F_SETFD, FD_CLOEXEC);

    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_adddup2(&actions, ends[1], 1);
    posix_spawn_file_actions_adddup2(&actions, ends[1], 2);
    for (const int descriptor : inherited)
        posix_spawn_file_actions_adddup2(&actions, descriptor, descriptor);
    std::vector<char*> argv;
    for (std::string& word : command)
        argv.push_back(word.data());
    argv.push_back(nullptr);
    const int error
        = posix_spawnp(&pid_, argv[0], &actions, nullptr, argv.data(), environ);
    posix_spawn_file_actions_destroy(&actions);
    ::close(ends[1]);
    output_ = ends[0];
    if (error != 0)
        throw std::runtime_error{"cannot start " + command[0]};
    reader_ = std::thread{[this] { read_output(); }};
}

Child::~Child()
{
    if (!status_) {
        signal(SIGTERM);
        wait();
    }
    reader_.join();
    ::close(output_);
}

void Child::read_output()
{
    std::array<char, 4096> bytes;
    for (;;) {
        const ssize_t n = ::read(output_, bytes.data(), bytes.size());
        const std::lock_guard lock{mutex_};
        if (n > 0)
            lines_.append(bytes.data(), static_cast<std::size_t>(n));
        else
            ended_ = true;
        more_.notify_all();
        if (ended_)
            return;
    }
}

void Child::signal(int number) const
{
    ::kill(pid_, number);
}

int Child::wait()
{
    if (status_)
        return *status_;
    {
        // The end of its output is the event that can be awaited in time.
        std::unique_lock lock{mutex_};
        if (!more_.wait_for(lock, test_deadline, [&] { return ended_; }))
            signal(SIGKILL);
    }
    int status = 0;
    ::waitpid(pid_, &status, 0);
    status_ = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    return *status_;
}

std::string Child::wait_for_line(const std::string& text)
{
    std::unique_lock lock{mutex_};
    std::string line;
    const auto find_line = [&] {
        for (std::size_t end;
             (end = lines_.find('\n', seen_)) != std::string::npos;) {
            line = lines_.substr(seen_, end - seen_);
            seen_ = end + 1;
            if (line.find(text) != std::string::npos)
                return true;
        }
        line.clear();
        return ended_;
    };
    more_.wait_for(lock, test_deadline, find_line);
    if (line.empty())
        throw waited_in_vain("\"" + text + "\" in: " + lines_);
    return line;
}

std::string Child::output() const
{
    const std::lock_guard lock{mutex_};
    return lines_;
}

// --- Proxy ------------------------------------------------------------------

std::vector<std::string> with_ulimit(const std::string& limit)
{
    return {"sh", "-c", "ulimit " + limit + " && exec \"$0\" \"$@\""};
}

Proxy::Proxy(const std::vector<std::string>& arguments,
    const std::string& listen, std::vector<std::string> wrapper)
{
    std::vector<std::string>& command = wrapper;
    command.insert(command.end(), {PROXY_BINARY, "--listen", listen});
    command.insert(command.end(), arguments.begin(), arguments.end());
    child_ = std::make_unique<Child>(std::move(command));
    const std::string line = child_->wait_for_line("listening on ");
    port_ = line.substr(line.rfind(':') + 1);
    if (port_.ends_with('\r'))  // of a terminal
        port_.pop_back();
}

int Proxy::stop()
{
    child_->signal(SIGTERM);
    return child_->wait();
}

// --- Tunnel -----------------------------------------------------------------

std::string connect_request(const std::string& target)
{
    return "CONNECT " + target + " HTTP/1.1\r\nHost: " + target + "\r\n\r\n";
}

namespace {

TestSocket open_tunnel(TestSocket& client, const Origin& origin)
{
    client.send(connect_request(origin.authority()));
    TestSocket accepted = origin.accept();
    const std::string answer = client.read_head();
    if (answer != established)
        throw std::runtime_error{answer};
    return accepted;
}

}  // namespace

Tunnel::Tunnel(const Proxy& proxy, const Origin& origin)
    : client{proxy.connect()}, server{open_tunnel(client, origin)}
{
}

// --- The rest ---------------------------------------------------------------

Finished run(const std::vector<std::string>& command)
{
    Child child{command};
    const int status = child.wait();
    return {status, child.output()};
}

TempDir::TempDir()
{
    std::string name
        = (std::filesystem::temp_directory_path() / "proxy-test-XXXXXX")
              .string();
    if (::mkdtemp(name.data()) == nullptr)
        throw std::runtime_error{"mkdtemp failed"};
    path_ = name;
}

TempDir::~TempDir()
{
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
}

void write_file(const std::string& path, std::string_view bytes)
{
    std::ofstream file{path, std::ios::binary};
    file.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
    if (!file.flush())
        throw std::runtime_error{"cannot write " + path};
}

std::string read_file(const std::string& path)
{
    std::ifstream file{path, std::ios::binary};
    return {std::istreambuf_iterator<char>{file}, {}};
}

std::string some_bytes(std::size_t length)
{
    std::mt19937 random{20'24};
    std::string bytes(length, '\0');
    std::generate(bytes.begin(), bytes.end(),
        [&] { return static_cast<char>(random() & 0xff); });
    return bytes;
}

std::string first_line(const std::string& head)
{
    return head.substr(0, head.find("\r\n"));
}

std::vector<std::string> field_lines(
    const std::string& head, const std::string& name)
{
    std::vector<std::string> found;
    for (std::size_t start = 0; start < head.size();) {
        const std::size_t end = std::min(head.find("\r\n", start), head.size());
        const std::string line = head.substr(start, end - start);
        if (equal_ignoring_case(line.substr(0, name.size() + 1), name + ":"))
            found.push_back(line);
        start = end + 2;
    }
    return found;
}
