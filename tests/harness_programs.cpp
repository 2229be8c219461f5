// The harness: programs that run beside a test, the proxy among them.

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cstdlib>
#include <filesystem>
#include <stdexcept>

#include "harness.h"

extern char** environ;

// --- Child ------------------------------------------------------------------

namespace {

// The end to read from, and the end that the child writes to.
std::array<int, 2> open_output(Child::Output output)
{
    std::array<int, 2> ends{-1, -1};
    if (output == Child::Output::to_pipe) {
        if (::pipe(ends.data()) != 0)
            throw std::runtime_error{"pipe failed"};
    } else {
        ends[0] = ::posix_openpt(O_RDWR | O_NOCTTY);
        if (::grantpt(ends[0]) != 0 || ::unlockpt(ends[0]) != 0)
            throw std::runtime_error{"no terminal is to be had"};
        ends[1] = ::open(::ptsname(ends[0]), O_RDWR | O_NOCTTY);
    }
    for (const int end : ends)
        ::fcntl(end, F_SETFD, FD_CLOEXEC);
    return ends;
}

}  // namespace

Child::Child(std::vector<std::string> command,
    const std::vector<int>& inherited, Output output)
{
    const std::array<int, 2> ends = open_output(output);
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
        throw std::runtime_error{
            "waited in vain for \"" + text + "\" in: " + lines_};
    return line;
}

std::string Child::output() const
{
    const std::lock_guard lock{mutex_};
    return lines_;
}

std::size_t threads_of(int pid)
{
    const std::string tasks = "/proc/" + std::to_string(pid) + "/task";
    return static_cast<std::size_t>(
        std::distance(std::filesystem::directory_iterator{tasks}, {}));
}

// --- Proxy ------------------------------------------------------------------

std::string proxy_binary()
{
    const char* const other = std::getenv("TEST_PROXY");
    return other != nullptr ? other : PROXY_BINARY;
}

std::vector<std::string> with_ulimit(const std::string& limit)
{
    return {"sh", "-c", "ulimit " + limit + " && exec \"$0\" \"$@\""};
}

Proxy::Proxy(const std::vector<std::string>& arguments,
    const std::string& listen, std::vector<std::string> wrapper,
    Child::Output output)
{
    std::vector<std::string>& command = wrapper;
    command.insert(command.end(), {proxy_binary(), "--listen", listen});
    command.insert(command.end(), arguments.begin(), arguments.end());
    child_ = std::make_unique<Child>(
        std::move(command), std::vector<int>{}, output);
    const std::string line = child_->wait_for_line("listening on ");
    port_ = line.substr(line.rfind(':') + 1);
    if (port_.ends_with('\r'))  // of a terminal
        port_.pop_back();
}

Proxy& default_proxy()
{
    static Proxy proxy;
    return proxy;
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

// --- Programs that end
// --------------------------------------------------------

Finished run(const std::vector<std::string>& command)
{
    Child child{command};
    const int status = child.wait();
    return {status, child.output()};
}
