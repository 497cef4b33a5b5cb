//! Under bubblewrap, which of the host's programs an image name stands for: an explicit table, and nothing but it.
//!
//! A built-in table serves the demo; `<sandbox>/programs.toml`, where it exists, comes before it. No image is guessed.

use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use serde::Deserialize;

/// Where the host's programs are looked for unless the table says more.
const PATH: [&str; 6] = ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"];

const BUILT_IN: &str = include_str!("programs.toml");

/// A row of the table.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stand {
    /// The image's name: with a tag that one alone, without one any of its tags and digests.
    pub image: String,
    /// The programs that the host must have.
    pub programs: Vec<String>,
    /// The image's entry point.
    #[serde(default)]
    pub entry_point: Vec<String>,
    /// The image's command, used where a task gives none.
    #[serde(default)]
    pub command: Vec<String>,
    /// The image's working folder.
    #[serde(default)]
    pub working_dir: Option<String>,
    /// Folders searched for programs before the usual ones; relative ones are in the sandbox's folder.
    #[serde(default)]
    pub path: Vec<PathBuf>,
    /// Further folders of the host that the programs need, shown read-only at the same place; relative as above.
    #[serde(default)]
    pub bind: Vec<PathBuf>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    image: Vec<Stand>,
}

/// The table.
#[derive(Clone, Debug)]
pub struct Programs {
    rows: Vec<Stand>,
    folder: PathBuf,
}

impl Programs {
    /// Reads the table of the sandbox in `folder`.
    ///
    /// # Errors
    ///
    /// When `programs.toml` is there and is no such table.
    pub fn read(folder: &Path) -> io::Result<Self> {
        let mut rows = Vec::new();
        let path = folder.join("programs.toml");
        match std::fs::read_to_string(&path) {
            Ok(text) => rows.extend(parse(&text, &path.display().to_string())?),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        rows.extend(parse(BUILT_IN, "the built-in programs.toml")?);
        Ok(Self { rows, folder: folder.to_owned() })
    }

    /// What stands for an image, with `path` complete and absolute.
    ///
    /// # Errors
    ///
    /// Why nothing does, as the end of a `CannotPullContainerError`.
    pub fn stand(&self, image: &str) -> Result<Stand, String> {
        let mut missing = None;
        for row in self.rows.iter().filter(|row| stands_for(&row.image, image)) {
            let absolute = |path: &PathBuf| self.folder.join(path);
            let mut stand = row.clone();
            stand.path = row.path.iter().map(absolute).chain(PATH.map(PathBuf::from)).collect();
            stand.bind = row.bind.iter().map(absolute).collect();
            match row.programs.iter().find(|program| !stand.path.iter().any(|path| executable(&path.join(program)))) {
                None => return Ok(stand),
                Some(program) => missing = missing.or(Some(program.clone())),
            }
        }
        Err(match missing {
            Some(program) => format!("under bubblewrap {image} stands for host programs, and the host has no {program}"),
            None => format!("no host programs stand for {image} under bubblewrap (see programs.toml)"),
        })
    }
}

fn parse(text: &str, place: &str) -> io::Result<Vec<Stand>> {
    let file: File = toml::from_str(text)
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, format!("{place}: {}", error.message())))?;
    Ok(file.image)
}

fn stands_for(row: &str, image: &str) -> bool {
    row == image || bare(image) == row
}

// A colon after the last slash begins a tag; one before it, a registry's port.
fn bare(image: &str) -> &str {
    let image = image.split_once('@').map_or(image, |(name, _)| name);
    let name = image.rfind('/').map_or(0, |slash| slash + 1);
    image[name..].find(':').map_or(image, |colon| &image[..name + colon])
}

fn executable(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_with_ports_tags_and_digests() {
        assert_eq!(bare("registry:5000/a/b"), "registry:5000/a/b");
        assert_eq!(bare("registry:5000/a/b:1.2@sha256:00"), "registry:5000/a/b");
        assert!(stands_for("a/b:1", "a/b:1") && !stands_for("a/b:1", "a/b:2") && stands_for("a/b", "a/b:2"));
    }

    #[test]
    fn a_table_of_ones_own_comes_first_and_names_what_is_missing() {
        let folder = tempfile::tempdir().unwrap();
        let tools = folder.path().join("tools/bin");
        std::fs::create_dir_all(&tools).unwrap();
        std::fs::write(tools.join("aligner"), "").unwrap();
        let table = "[[image]]\nimage = 'lab/aligner'\nprograms = ['aligner']\npath = ['tools/bin']\nbind = ['tools']\n";
        std::fs::write(folder.path().join("programs.toml"), table).unwrap();
        let programs = Programs::read(folder.path()).unwrap();
        assert!(programs.stand("lab/aligner:1").unwrap_err().contains("the host has no aligner"));
        std::fs::set_permissions(tools.join("aligner"), std::fs::Permissions::from_mode(0o755)).unwrap();
        let stand = programs.stand("lab/aligner:1").unwrap();
        assert_eq!((stand.path.first(), stand.bind.first()), (Some(&tools), Some(&folder.path().join("tools"))));
        assert!(programs.stand("lab/other:1").unwrap_err().contains("no host programs stand for lab/other:1"));
    }
}
