//! Numbers as people say them: spans of time, sizes, counts. Pure.

/// A time span: `4 h 12 min`, `9 s`.
pub fn span(seconds: i64) -> String {
    match seconds {
        ..60 => format!("{seconds} s"),
        60..3600 => format!("{} min {} s", seconds / 60, seconds % 60),
        _ => format!("{} h {} min", seconds / 3600, seconds % 3600 / 60),
    }
}

/// A size: `812 bytes`, `1.5 GiB`.
pub fn size(bytes: u64) -> String {
    let unit = |power: u32, name: &str| {
        // Tenths, rounded down: a size is not said to be more than it is.
        let tenths = (u128::from(bytes) * 10) >> (10 * power);
        format!("{}.{} {name}", tenths / 10, tenths % 10)
    };
    match bytes {
        0..1024 => counted(usize::try_from(bytes).unwrap_or(usize::MAX), "byte"),
        1024..1_048_576 => unit(1, "KiB"),
        1_048_576..1_073_741_824 => unit(2, "MiB"),
        _ => unit(3, "GiB"),
    }
}

/// `1 file`, `2 files`.
pub fn counted(n: usize, what: &str) -> String {
    if n == 1 { format!("{n} {what}") } else { format!("{n} {what}s") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_said_in_the_largest_unit_that_fits() {
        let told: Vec<String> = [0, 1, 1023, 1024, 1_048_575, 1_048_576, 5 << 30, u64::MAX].map(size).into();
        let expected =
            ["0 bytes", "1 byte", "1023 bytes", "1.0 KiB", "1023.9 KiB", "1.0 MiB", "5.0 GiB", "17179869183.9 GiB"];
        assert_eq!(told, expected);
    }
}
