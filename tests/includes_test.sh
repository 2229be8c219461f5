#!/bin/sh
# tests/includes_test.sh -- .ci/includes finds every #include that breaks a rule of
# the folders, and no other.
set -u
cd "$(dirname "$0")/.." || exit 1
passed=0
failed=0

expect() { # STATUS FILE INCLUDED
    top=$(mktemp -d)
    mkdir -p "$top/support/http" "$top/support/net" "$top/support/log"
    echo "#include \"$3\"" >"$top/$2"
    output=$(.ci/includes "$top" 2>&1)
    status=$?
    if [ $status = "$1" ] && { [ $status = 0 ] || [ "${output%%:*}" = "$2" ]; }; then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
        echo "FAILED: $2 includes $3: status $status, output: $output"
    fi
    rm -rf "$top"
}

expect 0 support/http/message.cpp message.h
expect 1 support/http/message.h ../net/socket.h
expect 1 support/http/message.cpp support/log/trace.h
expect 1 support/http/message.cpp ../access.h
expect 0 support/net/dial.cpp socket.h
expect 1 support/net/dial.cpp ../http/error.h
expect 1 support/net/dial.h support/log/log.h
expect 1 support/net/dial.cpp ../options.h
expect 0 support/log/trace.h ../http/message.h
expect 1 support/log/trace.h ../net/socket.h
expect 1 support/log/trace.cpp support/net/socket.h
expect 1 support/log/trace.cpp ../http_io.h
expect 1 support/log/trace.cpp ../../tunnel.h
expect 0 support/http_io.h net/connection.h
expect 0 support/http_io.h http/message.h
expect 1 support/http_io.cpp ../tunnel.h
expect 1 support/access.cpp ../http_relay.h
expect 0 http_relay.cpp tunnel.h
expect 0 http_relay.cpp http_relay.h
expect 1 http_relay.h tunnel.h
expect 0 tunnel.cpp tunnel.h
expect 1 tunnel.cpp http_relay.h
expect 0 forward_proxy.cpp http_relay.h
expect 0 forward_proxy.cpp support/log/log.h

echo "$passed passed, $failed failed"
[ $failed = 0 ]
