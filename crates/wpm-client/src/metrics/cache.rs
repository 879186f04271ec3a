//! Small files of the run folder in which one look leaves something for the next.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// Puts a file with this text in the place of what is there. One that cannot be written is left as it was:
/// nothing but speed depends on it.
pub(super) fn replace(path: &Path, text: &str) {
    // Renamed into place: two clients at once must not mix their lines.
    let temporary = path.with_extension(std::process::id().to_string());
    let written = fs::File::options()
        .create(true)
        .truncate(true)
        .write(true)
        .mode(0o600)
        .open(&temporary)
        .and_then(|mut file| file.write_all(text.as_bytes()));
    if written.and_then(|()| fs::rename(&temporary, path)).is_err() {
        let _absent = fs::remove_file(&temporary);
    }
}
