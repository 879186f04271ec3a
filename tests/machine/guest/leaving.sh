# What the next boots look for. The list is not saved by hand: it is kept as it is.
# shellcheck shell=bash disable=SC2154,SC1091

it_leaves_something_for_the_next_boot() {
    same "$(property ActiveState)" active
    pids web >/var/lib/web-before
    online web idle eater
    wpm describe down
    date +%s%3N >/var/lib/left
}
