#include "resolver.h"

#include <cerrno>
#include <condition_variable>
#include <exception>
#include <mutex>
#include <system_error>
#include <utility>

namespace {

// Shared by the thread that asks and the one that waits: either may be the
// last.
class Resolution {
public:
    void run(const Authority& name) noexcept
    {
        AddressList found{nullptr, &freeaddrinfo};
        std::exception_ptr error;
        try {
            found = resolve(name, 0);
        } catch (...) {
            error = std::current_exception();
        }
        const std::lock_guard lock{mutex_};
        found_ = std::move(found);
        error_ = std::move(error);
        done_ = true;
        changed_.notify_all();
    }

    AddressList wait(milliseconds patience)
    {
        std::unique_lock lock{mutex_};
        if (!changed_.wait_for(lock, patience, [&] { return done_; }))
            throw NameError{"no answer from the name server", true};
        if (error_)
            std::rethrow_exception(std::exchange(error_, nullptr));
        return std::move(found_);
    }

private:
    std::mutex mutex_;
    std::condition_variable changed_;
    bool done_ = false;
    AddressList found_{nullptr, &freeaddrinfo};
    std::exception_ptr error_;
};

}  // namespace

// Never destroyed: its threads may outlive main().
DetachedThreads& resolver_threads()
{
    static DetachedThreads* const threads = new DetachedThreads;
    return *threads;
}

AddressList resolve(const Authority& name, int flags)
{
    addrinfo hints{};
    hints.ai_socktype = SOCK_STREAM;
    hints.ai_flags = flags | AI_NUMERICSERV;
    addrinfo* found = nullptr;
    const int error
        = getaddrinfo(name.host.c_str(), name.port.c_str(), &hints, &found);
    if (error == EAI_SYSTEM)
        throw std::system_error{errno, std::generic_category(), "getaddrinfo"};
    if (error != 0)
        throw NameError{gai_strerror(error)};
    return {found, &freeaddrinfo};
}

AddressList resolve_within(const Authority& name, milliseconds patience)
{
    try {
        return resolve(name, AI_NUMERICHOST);
    } catch (const NameError&) {
        // a name, then
    }
    const auto resolution = std::make_shared<Resolution>();
    resolver_threads().start([resolution, name] { resolution->run(name); });
    return resolution->wait(patience);
}
