//! Property list of launchd.
//!
//! Only makes the text.

use super::Service;

/// Label of the service.
pub(crate) fn label(service: &Service) -> String {
    format!("rs.wpm.{}", service.name)
}

/// The property list.
pub(crate) fn list(service: &Service) -> String {
    let text = |path: &std::path::Path| escape(&Service::text(path));
    let user = service.user.as_ref().map_or_else(String::new, |user| {
        format!("    <key>UserName</key>\n    <string>{}</string>\n", escape(user))
    });
    format!(
        r#"<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE plist PUBLIC "-//Apple//DTD PLIST 1.0//EN" "http://www.apple.com/DTDs/PropertyList-1.0.dtd">
<plist version="1.0">
<dict>
    <key>Label</key>
    <string>{label}</string>
{user}    <key>ProgramArguments</key>
    <array>
        <string>{program}</string>
        <string>__keeper</string>
        <string>{home}</string>
        <string>--unit</string>
    </array>
    <key>EnvironmentVariables</key>
    <dict>
        <key>HOME</key>
        <string>{user_home}</string>
        <key>WPM_HOME</key>
        <string>{home}</string>
    </dict>
    <key>RunAtLoad</key>
    <true/>
    <key>KeepAlive</key>
    <dict>
        <key>SuccessfulExit</key>
        <false/>
    </dict>
    <key>AbandonProcessGroup</key>
    <true/>
</dict>
</plist>
"#,
        label = escape(&label(service)),
        program = text(&service.program),
        home = text(&service.home),
        user_home = text(&service.user_home),
    )
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::super::sample;
    use super::*;

    #[test]
    fn paths_mean_themselves() {
        let text = list(&Service { home: "/a&b/<c>".into(), ..sample() });
        assert!(text.contains("<string>/a&amp;b/&lt;c&gt;</string>"), "{text}");
        assert!(text.contains("<key>UserName</key>"));
        assert!(!list(&Service { user: None, ..sample() }).contains("UserName"));
    }
}
