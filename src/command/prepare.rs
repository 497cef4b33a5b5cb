//! From a session to a plan: reads facts, live state and the run's state side by side, and lowers, compares and plans.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use crate::address::{Address, Link, links};
use crate::aws::facts::FactError;
use crate::aws::trace::branch;
use crate::aws::wait::{told_if_long, watched};
use crate::choose::Choice;
use crate::cli::Wish;
use crate::desired::{Desired, lower, wanted};
use crate::diff::{Conflict, Cycle, Scope, diff};
use crate::facts::{Facts, Lookup};
use crate::kind::{Context, kind};
use crate::kinds::instance::reach;
use crate::live::{self, Live};
use crate::plan::{self, Phase, Why};
use crate::report::events::Told;
use crate::report::plan::Header;
use crate::report::plan::run as told;
use crate::run::claim::Place;
use crate::run::{Observed, RunError, RunSpec, observe};
use crate::stack::Stack;
use crate::stack::diagnostic::suggest;

use super::choosing::chosen;
use super::cost;
use super::outlook;
use super::seat;
use super::session::Session;
use super::{Console, Exit, Problem};

mod assess;
mod prepared;
mod unread;
mod whole;
mod worth;

use assess::{Assessed, assess};
pub use prepared::Prepared;
use unread::{Unread, fact_error};
use whole::{Whole, whole};
pub use worth::Ending;

/// Shows the plan that is about to be carried out.
///
/// # Errors
/// When stdout is full.
pub fn show(session: &Session, prepared: &Prepared) -> Result<(), Problem> {
    if let Console::Json(stream) = session.console {
        stream.tell(Told::Plan(prepared.told()));
    }
    session.console.print(&prepared.text(session.verbose))
}

/// The calls that were made so far, and how deep they had to wait for one another.
pub fn calls(session: &Session) -> String {
    let calls = session.aws.trace.calls();
    let total: usize = calls.values().sum();
    let mut out = format!("\n{total} calls, {} dependent round trips deep\n", session.aws.trace.depth());
    for (name, times) in calls {
        let _infallible = writeln!(out, "  {times:>4} {name}");
    }
    out
}

struct Read {
    facts: Facts,
    live: Live,
    observed: Option<Observed>,
}

async fn read(session: &Session, spec: Option<&RunSpec>) -> Result<Read, Problem> {
    let steps = session.stack.pipeline.iter().flat_map(|pipeline| &pipeline.step);
    let lookups: BTreeSet<Lookup> = wanted(&session.stack)
        .iter()
        .filter_map(|(at, spec)| Some(kind(&at.kind)?.lookups(&at.name, spec)))
        .flatten()
        .chain(
            steps
                .filter_map(|step| step.task_role.as_ref())
                .filter(|role| role.is_id())
                .map(|role| Lookup::Role(role.text.clone())),
        )
        .collect();
    let keys = session.state_dir.join("keys");
    let watcher = session.watcher();
    let reading = futures_util::future::join3(
        Box::pin(branch(crate::aws::facts::read(&session.aws, &lookups, &session.stack.folder, &keys))),
        Box::pin(branch(watched(watcher.clone(), live::read(&session.aws, &session.stack)))),
        Box::pin(branch(async {
            match spec {
                Some(spec) => observe(&session.aws, spec).await.map(Some),
                None => Ok(None),
            }
        })),
    );
    let (facts, live, observed) = told_if_long(&watcher, "the account and the run's objects to be read", reading).await;

    match (facts, live, observed) {
        (Ok(facts), Ok(live), Ok(mut observed)) => {
            if let (Some(spec), Some(observed)) = (spec, &mut observed) {
                let is_dead = |holder: &str| seat::is_dead(&session.state_dir, &spec.sample, holder);
                observed.ledger = observed.ledger.take().map(|kept| kept.bury(is_dead));
            }
            Ok(Read { facts, live, observed })
        }
        (facts, live, observed) => {
            let mut unread = Unread::default();
            unread.facts(facts.err().unwrap_or_default(), &session.stack);
            unread.aws.extend(live.err().unwrap_or_default());
            match observed.err() {
                Some(RunError::Aws(error)) => unread.aws.push(error),
                other => unread.other.extend(other.map(|error| crate::aws::chain(&error))),
            }
            Err(unread.problem(session))
        }
    }
}

