//! wpm-sys
