//! What a sound file means.

use super::*;

fn step<'a>(stack: &'a Stack, name: &str) -> &'a pipeline::Step {
    let pipeline = stack.pipeline.as_ref().unwrap();
    pipeline.step.iter().find(|step| step.name == name).unwrap()
}

fn command(stack: &Stack, name: &str) -> Vec<String> {
    step(stack, name).command.clone().unwrap()
}

#[test]
fn the_germline_stack_is_read() {
    let stack = read(GERMLINE);
    assert_eq!(stack.folder, Path::new("lab"));
    assert_eq!((stack.info.name.as_str(), stack.region.as_deref()), ("germline", Some("eu-west-2")));
    assert_eq!(stack.info.buckets["reads"], "lab-fastq-in");
    assert_eq!(stack.sample.as_deref(), Some("OMGL_2005265_U035"));
    assert_eq!(stack.samples, ["OMGL_2005265_U035"]);
    assert_eq!(stack.info.per_run.iter().map(ToString::to_string).collect::<Vec<_>>(), ["instance.worker"]);
    let addresses: Vec<String> = stack.resources.keys().map(ToString::to_string).collect();
    assert_eq!(
        addresses.join(" "),
        "cluster.main instance.worker key_pair.ecs_key log_group.pipeline role.execution role.input role.instance \
         role.output security_group.ecs task_definition.aws task_definition.bwa task_definition.gatk \
         task_definition.samtools"
    );
    let pipeline = stack.pipeline.as_ref().unwrap();
    assert_eq!(pipeline.instance.as_ref().map(|instance| instance.text.as_str()), Some("worker"));
    assert_eq!(pipeline.step.len(), 9);
    assert_eq!(pipeline.outputs[0].keys[0], "OMGL_2005265_U035/OMGL_2005265_U035.vcf");
}

/// A step without `needs` never begins before a step above it has ended.
#[test]
fn a_step_without_needs_follows_all_the_steps_above_it() {
    let follows = |steps: &[&str]| {
        let (head, _) = GERMLINE.split_once("[[pipeline.step]]").unwrap();
        let step = |step: &&str| {
            let (name, needs) = step.split_once(' ').map_or((*step, ""), |(name, needs)| (name, needs));
            format!("[[pipeline.step]]\nname = \"{name}\"\ntask = \"aws\"\n{needs}\n")
        };
        let stack = read(&(head.to_owned() + &steps.iter().map(step).collect::<String>()));
        let pipeline = stack.pipeline.unwrap();
        let of = |(step, follows): (&pipeline::Step, Vec<&str>)| format!("{} < {}", step.name, follows.join(" "));
        pipeline.step.iter().zip(pipeline.follows()).map(of).collect::<Vec<_>>().join(", ")
    };
    assert_eq!(follows(&["a", "b", "c"]), "a < , b < a, c < b");
    // `tell` waits for all of them, by `push`.
    assert_eq!(
        follows(&[
            "pull",
            "align needs = ['pull']",
            "flagstat needs = ['align']",
            "call needs = ['align']",
            "push",
            "tell"
        ]),
        "pull < , align < pull, flagstat < align, call < align, push < flagstat call, tell < push"
    );
    assert_eq!(follows(&["a", "b needs = []", "c", "d needs = ['a']", "e"]), "a < , b < , c < a b, d < a, e < c d");
    // What a step above needs may be below it.
    assert_eq!(follows(&["a needs = ['c']", "b", "c needs = []"]), "a < c, b < a, c < ");
}

#[test]
fn commands_are_split_first_and_substituted_after() {
    let stack = read(&germline(&[("OMGL_2005265_U035_S35_L001_R1_001.fastq.gz", "a 'b c.fastq.gz")]));
    assert_eq!(
        command(&stack, "align_bwa_mem"),
        [
            "bwa",
            "mem",
            "-M",
            "-t",
            "4",
            "-R",
            r"@RG\tID:OMGL_2005265_U035\tPL:ILLUMINA\tSM:OMGL_2005265_U035\tLB:library\tPU:platform_unit",
            "-o",
            "OMGL_2005265_U035.sam",
            "hs37d5.fa",
            "a 'b c.fastq.gz",
            "OMGL_2005265_U035_S35_L001_R2_001.fastq.gz",
        ]
    );
    assert!(command(&stack, "s3_pull").contains(&"*".to_owned()));
    assert_eq!(command(&stack, "sort_sam")[2], "-Xmx2g -Djava.io.tmpdir=/tmp");
}

