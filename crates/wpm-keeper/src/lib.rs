//! wpm-keeper
