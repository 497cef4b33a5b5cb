//! What is sound and seldom meant, through the real kinds.

use super::*;

fn warnings(text: &str) -> Warnings {
    Stack::parse(Path::new("x.toml"), text, &NEEDS_SAMPLE).unwrap_or_else(|faults| panic!("{faults}")).warnings
}

/// As `line code`.
fn told(text: &str) -> Vec<String> {
    warnings(text).iter().map(|warning| format!("{} {}", warning.line, warning.code.name())).collect()
}

fn line(text: &str, part: &str) -> usize {
    text.lines().position(|line| line.contains(part)).unwrap_or_else(|| panic!("{part} is nowhere")) + 1
}

/// A change that is one warning, on the line with this text.
const SELDOM_MEANT: &[(Code, &str, &str)] = &[
    (Code::OpenSsh, "cidr = \"203.0.113.0/24\"", "cidr = \"0.0.0.0/0\""),
    (Code::OpenSsh, "cidr = \"203.0.113.0/24\"", "cidr = \"::/0\""),
    (Code::OpenSsh, "port = 22, cidr = \"203.0.113.0/24\"", "port = 20, to_port = 22, cidr = \"0.0.0.0/0\""),
    (Code::OpenAdminPort, "port = 22, cidr = \"203.0.113.0/24\"", "port = 8000, to_port = 9000, cidr = \"0.0.0.0/0\""),
    (Code::OpenAllPorts, "port = 22, cidr = \"203.0.113.0/24\"", "port = 0, to_port = 65535, cidr = \"0.0.0.0/0\""),
    (Code::OpenAllPorts, "\"tcp\", port = 22, cidr = \"203.0.113.0/24\"", "\"-1\", cidr = \"0.0.0.0/0\""),
    (Code::LatestImage, "biocontainers/bwa:v0.7.17_cv1", "localhost:5000/bwa"),
    (Code::LatestImage, "biocontainers/bwa:v0.7.17_cv1", "biocontainers/bwa:latest"),
    (Code::UnencryptedDisk, "encrypted = true", "encrypted = false"),
    (Code::NoMaxHours, "lifetime        = \"run\"", "# [instance.worker] always"),
    (Code::HostFolder, "host = \"/var/lib/seqstack/data\"", "host = \"/usr/share/data\""),
    (
        Code::WildcardAction,
        "write           = [\"results\"]",
        "policy.Statement = { Effect = \"Allow\", Action = \"s3:*\", Resource = \"arn:x\" }",
    ),
    (
        Code::WildcardAction,
        "write           = [\"results\"]",
        r#"policy = '{"Statement":[{"Effect":"Allow","Action":["*"],"Resource":"arn:x"}]}'"#,
    ),
    (
        Code::WildcardAction,
        "write           = [\"results\"]",
        "policy.Statement = [{ Effect = \"Allow\", NotAction = \"iam:*\", Resource = \"arn:x\" }]",
    ),
    (Code::WildcardAction, "\"service-role/AmazonECSTaskExecutionRolePolicy\"", "\"AmazonS3FullAccess\""),
    (
        Code::WildcardResource,
        "write           = [\"results\"]",
        "policy.Statement = [{ Effect = \"Allow\", Action = \"s3:GetObject\", Resource = \"*\" }]",
    ),
    (Code::Credential, "threads   = 4", "threads   = 4\nid = \"AKIAZQ3DRSTUVWXY2345\""),
    (Code::Credential, "threads   = 4", "threads   = 4\nk = \"q8Xv2LmN0pRs4TuVwXyZa1Bc3De5Fg7Hi9Jk+LmN\""),
    (Code::Credential, "threads   = 4", "threads   = 4\npem = \"\"\"-----BEGIN OPENSSH PRIVATE KEY-----\nabc\n\"\"\""),
    (Code::Credential, "threads   = 4", "threads   = 4\ndb_password = \"hunter22\""),
    (Code::Credential, "samtools view -b", "samtools --token=0a1b2c3d view -b"),
    (Code::Credential, "samtools view -b", "samtools --password hunter22 view -b"),
    (Code::Credential, "samtools view -b", "samtools https://me:hunter22@host/x view -b"),
    (Code::Credential, "samtools view -b", "samtools ghp_abcdefghijklmnopqrstuvwxyz0123456789 view -b"),
    (
        Code::Credential,
        "memory         = 14336",
        "memory         = 14336\ncommand = [\"tool\", \"--password\", \"hunter22\"]",
    ),
    (
        Code::Credential,
        "log_group      = \"pipeline\"",
        "log_group      = \"pipeline\"\nenvironment = { AWS_SECRET_ACCESS_KEY = \"abcd1234\" }",
    ),
];