#[test]
fn a_file_with_windows_line_ends_means_the_same() {
    let (unix, windows) = (read(GERMLINE), read(&GERMLINE.replace('\n', "\r\n")));
    assert_eq!(unix.pipeline, windows.pipeline);
    assert_eq!(unix.resources, windows.resources);
}

#[test]
fn defaults_are_merged_and_a_definitions_own_key_replaces_the_default_whole() {
    let text = germline(&[(
        "image = \"biocontainers/bwa:v0.7.17_cv1\"",
        "image = \"biocontainers/bwa:v0.7.17_cv1\"\nmounts = [{ host = \"/ref\", container = \"/ref\" }]",
    )]);
    let stack = read(&text);
    let bwa = &stack.resources[&Address::new("task_definition", "bwa")];
    assert_eq!(bwa["execution_role"], "execution");
    assert_eq!(bwa["cpu"], 3072);
    assert_eq!(bwa["mounts"], serde_json::json!([{ "host": "/ref", "container": "/ref" }]));
    assert_eq!(stack.resources[&Address::new("task_definition", "aws")]["memory"], 1024);
}

#[test]
fn a_string_that_is_only_one_var_takes_its_type() {
    let changes = [
        ("threads   = 4", "threads = 4\ngib = 500\nlocked = true\nhours = \"x\""),
        ("size_gib = 200", "size_gib = \"${vars.gib}\""),
        ("encrypted = true", "encrypted = \"${vars.locked}\""),
        ("LB:library", "LB:$${vars.gib}-${vars.gib}-${vars.locked}"),
    ];
    let stack = read(&germline(&changes));
    let volume = &stack.resources[&Address::new("instance", "worker")]["volume"];
    assert_eq!((&volume["size_gib"], &volume["encrypted"]), (&500.into(), &true.into()));
    assert!(command(&stack, "align_bwa_mem")[6].contains("LB:${vars.gib}-500-true"));

    let set = [("gib".to_owned(), "7".to_owned()), ("threads".to_owned(), "8".to_owned())];
    let stack = read_with(&germline(&changes), &Request { set: &set, ..NEEDS_SAMPLE }).unwrap();
    assert_eq!(stack.resources[&Address::new("instance", "worker")]["volume"]["size_gib"], 7);
    assert_eq!(command(&stack, "align_bwa_mem")[4], "8");

    let set = [("gib".to_owned(), "much".to_owned()), ("gb".to_owned(), "8".to_owned())];
    let told = read_with(&germline(&changes), &Request { set: &set, ..NEEDS_SAMPLE }).unwrap_err();
    assert_eq!(
        told.to_string(),
        "error: --set gb: there is no `gb` in [vars]\n |\n = help: did you mean `gib`?\n\n\
         error: --set gib: expected an integer, found `much`\n |\n = help: `gib` is an integer in [vars], and stays that"
    );
}

#[test]
fn what_is_somebody_elses_is_existing_or_an_id() {
    let stack = read(&germline(&[
        ("description = \"SSH to the instance of the pipeline\"", "existing = \"sg-0123\" #"),
        ("ingress = [{", "# ["),
        ("execution_role = \"execution\"", "execution_role = \"arn:aws:iam::123456789012:role/x\""),
    ]));
    assert_eq!(stack.existing[&Address::new("security_group", "ecs")], "sg-0123");
    assert!(!stack.resources.contains_key(&Address::new("security_group", "ecs")));
}

const TWO: &str = "[sample.B]\nr1 = \"${sample.name}_1.fq\"\nr2 = \"b2\"\n[sample.OMGL_2005265_U035]";

#[test]
fn one_of_several_samples_is_picked() {
    let text = germline(&[("[sample.OMGL_2005265_U035]", TWO)]);
    let stack = read_with(&text, &Request { sample: Some("B"), ..NEEDS_SAMPLE }).unwrap();
    assert_eq!(stack.samples, ["B", "OMGL_2005265_U035"]);
    assert_eq!(stack.pipeline.unwrap().inputs[0].keys[..2], ["B_1.fq", "b2"]);

    let none = read_with(&text, &NEEDS_SAMPLE).unwrap_err();
    assert_eq!(none.len(), 1);
    assert_eq!(none.iter().next().unwrap().hint.as_deref(), Some("--sample NAME picks one: B, OMGL_2005265_U035"));
    let wrong = faults_with(&text, &Request { sample: Some("C"), ..NEEDS_SAMPLE });
    assert_eq!(wrong, ["1: --sample C: there is no such sample"]);

    let destroy = read_with(&text, &Request::default()).unwrap();
    assert_eq!(destroy.sample, None);
    assert_eq!(destroy.pipeline.unwrap().inputs[0].keys[0], "${sample.r1}");
    // Names are checked all the same.
    let text = text.replace("${sample.r2} --include", "${sample.r3} --include");
    assert_eq!(faults_with(&text, &Request::default()).len(), 1);
}

