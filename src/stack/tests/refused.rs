//! What AWS would refuse late, and the real kinds refuse at once, on its line.

use super::*;

const REFUSED: &[(&str, &str, &str)] = &[
    ("working_dir    = \"/data\"", "working_dir    = \"data\"", "`data` is not absolute"),
    ("user           = \"1000\"", "user           = \"1000:\"", "`1000:` is no user"),
    ("user           = \"1000\"", "user           = \"two words\"", "`two words` is no user"),
    ("container = \"/data\"", "container = \"/\"", "a mount on `/` hides the image itself"),
    ("container = \"/data\"", "container = \"//\"", "a mount on `/` hides the image itself"),
    ("host = \"/var/lib", "host = \"var/lib", "`var/lib/seqstack/data` is not absolute"),
    (
        "image = \"biocontainers/bwa:v0.7.17_cv1\"",
        "image = \"biocontainers/bwa v0.7\"",
        "`biocontainers/bwa v0.7` is no image",
    ),
    ("image = \"biocontainers/bwa:v0.7.17_cv1\"", "image = \"\"", "`` is no image"),
    ("type            = \"r6i.2xlarge\"", "type            = \"r6i2xlarge\"", "`r6i2xlarge` is no instance type"),
    (
        "description = \"SSH access\" }",
        "description = \"SSH access\" }, { protocol = \"tcp\", port = 22, to_port = 22, cidr = \"203.0.113.0/24\" }",
        "this rule is there twice",
    ),
];

fn told(text: &str) -> Vec<(usize, String)> {
    match Stack::parse(Path::new("x.toml"), text, &NEEDS_SAMPLE) {
        Ok(_) => Vec::new(),
        Err(faults) => faults.iter().map(|fault| (fault.line, fault.text.clone())).collect(),
    }
}

#[test]
fn each_is_told_once_on_its_line() {
    for (from, to, fault) in REFUSED {
        let text = germline(&[(from, to)]);
        let line = text.lines().position(|line| line.contains(to)).unwrap() + 1;
        assert_eq!(told(&text), [(line, (*fault).to_owned())], "{to}");
    }
    for (from, to) in [
        ("user           = \"1000\"", "user           = \"www-data:1000\""),
        ("image = \"biocontainers/bwa:v0.7.17_cv1\"", "image = \"host:5000/a/b:1@sha256:00\""),
        (
            "port = 22, cidr = \"203.0.113.0/24\", description = \"SSH access\" }",
            "port = 22, cidr = \"203.0.113.0/24\" }, { protocol = \"udp\", port = 22, cidr = \"203.0.113.0/24\" }",
        ),
    ] {
        assert_eq!(told(&germline(&[(from, to)])), [], "{to}");
    }
}

/// RunTask counts what a step hands over as JSON, and takes 8,192 characters of it.
#[test]
fn a_command_that_ecs_would_refuse_is_a_fault() {
    let with = |length: usize| {
        let word = "x".repeat(length);
        germline(&[("command = \"samtools view -b", &format!("command = \"samtools {word} view -b"))])
    };
    assert_eq!(told(&with(7000)), []);
    let text = with(8200);
    let line = text.lines().position(|line| line.contains("xxx")).unwrap() + 1;
    let faults = told(&text);
    assert_eq!(faults.len(), 1, "{faults:?}");
    assert!(faults[0].0 == line && faults[0].1.ends_with("characters, and ECS takes 8192"), "{faults:?}");
}

/// What is told of some lines after the sound file's, by their own numbers.
fn told_of(lines: &str) -> Vec<(usize, String)> {
    let text = germline(&[]);
    let before = text.lines().count();
    told(&format!("{}\n{lines}", text.trim_end())).into_iter().map(|(line, text)| (line - before, text)).collect()
}

