//! wpm-client
