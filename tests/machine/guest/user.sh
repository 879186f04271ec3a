# A user's own unit: it lives from boot to shutdown when the user lingers, and has limits of its own.
# shellcheck shell=bash disable=SC2154,SC1091

# In the user's session, as far as programs can tell.
as_web() {
    local id
    id=$(id -u web)
    (cd /home/web && runuser -u web -- env HOME=/home/web XDG_RUNTIME_DIR="/run/user/$id" \
        DBUS_SESSION_BUS_ADDRESS="unix:path=/run/user/$id/bus" "$@")
}

it_is_a_users_own_and_lingers() {
    loginctl enable-linger web
    await test -S "/run/user/$(id -u web)/bus"
    as_web wpm startup --linger
    as_web systemctl --user is-enabled wpm
    as_web systemctl --user start wpm
    as_web systemctl --user is-active wpm
    says '✓ lingering is on' as_web wpm doctor
}

it_limits_apps_of_a_user() {
    as_web wpm start "$apps" --name mine -- write
    as_web wpm start "$apps" --name hungry --memory-max 64M --cpu-max 50% -- eat /tmp/eat-mine
    local folder old
    old=$(as_web wpm pid hungry)
    folder=/sys/fs/cgroup$(group_of "$old")
    grep "/user@.*/app.slice/wpm.service/run-" <<<"$folder"
    same "$(cat "$folder/memory.max" "$folder/cpu.max")" "$((64 << 20))"$'\n'"50000 100000"
    as_web touch /tmp/eat-mine
    await dead "$old"
    says 'out of memory' as_web wpm events hungry --since 1h --nostream
    as_web systemctl --user is-active wpm
}

it_is_restarted_and_no_app_of_the_user_notices() {
    local before
    before=$(as_web wpm pid)
    as_web systemctl --user restart wpm
    same "$(as_web wpm pid)" "$before"
    # shellcheck disable=SC2046
    kill -KILL $(wpm_processes | grep -xF "$(processes_of_web)")
    await as_web wpm ping
    await as_web systemctl --user is-active wpm
    same "$(as_web wpm pid)" "$before"
    nothing_is_lost /home/web/.wpm/logs/mine-out.log
}
processes_of_web() {
    local folder
    for folder in /proc/[0-9]*; do
        if [ "$(stat -c %U "$folder" 2>/dev/null)" = web ]; then echo "${folder#/proc/}"; fi
    done
}

it_can_be_the_systems_for_a_user() {
    wpm startup -u web --print >/tmp/web.unit
    grep -x 'User=web' /tmp/web.unit
    grep -x 'Environment="WPM_HOME=/home/web/.wpm"' /tmp/web.unit
}
