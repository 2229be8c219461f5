// How an exchange ends: which side ends it, and in which phase.  The table of
// notes/endings.md says what is expected; each of its cells is produced here.

#include <signal.h>
#include <sys/socket.h>

#include <array>
#include <cstdio>
#include <filesystem>
#include <map>
#include <sstream>

#include "brief_limits.h"
#include "catch.h"
#include "harness.h"

namespace {

// One exchange, brought to a certain phase.
struct Stage {
    std::unique_ptr<Proxy> proxy;
    Origin origin;
    std::vector<TestSocket> others;  // that keep something busy
    std::optional<TestSocket> client;
    std::optional<TestSocket> server;
};

using Options = std::vector<std::string>;

void send_head(Stage& stage, const std::string& more)
{
    stage.client->send(
        "GET " + stage.origin.url() + " HTTP/1.1\r\nHost: h\r\n" + more);
}

void before_head(Stage&) { }

void in_head(Stage& stage)
{
    send_head(stage, "X: ");
}

void connecting(Stage& stage)
{
    ::listen(stage.origin.socket().descriptor(), 0);
    try {
        for (;;)
            stage.others.emplace_back(
                dial_test("127.0.0.1", stage.origin.port(),
                    stage.others.empty() ? test_deadline : milliseconds{200})
                    .socket);
    } catch (const ConnectError&) {
        send_head(stage, "\r\n");
    }
}

void request_body(Stage& stage)
{
    send_head(stage, "Transfer-Encoding: chunked\r\n\r\n5\r\nhel");
    stage.server = stage.origin.accept();
    stage.server->read_until("hel");
}

void interim(Stage& stage)
{
    send_head(stage, "\r\n");
    stage.server = stage.origin.accept();
    stage.server->read_head();
    stage.server->send("HTTP/1.1 103 Early Hints\r\n\r\n");
    stage.client->read_head();
}

void response_head(Stage& stage)
{
    interim(stage);
    stage.server->send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chun");
}

void final_head(Stage& stage)
{
    interim(stage);
    stage.server->send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
    stage.client->read_head();
}

void response_body(Stage& stage)
{
    final_head(stage);
    stage.server->send("5\r\nhello\r\n");
    stage.client->read_until("hello\r\n");
}

void in_tunnel(Stage& stage)
{
    stage.client->send(connect_request(stage.origin.authority()));
    stage.server = stage.origin.accept();
    stage.client->read_head();
    stage.client->send("?");
    stage.server->read_until("?");
}

struct Phase {
    std::string name;
    void (*reach)(Stage&);
    std::string rest;  // what the server would still send
};

// In the order of the table's columns.
const std::vector<Phase> phases{
    {"before the head", before_head, ""},
    {"in the head", in_head, ""},
    {"connecting", connecting, ""},
    {"request body", request_body, ""},
    {"interim response", interim, "HTTP/1.1 204 No Content\r\n\r\n"},
    {"in the response head", response_head, "ked\r\n\r\n0\r\n\r\n"},
    {"final head sent", final_head, "0\r\n\r\n"},
    {"response body", response_body, "0\r\n\r\n"},
    {"tunnel", in_tunnel, "a late answer"},
};

// What each side may do that goes beyond a limit, or against the grammar.
void exceed(Stage& stage, const std::string& phase)
{
    if (phase == "in the head")
        stage.client->send(std::string(100'000, 'x'));
    else if (phase == "request body")
        stage.client->send("lo\r\nno number\r\n");
    else if (phase == "in the response head")
        stage.server->send(std::string(100'000, 'x'));
    else if (phase == "interim response")
        stage.server->send("HTTP/1.1 200 OK\r\nX : y\r\n\r\n");
    else if (stage.server)
        stage.server->send("no number\r\n");
}

void act(Stage& stage, const std::string& who, const std::string& phase)
{
    if (who == "client FIN")
        stage.client->finish_sending();
    else if (who == "client RST")
        stage.client->reset_on_close();
    else if (who == "server FIN")
        stage.server->finish_sending();
    else if (who == "server RST" && stage.server)
        stage.server->reset_on_close();
    else if (who == "limit")
        exceed(stage, phase);
    else if (who == "shutdown")
        stage.proxy->child().signal(SIGTERM);
    if (who == "client RST")
        stage.client.reset();
    if (who == "server RST")
        stage.server.reset();
}

// The proxy that makes the ending possible.  `limit` is that of a timeout.
std::unique_ptr<Proxy> start_proxy(
    const std::string& who, const std::string& phase, milliseconds limit)
{
    const std::string time = in_seconds(limit);
    Options options;
    std::vector<std::string> wrapper;
    if (who == "timeout" && phase == "in the response head")
        options = {"--head-timeout", time};
    else if (who == "timeout")
        options = {"--head-timeout", time, "--idle-timeout", time,
            "--connect-timeout", time};
    else if (phase == "connecting")
        options = {"--connect-timeout", "60"};
    if (who == "limit" && phase == "before the head")
        options = {"--max-clients", "1"};
    if (who == "limit" && phase == "connecting")
        wrapper = with_ulimit("-n 5");
    return std::make_unique<Proxy>(options, "127.0.0.1:0", wrapper);
}

// The status of a response, "FIN" or "RST".
std::string what_is_seen(TestSocket& socket)
{
    std::string bytes;
    try {
        bytes = socket.read_to_end();
    } catch (const std::system_error&) {
        return "RST";
    }
    return bytes.starts_with("HTTP/1.1 ") ? bytes.substr(9, 3) : "FIN";
}

// That the exchange is still alive, and comes to its end.
std::string go_on(Stage& stage, const std::string& who, const Phase& phase)
{
    TestSocket& finished = who == "client FIN" ? *stage.server : *stage.client;
    TestSocket& other = who == "client FIN" ? *stage.client : *stage.server;
    if (phase.name == "tunnel" && !finished.is_at_end())
        return "no FIN";
    (who == "client FIN" ? *stage.server : *stage.client).send(phase.rest);
    if (other.read_exactly(phase.rest.size()) == phase.rest
        && phase.name == "tunnel")
        finished.finish_sending();
    return "goes on";
}

// A connection that is not accepted yet would be reset by a shutdown.
void wait_until_accepted(const Proxy& proxy)
{
    const std::string folder = "/proc/" + std::to_string(proxy.pid()) + "/fd";
    const auto deadline = Clock::now() + test_deadline;
    for (int sockets = 0; sockets < 2 && Clock::now() < deadline;) {
        sockets = 0;
        for (const auto& entry : std::filesystem::directory_iterator{folder}) {
            std::error_code gone;
            const auto target = std::filesystem::read_symlink(entry, gone);
            sockets += target.string().starts_with("socket:");
        }
    }
}

// What the proxy has not read yet would make its end a reset.
void wait_until_read(const Proxy& proxy, const TestSocket& client)
{
    const auto in_table = [](const std::string& address) {
        std::array<char, 16> text{};
        std::snprintf(text.data(), text.size(), "0100007F:%04X ",
            std::stoi(address.substr(address.rfind(':') + 1)));
        return std::string{text.data()};
    };
    const std::string sender = in_table(client.address());
    const std::string receiver = in_table(proxy.authority());
    // "LOCAL REMOTE 01 00000000:00000000": not acknowledged, and not read.
    const auto has = [](const std::string& ends, const char* queues) {
        const std::string table = read_file("/proc/net/tcp");
        const std::size_t at = table.find(ends);
        return at != std::string::npos
            && table.substr(at + ends.size() + 3, 17).find(queues)
            != std::string::npos;
    };
    REQUIRE(becomes_true([&] {
        return has(sender + receiver, "00000000:")
            && has(receiver + sender, ":00000000");
    }));
}

// A cell: "`408` words of the log".
struct Cell {
    std::string seen;
    std::string words;
};

std::unique_ptr<Stage> begin(
    const std::string& who, const Phase& phase, milliseconds limit)
{
    auto stage = std::make_unique<Stage>();
    stage->proxy = start_proxy(who, phase.name, limit);
    if (who == "limit" && phase.name == "before the head") {
        stage->others.push_back(stage->proxy->connect());
        stage->others.back().send("GET http://h/ HTTP/1.1\r\n");
    }
    stage->client = stage->proxy->connect();
    return stage;
}

std::string bring_about(
    const std::string& who, const Phase& phase, const Cell& expected)
{
    const auto reach = [&](milliseconds limit) {
        auto stage = begin(who, phase, limit);
        if (who != "timeout")
            wait_until_accepted(*stage->proxy);
        phase.reach(*stage);
        return stage;
    };
    constexpr milliseconds limit{300};
    if (who == "server RST" && phase.name == "connecting") {
        const auto stage = begin(who, phase, limit);
        const ReservedPort unused;
        stage->client->send(
            "GET " + unused.url() + " HTTP/1.1\r\nHost: h\r\n\r\n");
        return what_is_seen(*stage->client);
    }
    const auto reached
        = who == "timeout" ? within_limit(limit, reach) : reach(limit);
    Stage& stage = *reached;
    if (who == "shutdown")
        wait_until_read(*stage.proxy, *stage.client);
    act(stage, who, phase.name);
    std::string seen = "RST";
    if (expected.seen == "goes on")
        seen = go_on(stage, who, phase);
    else if (stage.client)
        seen = what_is_seen(*stage.client);
    if (stage.server && expected.seen != "goes on")
        CHECK(what_is_seen(*stage.server) != "");  // it ends, however it does
    if (who == "shutdown")
        CHECK(stage.proxy->child().wait() == 0);
    stage.client.reset();
    stage.server.reset();
    if (!expected.words.empty())
        CHECK_THAT(
            stage.proxy->wait_for_log(expected.words), ContainsSubstring(" #"));
    return seen;
}

// The rows of the first table of the notes that has the phases as its head.
std::map<std::string, std::vector<Cell>> read_table()
{
    std::map<std::string, std::vector<Cell>> table;
    std::istringstream lines{read_file("notes/endings.md")};
    for (std::string line; std::getline(lines, line);) {
        std::vector<std::string> cells;
        std::istringstream parts{line};
        for (std::string part; std::getline(parts, part, '|');)
            cells.push_back(
                part.size() < 2 ? "" : part.substr(1, part.size() - 2));
        if (cells.size() != phases.size() + 2 || cells[1].starts_with("-"))
            continue;
        for (std::size_t i = 0; i < phases.size(); ++i) {
            const std::string& text = cells[i + 2];
            const std::size_t end = text.find('`', 1);
            table[cells[1]].push_back(end == std::string::npos
                    ? Cell{text, ""}
                    : Cell{text.substr(1, end - 1),
                        text.size() > end + 2 ? text.substr(end + 2) : ""});
        }
    }
    return table;
}

}  // namespace

TEST_CASE("each ending is as the table in the notes says", "[endings]")
{
    const auto table = read_table();
    REQUIRE(table.size() == 8);  // the head of the table, and seven rows
    for (std::size_t i = 0; i < phases.size(); ++i)
        CHECK(table.at("who, how").at(i).seen == phases[i].name);
    for (const auto& [who, cells] : table)
        for (std::size_t i = 0; i < phases.size(); ++i) {
            if (cells[i].seen == "-" || who == "who, how")
                continue;
            DYNAMIC_SECTION(who << ", " << phases[i].name)
            {
                CHECK(bring_about(who, phases[i], cells[i]) == cells[i].seen);
            }
        }
}
