// load -- the origin server and the clients of the benchmark, in one program.
//
//   load MODE PORT N [CLIENTS [ORIGIN-PORT]]
//
// PORT is that of the proxy; 0 goes straight to the origin, and with a minus in
// front of it it is a forwarder's, that leads to the origin without being
// asked. Prints one number, the better the larger: MiB per second, requests per
// second, or for `rtt` the median of the round trips in microseconds, the
// better the smaller.  Every byte that arrives is compared with what was sent,
// so that a fast wrong answer is an error and no result.

#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <random>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

namespace {

using Clock = std::chrono::steady_clock;

[[noreturn]] void fail(const char* what)
{
    std::perror(what);
    std::_Exit(1);
}

void check(bool good, const char* what)
{
    if (!good)
        fail(what);
}

// What every transfer is made of, over and over: 1 MiB without a pattern.
const std::string& block()
{
    static const std::string bytes = [] {
        std::mt19937 random{7};
        std::string text(1 << 20, '\0');
        for (char& c : text)
            c = static_cast<char>(random());
        return text;
    }();
    return bytes;
}

const std::string page(1024, 'p');
const std::string page_response = "HTTP/1.1 200 OK\r\nContent-Length: "
    + std::to_string(page.size()) + "\r\n\r\n" + page;

// --- Sockets ----------------------------------------------------------------

sockaddr_in loopback(int port)
{
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    address.sin_port = htons(static_cast<std::uint16_t>(port));
    return address;
}

int connect_to(int port)
{
    const int s = ::socket(AF_INET, SOCK_STREAM, 0);
    const sockaddr_in address = loopback(port);
    check(::connect(
              s, reinterpret_cast<const sockaddr*>(&address), sizeof address)
            == 0,
        "connect");
    const int on = 1;
    ::setsockopt(s, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    return s;
}

void send_all(int s, std::string_view bytes)
{
    while (!bytes.empty()) {
        const ssize_t n = ::send(s, bytes.data(), bytes.size(), MSG_NOSIGNAL);
        check(n > 0, "send");
        bytes.remove_prefix(static_cast<std::size_t>(n));
    }
}

std::size_t receive(int s, char* buffer, std::size_t size)
{
    const ssize_t n = ::recv(s, buffer, size, 0);
    check(n > 0, "recv");
    return static_cast<std::size_t>(n);
}

// Reads up to the end of the head; bytes after it are left in `buffer`.
std::string read_head(int s, std::string& buffer)
{
    std::size_t end = 0;
    while ((end = buffer.find("\r\n\r\n")) == std::string::npos) {
        char bytes[4096];
        buffer.append(bytes, receive(s, bytes, sizeof bytes));
    }
    std::string head = buffer.substr(0, end + 4);
    buffer.erase(0, end + 4);
    return head;
}

void check_status(const std::string& head)
{
    if (head.compare(8, 5, " 200 ") != 0) {
        std::fprintf(stderr, "%s", head.c_str());
        std::_Exit(1);
    }
}

// --- The origin server ------------------------------------------------------

// Reads `n` bytes, some of which may be in `early` already, and compares.
void read_blocks(int s, std::size_t n, const std::string& early = {})
{
    std::vector<char> buffer(256 * 1024);
    std::size_t at = 0;
    const auto compare = [&](const char* bytes, std::size_t size) {
        for (std::size_t done = 0; done < size;) {
            const std::size_t offset = at % block().size();
            const std::size_t piece
                = std::min(size - done, block().size() - offset);
            if (std::memcmp(bytes + done, block().data() + offset, piece)
                != 0) {
                std::fprintf(stderr, "wrong bytes near %zu\n", at);
                std::_Exit(1);
            }
            done += piece;
            at += piece;
        }
    };
    compare(early.data(), early.size());
    while (at < n)
        compare(buffer.data(),
            receive(s, buffer.data(), std::min(buffer.size(), n - at)));
}

void send_blocks(int s, std::size_t n)
{
    for (std::size_t left = n; left > 0;) {
        const std::size_t piece = std::min(left, block().size());
        send_all(s, std::string_view{block()}.substr(0, piece));
        left -= piece;
    }
}

// D: download, U: upload (and one byte back), each with a length; G: a page for
// each GET; anything else is sent back.
class OriginServer {
public:
    explicit OriginServer(int port)
    {
        listener_ = ::socket(AF_INET, SOCK_STREAM, 0);
        const int on = 1;
        ::setsockopt(listener_, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
        sockaddr_in address = loopback(port);
        socklen_t length = sizeof address;
        auto* const any = reinterpret_cast<sockaddr*>(&address);
        check(::bind(listener_, any, length) == 0, "bind");
        check(::listen(listener_, 4096) == 0, "listen");
        ::getsockname(listener_, any, &length);
        port_ = ntohs(address.sin_port);
        std::thread{[this] { serve(); }}.detach();
    }

    int port() const { return port_; }

private:
    void serve()
    {
        const int poller = ::epoll_create1(0);
        watch(poller, listener_);
        std::vector<epoll_event> events(512);
        for (;;) {
            const int n = ::epoll_wait(
                poller, events.data(), static_cast<int>(events.size()), -1);
            for (int i = 0; i < n; ++i) {
                const int s = events[static_cast<std::size_t>(i)].data.fd;
                if (s == listener_)
                    watch(poller, accept_one());
                else
                    answer(poller, s);
            }
        }
    }

    static void watch(int poller, int s)
    {
        epoll_event event{};
        event.events = EPOLLIN;
        event.data.fd = s;
        if (s >= 0)
            ::epoll_ctl(poller, EPOLL_CTL_ADD, s, &event);
    }

    int accept_one() const
    {
        const int s = ::accept(listener_, nullptr, nullptr);
        const int on = 1;
        ::setsockopt(s, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        return s;
    }

    // A request may come in pieces, which wait in pieces_.
    void answer(int poller, int s)
    {
        char buffer[4096];
        const ssize_t n = ::recv(s, buffer, sizeof buffer, 0);
        if (n <= 0) {
            pieces_.erase(s);
            ::close(s);
            return;
        }
        std::string bytes{buffer, static_cast<std::size_t>(n)};
        if (const auto before = pieces_.find(s); before != pieces_.end()) {
            bytes.insert(0, before->second);
            pieces_.erase(before);
        }
        if (bytes[0] == 'G' && bytes.find("\r\n\r\n") == std::string::npos) {
            pieces_[s] = bytes;
            return;
        }
        if (bytes[0] == 'D' || bytes[0] == 'U'
            || bytes.starts_with("GET /big")) {
            ::epoll_ctl(poller, EPOLL_CTL_DEL, s, nullptr);
            std::thread{[s, bytes] { bulk(s, bytes); }}.detach();
        } else if (bytes[0] == 'G') {
            const bool closes
                = bytes.find("Connection: close") != std::string::npos;
            ::send(s, page_response.data(), page_response.size(), MSG_NOSIGNAL);
            if (closes)
                ::close(s);
        } else {
            ::send(s, buffer, static_cast<std::size_t>(n), MSG_NOSIGNAL);
        }
    }

    // "D 1000\n", "U 1000\n" or "GET /big1000 ".
    static void bulk(int s, const std::string& command)
    {
        const std::size_t n
            = std::stoull(command.substr(command[0] == 'G' ? 8 : 2));
        if (command[0] == 'U') {
            read_blocks(s, n, command.substr(command.find('\n') + 1));
            send_all(s, "!");
        } else {
            if (command[0] == 'G')
                send_all(s,
                    "HTTP/1.1 200 OK\r\nContent-Length: " + std::to_string(n)
                        + "\r\n\r\n");
            send_blocks(s, n);
        }
        ::close(s);
    }

    int listener_;
    int port_;
    std::map<int, std::string> pieces_;  // by socket; for the serving thread
};

// --- The clients ------------------------------------------------------------

struct Way {
    int proxy;  // port; 0 for none, below 0 for a forwarder
    int origin;

    int entrance() const { return proxy == 0 ? origin : std::abs(proxy); }

    std::string authority() const
    {
        return "127.0.0.1:" + std::to_string(origin);
    }

    // A connection that reaches the origin byte for byte.
    int tunnel() const
    {
        const int s = connect_to(entrance());
        if (proxy > 0) {
            send_all(s,
                "CONNECT " + authority() + " HTTP/1.1\r\nHost: " + authority()
                    + "\r\n\r\n");
            std::string buffer;
            check_status(read_head(s, buffer));
        }
        return s;
    }

    std::string get(const std::string& path, bool closes) const
    {
        return "GET " + (proxy == 0 ? "" : "http://" + authority()) + path
            + " HTTP/1.1\r\nHost: " + authority() + "\r\n"
            + (closes ? "Connection: close\r\n" : "") + "\r\n";
    }
};

double seconds_since(Clock::time_point start)
{
    return std::chrono::duration<double>(Clock::now() - start).count();
}

double mib_per_second(std::size_t bytes, Clock::time_point start)
{
    return static_cast<double>(bytes) / (1 << 20) / seconds_since(start);
}

double download(const Way& way, std::size_t n)
{
    const int s = way.tunnel();
    const auto start = Clock::now();
    send_all(s, "D " + std::to_string(n) + "\n");
    read_blocks(s, n);
    const double result = mib_per_second(n, start);
    ::close(s);
    return result;
}

double upload(const Way& way, std::size_t n)
{
    const int s = way.tunnel();
    const auto start = Clock::now();
    send_all(s, "U " + std::to_string(n) + "\n");
    send_blocks(s, n);
    char byte = 0;
    receive(s, &byte, 1);
    const double result = mib_per_second(n, start);
    ::close(s);
    return result;
}

double relay_download(const Way& way, std::size_t n)
{
    const int s = connect_to(way.entrance());
    const auto start = Clock::now();
    send_all(s, way.get("/big" + std::to_string(n), true));
    std::string early;
    check_status(read_head(s, early));
    read_blocks(s, n, early);
    const double result = mib_per_second(n, start);
    ::close(s);
    return result;
}

void get_page(const Way& way, int s, bool closes)
{
    send_all(s, way.get("/", closes));
    std::string body;
    check_status(read_head(s, body));
    while (body.size() < page.size()) {
        char buffer[4096];
        body.append(buffer, receive(s, buffer, sizeof buffer));
    }
    if (body != page) {
        std::fprintf(stderr, "wrong page\n");
        std::_Exit(1);
    }
}

// `one` is called over and over by each of the clients, `n` times in all.
template <typename MakeClient>
double per_second(int n, int clients, MakeClient make_client)
{
    std::atomic<int> left{n};
    const auto start = Clock::now();
    std::vector<std::thread> threads;
    for (int i = 0; i < clients; ++i)
        threads.emplace_back([&] {
            auto once = make_client();
            while (left-- > 0)
                once();
        });
    for (std::thread& thread : threads)
        thread.join();
    return n / seconds_since(start);
}

double pages_kept_alive(const Way& way, int n, int clients)
{
    return per_second(n, clients, [&] {
        return
            [&way, s = connect_to(way.entrance())] { get_page(way, s, false); };
    });
}

double pages(const Way& way, int n, int clients)
{
    return per_second(n, clients, [&] {
        return [&way] {
            const int s = connect_to(way.entrance());
            get_page(way, s, true);
            ::close(s);
        };
    });
}

double tunnels(const Way& way, int n, int clients)
{
    return per_second(n, clients, [&] {
        return [&way] {
            const int s = way.tunnel();
            char byte = 'x';
            send_all(s, {&byte, 1});
            receive(s, &byte, 1);
            check(byte == 'x', "echo");
            ::close(s);
        };
    });
}

double round_trips(const Way& way, int n, int clients)
{
    std::vector<std::vector<double>> times(static_cast<std::size_t>(clients));
    std::vector<std::thread> threads;
    for (auto& mine : times)
        threads.emplace_back([&way, &mine, n, clients] {
            const int s = way.tunnel();
            const std::string message = block().substr(100, 64);
            char reply[64];
            for (int i = 0; i < n / clients; ++i) {
                const auto start = Clock::now();
                send_all(s, message);
                for (std::size_t got = 0; got < sizeof reply;)
                    got += receive(s, reply + got, sizeof reply - got);
                mine.push_back(seconds_since(start) * 1e6);
                check(message == std::string_view(reply, 64), "echo");
            }
            ::close(s);
        });
    for (std::thread& thread : threads)
        thread.join();
    std::vector<double> all;
    for (const auto& mine : times)
        all.insert(all.end(), mine.begin(), mine.end());
    std::nth_element(all.begin(),
        all.begin() + static_cast<std::ptrdiff_t>(all.size() / 2), all.end());
    return all[all.size() / 2];
}

// Opens the tunnels, has each answer, says so, waits for a line on standard
// input, has each answer again, and closes them.
double idle(const Way& way, int n)
{
    std::vector<int> all;
    const auto answer = [](int s) {
        char byte = 'i';
        send_all(s, {&byte, 1});
        receive(s, &byte, 1);
        check(byte == 'i', "echo");
    };
    for (int i = 0; i < n; ++i) {
        all.push_back(way.tunnel());
        answer(all.back());
    }
    std::printf("open\n");
    std::fflush(stdout);
    std::getchar();
    for (const int s : all)
        answer(s);
    for (const int s : all)
        ::close(s);
    return n;
}

}  // namespace

int main(int argc, char** argv)
{
    check(argc >= 4, "usage: load MODE PORT N [CLIENTS [ORIGIN-PORT]]");
    rlimit limit{};
    ::getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    ::setrlimit(RLIMIT_NOFILE, &limit);

    const std::string mode = argv[1];
    const OriginServer origin{argc > 5 ? std::atoi(argv[5]) : 0};
    const Way way{std::atoi(argv[2]), origin.port()};
    const auto n = std::strtoull(argv[3], nullptr, 10);
    const int count = static_cast<int>(n);
    const int clients = argc > 4 ? std::atoi(argv[4]) : 1;
    double result = 0;
    if (mode == "down")
        result = download(way, n);
    else if (mode == "up")
        result = upload(way, n);
    else if (mode == "relay")
        result = relay_download(way, n);
    else if (mode == "kept")
        result = pages_kept_alive(way, count, clients);
    else if (mode == "new")
        result = pages(way, count, clients);
    else if (mode == "connect")
        result = tunnels(way, count, clients);
    else if (mode == "rtt")
        result = round_trips(way, count, clients);
    else if (mode == "idle")
        result = idle(way, count);
    std::printf("%.1f\n", result);
    std::fflush(stdout);
    std::_Exit(0);  // the origin's threads are still at work
}
