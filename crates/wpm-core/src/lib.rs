//! wpm-core
