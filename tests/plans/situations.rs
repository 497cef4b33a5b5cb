//! A dozen situations that people meet, each in an account of its own, with how to come to it.

use std::collections::BTreeSet;
use std::path::Path;

use seqstack::choose::Choice;
use seqstack::cli::Wish;
use seqstack::command::prepare;
use seqstack::report::plan::View;

use crate::lab::{Lab, fails, fine, wish};

pub const DEMO: &str = include_str!("../../stacks/demo.toml");
pub const GERMLINE: &str = include_str!("../../stacks/germline.toml");

pub struct Situation {
    pub title: &'static str,
    /// How to come to it.
    pub how: String,
    pub view: View,
}

/// The stack with one text in it replaced by another.
fn edited(text: &str, from: &str, to: &str) -> String {
    assert!(text.contains(from), "{from}");
    text.replacen(from, to, 1)
}

/// An account in which the demo's own files can be uploaded.
fn demo() -> Lab {
    furnished(Lab::of(DEMO))
}

fn furnished(lab: Lab) -> Lab {
    let folder = lab.folder.path().join("demo");
    let files = Path::new(env!("CARGO_MANIFEST_DIR")).join("stacks/demo");
    for file in std::fs::read_dir(folder).unwrap() {
        let file = file.unwrap();
        std::fs::copy(files.join(file.file_name()), file.path()).unwrap();
    }
    lab
}

/// An account in which freebayes fails until it is told to use less memory.
fn failing() -> Lab {
    furnished(Lab::of_with(DEMO, |line| match line.starts_with("freebayes") && !line.contains("--limit-coverage") {
        true => fails(1),
        false => fine(),
    }))
}

async fn seen(lab: &Lab, text: &str, wish: &Wish) -> View {
    let plan = || async {
        let session = lab.session(text, None, true);
        prepare::converge(&session, wish, "plan").await.unwrap_or_else(|problem| panic!("{problem}")).view()
    };
    let (first, second) = (plan().await, plan().await);
    assert_eq!(first, second, "the same plan twice");
    first
}

async fn planned(lab: &Lab, text: &str) -> View {
    seen(lab, text, &wish()).await
}

