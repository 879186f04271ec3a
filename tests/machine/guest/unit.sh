# A unit of the system, written by root: nothing that systemd or anybody does to it touches an app.
# shellcheck shell=bash disable=SC2154,SC1091

it_is_written_enabled_and_verified() {
    wpm startup
    test -z "$(systemd-analyze verify "/etc/systemd/system/$unit" 2>&1)"
    same "$(systemctl is-enabled "$unit")" enabled
    same "$(property ActiveState)" inactive
    same "$(wpm_processes)" ""
}

it_starts_and_is_ready_when_the_daemon_answers() {
    systemctl start "$unit"
    # At once: the start has waited for it.
    same "$(property ActiveState)/$(property SubState)" active/running
    timeout 10 wpm ping
    tr '\0' ' ' <"/proc/$(main_process)/cmdline" | grep __keeper
    same "$(group_of "$(main_process)")" "/system.slice/$unit/wpm"
}

it_runs_apps_each_in_a_group_of_its_own() {
    wpm start "$apps" --name web -i 2 -- write
    wpm start "$apps" --name idle -- wait
    wpm start "$apps" --name down -- wait
    wpm stop down
    same "$(pids | wc -l)" 3
    local pid
    for pid in $(pids); do
        group_of "$pid" | grep -E "^/system.slice/$unit/run-[0-9a-f]+-[0-9]+$"
    done
    for pid in $(wpm_processes); do same "$(group_of "$pid")" "/system.slice/$unit/wpm"; done
    says "✓ control group /sys/fs/cgroup/system.slice/$unit, with .*memory" wpm doctor
}

it_has_a_sane_status() {
    systemctl status --no-pager "$unit" >/tmp/status
    grep -E 'Active: active \(running\)' /tmp/status
    grep -E "Main PID: $(main_process) \(wpm" /tmp/status
    ! grep -iE 'warn|fail' /tmp/status
}

it_is_restarted_and_no_app_notices() {
    local before keeper
    before=$(standing)
    for _ in 1 2 3; do
        keeper=$(main_process)
        systemctl restart "$unit"
        [ "$(main_process)" != "$keeper" ]
        untouched "$before"
    done
}

it_may_be_read_again_and_systemd_replace_itself() {
    local before
    before=$(standing)
    systemctl daemon-reload
    untouched "$before"
    systemctl daemon-reexec
    untouched "$before"
}

it_may_lose_its_keeper() {
    local before keeper
    before=$(standing)
    keeper=$(main_process)
    kill -KILL "$keeper"
    await dead "$keeper"
    untouched "$before"
    systemctl kill --kill-whom=main --signal=KILL "$unit"
    untouched "$before"
}

it_may_lose_its_daemon() {
    local before
    before=$(standing)
    for _ in 1 2 3; do
        kill -KILL "$(daemon_process)"
        untouched "$before"
    done
}

it_may_lose_everything_of_wpm_again_and_again() {
    local before
    before=$(standing)
    for _ in 1 2 3; do
        # shellcheck disable=SC2046
        kill -KILL $(wpm_processes)
        untouched "$before"
        await has_processes shim 3
    done
}

it_heals_a_daemon_that_hangs_when_it_is_asked() {
    local before hung
    before=$(standing)
    hung=$(daemon_process)
    kill -STOP "$hung"
    timeout 60 wpm list
    await dead "$hung"
    untouched "$before"
}

it_has_lost_no_line_through_all_this() {
    nothing_is_lost /root/.wpm/logs/web-out-0.log
    nothing_is_lost /root/.wpm/logs/web-out-1.log
}

it_stops_apps_by_their_own_signal_and_brings_back_those_that_ran() {
    local old pid
    old=$(pids web)
    systemctl stop "$unit"
    same "$(property ActiveState)/$(property Result)" inactive/success
    for pid in $old; do
        dead "$pid"
        grep -x "bye of $pid" /root/.wpm/logs/web-out-*.log
    done
    same "$(wpm_processes)" ""
    systemctl start "$unit"
    await online web
    says 'stopped' wpm list down
}

it_is_ended_by_wpm_kill_and_is_no_failure() {
    wpm save
    wpm kill
    await is ActiveState inactive
    same "$(property Result)" success
    same "$(wpm_processes)" ""
    # The list was given up; what was saved comes back.
    systemctl start "$unit"
    await online web idle
    says 'stopped' wpm list down
}

it_waits_for_a_wpm_that_was_started_by_hand() {
    wpm kill
    await is ActiveState inactive
    wpm resurrect
    local by_hand before
    by_hand=$(cat /root/.wpm/keeper.pid)
    before=$(standing)
    systemctl start "$unit"
    same "$(property ActiveState)" active
    says 'waiting to take over' systemctl status --no-pager "$unit"
    same "$(standing)" "$before"
    lives "$by_hand"
    # The unit may go and come as it likes: it is not the one that keeps these apps.
    systemctl restart "$unit"
    same "$(standing)" "$before"
    # Once all of that wpm is gone, as with the session that it was started in, the unit takes its apps over.
    # shellcheck disable=SC2046
    kill -KILL $(wpm_processes | grep -vx "$(main_process)")
    untouched "$before"
    # What is started from now on stands in the unit.
    systemctl stop "$unit"
    systemctl start "$unit"
    await online web idle
    same "$(group_of "$(wpm pid idle)" | cut -d / -f 3)" "$unit"
}
