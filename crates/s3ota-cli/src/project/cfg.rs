//! The example is for every chip and for the emulator; a project is for one chip.

/// The source of an example with these features: where an attribute `#[cfg(…)]` on lines of its own asks for features, it is gone,
/// and so is the statement below it if the features are not these.
///
/// It knows `feature`, `not`, `any` and `all`, and takes the source as rustfmt leaves it.
pub fn resolve(source: &str, features: &[&str]) -> String {
    let mut text = String::new();
    let mut lines = source.lines();
    while let Some(line) = lines.next() {
        let begin = line.trim_start();
        if !begin.starts_with("#[cfg(") {
            text += line;
            text.push('\n');
            continue;
        }
        let indent = &line[..line.len() - begin.len()];
        let mut attribute = begin.to_owned();
        while !attribute.ends_with(")]") {
            let Some(more) = lines.next() else { break };
            attribute += more.trim();
        }
        let condition = attribute
            .strip_prefix("#[cfg(")
            .and_then(|rest| rest.strip_suffix(")]"));
        if !condition.is_some_and(|condition| holds(condition, features)) {
            skip_statement(&mut lines, indent);
        }
    }
    text
}

/// Skips up to the line at this indentation that ends a statement or a block.
fn skip_statement<'a>(lines: &mut impl Iterator<Item = &'a str>, indent: &str) {
    for line in lines {
        let inner = line.strip_prefix(indent);
        let is_outermost = inner.is_some_and(|it| !it.starts_with([' ', '\t']));
        if is_outermost && line.trim_end().ends_with([';', '}', ',']) {
            return;
        }
    }
}

/// Whether a condition holds.
fn holds(condition: &str, features: &[&str]) -> bool {
    let condition = condition.trim();
    let inside = |name: &str| {
        condition
            .strip_prefix(name)?
            .strip_prefix('(')?
            .strip_suffix(')')
    };
    if let Some(inside) = inside("not") {
        return !holds(inside, features);
    }
    if let Some(inside) = inside("any") {
        return parts(inside).any(|part| holds(part, features));
    }
    if let Some(inside) = inside("all") {
        return parts(inside).all(|part| holds(part, features));
    }
    let feature = condition.strip_prefix("feature = \"");
    feature.is_some_and(|rest| features.contains(&rest.trim_end_matches('"')))
}

/// What is between the outermost commas.
fn parts(list: &str) -> impl Iterator<Item = &str> {
    let mut depth = 0usize;
    list.split(move |c| {
        match c {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            _ => {}
        }
        c == ',' && depth == 0
    })
    .filter(|part| !part.trim().is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_for_others_is_gone_and_the_rest_has_no_conditions() {
        let source = "\
fn main() {
    #[cfg(not(feature = \"qemu\"))]
    let network = {
        let (a, b) = (1, 2);
        join(a, b)
    };
    #[cfg(feature = \"qemu\")]
    let network = qemu();
    #[cfg(any(
        feature = \"esp32\",
        all(feature = \"esp32c3\", not(feature = \"qemu\")),
    ))]
    let pin = 9;
    #[cfg(all(feature = \"esp32c3\", feature = \"qemu\"))]
    {
        let pin = 1;
    }
    done();
}
";
        let resolved = "\
fn main() {
    let network = {
        let (a, b) = (1, 2);
        join(a, b)
    };
    let pin = 9;
    done();
}
";
        assert_eq!(resolve(source, &["esp32c3"]), resolved);
    }
}
