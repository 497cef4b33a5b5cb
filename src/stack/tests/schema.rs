//! The schema and the reader of one mind, through the real kinds.

use proptest::prelude::*;
use serde_json::Value;

use super::faults::MUTATIONS;
use super::*;
use crate::stack::schema::stack_file;

/// What a checker says of a file; nothing of one that it cannot parse.
fn marked(text: &str) -> Option<Vec<String>> {
    static CHECKER: std::sync::LazyLock<jsonschema::Validator> =
        std::sync::LazyLock::new(|| jsonschema::validator_for(stack_file().as_value()).unwrap());
    let file: Value = serde_json::to_value(text.parse::<toml::Table>().ok()?).unwrap();
    Some(CHECKER.iter_errors(&file).map(|error| format!("{}: {error}", error.instance_path())).collect())
}

fn sound(text: &str) -> Result<Stack, Faults> {
    Stack::parse(Path::new("x.toml"), text, &NEEDS_SAMPLE)
}

#[test]
fn the_schema_is_one() {
    assert!(jsonschema::meta::is_valid(stack_file().as_value()));
}

/// Each is marked by both, the key where the checker sees it beside it.
const BROKEN: &[(&str, &str, &str)] = &[
    ("instance_profile = true", "instance_profle = true", "/role/instance"),
    ("retention_days = 90", "retention_days = \"90\"", "/log_group/pipeline/retention_days"),
    ("retention_days = 90", "retention_days = 91", "/log_group/pipeline/retention_days"),
    ("port = 22", "port = 70000", "/security_group/ecs/ingress/0/port"),
    ("size_gib = 200, ", "", "/instance/worker/volume"),
    ("cluster         = \"main\"\n", "", "/instance/worker"),
    ("lifetime        = \"run\"", "lifetime        = \"runs\"", "/instance/worker/lifetime"),
    ("protocol = \"tcp\"", "protocol = \"tpc\"", "/security_group/ecs/ingress/0/protocol"),
    ("encrypted = true", "encrypted = \"yes\"", "/instance/worker/volume/encrypted"),
    ("cidr = \"203.0.113.0/24\"", "cidr = \"everywhere\"", "/security_group/ecs/ingress/0/cidr"),
    ("name   = \"germline\"", "name   = \"germ--line\"", "/stack/name"),
    ("name = \"lab-fastq-in\"", "name = \"Lab_fastq\"", "/bucket/reads/name"),
    ("user           = \"1000\"", "user           = \"a b\"", "/task_defaults/user"),
    ("working_dir    = \"/data\"", "working_dir    = \"data\"", "/task_defaults/working_dir"),
    (
        "image = \"biocontainers/bwa:v0.7.17_cv1\"",
        "image = \"biocontainers/bwa :v0.7.17_cv1\"",
        "/task_definition/bwa/image",
    ),
    ("image = \"biocontainers/bwa:v0.7.17_cv1\"", "cpu = 128", "/task_definition/bwa"),
    ("memory         = 14336", "# ", "/task_definition/bwa"),
    ("[cluster.main]", "[cluster.main]\nexisting = \"x\"\nlifetime = \"run\"", "/cluster/main"),
    ("[cluster.main]", "[cluster.main]\nallow = [\"open-shh\"]", "/cluster/main/allow/0"),
    ("[cluster.main]", "[cluser.main]", ""),
    ("[cluster.main]", "[cluster.main]\nprotect = \"yes\"", "/cluster/main/protect"),
    ("on_failure = \"keep\"", "on_failure = \"kep\"", "/pipeline/on_failure"),
    ("on_failure = \"keep\"", "memory_factor = 5\nattempts = 2", "/pipeline/memory_factor"),
    ("task_role = \"input\"", "task_role = [\"input\"]", "/pipeline/step/0/task_role"),
    ("r1 = \"OMGL", "name = \"OMGL", "/sample/OMGL_2005265_U035/name"),
    ("threads   = 4", "threads   = [4]", "/vars/threads"),
];

#[test]
fn what_is_broken_is_marked_by_reader_and_schema_in_its_place() {
    assert_eq!(marked(GERMLINE).unwrap(), [""; 0]);
    for (from, to, place) in BROKEN {
        let text = germline(&[(from, to)]);
        assert!(sound(&text).is_err(), "{to}: the reader takes it");
        let marks = marked(&text).unwrap();
        assert!(marks.iter().any(|mark| mark.starts_with(&format!("{place}: "))), "{to}: {marks:#?}");
    }
}

