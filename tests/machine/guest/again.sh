# The second boot, after the machine was shut down in order.
# shellcheck shell=bash disable=SC2154,SC1091

it_has_stopped_apps_by_their_own_signal_at_shutdown() {
    local pid
    while read -r pid; do grep -x "bye of $pid" /root/.wpm/logs/web-out-*.log; done </var/lib/web-before
    [ "$(grep -c '^bye of' /home/web/.wpm/logs/mine-out.log)" -ge 1 ]
    nothing_is_lost /root/.wpm/logs/web-out-0.log
}

it_runs_again_what_ran_and_nothing_else() {
    await systemctl is-active "$unit"
    await online web idle eater
    same "$(pids web | wc -l)" 2
    says 'stopped' wpm list down
    same "$(cat "$(folder_of eater)/memory.max")" $((64 << 20))
}

it_runs_the_apps_of_a_user_who_has_not_logged_in() {
    await test -S "/run/user/$(id -u web)/bus"
    . "$here/user.sh"
    await as_web systemctl --user is-active wpm
    await as_web sh -c "wpm pid mine | grep -v ^0"
}

cut_the_power() {
    # The last thing that callers were told: this app was started and that one stopped.
    wpm start "$apps" --name late -- write >/dev/null && wpm stop idle >/dev/null && echo b >/proc/sysrq-trigger
}