/// The plan that converges.
///
/// # Errors
/// When live state is not known, another account answers, or the facts make the stack impossible.
pub async fn converge(session: &Session, wish: &Wish, verb: &str) -> Result<Prepared, Problem> {
    let stack = &session.stack;
    // What the run reads is asked for before the account is known: its text needs no facts but the region.
    let early = Facts { region: session.aws.region.clone(), ..Facts::default() };
    let spec = run_spec(session, &early, None)?;
    let Read { facts, mut live, observed } = Box::pin(read(session, spec.as_ref())).await?;
    check_account(session, &facts)?;
    check_adopted(stack, wish)?;
    let spec = run_spec(session, &facts, Some(&live))?;

    let sample = stack.sample.as_deref();
    let all = lowered(session, &Context { stack: &stack.info, facts: &facts, sample }, |_| true)?;
    let adopt = wish.adopt.iter().cloned().collect();
    let scope = Scope { adopt, per_run: stack.info.per_run.clone(), sample: sample.map(str::to_owned) };
    let cycle = |error: Cycle| Problem::failed(error.to_string());
    let assessed = |found, live: &Live| assess(found, &all, live, &scope, wish.retry).map_err(cycle);
    let mut run = spec.zip(observed).map(|found| assessed(found, &live)).transpose()?;
    let place = match &run {
        Some(run) => Box::pin(place(session, run, &live)).await?,
        None => Place::Good,
    };
    let keeps = run.as_ref().and_then(Assessed::steps).is_some_and(|steps| steps.iter().any(|step| step.kept));
    if let Place::Used(because) = &place
        && let Some(Assessed { spec, observed, .. }) = run.take()
    {
        crate::kinds::instance::mark_used(&mut live, &spec.instance_at, because);
        run = Some(assessed((spec, observed), &live)?);
    }
    let Whole { plan, desired, same } = whole(stack, all, &live, &scope, run.as_ref()).map_err(cycle)?;
    let run_at = run.as_ref().map(Assessed::at);
    let mut plan = chosen(session, plan, &wish.choice, run_at.iter(), &desired, &live)?;

    // From here on only what is chosen counts.
    let runs = run.as_ref().filter(|_| plan.run.is_some());
    plan.conflicts.extend(runs.and_then(|run| run.too_large(stack, &facts)));
    plan.conflicts.extend(runs.and_then(Assessed::archived));
    plan.conflicts.extend(reach::conflicts(&plan, &desired.0, &facts));
    let driver = run.as_ref().and_then(|run| run.driver(&plan));
    plan.conflicts.extend(run.iter().zip(&driver).map(|(run, driver)| run.driven(driver)));
    // What a run of before has left is of no use to one that begins anew.
    let anew = run.as_ref().filter(|_| matches!(place, Place::Used(_)) && !keeps).map(|run| run.spec.sample.as_str());
    let Ending { losses, driven } = Ending::of(session, &plan, anew).await?;
    let known: BTreeSet<Address> = plan.conflicts.iter().map(|conflict| conflict.at.clone()).collect();
    plan.conflicts.extend(driven.into_iter().filter(|(at, ..)| !known.contains(at)).map(|(at, sample, holder)| {
        let why = format!("{} is driving a run of sample {sample} on it since {}", holder.who, holder.since);
        Conflict::new(at, why, "wait until that has ended, or stop it with destroy --stop-run")
    }));
    let mut prepared = Prepared {
        header: header(session, &facts, verb),
        credentials: stack.credentials.and_of(plan.steps.values().flat_map(|step| &step.changes)),
        losses,
        overwrites: worth::replaced(session, &plan).await?,
        stack_warnings: stack.warnings.iter().map(Into::into).collect(),
        cost: cost::at_most(stack, &plan),
        plan,
        same,
        driver,
        ..Prepared::default()
    };
    let is_chosen = |at: &Address| wish.choice.asks_for(at) && !prepared.plan.left_out.contains(at);
    if let Some(run) = run.filter(|run| is_chosen(&run.at())) {
        let Assessed { spec, observed, assessment, missing, stays } = &run;
        let notes = outlook::ledger_lines(session, spec, observed, &live).await?;
        let assessment = assessment.as_ref();
        let told = told::run(spec, observed, assessment, missing, *stays, notes, &prepared.credentials);
        prepared.overwrites.extend(told::overwrites(&told, observed));
        let host = outlook::host(&stack.info, spec, &desired, &live);
        let ledger = observed.ledger.as_ref().map(|kept| &kept.ledger);
        let warnings = run.steps().map(|steps| outlook::warnings(&facts, &host, steps, spec, ledger));
        prepared.warnings = warnings.unwrap_or_default();
        prepared.warnings.extend(turn(&place));
        (prepared.run, prepared.host, prepared.due) = (Some(told), Some(host), run.due().cloned());
        (prepared.inputs, prepared.outputs) = (run.observed.inputs, run.observed.outputs);
    }
    Ok(prepared)
}

