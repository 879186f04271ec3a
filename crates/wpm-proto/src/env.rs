//! Names of every environment variable that wpm reads or sets.

/// Folder of wpm's state (default `~/.wpm`).
pub const HOME: &str = "WPM_HOME";
/// Log filter of the daemon (`info`, `debug`, `wpm_daemon=trace`).
pub const LOG: &str = "WPM_LOG";
/// Size in bytes (K, M, G allowed) at which log files are rotated, when the app does not say.
pub const LOG_MAX_SIZE: &str = "WPM_LOG_MAX_SIZE";
/// Rotated log files kept, when the app does not say.
pub const LOG_RETAIN: &str = "WPM_LOG_RETAIN";
/// Whether rotated log files are gzipped, when the app does not say.
pub const LOG_COMPRESS: &str = "WPM_LOG_COMPRESS";
/// Cron rule by which log files are rotated, when the app does not say.
pub const LOG_ROTATE_INTERVAL: &str = "WPM_LOG_ROTATE_INTERVAL";
/// First signal of a stop (pm2's `PM2_KILL_SIGNAL`).
pub const KILL_SIGNAL: &str = "WPM_KILL_SIGNAL";
/// Default of `--kill-timeout` in milliseconds.
pub const KILL_TIMEOUT: &str = "WPM_KILL_TIMEOUT";
/// Seconds that a client waits for an answer of the daemon (default 5; commands that wait for apps
/// are not concerned).
pub const TIMEOUT: &str = "WPM_TIMEOUT";
/// Descriptor of the keeper's connection; set by the keeper for the daemon alone.
pub const KEEPER_FD: &str = "WPM_KEEPER_FD";

/// Index of the instance, set for every app.
pub const INSTANCE: &str = "WPM_INSTANCE";
/// Run and home (`RUN@HOME`), set for every app: processes that left its tree are known by it.
pub const RUN: &str = "WPM_RUN";
/// Index of the instance as pm2 names it, set where instances were asked for.
pub const NODE_APP_INSTANCE: &str = "NODE_APP_INSTANCE";
