//! Every fault at once, none hiding another.

use proptest::prelude::*;

use super::*;

/// Each a fault, on lines that stay where they are.
pub(super) const MUTATIONS: &[(&str, &str)] = &[
    ("name   = \"germline\"", "name   = \"germ--line\""),
    ("region = \"eu-west-2\"", "region = \"London\""),
    ("project = \"ngs\"", "\"aws:project\" = \"ngs\""),
    ("regions   = \"FH.bed\"", "regions   = [\"FH.bed\", 1]"),
    ("threads   = 4", "threads   = \"${vars.regions}\""),
    ("r1 = \"OMGL_2005265_U035_S35_L001_R1_001.fastq.gz\"", "r1 = 7"),
    ("name = \"lab-fastq-in\"", "name = \"Lab_fastq\""),
    ("name = \"lab-results-out\"", "nam = \"lab-results-out\""),
    ("instance_profile = true", "instance_profle = true"),
    ("description     = \"Pulls images", "descripton      = \"Pulls images"),
    ("read            = [\"reads\"]", "read            = [\"read\"]"),
    ("write           = [\"results\"]", "write           = \"results\""),
    ("port = 22", "port = 70000"),
    ("cidr = \"203.0.113.0/24\"", "cidr = \"203.0.113.7/24\""),
    ("[cluster.main]", "[cluster.main.x] "),
    ("type            = \"r6i.2xlarge\"", "kind            = \"r6i.2xlarge\""),
    ("ami             = \"ssm:", "ami             = \"sssm:"),
    ("size_gib = 200", "size_gib = 0"),
    ("type = \"gp3\"", "type = \"gp9\""),
    ("lifetime        = \"run\"", "lifetime        = \"runs\""),
    ("max_hours       = 12 ", "max_hours       = 1.5 "),
    ("retention_days = 90", "retention_days = \"90\""),
    ("user           = \"1000\"", "user           = 1000"),
    ("log_group      = \"pipeline\"", "log_group      = \"pipelin\""),
    ("host = \"/var/lib", "host = \"var/lib"),
    ("image = \"biocontainers/bwa:v0.7.17_cv1\"", "imag = \"biocontainers/bwa:v0.7.17_cv1\""),
    ("\"${sample.name}/${sample.name}.vcf\",", "\"/${sample.nam}/${sample.name}.vcf\","),
    ("\"${sample.name}/${sample.name}.vcf.idx\",", "\"${sample.name}/{.vcf.idx\","),
    ("on_failure = \"keep\"", "on_failure = \"kep\""),
    ("task_role = \"input\"", "task_role = \"inputs\""),
    ("-M -t ${vars.threads}", "-M -t ${vars.thread}"),
    ("\"samtools view -b", "\"samtools 'view -b"),
    ("name = \"sort_sam\"", "name = \"sam_to_bam\""),
    ("name    = \"index_bam\"", "needs   = [\"index_dedup\"]"),
    ("index ${sample.name}.dedup.bam\"", "'in\\tdex' ${sample.name}.dedup.bam\""),
    ("name    = \"index_dedup\"", "name    = \"index_dedup\"\t needs = [\"variant_caller\"] "),
];

/// Faults without their line, since a mutation may stand twice in what others say.
fn told(changes: &[(&str, &str)]) -> std::collections::BTreeSet<String> {
    faults(&germline(changes)).into_iter().collect()
}

#[test]
fn no_fault_hides_another() {
    let alone: Vec<_> = MUTATIONS.iter().map(|change| told(&[*change])).collect();
    for (at, faults) in alone.iter().enumerate() {
        assert!(!faults.is_empty(), "{:?} is no fault", MUTATIONS[at]);
    }
    for (one, other) in (0..MUTATIONS.len()).flat_map(|one| (0..one).map(move |other| (one, other))) {
        let both = told(&[MUTATIONS[one], MUTATIONS[other]]);
        let hidden: Vec<_> = alone[one].union(&alone[other]).filter(|fault| !both.contains(*fault)).collect();
        assert!(hidden.is_empty(), "{:?} and {:?} hide {hidden:?}", MUTATIONS[one], MUTATIONS[other]);
    }
}

