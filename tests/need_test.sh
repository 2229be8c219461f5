#!/bin/sh
# tests/need_test.sh -- .ci/need on systems that are not here: stubs in the place
# of their package managers "install" what is asked for, and say how.
set -u
cd "$(dirname "$0")/.." || exit 1
passed=0
failed=0

# A system: a folder that is all of PATH, with at most one package manager.
# The stubs of g++ and of commands find what the manager has "installed".
system() { # MANAGER UID
    sys=$(mktemp -d)
    for tool in sh cat sed rm mkdir printf env; do
        ln -s "$(command -v $tool)" "$sys/$tool"
    done
    printf '#!/bin/sh\necho %s\n' "$2" >"$sys/id"
    printf '#!/bin/sh\n[ -e %s/installed ]\n' "$sys" >"$sys/g++"
    if [ "$1" != none ]; then
        printf '#!/bin/sh\n: > %s/installed; echo "$0 $*" | sed "s|.*/||"\n' \
            "$sys" >"$sys/$1"
    fi
    [ "$1" != brew ] || printf '#!/bin/sh
[ "$1" = --prefix ] && { echo /opt; exit; }\n: > %s/installed; echo "brew $*"\n' \
        "$sys" >"$sys/brew"
    printf '#!/bin/sh\necho "sudo $1"\nexec "$@"\n' >"$sys/sudo"
    chmod +x "$sys"/id "$sys"/g++ "$sys"/sudo
    [ "$1" = none ] || chmod +x "$sys/$1"
}

expect() { # WHAT MANAGER UID STATUS TEXT [THING...]
    system "$2" "$3"
    [ "$1" != "no network" ] || printf '#!/bin/sh\nexit 100\n' >"$sys/$2"
    what=$1 wanted=$4 text=$5
    shift 5
    output=$(PATH=$sys CXX=g++ sh .ci/need "${@:-cxxopts}" catch2 2>&1)
    status=$?
    if [ $status = "$wanted" ] && case $output in *"$text"*) true ;; *) false ;; esac; then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
        echo "FAILED: $what: status $status, output:"
        echo "$output"
    fi
    rm -rf "$sys"
}

expect "Debian" apt-get 0 0 \
    "+ env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends libcxxopts-dev catch2"
expect "Debian, not root" apt-get 1000 0 "+ sudo env DEBIAN_FRONTEND"
expect "Fedora" dnf 0 0 "+ dnf install -y cxxopts-devel catch-devel"
expect "Arch" pacman 0 0 "+ pacman -S --noconfirm --needed cxxopts catch2"
expect "Alpine" apk 0 0 "+ apk add cxxopts-dev catch2-3"
expect "macOS, never through sudo" brew 501 0 "+ brew install cxxopts catch2"
expect "no manager" none 0 1 "Please install by hand: cxxopts catch2"
expect "no network" apt-get 0 1 "The last command failed.  Please install by hand: cxxopts"
expect "no package" brew 501 1 "no package for it, or it did not help.  Please install by hand: libfuzzer" libfuzzer
expect "no such thing" apt-get 0 2 ".ci/need does not know rust" rust

system apt-get 0
: >"$sys/installed"
if [ -z "$(PATH=$sys CXX=g++ sh .ci/need cxxopts catch2)" ]; then
    passed=$((passed + 1))
else
    failed=$((failed + 1))
    echo "FAILED: what is there is installed again"
fi
rm -rf "$sys"

echo "$passed passed, $failed failed"
[ $failed = 0 ]
