//! The cluster query language, as far as it is served: `==`, `!=`, `in`, `not_in`, joined by `and` or `or`.

use std::collections::BTreeMap;

use super::invalid;
use crate::service::ApiError;

/// What can be asked of a container instance: `ec2InstanceId`, `attribute:…`.
pub type Facts = BTreeMap<String, String>;

/// An expression.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expression {
    /// The subject is (or is not) one of these.
    OneOf {
        /// What is compared.
        subject: String,
        /// With what.
        values: Vec<String>,
        /// Whether it must be none of them.
        not: bool,
    },
    /// All hold.
    All(Vec<Expression>),
    /// At least one holds.
    Any(Vec<Expression>),
}

impl Expression {
    /// Whether it holds.
    pub fn holds(&self, facts: &Facts) -> bool {
        match self {
            Self::OneOf { subject, values, not } => {
                facts.get(subject).is_some_and(|have| values.contains(have)) != *not
            }
            Self::All(parts) => parts.iter().all(|part| part.holds(facts)),
            Self::Any(parts) => parts.iter().any(|part| part.holds(facts)),
        }
    }
}

fn bad(written: &str) -> ApiError {
    invalid(format!("Invalid expression, or one that the sandbox does not serve: {written}"))
}

fn words(written: &str) -> Vec<String> {
    let mut spaced = String::new();
    for letter in written.chars() {
        match letter {
            '[' | ']' | ',' => {
                spaced.push(' ');
                spaced.push(letter);
                spaced.push(' ');
            }
            other => spaced.push(other),
        }
    }
    let spaced = spaced.replace("==", " == ").replace("!=", " != ").replace("&&", " and ").replace("||", " or ");
    spaced.split_whitespace().map(|word| word.trim_matches(['\'', '"']).to_owned()).collect()
}

/// Reads an expression.
///
/// # Errors
/// `InvalidParameterException` for what cannot be read, or is too long.
pub fn parse(written: &str) -> Result<Expression, ApiError> {
    if written.chars().count() > 2000 {
        return Err(invalid("An expression can have at most 2000 characters."));
    }
    let words = words(written);
    let mut rest = words.as_slice();
    let mut any = Vec::new();
    let mut all = Vec::new();
    loop {
        let (comparison, after) = comparison(rest).ok_or_else(|| bad(written))?;
        all.push(comparison);
        match after.split_first() {
            None => break,
            Some((word, after)) if word == "and" => rest = after,
            Some((word, after)) if word == "or" => {
                any.push(Expression::All(std::mem::take(&mut all)));
                rest = after;
            }
            Some(_) => return Err(bad(written)),
        }
    }
    any.push(Expression::All(all));
    Ok(Expression::Any(any))
}

fn comparison(words: &[String]) -> Option<(Expression, &[String])> {
    let (subject, rest) = words.split_first()?;
    if !(["ec2InstanceId", "agentConnected"].contains(&subject.as_str()) || subject.starts_with("attribute:ecs.")) {
        return None;
    }
    let (operator, rest) = rest.split_first()?;
    let one_of = |values, not| Expression::OneOf { subject: subject.clone(), values, not };
    match operator.as_str() {
        "==" | "!=" => {
            let (value, rest) = rest.split_first()?;
            Some((one_of(vec![value.clone()], operator == "!="), rest))
        }
        "in" | "not_in" | "!in" => {
            let rest = rest.strip_prefix(&["[".to_owned()][..])?;
            let end = rest.iter().position(|word| word == "]")?;
            let values = rest[..end].iter().filter(|word| *word != ",").cloned().collect();
            Some((one_of(values, operator != "in"), &rest[end + 1..]))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expressions() {
        let facts = Facts::from([
            ("ec2InstanceId".to_owned(), "i-1".to_owned()),
            ("attribute:ecs.os-type".to_owned(), "linux".to_owned()),
        ]);
        let holds = |written: &str| parse(written).unwrap().holds(&facts);
        assert!(holds("ec2InstanceId == i-1"));
        assert!(holds("ec2InstanceId=='i-1'"));
        assert!(!holds("ec2InstanceId != i-1"));
        assert!(holds("ec2InstanceId in ['i-0', 'i-1']"));
        assert!(!holds("ec2InstanceId in [i-0]"));
        assert!(holds("ec2InstanceId in [i-0] or attribute:ecs.os-type == linux"));
        assert!(!holds("ec2InstanceId in [i-0] and attribute:ecs.os-type == linux"));
        assert!(parse("task:group == x").is_err());
        assert!(parse("ec2InstanceId").is_err());
    }
}