/// One file, each fault on the line that says which.
const PLANTED: &str = r#"[stack]
name    = "germ_line"                                   # is no stack name
account = 123456789012                                  # expected a string
tags    = { "seqstack:x" = "1", "a b" = "2" }           # seqstack's own; cannot be a tag's key
[vars]
reference = "hs37d5"
self      = "${vars.reference}"                         # a var cannot refer
[sample.A]
r1   = "a_1.fq"
name = "B"                                              # `name` cannot be a value of a sample
[bucket.in]
name = "192.168.0.1"                                    # is no bucket name
[bucket.out]
name = "results-out"
[rolle.x]                                               # unknown table `rolle`
[role."a.b"]                                            # is no name
trusts = "ecs-tasks.amazonaws.com"
[role.task]
trusts          = "someone"                             # no service
session_seconds = 90000                                 # out of range
read            = ["inn"]                               # there is no bucket
[role.theirs]
existing    = "lab-role"
description = "mine"                                    # beside `existing`
[role.task]                                             # there twice
[security_group.ssh]                                    # `description` is missing
ingress = [{ protocol = "tpc", port = "22", cidr = "10.0.0.0/33" }]   # not one of; expected an integer; is not a CIDR
[cluster.run]
lifetime = "run"
[instance.a]
cluster = "run"                                         # exists for a sample's run only
type    = "r6i.${sample.r1}"                            # cannot be used here
ami     = ""                                            # no AMI
role    = "role.task"                                   # there is no role
volume  = { size_gib = 200, type = "gp3", iops = 3000 } # unknown key `iops`
[task_defaults]
memory = 999999999                                      # out of range
wat    = 1                                              # unknown key `wat`
[task_definition.bwa]
image   = "bwa:${vars.refernce}"                        # is not defined
cpu     =                                               # no value
command = "bwa 'mem"                                    # not closed
environment = { A = { sekret = "ssm:/x" }, B = {}, C = 1 }  # unknown key `sekret`; `secret` is missing; expected text
[pipeline]
cluster = "run"
attempts = 11                                          # out of range
memory_factor = 1                                       # out of range
inputs  = [{ bucket = "in", keys = ["${sample.r2}", "${sample.r1"] }] # not defined; without
outputs = [{ bucket = "out", keys = ["[", "/x"] }]      # no glob; does not begin
[[pipeline.step]]
name  = "one"
task  = "bwwa"                                          # there is no task definition
needs = ["two"]                                         # itself comes after `one`
attempts      = 1
memory_factor = 1.5                                     # one only
[[pipeline.step]]
name        = "two"
task        = "bwa"
needs       = ["one", "thre"]                           # itself comes after `two`; there is no step
command     = ["bwa", "a\tb"]                           # a real TAB
environment = { A = 1 }                                 # expected a string
[[pipeline.step]]                                       # `task` is missing
name = "two"                                            # a second step
"#;

#[test]
fn every_planted_fault_is_found_on_its_line_and_nothing_else() {
    let told = faults(PLANTED);
    let mut left = told.clone();
    for (at, line) in PLANTED.lines().enumerate() {
        let Some((_, expected)) = line.split_once("  # ").or_else(|| line.split_once(" # ")) else { continue };
        for part in expected.trim().trim_start_matches("# ").split("; ") {
            let place = format!("{}: ", at + 1);
            let found = left.iter().position(|fault| fault.starts_with(&place) && fault.contains(part.trim()));
            let found = found.unwrap_or_else(|| panic!("line {}: {part}\nnot in {told:#?}", at + 1));
            left.remove(found);
        }
    }
    assert!(left.is_empty(), "and also {left:#?}");
    assert!(told.len() >= 40, "{}", told.len());
}

