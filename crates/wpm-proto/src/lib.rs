//! wpm-proto
