// A forward proxy from nothing, step 3: CONNECT, and bytes that are not read.
//     g++ -std=c++20 -pthread step3.cpp -o step3 && ./step3 3128
#include <arpa/inet.h>
#include <netdb.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <regex>
#include <string>
#include <thread>

using std::regex, std::string;

// Ends the exchange.  The status is for the client; empty if nothing can be said any more.
struct Failure { string status; };

struct Socket {
    int fd;
    ~Socket() { close(fd); }
};

const regex field{"\r\n([^:\r]+):[ \t]*([^\r]*)"};
const regex url{"http://([^/?#]+)([^#]*)"};
const regex authority{"(.*?)(:([0-9]{1,5}))?"};
const regex request_line{"([!-~]+) ([^ \t]+) (HTTP/1\\.[01])"};
const regex status_line{"HTTP/1\\.[01] [0-9]{3}( .*)?"};

string lower(string text)
{
    std::transform(text.begin(), text.end(), text.begin(), tolower);
    return text;
}

void send_all(int fd, const string& data)  // a blocking send() sends all, or fails
{
    if (send(fd, data.data(), data.size(), 0) != ssize_t(data.size()))
        throw Failure{};
}

// Copies until the sender has finished, or until `left` bytes have gone; gives what is left.
unsigned long long copy(int from, int to, unsigned long long left = ~0ULL)
{
    char data[65536];
    while (left > 0) {
        const ssize_t n = recv(from, data, std::min<unsigned long long>(left, sizeof data), 0);
        if (n < 0 || (n > 0 && send(to, data, size_t(n), 0) != n))
            throw Failure{};
        if (n == 0)
            break;
        left -= size_t(n);
    }
    return left;
}

string value(const string& head, const string& name)  // of all lines with that name
{
    string all;
    for (std::sregex_iterator line{head.begin(), head.end(), field}, end; line != end; ++line)
        if (lower((*line)[1]) == name)
            all += (all.empty() ? "" : ",") + (*line)[2].str();
    return all;
}

// Byte by byte, so that what follows the head stays in the socket.
string read_head(int fd, const regex& start, const string& status)
{
    string head;
    for (char c = 0; !head.ends_with("\r\n\r\n"); head += c)
        if (recv(fd, &c, 1, 0) != 1)
            throw Failure{status};
    if (!std::regex_match(head.substr(0, head.find("\r\n")), start))
        throw Failure{status};
    return head;
}

string to_forward(const string& head)  // the fields that are not for one connection alone
{
    const string here = ",connection,proxy-connection,keep-alive,te,trailer,upgrade,host,"
                        "proxy-authorization,proxy-authenticate,"
        + std::regex_replace(lower(value(head, "connection")), regex{"[ \t]"}, "") + ",";
    string kept;
    for (std::sregex_iterator line{head.begin(), head.end(), field}, end; line != end; ++line)
        if (here.find("," + lower((*line)[1]) + ",") == string::npos)
            kept += line->str();
    return kept + "\r\nVia: 1.1 from-nothing\r\nConnection: close\r\n\r\n";
}

int connect_to(const string& where, const string& default_port)
{
    std::smatch parts;
    std::regex_match(where, parts, authority);
    const string port = parts[2].matched ? parts[3].str() : default_port;
    addrinfo hints{}, *found = nullptr;
    hints.ai_socktype = SOCK_STREAM;
    if (getaddrinfo(parts[1].str().c_str(), port.c_str(), &hints, &found) != 0)
        throw Failure{};
    const int server = socket(found->ai_family, SOCK_STREAM, 0);
    const int error = connect(server, found->ai_addr, found->ai_addrlen);
    freeaddrinfo(found);
    if (error == 0)
        return server;
    close(server);
    throw Failure{};
}

void relay(int client, const string& head, const std::smatch& request)
{
    std::smatch parts;
    const string target = request[2];
    if (!std::regex_match(target, parts, url))
        throw Failure{"400 Bad Request"};
    const Socket server{connect_to(parts[1], "80")};
    send_all(server.fd, request[1].str() + (parts[2].str().starts_with("/") ? " " : " /")
        + parts[2].str() + " " + request[3].str() + "\r\nHost: " + parts[1].str()
        + to_forward(head));
    if (copy(client, server.fd, strtoull(value(head, "content-length").c_str(), nullptr, 10)) > 0)
        throw Failure{};
    const string answer = read_head(server.fd, status_line, "502 Bad Gateway");
    send_all(client, answer.substr(0, answer.find("\r\n")) + to_forward(answer));
    copy(server.fd, client);
}

void pump(int from, int to)
try {
    copy(from, to);
    shutdown(to, SHUT_WR);  // a FIN ends one direction only
} catch (const Failure&) {
    shutdown(from, SHUT_RDWR), shutdown(to, SHUT_RDWR);  // wakes the other thread
}

void tunnel(int client, const string& target)
{
    const Socket server{connect_to(target, "")};
    send_all(client, "HTTP/1.1 200 Connection established\r\n\r\n");
    std::jthread upstream{pump, client, server.fd};
    pump(server.fd, client);
}

void serve_client(int fd)
try {
    const Socket client{fd};
    try {
        const string head = read_head(fd, request_line, "400 Bad Request");
        const string line = head.substr(0, head.find("\r\n"));
        std::smatch request;
        std::regex_match(line, request, request_line);
        if (request[1] == "CONNECT")
            tunnel(fd, request[2]);
        else
            relay(fd, head, request);
    } catch (const Failure& failure) {
        if (failure.status.empty())
            return;
        send_all(fd, "HTTP/1.1 " + failure.status
            + "\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    }
} catch (const Failure&) {
    // the client has left
}

int main(int, char** argv)
{
    signal(SIGPIPE, SIG_IGN);  // a client that has left is no reason to die
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    address.sin_port = htons(uint16_t(std::stoi(argv[1])));
    const Socket listener{socket(AF_INET, SOCK_STREAM, 0)};
    if (bind(listener.fd, reinterpret_cast<sockaddr*>(&address), sizeof address) < 0
        || listen(listener.fd, 128) < 0)
        return 1;
    for (int fd = 0; (fd = accept(listener.fd, nullptr, nullptr)) >= 0;)
        std::thread{serve_client, fd}.detach();
}
