//! The tables.

use crate::scenarios::{Count, Outcome, SCENARIOS};

/// Prints all of it, as Markdown.
pub fn print(outcomes: &[Outcome]) {
    println!(
        "| power fails in otadata | cuts | wrong firmware runs | trial lost | next update fails | … for good | cuts that do harm |"
    );
    println!("|---|---:|---:|---:|---:|---:|---:|");
    for outcome in outcomes {
        let Count {
            cuts,
            wrong,
            trial_lost,
            refused,
            stuck,
            harmed,
        } = outcome.total();
        let share = share(harmed, cuts);
        println!(
            "| {} | {cuts} | {wrong} | {trial_lost} | {refused} | {stuck} | {share} |",
            outcome.library
        );
    }

    let names: Vec<_> = outcomes.iter().map(|outcome| outcome.library).collect();
    println!("\n| cuts that do harm, while | {} |", names.join(" | "));
    println!("|---|{}", "---:|".repeat(outcomes.len()));
    for (row, scenario) in SCENARIOS.iter().enumerate() {
        let cells: Vec<_> = outcomes
            .iter()
            .map(|outcome| &outcome.counts[row])
            .map(|count| format!("{} of {}", count.harmed, count.cuts))
            .collect();
        println!("| {} | {} |", scenario.name, cells.join(" | "));
    }

    for outcome in outcomes {
        println!("\n{}:", outcome.library);
        for (what, cuts) in &outcome.seen {
            println!("- {cuts} cuts: {what}");
        }
        for (what, boards) in &outcome.without_cuts {
            println!("- without a cut, on {boards} boards: {what}");
        }
        if outcome.seen.is_empty() && outcome.without_cuts.is_empty() {
            println!("- nothing");
        }
    }
}

/// A share in percent. What is not zero is never shown as zero.
fn share(part: usize, whole: usize) -> String {
    let percent = part as f64 / whole.max(1) as f64 * 100.0;
    match part {
        0 => "0".to_owned(),
        _ if percent < 0.1 => "< 0.1 %".to_owned(),
        _ => format!("{percent:.1} %"),
    }
}
