//! A stack file checked as a whole: for every sample that it has, since each may lack a value that another has.

use std::path::Path;

use super::{Faults, ReadError, Request, Stack, Warnings};

impl Stack {
    /// Reads and checks a stack file for each of its samples in turn; what is sound and seldom meant comes back.
    ///
    /// # Errors
    /// When the file cannot be read, or with every fault that it has for any sample.
    pub fn validate(path: &Path, set: &[(String, String)]) -> Result<Warnings, ReadError> {
        let text =
            std::fs::read_to_string(path).map_err(|source| ReadError::Unreadable { path: path.to_owned(), source })?;
        let names = samples(&text);
        // Of a file whose syntax is broken the samples are not known: none is asked for.
        let read = |sample: Option<&str>| Self::parse(path, &text, &Request { sample, set, needs_sample: false });
        let (first, rest) = names.split_first().map_or((None, &[][..]), |(first, rest)| (Some(first.as_str()), rest));
        let warnings = read(first).map(|stack| stack.warnings);
        let mut faults: Vec<(&str, Faults)> =
            rest.iter().filter_map(|name| Some((name.as_str(), read(Some(name)).err()?))).collect();
        match warnings {
            Ok(warnings) if faults.is_empty() => return Ok(warnings),
            Ok(_) => {}
            Err(of_first) => faults.insert(0, (first.unwrap_or_default(), of_first)),
        }
        Err(ReadError::Faulty(Faults::of_samples(faults, names.len().max(1))))
    }
}

/// The names of a file's samples; none of one whose syntax is broken.
fn samples(text: &str) -> Vec<String> {
    let file = text.parse::<toml::Table>().unwrap_or_default();
    let tables = file.get("sample").and_then(toml::Value::as_table);
    tables.map(|tables| tables.keys().cloned().collect()).unwrap_or_default()
}
