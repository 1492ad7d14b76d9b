//! Numbers for people.

/// `1,234,567`.
pub fn count(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// `1.23 M`.
pub fn short_count(n: u64) -> String {
    match n {
        0..1_000 => n.to_string(),
        1_000..1_000_000 => format!("{:.1} k", n as f64 / 1e3),
        1_000_000..1_000_000_000 => format!("{:.2} M", n as f64 / 1e6),
        _ => format!("{:.2} G", n as f64 / 1e9),
    }
}

/// `1.05 MB`, in powers of a thousand.
pub fn bytes(n: u64) -> String {
    match n {
        0..1_000 => format!("{n} B"),
        1_000..1_000_000 => format!("{:.1} kB", n as f64 / 1e3),
        1_000_000..1_000_000_000 => format!("{:.2} MB", n as f64 / 1e6),
        _ => format!("{:.2} GB", n as f64 / 1e9),
    }
}

/// `12.3 µs`, `4.56 ms`, from microseconds.
pub fn time(us: f64) -> String {
    match us {
        us if us < 1e3 => format!("{us:.1} µs"),
        us if us < 1e6 => format!("{:.2} ms", us / 1e3),
        us => format!("{:.2} s", us / 1e6),
    }
}

/// `[1, 28, 28, 1]`, with `?` for an open dimension.
pub fn shape<T: Copy + TryInto<i64>>(dims: &[T]) -> String {
    let dim = |d: &T| match (*d).try_into() {
        Ok(d) if d >= 0 => d.to_string(),
        _ => "?".to_owned(),
    };
    format!("[{}]", dims.iter().map(dim).collect::<Vec<_>>().join(", "))
}

/// A real number in few characters.
pub fn real(v: f64) -> String {
    match v.abs() {
        0.0 => "0".to_owned(),
        1e-3..1e6 => format!("{v:.4}"),
        _ => format!("{v:.3e}"),
    }
}

/// The text, or its beginning and end around `…`, in at most `width` characters.
pub fn shorten(text: &str, width: usize) -> String {
    let length = text.chars().count();
    if length <= width {
        return text.to_owned();
    }
    let head = (width - 1) / 2;
    let tail = width - 1 - head;
    text.chars().take(head).chain(['…']).chain(text.chars().skip(length - tail)).collect()
}

/// A path as one word of a shell.
pub fn quoted(path: &std::path::Path) -> String {
    let path = path.display().to_string();
    let is_plain = |c: char| c.is_alphanumeric() || matches!(c, '/' | '.' | '-' | '_' | '+' | '=' | ':');
    if path.chars().all(is_plain) { path } else { format!("'{}'", path.replace('\'', "'\\''")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_well() {
        assert_eq!((count(0).as_str(), count(1234567).as_str(), count(123).as_str()), ("0", "1,234,567", "123"));
        assert_eq!((bytes(999), bytes(1_050_000), bytes(12_340)), ("999 B".into(), "1.05 MB".into(), "12.3 kB".into()));
        assert_eq!((time(12.34), time(4560.0), time(2.5e6)), ("12.3 µs".into(), "4.56 ms".into(), "2.50 s".into()));
        assert_eq!(quoted(std::path::Path::new("it's a file")), "'it'\\''s a file'");
        assert_eq!(shape(&[-1, 28]), "[?, 28]");
        assert_eq!(shorten("sequential/conv2d/Relu", 11), "seque…/Relu");
    }
}
