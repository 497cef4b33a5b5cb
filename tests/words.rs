//! What the tool says without AWS, through its binary: checks, the schema in a checker that is not ours, completions, pages.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
#![expect(clippy::print_stdout, reason = "what is skipped is said")]

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;

/// The binary, with neither credentials nor a region nor a home.
fn seqstack(args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_seqstack"));
    command.env_clear().args(args).current_dir(env!("CARGO_MANIFEST_DIR")).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn stacks() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("stacks");
    let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut stacks: Vec<PathBuf> = files.filter(|path| path.extension().is_some_and(|end| end == "toml")).collect();
    stacks.sort();
    assert!(stacks.len() > 1);
    stacks
}

/// The germline stack with changes, in a folder of its own.
fn changed(changes: &[(&str, &str)]) -> (tempfile::TempDir, String) {
    let sound = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("stacks/germline.toml")).unwrap();
    let text = changes.iter().fold(sound, |text, (from, to)| {
        assert!(text.contains(from), "{from}");
        text.replacen(from, to, 1)
    });
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("stack.toml");
    std::fs::write(&path, text).unwrap();
    let path = path.display().to_string();
    (folder, path)
}

const OPEN: (&str, &str) = ("cidr = \"203.0.113.0/24\"", "cidr = \"0.0.0.0/0\"");
const MISSPELT: (&str, &str) = ("instance_profile = true", "instance_profle = true");

#[test]
fn sound_files_are_sound_and_give_no_warning() {
    let files: Vec<String> = stacks().iter().map(|path| path.display().to_string()).collect();
    let args: Vec<&str> = ["validate", "--deny-warnings"].into_iter().chain(files.iter().map(String::as_str)).collect();
    let output = seqstack(&args);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert_eq!(text(&output.stdout), files.iter().map(|file| format!("{file}: sound\n")).collect::<String>());
    assert!(output.stderr.is_empty());
}

#[test]
fn a_warning_stops_nobody_who_does_not_ask_for_it() {
    let (_folder, file) = changed(&[OPEN]);
    let output = seqstack(&["validate", &file]);
    assert_eq!((output.status.code(), text(&output.stdout)), (Some(0), format!("{file}: sound, 1 warning\n")));
    assert!(text(&output.stderr).starts_with("warning[open-ssh]: SSH (port 22) is open to the whole world\n"));
    assert_eq!(seqstack(&["validate", "--deny-warnings", &file]).status.code(), Some(64));
    // The plan cannot be made without credentials; the warning comes before, on stderr.
    for (verb, warned) in [("plan", true), ("apply", true), ("destroy", false)] {
        let output = seqstack(&[verb, &file]);
        assert_eq!(text(&output.stderr).contains("warning[open-ssh]"), warned, "{verb}");
        assert!(output.stdout.is_empty(), "{verb}");
    }
}

#[test]
fn every_file_is_checked_and_each_finding_is_told_to_programs_in_its_place() {
    let (_one, open) = changed(&[OPEN]);
    let (_other, broken) = changed(&[MISSPELT]);
    let output = seqstack(&["validate", "--json", &open, &broken, "no-such.toml"]);
    assert_eq!(output.status.code(), Some(64));
    let said: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(said["schema"], 1);
    let findings = said["findings"].as_array().unwrap();
    let source = std::fs::read_to_string(&broken).unwrap();
    let line = source.lines().position(|line| line.contains("instance_profle")).unwrap() + 1;
    let told: Vec<(&Value, &Value, &Value)> =
        findings.iter().map(|one| (&one["file"], &one["severity"], &one["code"])).collect();
    assert_eq!(told.len(), 3, "{said:#}");
    assert_eq!(told[0], (&open.into(), &"warning".into(), &"open-ssh".into()));
    assert_eq!(findings[0]["column"], 50);
    assert_eq!(findings[1]["line"], line);
    assert_eq!(findings[1]["hint"], "did you mean `instance_profile`?");
    assert_eq!(findings[1]["message"], "unknown key `instance_profle`");
    assert_eq!(findings[2]["severity"], "error");
    assert!(output.stderr.is_empty());
}

#[test]
fn each_sample_is_checked() {
    let (_folder, file) =
        changed(&[("[sample.OMGL_2005265_U035]", "[sample.B]\nr1 = \"b\"\n[sample.OMGL_2005265_U035]")]);
    let output = seqstack(&["validate", &file]);
    let told = text(&output.stderr);
    assert_eq!(output.status.code(), Some(64));
    assert_eq!(told.matches("error: `sample.r2` is not defined (sample B)").count(), 3, "{told}");
    assert!(told.matches("error: ").count() == 3, "{told}");
}

#[test]
fn a_wrong_endpoint_is_a_wrong_command_line() {
    for url in ["notaurl", "localhost:4566", "ftp://host", "http://"] {
        let output = seqstack(&["plan", "stacks/demo.toml", "--endpoint-url", url]);
        assert_eq!(output.status.code(), Some(64), "{url}: {}", text(&output.stderr));
    }
}

/// Tombi, where `tests/clients/install` has brought it.
fn tombi() -> Option<PathBuf> {
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients/.venv/bin/tombi");
    let there = program.exists();
    if !there {
        println!("skipped: no tombi here (tests/clients/install brings it)");
    }
    there.then_some(program)
}

