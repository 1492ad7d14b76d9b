//! Names of classes.

use crate::Error;
use std::io::{Cursor, Read};
use std::path::Path;

/// Most bytes of a label file.
const MAX_BYTES: u64 = 16 << 20;

/// Reads a label file: one name per line; a number before each name, as in `0 background` or `0: background`, is
/// dropped where every line has its own.
///
/// # Errors
/// When it cannot be read.
pub fn read(path: &Path) -> Result<Vec<String>, Error> {
    let bytes = std::fs::read(path).map_err(|source| Error::io(path, source))?;
    let labels = parse(&String::from_utf8_lossy(&bytes));
    if labels.is_empty() { Err(Error::file(path, "there is no label in it")) } else { Ok(labels) }
}

/// The names of a label file.
pub fn parse(text: &str) -> Vec<String> {
    let text = text.trim_start_matches('\u{feff}').trim_end();
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    let numbered: Option<Vec<&str>> = lines
        .iter()
        .enumerate()
        .map(|(i, line)| {
            let rest = line.strip_prefix(&i.to_string())?;
            let name = rest.trim_start_matches([':', ',']).trim_start();
            (name.len() < rest.len()).then_some(name)
        })
        .collect();
    match numbered {
        Some(names) if !text.is_empty() => names.into_iter().map(str::to_owned).collect(),
        _ if text.is_empty() => Vec::new(),
        _ => lines.into_iter().map(str::to_owned).collect(),
    }
}

/// The labels that a model file carries: model files with metadata have their associated files in a zip archive at the
/// end. `None` when there is no label file.
pub fn embedded(file: &[u8]) -> Option<Vec<String>> {
    let mut zip = zip::ZipArchive::new(Cursor::new(file)).ok()?;
    let names: Vec<String> = zip.file_names().filter_map(|name| name.ok().map(|name| name.to_string())).collect();
    let is_text = |name: &&String| name.ends_with(".txt");
    let chosen = names.iter().filter(is_text).find(|name| name.contains("label"));
    let chosen = chosen.or_else(|| names.iter().find(is_text))?;
    let mut text = Vec::new();
    zip.by_name(chosen).ok()?.take(MAX_BYTES).read_to_end(&mut text).ok()?;
    Some(parse(&String::from_utf8_lossy(&text))).filter(|labels| !labels.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn numbers_are_dropped_where_they_count() {
        assert_eq!(parse("cat\r\ndog\n"), ["cat", "dog"]);
        assert_eq!(parse("0 cat\n1  dog\n"), ["cat", "dog"]);
        assert_eq!(parse("0: cat\n1: dog"), ["cat", "dog"]);
        assert_eq!(parse("0\n1\n2\n"), ["0", "1", "2"]);
        assert_eq!(parse("7 cat\n9 dog"), ["7 cat", "9 dog"]);
        assert!(parse("").is_empty());
    }

    #[test]
    fn labels_are_found_behind_a_model() {
        let mut zip = zip::ZipWriter::new(Cursor::new(Vec::new()));
        let options = zip::write::SimpleFileOptions::default();
        zip.start_file("notes.txt", options).unwrap();
        zip.write_all(b"nothing").unwrap();
        zip.start_file("labels.txt", options).unwrap();
        zip.write_all(b"cat\ndog\n").unwrap();
        let file = [b"model bytes".to_vec(), zip.finish().unwrap().into_inner()].concat();
        assert_eq!(embedded(&file).unwrap(), ["cat", "dog"]);
        assert_eq!(embedded(b"model bytes"), None);
    }
}