/// Whether a run that is due may use the instance that is there. Asks only where there is such a run, and an instance.
async fn place(session: &Session, run: &Assessed, live: &Live) -> Result<Place, Problem> {
    let steps = run.steps().filter(|_| run.stays);
    let found = live.found.get(&run.spec.instance_at).and_then(|found| found.first());
    let (Some(steps), Some(instance)) = (steps, found.and_then(|found| found.ids.get("id"))) else {
        return Ok(Place::Good);
    };
    let keys = crate::run::key::keys(&run.spec, &run.observed.inputs);
    let ledger = run.observed.ledger.as_ref().map(|kept| &kept.ledger);
    let place = crate::run::claim::place(&session.aws, &run.spec, ledger, &keys, steps, instance).await;
    place.map_err(|error| {
        Problem::failed(format!(
            "which run's files are on {instance} is not known, so there is no plan: {}",
            crate::aws::chain(&error)
        ))
        .hint(
            "let yourself read .seqstack/ in the bucket of the pipeline's first output (s3:GetObject), then plan again",
        )
    })
}

/// That the run has to wait until another sample's is over, where it has to.
fn turn(place: &Place) -> Option<String> {
    let Place::Waits { sample, holder } = place else { return None };
    Some(format!(
        "sample {sample} is running on the instance (driven by {}, since {:.0}): this run waits for it, and then begins on a fresh instance; with lifetime = \"run\" each sample gets an instance of its own",
        holder.who, holder.since
    ))
}

/// Refuses to adopt what the stack file does not have.
fn check_adopted(stack: &Stack, wish: &Wish) -> Result<(), Problem> {
    let known = wanted(stack);
    let unknown =
        wish.adopt.iter().collect::<BTreeSet<_>>().into_iter().filter(|at| !known.contains_key(at)).map(|at| {
            let at = at.to_string();
            let names: Vec<String> = known.keys().map(ToString::to_string).collect();
            let hint = suggest(&at, names.iter().map(String::as_str), "there are");
            let hint = hint.map(|hint| format!("\nhint: {hint}")).unwrap_or_default();
            format!("error: --adopt {at}: the stack file has no such resource{hint}")
        });
    let unknown: Vec<String> = unknown.collect();
    if unknown.is_empty() {
        return Ok(());
    }
    Err(Problem { text: unknown.join("\n"), hint: None, exit: Exit::Usage })
}

/// The plan that takes everything down; what is `gone` by now can be chosen all the same.
///
/// # Errors
/// As [`converge`].
pub async fn destroy(session: &Session, choice: &Choice, gone: &BTreeSet<Address>) -> Result<Prepared, Problem> {
    let Read { facts, live, .. } = read_for_destroy(session).await?;
    check_account(session, &facts)?;
    // Every sample's compute goes, so nothing is another sample's here.
    let scope = Scope::default();
    let differences = diff(&Desired::default(), &live, &scope).map_err(|error| Problem::failed(error.to_string()))?;
    let plan = plan::plan(Phase::Converge, differences, &|_| Why::Destroy);
    let plan = chosen(session, plan, choice, gone.iter(), &Desired::default(), &live)?;
    let (header, clusters) = (header(session, &facts, "destroy"), clusters(&live));
    let credentials = session.stack.credentials.clone();
    Ok(Prepared { header, plan, clusters, credentials, ..Prepared::default() })
}

