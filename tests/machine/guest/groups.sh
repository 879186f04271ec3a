# Control groups that systemd delegated: the kernel limits an app, ends it alone, and says so.
# shellcheck shell=bash disable=SC2154,SC1091

it_limits_memory_before_the_app_runs() {
    wpm start "$apps" --name eater --memory-max 64M -- eat /tmp/eat
    same "$(cat "$(folder_of eater)/memory.max")" $((64 << 20))
    # Beside it, the limit at which wpm restarts an app by itself.
    wpm start "$apps" --name glutton --memory-max 400M --max-memory-restart 100M -- eat /tmp/eat-much
    same "$(cat "$(folder_of glutton)/memory.max")" $((400 << 20))
}

it_ends_alone_when_it_is_out_of_memory() {
    local old others before pid
    old=$(wpm pid eater)
    others=$(pids | grep -v "^$old$"; wpm_processes | grep -v "^$(shim_of eater)$")
    before=$(property NRestarts)
    touch /tmp/eat
    await dead "$old"
    await online eater
    for pid in $others; do lives "$pid"; done
    same "$(property ActiveState)/$(property NRestarts)" "active/$before"
    dmesg | grep "oom-kill:constraint=CONSTRAINT_MEMCG.*pid=$old"
}

it_is_said_to_be_out_of_memory_and_counted() {
    same "$(restarts eater)" 1
    says 'out of memory' wpm list eater
    says 'out of memory' wpm describe eater
    says 'out of memory' wpm events eater --since 1h --nostream
    says 'out_of_memory' wpm events eater --since 1h --nostream --json
    says 'out_of_memory' wpm describe eater --json
    # The limit is one of each run.
    same "$(cat "$(folder_of eater)/memory.max")" $((64 << 20))
}

it_is_restarted_by_wpm_below_the_limit_of_the_kernel() {
    local old
    old=$(wpm pid glutton)
    touch /tmp/eat-much
    await dead "$old"
    await online glutton
    same "$(restarts glutton)" 1
    says 'memory' wpm events glutton --since 1h --nostream
    ! wpm events glutton --since 1h --nostream | grep 'out of memory'
}

it_limits_cpu() {
    wpm start "$apps" --name spinner --cpu-max 20% -- spin
    local folder before after
    folder=$(folder_of spinner)
    same "$(cat "$folder/cpu.max")" "20000 100000"
    await throttled "$folder"
    before=$(used "$folder") after=$(date +%s%6N)
    sleep 3
    local spent=$(($(used "$folder") - before)) passed=$(($(date +%s%6N) - after))
    echo "$spent of $passed microseconds"
    [ $((spent * 100)) -le $((passed * 30)) ]
    wpm delete spinner
}
throttled() { [ "$(sed -n 's/^nr_throttled //p' "$1/cpu.stat")" -ge 5 ]; }
used() { sed -n 's/^usage_usec //p' "$1/cpu.stat"; }

it_leaves_nobody_of_a_family_that_hides() {
    wpm start "$apps" --name family --kill-timeout 500ms -- family
    local folder members
    folder=$(folder_of family)
    await has_members "$folder" 6
    members=$(cat "$folder/cgroup.procs")
    wpm stop family
    local pid
    for pid in $members; do dead "$pid"; done
    [ ! -e "$folder" ]
    wpm delete family
}

has_members() { [ "$(wc -l <"$1/cgroup.procs")" = "$2" ]; }

# Without its shim, the next one finds the family by its group.
it_leaves_nobody_even_when_everything_of_wpm_was_killed() {
    wpm start "$apps" --name family --kill-timeout 2s -- family
    local folder members
    folder=$(folder_of family)
    await has_members "$folder" 6
    members=$(cat "$folder/cgroup.procs")
    # shellcheck disable=SC2046
    kill -KILL $(wpm_processes)
    await healed
    same "$(folder_of family)" "$folder"
    wpm delete family
    local pid
    for pid in $members; do dead "$pid"; done
    await test ! -e "$folder"
}

it_keeps_limits_through_a_restart_of_the_unit() {
    local old
    systemctl restart "$unit"
    same "$(cat "$(folder_of eater)/memory.max")" $((64 << 20))
    old=$(wpm pid eater)
    touch /tmp/eat
    await dead "$old"
    await online eater
    same "$(restarts eater)" 2
    says 'out of memory' wpm list eater
}
