//! Figures as people read them: three digits and a unit.

use control_show::Rate;

/// A count: exact up to 99,999, then `123k`, `1.23M`.
pub(crate) fn count(count: u64) -> String {
    if count < 100_000 { count.to_string() } else { scaled(count as f64) }
}

/// Bytes: `512B`, `1.50kB`, `12.3GB`.
pub(crate) fn bytes(bytes: u64) -> String {
    if bytes < 1000 { format!("{bytes}B") } else { format!("{}B", scaled(bytes as f64)) }
}

/// Per second; `-` where it is not known yet.
pub(crate) fn rate(rate: Rate) -> String {
    match rate {
        None => "-".into(),
        Some(rate) if rate < 1000.0 => trimmed(format!("{rate:.1}")),
        Some(rate) => scaled(rate),
    }
}

/// Bytes per second; `-` where it is not known yet.
pub(crate) fn bytes_rate(rate: Rate) -> String {
    rate.map_or_else(|| "-".into(), |rate| bytes(rate.round().max(0.0) as u64))
}

/// Microseconds: `16us`, `1.0ms`, `8.4s`.
pub(crate) fn micros(us: u64) -> String {
    match us {
        0..1_000 => format!("{us}us"),
        1_000..1_000_000 => format!("{:.1}ms", us as f64 / 1e3),
        _ => format!("{:.1}s", us as f64 / 1e6),
    }
}

/// A bar of ten characters for a part of 0 to 1, to an eighth of a character.
pub(crate) fn bar(part: f64) -> String {
    let eighths = (part.clamp(0.0, 1.0) * 80.0).round() as usize;
    let mut bar = "█".repeat(eighths / 8);
    bar.extend(['▏', '▎', '▍', '▌', '▋', '▊', '▉'].get((eighths % 8).wrapping_sub(1)));
    bar
}

/// Seconds: `45s`, `3m20s`, `2h05m`, `4d07h`.
pub(crate) fn duration(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m{:02}s", seconds / 60, seconds % 60),
        3600..86_400 => format!("{}h{:02}m", seconds / 3600, seconds / 60 % 60),
        _ => format!("{}d{:02}h", seconds / 86_400, seconds / 3600 % 24),
    }
}

/// Three digits and a unit.
fn scaled(mut number: f64) -> String {
    let mut unit = "";
    for next in ["k", "M", "G", "T", "P", "E"] {
        // 999.6 would be written as 1000.
        if number < 999.5 {
            break;
        }
        number /= 1000.0;
        unit = next;
    }
    let digits = match number {
        number if number < 9.995 => 2,
        number if number < 99.95 => 1,
        _ => 0,
    };
    format!("{number:.digits$}{unit}")
}

fn trimmed(text: String) -> String {
    text.strip_suffix(".0").map_or(text.clone(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures() {
        assert_eq!(
            [0, 99_999, 100_000, 999_499, 999_500, 12_345_678].map(count),
            ["0", "99999", "100k", "999k", "1.00M", "12.3M"]
        );
        assert_eq!(
            [0, 999, 1000, 1_500, 999_999, u64::MAX].map(bytes),
            ["0B", "999B", "1.00kB", "1.50kB", "1.00MB", "18.4EB"]
        );
        assert_eq!(
            [None, Some(0.0), Some(0.3), Some(999.9), Some(1234.5)].map(rate),
            ["-", "0", "0.3", "999.9", "1.23k"]
        );
        assert_eq!([None, Some(0.2), Some(1499.6)].map(bytes_rate), ["-", "0B", "1.50kB"]);
        assert_eq!([16, 999, 1_024, 8_400_000].map(micros), ["16us", "999us", "1.0ms", "8.4s"]);
        assert_eq!([0.0, 0.05, 0.5, 1.0, 7.0].map(bar), ["", "▌", "█████", "██████████", "██████████"]);
        assert_eq!(
            [0, 59, 60, 3599, 3600, 86_399, 90_000].map(duration),
            ["0s", "59s", "1m00s", "59m59s", "1h00m", "23h59m", "1d01h"]
        );
    }
}
