//! Init script of OpenRC.
//!
//! Only makes the text. Invariant: a restart of the service leaves daemon and apps alone.

use super::Service;

/// The script.
pub(crate) fn script(service: &Service) -> String {
    let quoted = |text: &str| format!("'{}'", text.replace('\'', "'\\''"));
    let (home, user_home) = (Service::text(&service.home), Service::text(&service.user_home));
    let command = format!(
        "HOME={} WPM_HOME={} exec {} __unit",
        quoted(&user_home),
        quoted(&home),
        quoted(&Service::text(&service.program))
    );
    let net = if service.wait_ip { "need net" } else { "use net" };
    let owner = &service.owner;
    format!(
        r#"#!/sbin/openrc-run
# Written by `wpm startup`; `wpm unstartup` removes it.
# shellcheck shell=sh disable=SC2034
name="wpm ({owner})"
description="wpm, apps of {owner}"

as_user() {{
    su -s /bin/sh -c {command}" $1" {owner}
}}

depend() {{
    need localmount
    {net}
    use dns logger netmount
    after bootmisc firewall
}}

start() {{
    ebegin "Starting ${{name}}"
    as_user start
    eend $?
}}

stop() {{
    # A restart of the service is nothing to the apps.
    [ "${{RC_CMD:-stop}}" != restart ] || return 0
    ebegin "Stopping ${{name}}"
    as_user stop
    eend $?
}}

status() {{
    as_user status
}}
"#,
        command = quoted(&command),
    )
}

#[cfg(test)]
mod tests {
    use super::super::sample;
    use super::*;

    #[test]
    fn paths_mean_themselves_to_both_shells() {
        let text = script(&sample());
        assert!(text.starts_with("#!/sbin/openrc-run\n") && text.contains("use net"));
        let service = Service { home: "/srv/it's $HOME/.wpm".into(), wait_ip: true, ..sample() };
        let text = script(&service);
        assert!(text.contains("need net"));
        let line = text.lines().find(|line| line.contains("su -s")).expect("there");
        let words = shlex::split(line).expect("balanced quotes");
        let inner = shlex::split(&words[4]).expect("balanced quotes");
        assert_eq!(inner[1], "WPM_HOME=/srv/it's $HOME/.wpm");
        assert_eq!(words[5], "web");
    }
}