/// The clusters that tasks may be running in, by name: there, somebody else's, and those of the instances, whatever is chosen.
fn clusters(live: &Live) -> BTreeSet<String> {
    let is_cluster = |at: &Address| at.kind == "cluster";
    let all = || live.found.values().flatten();
    let ours = all().filter(|one| is_cluster(&one.at)).map(crate::diff::name);
    let theirs = live.existing.iter().filter(|(at, _)| is_cluster(at)).filter_map(|(_, ids)| ids.get("name").cloned());
    let of_instances = all().flat_map(|one| links(&one.state)).filter_map(|link| match link {
        Link::Theirs { kind, id } if kind == "cluster" => Some(id),
        _ => None,
    });
    ours.chain(theirs).chain(of_instances).collect()
}

async fn read_for_destroy(session: &Session) -> Result<Read, Problem> {
    let (facts, live) = futures_util::future::join(
        caller(session),
        Box::pin(branch(watched(session.watcher(), live::read(&session.aws, &session.stack)))),
    )
    .await;
    match (facts, live) {
        (Ok(facts), Ok(live)) => Ok(Read { facts, live, observed: None }),
        (facts, live) => {
            let mut unread = Unread::default();
            unread.facts(facts.err().unwrap_or_default(), &session.stack);
            unread.aws.extend(live.err().unwrap_or_default());
            Err(unread.problem(session))
        }
    }
}

/// The account, and who asks.
///
/// # Errors
/// When AWS does not say.
pub(super) async fn who_asks(session: &Session) -> Result<Facts, Problem> {
    let told = |errors: Vec<FactError>| errors.iter().map(fact_error).collect::<Vec<_>>().join("\n");
    caller(session).await.map_err(|errors| Problem::failed(told(errors)))
}

async fn caller(session: &Session) -> Result<Facts, Vec<FactError>> {
    let keys = session.state_dir.join("keys");
    let nothing_else = BTreeSet::new();
    let asked = crate::aws::facts::read(&session.aws, &nothing_else, &session.stack.folder, &keys);
    Box::pin(branch(asked)).await
}

/// Refuses any account but the stack file's.
///
/// # Errors
/// When it is another.
pub(super) fn check_account(session: &Session, facts: &Facts) -> Result<(), Problem> {
    match &session.stack.account {
        Some(account) if *account != facts.account && session.sandbox.is_none() => Err(Problem::failed(format!(
            "the stack is for account {account}, and these credentials are of {}",
            facts.account
        ))
        .hint("sign in to the right account, or pick its profile with --profile")),
        _ => Ok(()),
    }
}

pub(super) fn header(session: &Session, facts: &Facts, verb: &str) -> Header {
    Header {
        verb: verb.to_owned(),
        stack: session.stack.info.name.clone(),
        sample: session.stack.sample.clone(),
        sandbox: session.sandbox.clone(),
        account: facts.account.clone(),
        region: session.stack.info.region.clone(),
        identity: facts.identity.clone(),
    }
}

fn lowered(session: &Session, cx: &Context<'_>, include: impl Fn(&Address) -> bool) -> Result<Desired, Problem> {
    lower(&session.stack, cx, include).map_err(|wrong| {
        let lines: Vec<String> = wrong.iter().map(|(at, why)| format!("{at}: {why}")).collect();
        Problem::failed(lines.join("\n  "))
    })
}

/// The run, lowered; without live state it knows nothing of the task definitions that are somebody else's.
fn run_spec(session: &Session, facts: &Facts, live: Option<&Live>) -> Result<Option<RunSpec>, Problem> {
    let stack = &session.stack;
    let Some(pipeline) = &stack.pipeline else { return Ok(None) };
    let cx = Context { stack: &stack.info, facts, sample: stack.sample.as_deref() };
    let mut definitions = lowered(session, &cx, |at| at.kind == "task_definition")?;
    // Of an instance a run needs only what sort of machine it is, which takes no facts: its spec says that.
    definitions.0.extend(wanted(stack).into_iter().filter(|(at, _)| at.kind == "instance"));
    let theirs = live.map(|live| &live.existing);
    crate::run::spec::lower(pipeline, &cx, &definitions.0, theirs).map(Some).map_err(Problem::failed)
}