#[test]
fn each_is_told_once_on_its_line() {
    assert_eq!(told(GERMLINE), [""; 0]);
    for (code, from, to) in SELDOM_MEANT {
        let mut text = germline(&[(from, to)]);
        // What is added stands below the line that is there.
        let mut shown = to.lines().nth(1).unwrap_or(to);
        if *code == Code::NoMaxHours {
            text = text.replace("max_hours       = 12", "# no hours");
            shown = "[instance.worker]";
        }
        assert_eq!(told(&text), [format!("{} {}", line(&text, shown), code.name())], "{to}");
    }
    let silent: Vec<Code> = Code::ALLOWABLE
        .into_iter()
        .filter(|code| !code.refuses() && *code != Code::DefaultQuota && SELDOM_MEANT.iter().all(|one| one.0 != *code))
        .collect();
    assert_eq!(silent, [], "no change shows these");
}

/// One code may be meant, and the other not.
#[test]
fn a_rule_that_opens_ssh_and_more_is_told_of_for_each() {
    let text = germline(&[("port = 22, cidr = \"203.0.113.0/24\"", "port = 22, to_port = 9000, cidr = \"0.0.0.0/0\"")]);
    let all: Vec<String> =
        warnings(&text).iter().map(|warning| format!("{} {}", warning.code.name(), warning.text)).collect();
    let [ssh, admin] = all.as_slice() else { panic!("{all:?}") };
    assert_eq!(ssh, "open-ssh SSH (port 22) is open to the whole world");
    assert!(admin.starts_with("open-admin-port telnet (port 23), Docker (port 2375)"), "{admin}");
}

/// What a new account does not take.
#[test]
fn more_than_a_default_quota_takes_is_told() {
    let policies = |count: usize| {
        let names: Vec<String> = (0..count).map(|at| format!("\"arn:aws:iam::123456789012:policy/p{at}\"")).collect();
        told(&germline(&[("[role.input]\n", &format!("[role.input]\nattach = [{}]\n", names.join(", ")))]))
    };
    assert_eq!(policies(9), [""; 0]);
    assert!(policies(10).len() == 1 && policies(10)[0].ends_with("default-quota"));
    let rules = |count: usize| {
        let rule = |at: usize| format!("{{ protocol = \"tcp\", port = {}, cidr = \"10.0.0.0/8\" }}", 1000 + at);
        let rules: Vec<String> = (0..count).map(rule).collect();
        told(&format!("{GERMLINE}\n[security_group.many]\ningress = [{}]\n", rules.join(", ")))
    };
    assert_eq!(rules(60), [""; 0]);
    assert!(rules(61)[0].ends_with("default-quota"));
    let groups = |count: usize| {
        let names: Vec<String> = (1..=count).map(|at| format!("\"sg-{at:017x}\"")).collect();
        told(&germline(&[("security_groups = [\"ecs\"]", &format!("security_groups = [{}]", names.join(", ")))]))
    };
    assert_eq!(groups(5), [""; 0]);
    assert!(groups(6)[0].ends_with("default-quota"));
}

#[test]
fn what_only_looks_like_it_is_not_told() {
    for (from, to) in [
        ("port = 22, cidr = \"203.0.113.0/24\"", "port = 443, cidr = \"0.0.0.0/0\""),
        ("port = 22, cidr = \"203.0.113.0/24\"", "port = 22, cidr = \"10.0.0.0/8\""),
        (
            "biocontainers/bwa:v0.7.17_cv1",
            "bwa@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
        ),
        ("max_hours       = 12", "# 24 by itself"),
        (
            "write           = [\"results\"]",
            "policy.Statement = [{ Effect = \"Deny\", Action = \"*\", Resource = \"*\" }]",
        ),
        (
            "write           = [\"results\"]",
            "policy.Statement = [{ Effect = \"Allow\", Action = [\"ec2:DescribeTags\", \"ecr:GetAuthorizationToken\"], Resource = \"*\" }]",
        ),
        (
            "threads   = 4",
            "threads   = 4\nid = \"AKIAIOSFODNN7EXAMPLE\"\nkey = \"wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY\"",
        ),
        ("threads   = 4", "threads   = 4\ncommit = \"3f786850e387550fdab836ed7e6dc881de23001b\""),
        ("threads   = 4", "threads   = 4\ntoken = \"ssm:/lab/token\""),
        ("samtools view -b", "samtools --password ${vars.regions} --token-file /run/token view -b"),
        ("samtools view -b", "samtools s3://bucket/Sample1/Lane2/Flowcell3/R1A/reads4 view -b"),
        (
            "log_group      = \"pipeline\"",
            "log_group      = \"pipeline\"\nenvironment = { DB_PASSWORD = { secret = \"ssm:/lab/db\" } }",
        ),
    ] {
        assert_eq!(told(&germline(&[(from, to)])), [""; 0], "{to}");
    }
}