#[test]
fn the_file_with_every_key_is_taken() {
    let text = include_str!("../../../tests/stacks/every_key.toml");
    assert!(sound(text).is_ok());
    assert_eq!(marked(text).unwrap(), [""; 0]);
}

#[test]
fn what_is_known_after_substitution_only_is_no_fault() {
    let text = germline(&[
        (
            "threads   = 4",
            "threads   = 4\ngib = 500\nlocked = true\nlife = \"run\"\nnet = \"203.0.113.0/24\"\nway = \"tcp\"\nnine = \"90\"",
        ),
        ("size_gib = 200", "size_gib = \"${vars.gib}\""),
        ("encrypted = true", "encrypted = \"${vars.locked}\""),
        ("lifetime        = \"run\"", "lifetime        = \"${vars.life}\""),
        ("cidr = \"203.0.113.0/24\"", "cidr = \"${vars.net}\""),
        ("user           = \"1000\"", "user           = \"${vars.gib}\""),
        (
            "protocol = \"tcp\", port = 22",
            "protocol = \"-1\", cidr = \"10.0.0.0/8\" }, { protocol = \"${vars.way}\", port = 22",
        ),
        ("[cluster.main]", "[cluster.main]\nallow = []\nprotect = \"${vars.locked}\""),
        ("[task_defaults]", "[task_defaults]\nprotect = true"),
    ]);
    sound(&text).unwrap_or_else(|faults| panic!("{faults}"));
    assert_eq!(marked(&text).unwrap(), [""; 0]);
}

#[test]
fn a_task_definition_may_leave_to_the_defaults_what_it_must_have() {
    let text = germline(&[
        ("[task_defaults]", "[task_defaults]\nimage = \"a:1\""),
        ("image = \"biocontainers/bwa:v0.7.17_cv1\"", ""),
        ("[key_pair.ecs_key]", "[key_pair.ecs_key]\n[task_definition.theirs]\nexisting = \"x\"\n"),
    ]);
    sound(&text).unwrap_or_else(|faults| panic!("{faults}"));
    assert_eq!(marked(&text).unwrap(), [""; 0]);
}

/// Every key of every table says what it is.
#[test]
fn every_key_has_its_doc() {
    fn walk(schema: &Value, at: &str, silent: &mut Vec<String>) {
        for (key, value) in schema["properties"].as_object().into_iter().flatten() {
            let place = format!("{at}.{key}");
            if value.is_object() && value["description"].as_str().is_none_or(str::is_empty) {
                silent.push(place.clone());
            }
            walk(value, &place, silent);
        }
        let inner = ["items", "additionalProperties"].into_iter().filter_map(|key| schema.get(key));
        let options = schema["anyOf"].as_array().into_iter().flatten();
        inner.chain(options).for_each(|inner| walk(inner, at, silent));
    }
    let mut silent = Vec::new();
    walk(stack_file().as_value(), "", &mut silent);
    assert_eq!(silent, [""; 0]);
    let file = stack_file();
    let encrypted = file.pointer("/properties/instance/additionalProperties/properties/volume/properties/encrypted");
    assert_eq!(encrypted.unwrap()["default"], true);
}

/// What the reader takes, the schema takes.
fn agrees(text: &str) -> Result<(), String> {
    match (sound(text), marked(text)) {
        (Ok(_), Some(marks)) if !marks.is_empty() => Err(format!("{marks:#?}")),
        _ => Ok(()),
    }
}

#[test]
fn the_readers_own_mutations_are_no_news() {
    for change in MUTATIONS {
        agrees(&germline(&[*change])).unwrap_or_else(|marks| panic!("{change:?}: {marks}"));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_the_reader_takes_the_schema_takes(
        cuts in prop::collection::vec((any::<prop::sample::Index>(), 0usize..6, "[a-z0-9]{0,3}|[0-9]{1,2}|true|\\$\\{vars\\.threads\\}|\"x\""), 1..3)
    ) {
        let text = corrupted(&cuts);
        if let Err(marks) = agrees(&text) {
            return Err(TestCaseError::fail(marks));
        }
    }
}
