# The third boot, after the power was cut in the moment at which the last command had been answered.
# shellcheck shell=bash disable=SC2154,SC1091

it_has_kept_what_was_answered_before_the_power_went() {
    await systemctl is-active "$unit"
    await online web eater late
    says 'stopped' wpm list idle
    says 'stopped' wpm list down
    ! ls /root/.wpm/*corrupt*
}

it_is_taken_away_and_touches_nothing() {
    local before
    before=$(wpm pid | sort)
    wpm unstartup
    [ ! -e "/etc/systemd/system/$unit" ]
    ! systemctl is-enabled "$unit"
    same "$(wpm pid | sort)" "$before"
    wpm kill
    same "$(wpm_processes | grep -c .)" "$(wpm_processes_of_web | grep -c .)"
}
wpm_processes_of_web() {
    local pid
    for pid in $(wpm_processes); do
        if [ "$(stat -c %U "/proc/$pid")" = web ]; then echo "$pid"; fi
    done
}