const OPEN: (&str, &str) = ("cidr = \"203.0.113.0/24\"", "cidr = \"0.0.0.0/0\"");

#[test]
fn an_allow_silences_its_own_table_or_from_the_stack_all() {
    for place in ["description = \"SSH to the instance of the pipeline\"", "region = \"eu-west-2\""] {
        let text = germline(&[OPEN, (place, &format!("{place}\nallow = [\"open-ssh\"]"))]);
        assert_eq!(told(&text), [""; 0], "{place}");
    }
    let elsewhere = germline(&[OPEN, ("[cluster.main]", "[cluster.main]\nallow = [\"open-ssh\"]")]);
    let (rule, entry) = (line(&elsewhere, OPEN.1), line(&elsewhere, "allow ="));
    assert_eq!(told(&elsewhere), [format!("{rule} open-ssh"), format!("{entry} unused-allow")]);
    // Shared by the definitions, but for one that has its own.
    let latest = germline(&[
        ("[task_defaults]", "[task_defaults]\nallow = [\"latest-image\"]"),
        (":v0.7.17_cv1", ":latest"),
        ("image = \"biocontainers/samtools:v1.9-4-deb_cv1\"", "image = \"samtools\"\nallow = []"),
    ]);
    assert_eq!(told(&latest), [format!("{} latest-image", line(&latest, "= \"samtools\""))]);
    let command = germline(&[
        ("samtools view -b", "samtools --token=0a1b2c3d view -b"),
        ("on_failure = \"keep\"", "allow = [\"credential\"]"),
    ]);
    assert_eq!(told(&command), [""; 0]);
}