#[test]
fn a_name_that_aws_would_refuse_is_a_fault() {
    let role = "trusts = \"ec2.amazonaws.com\"";
    for (table, name, rest) in [
        ("role", "lab/task", role),
        ("role", "", role),
        ("key_pair", " lab", ""),
        ("key_pair", "é", ""),
        ("security_group", "lab|ecs", ""),
        ("log_group", "lab group", ""),
        ("cluster", "lab.main", ""),
        ("task_definition", "lab.bwa", "image = \"bwa:1\""),
    ] {
        let faults = told_of(&format!("[{table}.another]\nname = \"{name}\"\n{rest}\n"));
        assert_eq!(faults, [(2, format!("AWS takes no such name here: `{name}`"))], "{table}");
        let long = "x".repeat(600);
        assert_eq!(told_of(&format!("[{table}.another]\nname = \"{long}\"\n{rest}\n")).len(), 1, "{table}");
        let sound = told_of(&format!("[{table}.another]\nname = \"lab-another_1\"\n{rest}\n"));
        assert_eq!(sound, [], "{table}");
    }
    let faults = told_of("[security_group.another]\nname = \"sg-1\"\n");
    assert_eq!(faults, [(2, "a name that begins with `sg-` is an id to EC2".to_owned())]);
}

#[test]
fn a_role_for_an_instance_has_a_profile() {
    let text = germline(&[("instance_profile = true", "instance_profile = false")]);
    let line = text.lines().position(|line| line.starts_with("role ") && line.contains("instance")).unwrap() + 1;
    let fault = "`role.instance` does not say `instance_profile`, which `instance.worker` needs of it";
    assert_eq!(told(&text), [(line, fault.to_owned())]);
}

#[test]
fn what_aws_would_refuse_of_a_role_or_a_group_is_a_fault() {
    let role = told_of(
        "[role.x]\ntrusts = \"ec2.amazonaws.com\"\nattach = [\"CloudWatchReadOnlyAccess\",\n\"Amazon ECS !\"]\n",
    );
    assert_eq!(role, [(4, "`Amazon ECS !` is no managed policy".to_owned())]);
    let group = told_of("[security_group.x]\ndescription = \"\"\n");
    assert_eq!(group, [(2, "EC2 takes no such description: ``".to_owned())]);
}

/// AWS's published limits are told before any call.
#[test]
fn what_is_larger_than_aws_takes_is_a_fault() {
    let role = |more: &str| told_of(&format!("[role.x]\ntrusts = \"ec2.amazonaws.com\"\n{more}\n"));
    let buckets = |count: usize| {
        let names: Vec<String> =
            (0..count).map(|at| format!("\"arn:aws:s3:::lab-archive-{at:03}/project/*\"")).collect();
        let list = names.join(", ");
        role(&format!("policy.Statement = {{ Effect = \"Allow\", Action = \"s3:GetObject\", Resource = [{list}] }}"))
    };
    assert_eq!(buckets(130), []);
    let faults = buckets(200);
    assert!(faults[0].0 == 3 && faults[0].1.ends_with("without white space, and IAM takes 6144"), "{faults:?}");
    assert_eq!(role(&format!("description = \"{}é\"", "x".repeat(999))), []);
    let faults = role(&format!("description = \"{}\"", "x".repeat(1001)));
    assert_eq!(faults, [(3, "this description has 1001 characters, and IAM takes 1000".to_owned())]);
    assert_eq!(role("description = \"reads – writes\"")[0].1, "IAM takes no `–` in a description");
    let definition = |length: usize| {
        let text = "x".repeat(length);
        told_of(&format!("[task_definition.x]\nimage = \"x:1\"\nenvironment = {{ A = \"{text}\" }}\n"))
    };
    assert_eq!(definition(64_000), []);
    let faults = definition(70_000);
    assert!(faults[0].0 == 3 && faults[0].1.ends_with("bytes, and ECS takes 65536"), "{faults:?}");
    let key = germline(&[("\"${vars.regions}\"] }", &format!("\"{}\"] }}", "x".repeat(1025)))]);
    assert_eq!(told(&key)[0].1, "this key has 1025 bytes, and S3 takes 1024");
}

