//! Sizes and durations: how they are written on the command line and shown in tables.
//!
//! Invariant: `M` means MiB everywhere, as in pm2.

/// Bytes of `300M`, `1.5G`, `512K`, `1048576`; also `300MB` and `300MiB`.
pub(crate) fn parse_size(text: &str) -> Result<u64, String> {
    let wrong = || format!("`{text}` is not a size such as 300M, 1.5G or 1048576");
    let trimmed = text.trim();
    let digits = trimmed.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(trimmed.len());
    let (number, unit) = trimmed.split_at(digits);
    let shift = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => 0,
        "k" | "kb" | "kib" => 10,
        "m" | "mb" | "mib" => 20,
        "g" | "gb" | "gib" => 30,
        "t" | "tb" | "tib" => 40,
        _ => return Err(wrong()),
    };
    if let Ok(whole) = number.parse::<u64>() {
        return whole.checked_mul(1 << shift).ok_or_else(wrong);
    }
    let number: f64 = number.parse().map_err(|_| wrong())?;
    #[expect(clippy::cast_precision_loss, reason = "a power of two is exact")]
    let bytes = number * (1_u64 << shift) as f64;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked to be in range")]
    if (0.0..9e18).contains(&bytes) { Ok(bytes as u64) } else { Err(wrong()) }
}

/// Milliseconds of `500`, `500ms`, `1s`, `1.5m`, `2h`, `1d`.
pub(crate) fn parse_duration(text: &str) -> Result<u64, String> {
    let wrong = || format!("`{text}` is not a duration such as 500 (milliseconds), 3s, 5m or 2h");
    let trimmed = text.trim();
    let digits = trimmed.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(trimmed.len());
    let (number, unit) = trimmed.split_at(digits);
    let factor = match unit.trim() {
        "" | "ms" => 1,
        "s" => 1000,
        "m" | "min" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return Err(wrong()),
    };
    if let Ok(whole) = number.parse::<u64>() {
        return whole.checked_mul(factor).ok_or_else(wrong);
    }
    let number: f64 = number.parse().map_err(|_| wrong())?;
    #[expect(clippy::cast_precision_loss, reason = "small factors are exact")]
    let milliseconds = number * factor as f64;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked to be in range")]
    if (0.0..9e18).contains(&milliseconds) { Ok(milliseconds as u64) } else { Err(wrong()) }
}

/// `324.8 MiB`.
pub(crate) fn show_size(bytes: u64) -> String {
    let (number, unit) = scale(bytes);
    if unit.is_empty() { format!("{bytes} B") } else { format!("{number:.1} {unit}iB") }
}

/// `325M`.
pub(crate) fn show_size_short(bytes: u64) -> String {
    let (number, unit) = scale(bytes);
    let decimals = usize::from(unit == "G" && number < 10.0);
    format!("{number:.decimals$}{unit}")
}

#[expect(clippy::cast_precision_loss, reason = "figures for people")]
fn scale(bytes: u64) -> (f64, &'static str) {
    let mut number = bytes as f64;
    let mut unit = "";
    for next in ["K", "M", "G", "T"] {
        if number < 1024.0 {
            break;
        }
        number /= 1024.0;
        unit = next;
    }
    (number, unit)
}

/// `2d 4h`, `3m 12s`, `16s`: the two largest units.
pub(crate) fn show_duration(milliseconds: u64) -> String {
    let seconds = milliseconds / 1000;
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds}s"),
        (0, 0, _) => format!("{minutes}m {}s", seconds % 60),
        (0, ..) => format!("{hours}h {}m", minutes % 60),
        _ => format!("{days}d {}h", hours % 24),
    }
}

/// `0.4s`, `12s`, `2m 3s`: how long something took.
pub(crate) fn show_elapsed(elapsed: std::time::Duration) -> String {
    let seconds = elapsed.as_secs_f64();
    if seconds < 0.1 {
        format!("{}ms", elapsed.as_millis())
    } else if seconds < 10.0 {
        format!("{seconds:.1}s")
    } else {
        show_duration(u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX))
    }
}

/// Hundredths of a CPU of `1.5` (CPUs) or `150%`.
pub(crate) fn parse_cpus(text: &str) -> Result<u32, String> {
    let wrong = || format!("`{text}` is not a number of CPUs such as 2, 1.5 or 50%");
    let (number, factor) = match text.trim().strip_suffix('%') {
        Some(percent) => (percent.trim(), 1.0),
        None => (text.trim(), 100.0),
    };
    let number: f64 = number.parse().map_err(|_| wrong())?;
    let percent = (number * factor).round();
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked to be in range")]
    if (1.0..=1e7).contains(&percent) { Ok(percent as u32) } else { Err(wrong()) }
}

/// A limit of the kernel: a number, a size or `unlimited`, or two of them with a colon between.
pub(crate) fn parse_limit(text: &str) -> Result<String, String> {
    let word = |word: &str| match word {
        "unlimited" => Ok(word.to_owned()),
        word => parse_size(word).map(|number| number.to_string()),
    };
    let parts: Vec<String> = text.split(':').map(|part| word(part.trim())).collect::<Result<_, _>>()?;
    match parts.len() {
        1 | 2 => Ok(parts.join(":")),
        _ => Err(format!("`{text}` is not a limit such as 1024, 64M, unlimited or 1024:4096")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_binary() {
        assert_eq!(parse_size("300M"), Ok(300 << 20));
        assert_eq!(parse_size("1.5G"), Ok(3 << 29));
        assert_eq!(parse_size("512k"), Ok(512 << 10));
        assert_eq!(parse_size("1048576"), Ok(1 << 20));
        assert_eq!(parse_size("10 MiB"), Ok(10 << 20));
        for wrong in ["300Q", "", "M", "-1M", "1e9", "99999999999G", "1.2.3M"] {
            assert!(parse_size(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_bare_duration_is_milliseconds() {
        assert_eq!(parse_duration("1600"), Ok(1600));
        assert_eq!(parse_duration("3s"), Ok(3000));
        assert_eq!(parse_duration("1.5m"), Ok(90_000));
        assert_eq!(parse_duration("2h"), Ok(7_200_000));
        for wrong in ["", "s", "5 parsecs", "-1", "18446744073709551615h"] {
            assert!(parse_duration(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn figures_for_people() {
        assert_eq!(show_size(340_575_846), "324.8 MiB");
        assert_eq!(show_size(12), "12 B");
        assert_eq!(show_size_short(340_575_846), "325M");
        assert_eq!(show_size_short(3 << 29), "1.5G");
        assert_eq!(show_duration(16_000), "16s");
        assert_eq!(show_duration(192_000), "3m 12s");
        assert_eq!(show_duration(187_200_000), "2d 4h");
        assert_eq!(show_elapsed(std::time::Duration::from_millis(420)), "0.4s");
        assert_eq!(show_elapsed(std::time::Duration::from_millis(42)), "42ms");
    }
}