pub async fn all() -> Vec<Situation> {
    let mut out = Vec::new();
    let mut put = |title, how: &str, view| out.push(Situation { title, how: how.to_owned(), view });

    put("The first apply of the demo", "`stacks/demo.toml`, and nothing there yet.", planned(&demo(), DEMO).await);
    put(
        "The first apply of the germline stack",
        "`stacks/germline.toml`, its inputs in the bucket, and nothing else there yet.",
        planned(&Lab::of(GERMLINE), GERMLINE).await,
    );

    let lab = demo();
    lab.apply(DEMO).await;
    put("Nothing to do", "The demo, applied.", planned(&lab, DEMO).await);
    put(
        "One rule changed",
        "In the applied demo's `[security_group.ecs]`, `192.0.2.0/24` is made `198.51.100.0/24`.",
        planned(&lab, &edited(DEMO, "192.0.2.0/24", "198.51.100.0/24")).await,
    );
    put(
        "A policy document changed",
        "In the applied demo's `[role.input]`, `read` is made `[\"reads\", \"results\"]`.",
        planned(&lab, &edited(DEMO, "read   = [\"reads\"]", "read   = [\"reads\", \"results\"]")).await,
    );
    put(
        "A task definition changed, and the pipeline with it",
        "In the applied demo, freebayes' image is made `seqstack-demo/freebayes:1.3.8`.",
        planned(&lab, &edited(DEMO, "freebayes:1.3.6", "freebayes:1.3.8")).await,
    );
    let without = edited(&edited(DEMO, "key_pair        = \"ecs_key\"\n", ""), "[key_pair.ecs_key]\n", "");
    put(
        "Something removed from the file",
        "In the applied demo, `[key_pair.ecs_key]` and the instance's `key_pair` are taken out.",
        planned(&lab, &without).await,
    );
    put("Destroy", "`seqstack destroy` of the applied demo.", {
        let session = lab.session(DEMO, None, false);
        prepare::destroy(&session, &Choice::default(), &BTreeSet::new())
            .await
            .unwrap_or_else(|problem| panic!("{problem}"))
            .view()
    });
    put(
        "Drift",
        "In the applied demo, by hand: the log group keeps its events for a year, and SSH is open to the world.",
        {
            let aws = lab.aws();
            let set = aws.logs.put_retention_policy().log_group_name("/seqstack/demo/pipeline").retention_in_days(365);
            set.send().await.unwrap();
            let group = planned_group(&lab).await;
            let open = aws.ec2.authorize_security_group_ingress().group_id(group).ip_protocol("tcp");
            open.from_port(22).to_port(22).cidr_ip("0.0.0.0/0").send().await.unwrap();
            planned(&lab, DEMO).await
        },
    );

    let lab = demo();
    lab.apply(DEMO).await;
    lab.sandbox.put_object("seqstack-demo-reads", "q.dict", "@HD VN:1.6\n".into()).unwrap();
    put(
        "A new input",
        "The demo was applied, and then `q.dict` was put into the bucket of the reads.",
        planned(&lab, DEMO).await,
    );
    let (bucket, key) = ("seqstack-demo-results", "NA12878/NA12878.vcf");
    lab.sandbox.put_object(bucket, key, "somebody's variants\n".into()).unwrap();
    put(
        "A run that will overwrite what somebody put there",
        "After that, somebody puts another `NA12878/NA12878.vcf` into the bucket of the results.",
        planned(&lab, DEMO).await,
    );

    let lab = demo();
    lab.apply(DEMO).await;
    std::fs::write(lab.folder.path().join("demo/NA12878_R1.fastq.gz"), "other reads").unwrap();
    put(
        "An input that is uploaded first",
        "The demo was applied, and then `demo/NA12878_R1.fastq.gz` was made another file.",
        planned(&lab, DEMO).await,
    );

    let lab = demo();
    let always = edited(DEMO, "lifetime        = \"run\"", "lifetime        = \"always\"");
    lab.apply(&always).await;
    put(
        "A security group replaced under its holder",
        "The demo with an instance whose `lifetime` is `always`, applied; then the security group gets another `description`.",
        planned(&lab, &edited(&always, "ECS instances of the demo", "SSH to the demo")).await,
    );

    let lab = failing();
    lab.apply(DEMO).await;
    put("A failed run", "The demo, applied, where freebayes failed.", planned(&lab, DEMO).await);
    put(
        "A step's command changed, with steps kept",
        "After that failure, freebayes' command gets `--limit-coverage 500`.",
        planned(&lab, &edited(DEMO, "freebayes -f", "freebayes --limit-coverage 500 -f")).await,
    );
    put(
        "Work that would be lost",
        "After that failure, the instance's `type` is made `m5.large`.",
        planned(&lab, &edited(DEMO, "\"t3.large\"", "\"m5.large\"")).await,
    );

    let lab = demo();
    lab.apply(DEMO).await;
    let trust = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Service":"ec2.amazonaws.com"},"Action":"sts:AssumeRole"}]}"#;
    let aws = lab.aws();
    let made = aws.iam.create_role().role_name("lab-reader").assume_role_policy_document(trust);
    made.description("made by hand").send().await.unwrap();
    let reader = format!(
        "{DEMO}\n[role.reader]\nname   = \"lab-reader\"\ntrusts = \"ecs-tasks.amazonaws.com\"\nread   = [\"results\"]\n"
    );
    put(
        "It exists already",
        "The demo is applied, and there is a role `lab-reader` that somebody made by hand for EC2. Then the stack file gets a `[role.reader]` with that `name`, for tasks that read the results.",
        planned(&lab, &reader).await,
    );
    let adopt = Wish { adopt: vec!["role.reader".parse().unwrap()], ..wish() };
    put("Taking it over", "The same with `--adopt role.reader`.", seen(&lab, &reader, &adopt).await);
    lab.apply(OTHER).await;
    put(
        "It is another stack's",
        "The demo is applied, and a stack `trial` has the log group `/lab/trial`. Then the demo's file gets one of that `name`, too.",
        planned(&lab, &format!("{DEMO}\n[log_group.trial]\nname = \"/lab/trial\"\n")).await,
    );
    out
}

/// Another stack of the same account.
const OTHER: &str = r#"
[stack]
name   = "trial"
region = "eu-west-2"
[log_group.trial]
name = "/lab/trial"
"#;

/// The id of the demo's security group.
async fn planned_group(lab: &Lab) -> String {
    let found = lab.aws().ec2.describe_security_groups().send().await.unwrap();
    let ours = found.security_groups().iter().find(|group| group.description() == Some("ECS instances of the demo"));
    ours.unwrap().group_id().unwrap().to_owned()
}
