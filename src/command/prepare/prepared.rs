//! A plan with what was read to make it, and how it is shown.

use std::collections::BTreeSet;

use crate::address::Address;
use crate::command::driver::Driver;
use crate::command::outlook::Host;
use crate::command::{Console, Problem};
use crate::plan::Plan;
use crate::report::events;
use crate::report::plan::view::{Loss, Overwrite, Run, StackWarning};
use crate::report::plan::{Detail, Header, Read, View, of, text};
use crate::run::Due;
use crate::run::ledger::Object;
use crate::stack::Credentials;

/// A plan, and what was read to make it.
#[derive(Default)]
pub struct Prepared {
    /// What the header says.
    pub header: Header,
    /// The plan.
    pub plan: Plan,
    /// What is due of the run, where there is a pipeline.
    pub due: Option<Due>,
    /// What would be lost, with its worth: to be confirmed apart.
    pub losses: Vec<Loss>,
    /// Objects that are there, and that the uploads and the run write again.
    pub overwrites: Vec<Overwrite>,
    /// What stays as it is.
    pub same: Vec<Address>,
    /// The run, due or not, where there is a pipeline.
    pub run: Option<Run>,
    /// The run's instance, where there is a pipeline.
    pub host: Option<Host>,
    /// What threatens a run that is due.
    pub warnings: Vec<String>,
    /// What the stack file is warned of.
    pub stack_warnings: Vec<StackWarning>,
    /// Who drives a run on the instance that this would end: then that is a conflict.
    pub driver: Option<Driver>,
    /// What its instances come to at the most.
    pub cost: Vec<String>,
    /// The objects that the run reads, as they are now.
    pub inputs: Vec<Object>,
    /// The objects that it writes, as far as they are there now.
    pub outputs: Vec<Object>,
    /// What is masked wherever it is shown.
    pub credentials: Credentials,
    /// The clusters that tasks of the stack may be running in, by name, of a plan that takes it down.
    pub clusters: BTreeSet<String>,
}

impl Prepared {
    /// All that is shown of it, as data.
    pub fn view(&self) -> View {
        of(Read {
            header: &self.header,
            plan: &self.plan,
            run: self.run.as_ref(),
            losses: &self.losses,
            overwrites: &self.overwrites,
            unchanged: &self.same,
            warnings: &self.warnings,
            stack_warnings: &self.stack_warnings,
            cost: &self.cost,
            credentials: &self.credentials,
        })
    }

    /// What would be overwritten that this stack has not written: to be confirmed apart.
    pub fn overwrites_others(&self) -> impl Iterator<Item = &Overwrite> {
        self.overwrites.iter().filter(|one| !one.by_a_run)
    }

    /// The plan as `apply --json` tells it.
    pub fn told(&self) -> events::Plan {
        let Header { verb, stack, sample, sandbox, account, region, identity } = self.header.clone();
        let conflicts = self.plan.conflicts.iter().map(|conflict| events::Conflict {
            at: conflict.at.clone(),
            why: self.credentials.text(&conflict.why),
            hint: conflict.hint.clone(),
        });
        events::Plan {
            verb,
            stack,
            sample,
            account,
            region,
            identity,
            sandbox,
            steps: self.plan.steps.keys().cloned().collect(),
            conflicts: conflicts.collect(),
            losses: self.losses.iter().map(ToString::to_string).collect(),
            overwrites: self.overwrites.clone(),
            warnings: self.warnings.clone(),
            stack_warnings: self.stack_warnings.clone(),
            left_out: self.plan.left_out.iter().cloned().collect(),
        }
    }

    /// The whole plan as text, as wide as the terminal where stdout is one.
    pub fn text(&self, verbose: bool) -> String {
        text(&self.view(), Detail { verbose, width: Console::width() })
    }

    /// The whole plan as JSON.
    ///
    /// # Errors
    /// Never for a view, whose keys are text.
    pub fn json(&self) -> Result<String, Problem> {
        let json = serde_json::to_string_pretty(&self.view());
        json.map(|text| text + "\n").map_err(|error| Problem::failed(format!("the plan has no JSON form: {error}")))
    }
}
