//! Commands that are written for a shell, and those that only look like it.

use super::*;
use crate::stack::shell;

/// The demo's sort of file with this command, as TOML, and more above its pipeline.
fn with(command: &str, more: &str) -> String {
    let (head, _) = GERMLINE.split_once("[pipeline]").unwrap();
    format!(
        "{head}{more}\n[pipeline]\ncluster = \"main\"\noutputs = [{{ bucket = \"results\", keys = [\"x\"] }}]\n\
         [[pipeline.step]]\nname = \"one\"\ntask = \"samtools\"\ncommand = {command}\n"
    )
}

fn marks(command: &str) -> Vec<String> {
    let told = |text: String| text.split_once(": ").unwrap().1.split(" for a shell").next().unwrap().to_owned();
    faults(&with(command, "")).into_iter().map(told).collect()
}

#[test]
fn a_command_that_is_plainly_written_for_a_shell_is_a_fault() {
    for (command, marks_told) in [
        (r#""mkdir -p qc && samtools flagstat S1.bam > qc/flagstat.txt""#, "`&&`, `>` are"),
        (r#""samtools view -b x.sam | samtools sort -o x.bam""#, "`|` is"),
        (r#""samtools view x.sam |head""#, "`|` is"),
        (r#""samtools view x.sam| head""#, "`|` is"),
        (r#""false || true""#, "`||` is"),
        (r#""cd /data; ls""#, "`;` is"),
        (r#""cd /data ; ls""#, "`;` is"),
        (r#""sleep 5 &""#, "`&` is"),
        (r#""bwa mem ref.fa x.fq > x.sam 2> x.log""#, "`>`, `2>` are"),
        (r#""bwa mem ref.fa x.fq >x.sam 2>&1""#, "`>`, `2>&1` are"),
        (r#""tool &> log""#, "`&>` is"),
        (r#""tool >> log""#, "`>>` is"),
        (r#""tool < in""#, "`<` is"),
        (r#""tool <(zcat x.gz)""#, "`<` is"),
        (r#""tool <<EOF""#, "`<<` is"),
        (r#""tool -o $OUT/x.bam""#, "`$NAME` is"),
        (r#"'tool -o "$OUT/x.bam"'"#, "`$NAME` is"),
        (r#""tool $${OUT}/x.bam""#, "`$NAME` is"),
        (r#""tool $(date)""#, "`$(…)` is"),
        (r#""tool `date`""#, "``…`` is"),
        (r#""tool ~/x.bam""#, "`~/` is"),
        (r#""rm -f *.sam""#, "`*` is"),
        (r#""rm *""#, "`*` is"),
        (r#""cat x_[12].fq""#, "`[…]` is"),
        (r#""samtools merge out.bam *.bam""#, "`*` is"),
        (r#""fastqc -t 4 /data/L00?_R1.fastq.gz""#, "`?` is"),
        (r#""fastqc x_R{1,2}.fastq.gz""#, "`{…,…}` is"),
        (r#"["samtools", "view", "x.sam", "|", "head"]"#, "`|` is"),
        (r#"["samtools", "view", "-b", ">", "x.bam"]"#, "`>` is"),
        (r#"["samtools", "sort", "-o", "$OUT", "x.bam"]"#, "`$NAME` is"),
        (r#"["samtools", "merge", "out.bam", "*.bam"]"#, "`*` is"),
        (r#"["grep", "-c", "x", "x.fa", ">", "count"]"#, "`>` is"),
        (r#""bash run.sh > log""#, "`>` is"),
        (r#""bash -c 'samtools view x' > log""#, "`>` is"),
        ("'''\n  bwa mem ref.fa x.fq\n  | samtools sort -o x.bam'''", "`|` is"),
    ] {
        assert_eq!(marks(command), [marks_told], "{command}");
    }
}

#[test]
fn what_a_program_is_to_have_as_it_is_is_no_fault() {
    for command in [
        r#""s3 sync s3://b /data --exclude * --include x* --include *.vcf""#,
        r#""aws s3 cp s3://b/x?versionId=1 /data/*""#,
        r#""bcftools view -i 'QUAL>20 && DP>5' -o x.vcf in.vcf""#,
        r#""bcftools view -i QUAL>20 in.vcf""#,
        r#""bwa mem -R '@RG\\tID:1' ref.fa ${sample.r1} ${sample.name}.fq""#,
        r#""cut -d '|' -f 2 x""#,
        r#""grep -c '>' ref.fa""#,
        r#"["grep", "-c", ">", "ref.fa"]"#,
        r#"["tr", "|", ","]"#,
        r#"["cut", "-d", ";", "-f", "1", "x"]"#,
        r#"["awk", "-F", "|", "{ print $NF }", "x"]"#,
        r#""awk '{ print $NF > \"x\" }' x""#,
        r#"["Rscript", "-e", "write.csv(table$column)"]"#,
        r#""find /data -name *.bam -exec rm {} ;""#,
        r#""find /data -name '*.bam' -exec rm {} \\;""#,
        r#""samtools view x.bam HLA:A*01:01""#,
        r#""samtools view x.bam 'chr1:1-2'""#,
        r#""tool \\| \\> \\$HOME""#,
        r#""tool # a remark > that is left out""#,
        r#"["bash", "-c", "set -o pipefail; bwa mem x > y && rm *.sam $HOME ~/x"]"#,
        r#""bash -euo pipefail -c 'a | b > c'""#,
        r#""/bin/sh -ec 'a | b'""#,
        r#""env X=1 bash -lc 'a | b'""#,
        r#"["samtools view x | head"]"#,
    ] {
        assert_eq!(faults(&with(command, "")), [""; 0], "{command}");
    }
}

#[test]
fn the_fault_is_on_its_line_and_names_the_way_out_and_allow_lets_it_through() {
    let text = with("'''\n  bwa mem ref.fa x.fq\n  > x.sam'''", "");
    let told = read_with(&text, &NEEDS_SAMPLE).unwrap_err();
    let fault = told.iter().next().unwrap();
    assert_eq!(fault.line, text.lines().count());
    assert!(fault.hint.as_ref().unwrap().contains(r#"command = ["bash", "-c", "set -o pipefail; …"]"#), "{told}");
    let allowed =
        text.replace("cluster = \"main\"\noutputs", "cluster = \"main\"\nallow = [\"shell-command\"]\noutputs");
    assert!(read(&allowed).warnings.is_empty());
    let unused =
        with("\"x\"", "").replace("\ncluster = \"main\"\n", "\ncluster = \"main\"\nallow = [\"shell-command\"]\n");
    assert_eq!(read(&unused).warnings.iter().next().unwrap().code, Code::UnusedAllow);
    // A definition's own command, and an entry point that is a shell.
    let own = "[task_definition.x]\nimage = \"x:1\"\ncommand = \"a | b\"\n";
    assert_eq!(faults(&with("\"x\"", own)).len(), 1);
    assert_eq!(faults(&with("\"x\"", &own.replace("command", "allow = [\"shell-command\"]\ncommand"))), [""; 0]);
    let shell = "[task_definition.x]\nimage = \"x:1\"\nentry_point = [\"bash\", \"-c\"]\n";
    let step = with("[\"a | b > c\\nd\"]", shell).replace("task = \"samtools\"", "task = \"x\"");
    assert_eq!(faults(&step), [""; 0]);
}

#[test]
fn a_script_of_several_lines_is_for_a_shell_and_nothing_else_has_lines() {
    let script =
        "['bash', '-c', '''\nset -e\nfor n in 1 2; do   # one lane after the other\n\techo lane $n\ndone\n''']";
    let stack = read(&with(script, ""));
    let command = stack.pipeline.unwrap().step[0].command.clone().unwrap();
    assert!(command[2].starts_with("set -e\nfor") && command[2].contains("\n\techo"));
    let windows = read(&with(script, "").replace('\n', "\r\n"));
    assert_eq!(windows.pipeline.unwrap().step[0].command.as_ref(), Some(&command));
    for wrong in ["['tool', '-c', '''a\nb''']", "['bash', '-c', 'x', '''a\nb''']", r#"["bash", "-c", "a\u0007"]"#] {
        let told = read_with(&with(wrong, ""), &NEEDS_SAMPLE).unwrap_err();
        assert!(told.iter().next().unwrap().text.ends_with("in a word of this command"), "{told}");
    }
    let hint =
        read_with(&with("['tool', '''a\nb''']", ""), &NEEDS_SAMPLE).unwrap_err().iter().next().unwrap().hint.clone();
    assert!(hint.unwrap().contains(r#"["bash", "-c", '''…''']"#));
}

#[test]
fn what_has_no_words_is_a_fault() {
    let empty = "[task_definition.x]\nimage = \"x:1\"\nentry_point = []\n";
    let told = faults(&with("\"x\"", empty));
    assert!(told[0].ends_with("an entry point without words does not clear the image's own"), "{told:?}");
    assert!(faults(&with("[]", ""))[0].ends_with("this command has no words"));
}

#[test]
fn a_step_that_failed_for_want_of_a_shell_says_so() {
    let words = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
    assert!(shell::hint(&[], &words("samtools view x > y")).unwrap().contains("`>` in its command is for a shell"));
    assert_eq!(shell::hint(&words("bash -c"), &words("samtools>y")), None);
    assert_eq!(shell::hint(&[], &words("samtools view x")), None);
}
