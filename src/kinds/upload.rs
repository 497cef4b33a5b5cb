//! `[upload.…]`

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::address::{Address, Ids};
use crate::aws::AwsError;
use crate::kind::{Acting, Context, Found, Kind, Reading};

/// The kind.
pub enum Upload {}

/// What a person writes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Spec {}

/// The normal form.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct State {}

/// The mutating calls.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Call {}

impl Kind for Upload {
    const TABLE: &'static str = "upload";
    const FIXED: &'static [&'static str] = &[];
    const PARTS: &'static [&'static str] = &[];
    type Spec = Spec;
    type State = State;
    type Call = Call;

    fn lower(_at: &Address, _spec: Spec, _cx: &Context<'_>) -> Result<State, String> {
        Ok(State {})
    }

    fn calls(_at: &Address, _live: Option<&State>, _want: Option<&State>) -> Vec<Call> {
        Vec::new()
    }

    fn describe(call: &Call) -> String {
        match *call {}
    }

    async fn list(_cx: Reading<'_>, _wanted: &BTreeMap<Address, Spec>) -> Result<Vec<Found<State>>, AwsError> {
        Ok(Vec::new())
    }

    async fn find_existing(_cx: Reading<'_>, _existing: &str) -> Result<Option<Ids>, AwsError> {
        Ok(None)
    }

    async fn perform(_cx: Acting, call: Call) -> Result<Ids, AwsError> {
        match call {}
    }
}