#[test]
fn limits_and_folders_in_memory_that_docker_would_refuse_are_faults() {
    let with = |keys: &str| told_of(&format!("[task_definition.x]\nimage = \"x:1\"\n{keys}\n"));
    let limit =
        |soft: &str, hard: &str| with(&format!("ulimits = [{{ name = \"nofile\", soft = {soft}, hard = {hard} }}]"));
    for (soft, hard) in [("1024", "4096"), ("1024", "-1"), ("-1", "-1")] {
        assert_eq!(limit(soft, hard), [], "{soft} {hard}");
    }
    for (soft, hard) in [("4097", "4096"), ("-1", "4096")] {
        assert_eq!(limit(soft, hard), [(3, "the soft limit is above the hard one".to_owned())], "{soft} {hard}");
    }
    assert_eq!(limit("-2", "4096"), [(3, "-2 is out of range: -1 to 2147483647".to_owned())]);
    let unknown = with("ulimits = [{ name = \"files\", soft = 1, hard = 1 }]");
    assert_eq!(unknown, [(3, "there is no limit `files`".to_owned())]);
    let twice = with("ulimits = [{ name = \"core\", soft = 0, hard = 0 }, { name = \"core\", soft = 1, hard = 1 }]");
    assert_eq!(twice, [(3, "`core` is limited twice".to_owned())]);
    // The defaults of the file mount `/data`.
    for (folder, fault) in [("/data", "`/data` is mounted twice"), ("/", "`/` is no folder of the container")] {
        let told = with(&format!("tmpfs = [{{ container = \"{folder}\", size_mib = 64 }}]"));
        assert_eq!(told, [(3, fault.to_owned())]);
    }
    assert_eq!(
        with("gpus = 1\nshared_memory_mib = 512\ninit = true\ntmpfs = [{ container = \"/x\", size_mib = 64 }]"),
        []
    );
    assert_eq!(with("gpus = 0").len(), 1);
}

#[test]
fn one_thing_in_aws_is_one_resources_only() {
    let faults = told_of("[cluster.a]\nname = \"lab\"\n[cluster.b]\nname = \"lab\"\n[log_group.a]\nname = \"lab\"\n");
    assert_eq!(faults, [(4, "`lab` is `cluster.a`'s already".to_owned())]);
    let groups = "[security_group.a]\nname = \"lab\"\nvpc = \"vpc-1\"\n[security_group.b]\nname = \"lab\"\nvpc = ";
    assert_eq!(told_of(&format!("{groups}\"vpc-2\"\n")), []);
    assert_eq!(told_of(&format!("{groups}\"vpc-1\"\n"))[0].0, 5);
    let uploads =
        "[upload.a]\nbucket = \"reads\"\nfiles = [\"x/1.fq\"]\n[upload.b]\nbucket = \"reads\"\nfiles = [\"2.fq\",";
    let faults = told_of(&format!("{uploads}\n\"y/1.fq\"]\n"));
    assert_eq!(faults, [(7, "`1.fq in reads` is `upload.a`'s already".to_owned())]);
    assert_eq!(told_of(&format!("{uploads}\"3.fq\"]\n")), []);
    // IAM does not tell names apart by case.
    let roles = told_of("[role.X]\ntrusts = \"ec2.amazonaws.com\"\n[role.x]\ntrusts = \"ec2.amazonaws.com\"\n");
    assert_eq!(roles, [(3, "`<stack>-x` is `role.X`'s already".to_owned())]);
    let twice = told_of("[upload.a]\nbucket = \"reads\"\nfiles = [\"x/1.fq\", \"y/1.fq\"]\n");
    assert_eq!(twice.len(), 1, "{twice:?}");
}

#[test]
fn a_slip_of_syntax_is_told_alone_although_the_samples_are_not_known_then() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("two.toml");
    let text = "[stack]\nname = \"lab\"\n[sample.A]\nr1 = \"a\"\n[sample.B]\nr1 = \"b\n";
    std::fs::write(&path, text).unwrap();
    let Err(ReadError::Faulty(faults)) = Stack::validate(&path, &[]) else { panic!("it is sound") };
    assert_eq!(faults.iter().map(|fault| fault.line).collect::<Vec<_>>(), [6], "{faults}");
}

#[test]
fn two_whose_names_are_at_fault_are_not_one_thing() {
    let group = |name: &str| format!("[security_group.{name}]\nname = 5\nvpc = \"vpc-1\"\n");
    let upload = |name: &str| format!("[upload.{name}]\nbucket = \"reads\"\nfiles = [7]\n");
    let faults = told_of(&format!("{}{}{}{}", group("a"), group("b"), upload("a"), upload("b")));
    let lines: Vec<usize> = faults.iter().map(|(line, _)| *line).collect();
    assert_eq!(lines, [2, 5, 9, 12], "{faults:?}");
    assert!(faults.iter().all(|(_, text)| text.starts_with("expected a string")), "{faults:?}");
}