#[test]
fn a_checker_that_is_not_ours_takes_the_stacks_and_marks_broken_ones() {
    let Some(tombi) = tombi() else { return };
    let folder = tempfile::tempdir().unwrap();
    let schema = seqstack(&["schema"]);
    assert_eq!(schema.status.code(), Some(0));
    std::fs::write(folder.path().join("seqstack.schema.json"), schema.stdout).unwrap();
    let lint = |name: &str, stack: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, format!("#:schema ./seqstack.schema.json\n{stack}")).unwrap();
        let output = Command::new(&tombi).env("NO_COLOR", "1").args(["lint", "--offline"]).arg(&path).output().unwrap();
        (output.status.success(), text(&output.stdout) + &text(&output.stderr))
    };
    for path in stacks() {
        let stack = std::fs::read_to_string(&path).unwrap();
        let (taken, said) = lint("sound.toml", &stack);
        assert!(taken, "{}: {said}", path.display());
    }
    let sound = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("stacks/germline.toml")).unwrap();
    for (from, to, marked) in [
        (MISSPELT.0, MISSPELT.1, MISSPELT.1),
        ("retention_days = 90", "retention_days = \"90\"", "retention_days"),
        ("port = 22", "port = 70000", "port = 70000"),
        ("size_gib = 200, ", "", "volume "),
        ("lifetime        = \"run\"", "lifetime        = \"runs\"", "\"runs\""),
        ("user           = \"1000\"", "user           = \"a b\"", "\"a b\""),
        ("image = \"biocontainers/bwa:v0.7.17_cv1\"", "cpu = 128", "[task_definition.bwa]"),
        ("[cluster.main]", "[cluser.main]", "[cluser.main]"),
    ] {
        let broken = sound.replacen(from, to, 1);
        assert_ne!(broken, sound, "{from}");
        let (taken, said) = lint("broken.toml", &broken);
        // From 1, and below the line that names the schema.
        let line = broken.lines().position(|line| line.contains(marked)).unwrap() + 2;
        assert!(!taken && said.contains(&format!("broken.toml:{line}:")), "{to} on line {line}: {said}");
    }
}

/// What bash offers for a command line, by the completions that it was given.
fn offered(words: &[&str]) -> Option<Vec<String>> {
    let mut bash = match Command::new("bash").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn() {
        Ok(bash) => bash,
        Err(error) => {
            println!("skipped: no bash here: {error}");
            return None;
        }
    };
    let script = text(&seqstack(&["completions", "bash"]).stdout);
    let line = words.iter().map(|word| format!("'{word}' ")).collect::<String>();
    let ask = format!(
        "{script}\nCOMP_WORDS=({line})\nCOMP_CWORD={}\nfunction=$(complete -p seqstack | sed 's/.*-F \\([^ ]*\\).*/\\1/')\n\
         $function seqstack '{}' '{}'\nprintf '%s\\n' \"${{COMPREPLY[@]}}\"\n",
        words.len() - 1,
        words[words.len() - 1],
        words[words.len() - 2],
    );
    bash.stdin.take().unwrap().write_all(ask.as_bytes()).unwrap();
    let output = bash.wait_with_output().unwrap();
    Some(text(&output.stdout).lines().map(str::to_owned).collect())
}

#[test]
fn the_shells_are_told_the_commands() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let output = seqstack(&["completions", shell]);
        assert_eq!(output.status.code(), Some(0), "{shell}");
        assert!(text(&output.stdout).contains("validate"), "{shell}");
    }
    assert_eq!(seqstack(&["completions", "csh"]).status.code(), Some(64));
    let Some(commands) = offered(&["seqstack", "va"]) else { return };
    assert_eq!(commands, ["validate"]);
    assert_eq!(offered(&["seqstack", "validate", "--deny"]).unwrap(), ["--deny-warnings"]);
}

#[test]
fn every_command_has_its_page() {
    let main = text(&seqstack(&["man"]).stdout);
    assert!(main.starts_with(".ie") && main.contains("seqstack\\-validate(1)"), "{main}");
    let folder = tempfile::tempdir().unwrap();
    let pages = folder.path().join("share/man/man1");
    let output = seqstack(&["man", "--out", &pages.display().to_string()]);
    assert_eq!((output.status.code(), output.stdout.len()), (Some(0), 0), "{}", text(&output.stderr));
    for page in ["seqstack.1", "seqstack-plan.1", "seqstack-validate.1", "seqstack-sandbox-reset.1"] {
        let shown =
            Command::new("man").args(["--warnings", "-l"]).arg(pages.join(page)).env("MANPAGER", "cat").output();
        let Ok(shown) = shown else {
            assert!(pages.join(page).exists(), "{page}");
            println!("skipped: no man here to show {page}");
            continue;
        };
        assert!(shown.status.success() && text(&shown.stdout).contains("SYNOPSIS"), "{page}: {}", text(&shown.stderr));
    }
    let file = folder.path().join("file");
    std::fs::write(&file, "").unwrap();
    assert_eq!(seqstack(&["man", "--out", &file.display().to_string()]).status.code(), Some(1));
}