#[test]
fn a_file_that_is_not_there_says_so() {
    let error = Stack::read(Path::new("no/such/stack.toml"), &NEEDS_SAMPLE).unwrap_err();
    assert_eq!(error.to_string(), "failed to read no/such/stack.toml");
}

#[test]
fn the_real_registry_is_asked_too() {
    let text = "[stack]\nname = \"x\"\n[clusster.main]\n";
    let faults = Stack::parse(Path::new("x.toml"), text, &NEEDS_SAMPLE).unwrap_err();
    insta::assert_snapshot!(faults, @r"
    error: unknown table `clusster`
     --> x.toml:3:2
      |
    3 | [clusster.main]
      |  ^^^^^^^^
      |
      = help: did you mean `cluster`?
    ");
}

/// Several files a sample: as many keys, words and files.
#[test]
fn a_list_is_as_many_words_and_keys() {
    let listed = |to: &str| {
        germline(&[
            ("r1 = \"OMGL_2005265_U035_S35_L001_R1_001.fastq.gz\"", "r1 = [\"${sample.name}_L1\", \"a b\"]"),
            ("[vars]\n", "[vars]\nextra = [\"-x\", \"y\"]\n"),
            ("\"${sample.r1}\", \"${sample.r2}\"", to),
            ("samtools view -b", "samtools view ${vars.extra} -b"),
        ])
    };
    let stack = read(&listed("\"ref/x\", \"${sample.r1}\""));
    let keys = |stack: &Stack| stack.pipeline.as_ref().unwrap().inputs[0].keys[..3].to_vec();
    assert_eq!(keys(&stack), ["ref/x", "OMGL_2005265_U035_L1", "a b"]);
    assert_eq!(command(&stack, "sam_to_bam")[1..5], ["view", "-x", "y", "-b"]);
    assert!(command(&stack, "align_bwa_mem").ends_with(&[
        "OMGL_2005265_U035_L1".to_owned(),
        "a b".to_owned(),
        "OMGL_2005265_U035_S35_L001_R2_001.fastq.gz".to_owned()
    ]));
    // Alone, in the place of the list itself.
    let text = listed("\"${sample.r1}\"");
    let outputs = &text[text.find("keys = [\n    \"${sample.name}/").unwrap()..text.find(" },\n]\n# A step").unwrap()];
    let whole = |text: &str| read(&text.replace(outputs, "keys = \"${sample.r1}\"")).pipeline.unwrap().outputs;
    assert_eq!(whole(&text)[0].keys, ["OMGL_2005265_U035_L1", "a b"]);
    assert_eq!(whole(GERMLINE)[0].keys, ["OMGL_2005265_U035_S35_L001_R1_001.fastq.gz"]);
    let longer = faults(&listed("\"x/${sample.r1}\""));
    assert!(longer[0].ends_with("`sample.r1` is a list, and this is inside a longer text"), "{longer:?}");
    for (wrong, told) in [
        ("r1 = []", "there is nothing in this list"),
        ("r1 = [1]", "expected a string, found an integer"),
        ("r1 = [[\"x\"]]", "expected a string, found a list"),
    ] {
        let text = germline(&[("r1 = \"OMGL_2005265_U035_S35_L001_R1_001.fastq.gz\"", wrong)]);
        assert!(faults(&text).iter().any(|fault| fault.ends_with(told)), "{wrong}: {:?}", faults(&text));
    }
    let set = Request { set: &[("extra".to_owned(), "z".to_owned())], ..NEEDS_SAMPLE };
    let told = faults_with(&listed("\"${sample.r1}\""), &set);
    assert!(told[0].ends_with("expected a list, found `z`"), "{told:?}");
    // Without a sample they stay as they are.
    assert!(read_with(&listed("\"${sample.r1}\""), &Request::default()).is_ok());
}
