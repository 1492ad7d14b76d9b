//! Whether a page is well formed: every element that is opened is closed, in order.

const VOID: [&str; 5] = ["meta", "img", "input", "br", "link"];

/// The problem of a page, if it has one.
pub fn problem(page: &str) -> Option<String> {
    let mut open: Vec<String> = Vec::new();
    let mut rest = page.strip_prefix("<!DOCTYPE html>")?;
    while let Some(at) = rest.find('<') {
        rest = &rest[at + 1..];
        // A quoted attribute may hold a `>`.
        let mut quoted = false;
        let end = rest.find(|c: char| {
            quoted ^= c == '"';
            c == '>' && !quoted
        });
        let Some(end) = end else { return Some("a tag does not end".to_owned()) };
        let tag = &rest[..end];
        rest = &rest[end + 1..];
        let name = tag.trim_start_matches('/').split([' ', '/', '\n']).next().unwrap_or("").to_owned();
        if !name.chars().all(|c| c.is_ascii_alphanumeric()) || name.is_empty() {
            return Some(format!("<{tag}> is not a tag"));
        }
        match () {
            () if tag.starts_with('/') => match open.pop() {
                Some(opened) if opened == name => {}
                opened => return Some(format!("</{name}> closes {opened:?}")),
            },
            () if tag.ends_with('/') || VOID.contains(&name.as_str()) => {}
            () => open.push(name),
        }
    }
    (!open.is_empty()).then(|| format!("{open:?} are not closed"))
}

#[test]
fn the_checker_sees_mistakes() {
    assert_eq!(problem("<!DOCTYPE html><p title=\"a>b\">x<br><i/></p>"), None);
    assert!(problem("<!DOCTYPE html><p><b></p></b>").is_some());
    assert!(problem("<!DOCTYPE html><p>").is_some());
    assert!(problem("<!DOCTYPE html><p>1 < 2</p>").is_some());
}