#[test]
fn a_fault_is_shown_with_its_place_and_a_hint() {
    let text = germline(&[
        ("${vars.regions}'''", "${vars.reigons}'''"),
        ("size_gib = 200", "size_gb = 200"),
        ("-t ${vars.threads}", "-t ${threads}"),
        ("SM:${sample.name}", "SM:${sample.r3}"),
    ]);
    let faults = read_with(&text, &NEEDS_SAMPLE).unwrap_err();
    insta::assert_snapshot!(faults, @r#"
    error: unknown key `size_gb`
      --> lab/stack.toml:86:21
       |
    86 | volume          = { size_gb = 200, type = "gp3", encrypted = true }
       |                     ^^^^^^^
       |
       = help: did you mean `size_gib`?

    error: `vars.reigons` is not defined
       --> lab/stack.toml:150:89
        |
    150 |   --include ${sample.r1} --include ${sample.r2} --include ${vars.reference}.* --include ${vars.reigons}'''
        |                                                                                         ^^^^^^^^^^^^^^^
        |
        = help: did you mean `vars.regions`?

    error: `threads` is not defined
       --> lab/stack.toml:158:17
        |
    158 |   bwa mem -M -t ${threads} -R '@RG\tID:${sample.name}\tPL:ILLUMINA\tSM:${sample.r3}\tLB:library\tPU:platform_unit'
        |                 ^^^^^^^^^^
        |
        = help: did you mean `vars.threads`?

    error: `sample.r3` is not defined
       --> lab/stack.toml:158:72
        |
    158 |   bwa mem -M -t ${threads} -R '@RG\tID:${sample.name}\tPL:ILLUMINA\tSM:${sample.r3}\tLB:library\tPU:platform_unit'
        |                                                                        ^^^^^^^^^^^^
        |
        = help: did you mean `sample.r2`?
    "#);
    assert!(faults.render(true).contains("\u{1b}["));
}

/// Takes no placeholder, as a kind's type should but might not.
#[derive(Debug, serde::Deserialize)]
#[serde(try_from = "String")]
struct Stubborn;

impl TryFrom<String> for Stubborn {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, &'static str> {
        if text == "me" { Ok(Self) } else { Err("not me") }
    }
}

#[derive(Debug, serde::Deserialize)]
#[expect(dead_code, reason = "only its reading matters")]
struct Neighbours {
    first: Stubborn,
    inner: Inner,
    maybe: Option<Stubborn>,
    last: u8,
}

#[derive(Debug, serde::Deserialize)]
#[expect(dead_code, reason = "only its reading matters")]
struct Inner {
    one: Stubborn,
    two: bool,
}

#[test]
fn a_type_that_takes_no_placeholder_hides_no_value() {
    let text = "first = 'x'\nmaybe = 'y'\nlast = 300\n[inner]\none = 'z'\ntwo = 2\n";
    let sink = diagnostic::Sink::default();
    let root = tree::grow(text, &sink);
    assert!(tolerant::Table::new(&root, &sink).read::<Neighbours>().is_none());
    let faults = sink.into_faults(String::new(), text);
    let told: Vec<_> = faults.iter().map(|fault| (fault.line, fault.text.as_str())).collect();
    let range = "300 is out of range";
    let expected =
        [(1, "not me"), (2, "not me"), (3, range), (5, "not me"), (6, "expected true or false, found an integer")];
    assert_eq!(told, expected);
}

#[test]
fn samples_and_pipelines_need_each_other() {
    let start = "[stack]\nname = \"x\"\n[cluster.c]\n[instance.i]\ncluster = \"c\"\ntype = \"t\"\nami = \"ami-1\"\n\
                 role = \"arn:aws:iam::1:role/x\"\nvolume = { size_gib = 8, type = \"gp3\" }\nlifetime = \"run\"\n";
    assert_eq!(faults(start), ["4: `instance.i` exists for a sample's run only, and there is no [pipeline]"]);
    let pipeline = "[bucket.b]\nname = \"bbb\"\n[task_definition.t]\nimage = \"x\"\ncpu = 128\nmemory = 6\n[pipeline]\n\
                    cluster = \"c\"\noutputs = [{ bucket = \"b\", keys = [\"${sample.name}\"] }]\n\
                    [[pipeline.step]]\nname = \"s\"\ntask = \"t\"\n";
    let none = faults(&format!("{start}{pipeline}"));
    assert_eq!(none.len(), 2, "{none:?}");
    assert!(none[0].contains("runs on a sample") && none[1].contains("the file has no sample"));
    let sound = format!("{start}{pipeline}[sample.A]\n");
    assert_eq!(faults(&sound), [""; 0]);
    let second = sound.replace("[sample.A]", "[instance.j]\nexisting = \"i-1\"\n[sample.A]");
    assert_eq!(faults(&second), [""; 0]);
    let nowhere = sound
        .replace("[cluster.c]", "[cluster.c]\n[cluster.d]")
        .replace("]\ncluster = \"c\"\no", "]\ncluster = \"d\"\no");
    assert_eq!(faults(&nowhere), ["19: cluster `d` has no instance to run on"]);
}

#[test]
fn nothing_that_is_nested_deeply_overflows() {
    let dotted = vec!["a"; 79].join(".");
    let open = format!("{{{dotted}=").repeat(78);
    let deep = format!("x = {open}1{}\nx = 2\n[{dotted}]\n{dotted} = {}", "}".repeat(78), "[".repeat(100_000));
    assert!(!faults(&deep).is_empty());
    let policy = format!(
        "[stack]\nname = \"x\"\n[role.r]\ntrusts = \"x.amazonaws.com\"\npolicy = {}1{}",
        "[".repeat(30),
        "]".repeat(30)
    );
    assert_eq!(faults(&policy), ["5: nested more than 24 deep"]);
}

#[test]
fn the_values_that_stand_for_a_told_fault_cannot_be_written() {
    let text = germline(&[("cidr = \"203.0.113.0/24\"", "cidr = \"\\u0000\""), ("= 200", "= -9223372036854775808")]);
    assert_eq!(faults(&text).len(), 2);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever happens to a file, reading it gives a stack or faults whose places can be shown.
    #[test]
    fn a_corrupted_file_never_panics(
        cuts in prop::collection::vec((any::<prop::sample::Index>(), 0usize..40, ".{0,4}|[\\[\\]{}=\"'#.,$\n\\\\]{1,3}|\\$\\{[a-z.]{0,8}\\}?"), 1..6)
    ) {
        let text = corrupted(&cuts);
        if let Err(faults) = read_with(&text, &NEEDS_SAMPLE) {
            prop_assert!(faults.iter().all(|fault| fault.line >= 1 && fault.span.end <= text.len()));
            prop_assert!(!faults.to_string().is_empty());
        }
    }
}

#[test]
fn a_bucket_says_how_it_is_encrypted_in_words_that_s3_knows() {
    const KEY: &str = "arn:aws:kms:eu-west-2:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab";
    let name = "name = \"lab-results-out\"";
    let of = |more: String| faults(&germline(&[(name, &format!("{name}\n{more}"))]));
    for (more, told) in [
        ("encryption = \"aes\"".to_owned(), "`aes` is no encryption"),
        ("encryption = \"aws:kms\"\nkms_key = \"alias/lab\"".to_owned(), "`alias/lab` is no KMS key's ARN"),
        (format!("kms_key = \"{}\"\nencryption = \"aws:kms\"", KEY.replace("key/", "alias/")), "is no KMS key's ARN"),
        (format!("encryption = \"AES256\"\nkms_key = \"{KEY}\""), "a `kms_key` goes with `aws:kms`"),
        (
            format!("encryption = \"AES256\"\n[bucket.twin]\n{name}\nencryption = \"aws:kms\""),
            "with another encryption",
        ),
    ] {
        let found = of(more.clone());
        assert!(found.len() == 1 && found[0].contains(told), "{more}: {found:?}");
    }
    assert_eq!(of(format!("kms_key = \"{KEY}\"")), Vec::<String>::new());
}