#[test]
fn an_allow_that_is_wrong_is_a_fault_with_a_hint() {
    let text = germline(&[
        ("[cluster.main]", "[cluster.main]\nallow = [\"open-shh\", \"unused-allow\", 7]"),
        ("region = \"eu-west-2\"", "region = \"eu-west-2\"\nallow = \"open-ssh\""),
        ("[key_pair.ecs_key]", "[key_pair.ecs_key]\nexisting = \"mine\"\nallow = []"),
    ]);
    let faults = Stack::parse(Path::new("x.toml"), &text, &NEEDS_SAMPLE).unwrap_err();
    insta::assert_snapshot!(faults, @r#"
    error: expected a list, found a string
      --> x.toml:13:9
       |
    13 | allow = "open-ssh"
       |         ^^^^^^^^^^
       |
       = help: the codes of warnings: allow = ["open-ssh"]

    error: `allow` beside `existing`
      --> x.toml:72:1
       |
    72 | allow = []                    # made on this machine; AWS only ever sees the public half
       | ^^^^^
       |
       = help: what is somebody else's is used as it is: keep only `existing`, or take it out

    error: there is no warning `open-shh` that can be silenced
      --> x.toml:80:10
       |
    80 | allow = ["open-shh", "unused-allow", 7]                        # costs nothing by itself, so it stays until destroy
       |          ^^^^^^^^^^
       |
       = help: did you mean `open-ssh`?

    error: there is no warning `unused-allow` that can be silenced
      --> x.toml:80:22
       |
    80 | allow = ["open-shh", "unused-allow", 7]                        # costs nothing by itself, so it stays until destroy
       |                      ^^^^^^^^^^^^^^
       |
       = help: there are: open-ssh, open-admin-port, open-all-ports, latest-image, unencrypted-disk, no-max-hours, host-folder, wildcard-action, wildcard-resource, shell-command, default-quota, credential

    error: expected a string, found an integer
      --> x.toml:80:38
       |
    80 | allow = ["open-shh", "unused-allow", 7]                        # costs nothing by itself, so it stays until destroy
       |                                      ^
       |
       = help: the code of a warning, in quotes: "open-ssh"
    "#);
}

#[test]
fn a_warning_is_shown_as_a_fault_is_and_no_credential_whole() {
    let text = germline(&[
        OPEN,
        ("threads   = 4", "threads   = 4\nid = \"AKIAZQ3DRSTUVWXY2345\""),
        ("samtools view -b", "samtools --password 'hunter 22' --token x:y1:z view -b"),
        ("name = \"sort_sam\"", "environment = { API_TOKEN = \"zwölf-undzwanzig\" }\nname = \"sort_sam\""),
    ]);
    let warnings = warnings(&text);
    insta::assert_snapshot!(warnings.render(false), @r#"
    warning[credential]: what looks like an AWS access key id is in this file
      --> x.toml:23:7
       |
    23 | id = "********************"                         # of bwa
       |       ^^^^^^^^^^^^^^^^^^^^
       |
       = help: take it out, and change it where it was issued; a task gets its rights by `task_role`, and secrets by { secret = "ssm:/…" }

    warning[open-ssh]: SSH (port 22) is open to the whole world
      --> x.toml:75:50
       |
    75 | ingress = [{ protocol = "tcp", port = 22, cidr = "0.0.0.0/0", description = "SSH access" }]
       |                                                  ^^^^^^^^^^^
       |
       = help: name the network that may: cidr = "203.0.113.0/24" is your institute's, `/32` one address; without any, a session by AWS Systems Manager needs no open port

    warning[credential]: what looks like a password is in this file
       --> x.toml:165:33
        |
    165 | command = "samtools --password '*********' --token ****** view -b -o ${sample.name}.bam ${sample.name}.sam"
        |                                 ^^^^^^^^^
        |
        = help: take it out, and change it where it was issued; a task gets its rights by `task_role`, and secrets by { secret = "ssm:/…" }

    warning[credential]: what looks like a password is in this file
       --> x.toml:165:52
        |
    165 | command = "samtools --password '*********' --token ****** view -b -o ${sample.name}.bam ${sample.name}.sam"
        |                                                    ^^^^^^
        |
        = help: take it out, and change it where it was issued; a task gets its rights by `task_role`, and secrets by { secret = "ssm:/…" }

    warning[credential]: what looks like a password is in this file
       --> x.toml:168:30
        |
    168 | environment = { API_TOKEN = "*****************" }
        |                              ^^^^^^^^^^^^^^^^^
        |
        = help: take it out, and change it where it was issued; a task gets its rights by `task_role`, and secrets by { secret = "ssm:/…" }
    "#);
    assert!(warnings.render(true).contains("\u{1b}["));
    let broken =
        text.replace("[cluster.main]", "[clutser.main]").replace("\"AKIAZQ3DRSTUVWXY2345\"", "AKIAZQ3DRSTUVWXY2345");
    let told = Stack::parse(Path::new("x.toml"), &broken, &NEEDS_SAMPLE).unwrap_err().to_string();
    assert!(told.contains("id = ****") && !told.contains("AKIA"), "{told}");
}

#[test]
fn every_code_is_in_the_table_beside_the_code() {
    let readme = include_str!("../README.md");
    let table: String = Code::ALL.iter().map(|code| format!("| `{}` | {} |\n", code.name(), code.meaning())).collect();
    assert!(readme.contains(&table), "src/stack/README.md should have\n{table}");
    let names: std::collections::BTreeSet<_> = Code::ALL.iter().map(|code| code.name()).collect();
    assert_eq!(names.len(), Code::ALL.len());
}

/// Secret keys as AWS draws them are found, but for one in a hundred at the most, and shown nowhere.
#[test]
fn drawn_secrets_are_found_and_never_shown() {
    const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut random = fastrand::Rng::with_seed(5);
    let draw = |_| (0..40).map(|_| char::from(ALPHABET[random.usize(..64)])).collect();
    let secrets: Vec<String> = std::iter::repeat_n((), 1000).map(draw).collect();
    let vars: String = secrets.iter().enumerate().map(|(at, secret)| format!("x{at} = \"a: {secret}, b\"\n")).collect();
    let warnings = warnings(&germline(&[("[vars]\n", &format!("[vars]\n{vars}"))]));
    let found = warnings.iter().filter(|warning| warning.code == Code::Credential).count();
    assert!((990..=1000).contains(&found), "{found} of 1000");
    let shown = warnings.render(false);
    assert_eq!(shown.matches(&"*".repeat(40)).count(), found);
}
