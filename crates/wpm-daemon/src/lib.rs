//! wpm-daemon
