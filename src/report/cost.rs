//! Instance-hours, and money where the stack file says a price. No price is known here, and none is looked up.

use crate::stack::values::Price;

/// So many seconds of one instance: `1.50 instance-hours, 0.76 at the stack file's price_per_hour of 0.504`.
pub fn hours(seconds: i64, price: Option<Price>) -> String {
    let hundredths = seconds / 36;
    let hours = format!("{}.{:02} instance-hours", hundredths / 100, hundredths % 100);
    match price {
        Some(price) => format!("{hours}, {} {}", price.of(seconds), at(price)),
        None => hours,
    }
}

/// Whose price it is.
pub fn at(price: Price) -> String {
    format!("at the stack file's price_per_hour of {price}")
}
