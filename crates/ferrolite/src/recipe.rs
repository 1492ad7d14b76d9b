//! Recipes: mixed precision, as a JSON file says it.
//!
//! ```json
//! [
//!   { "operators": ["CONV_2D", "DEPTHWISE_CONV_2D"], "scheme": "int8" },
//!   { "tensors": "block_1[0-6]/", "scheme": "int16x8" },
//!   { "operators": ["FULLY_CONNECTED"], "scheme": "dynamic", "weights": "int4" },
//!   { "tensors": "^logits$", "scheme": "float" }
//! ]
//! ```
//!
//! A rule is about the nodes of its `operators` that compute a tensor in whose name the regular expression `tensors` is
//! found; either may be left out. Of the rules that match a node, the last one holds, and the mode where none does.

use crate::quantize::{Regex, Rule, Scheme};
use crate::{Error, Model};
use serde::Deserialize;
use std::path::Path;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    tensors: Option<String>,
    #[serde(default)]
    operators: Vec<String>,
    scheme: String,
    weights: Option<String>,
}

/// Reads a recipe file.
///
/// # Errors
/// When it cannot be read or is no recipe.
pub fn read(path: &Path) -> Result<Vec<Rule>, Error> {
    let text = std::fs::read_to_string(path).map_err(|e| Error::io(path, e))?;
    parse(&text).map_err(|problem| Error::file(path, problem))
}

/// The rules of a recipe; the error says what is wrong.
pub fn parse(text: &str) -> Result<Vec<Rule>, String> {
    let written: Vec<Written> = serde_json::from_str(text).map_err(|e| format!("this is no recipe: {e}"))?;
    let rule = |(i, rule): (usize, Written)| {
        let at = |what: String| format!("rule {i}: {what}");
        let tensors = rule
            .tensors
            .map(|pattern| Regex::new(&pattern).map_err(|e| at(format!("{pattern:?} is no regular expression: {e}"))));
        let weight_bits = match rule.weights.as_deref() {
            None => None,
            Some("int8") => Some(8),
            Some("int4") => Some(4),
            Some(other) => return Err(at(format!("weights are int8 or int4, not {other:?}"))),
        };
        let scheme: Scheme = rule.scheme.parse().map_err(at)?;
        Ok(Rule { tensors: tensors.transpose()?, operators: rule.operators, scheme, weight_bits })
    };
    written.into_iter().enumerate().map(rule).collect()
}

/// Numbers of the rules that match no node of a model.
pub fn unmatched(rules: &[Rule], model: &Model) -> Vec<usize> {
    let matches = |rule: &Rule| {
        model.subgraphs.iter().any(|graph| graph.nodes.iter().any(|node| rule.matches(model, graph, node)))
    };
    (0..rules.len()).filter(|&i| !matches(&rules[i])).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_are_read() {
        let text = r#"[{"tensors": "a/.*", "scheme": "int8"}, {"operators": ["ADD"], "scheme": "dynamic", "weights": "int4"}]"#;
        let rules = parse(text).unwrap();
        assert!(rules[0].tensors.as_ref().unwrap().is_match("x/a/b"));
        let second = (rules[1].scheme, rules[1].weight_bits, rules[1].operators.as_slice());
        assert_eq!(second, (Scheme::DynamicRange, Some(4), &["ADD".to_owned()][..]));
    }

    #[test]
    fn mistakes_are_named() {
        for (text, part) in [
            ("", "no recipe"),
            (r#"[{"scheme": "int9"}]"#, "rule 0: there is no scheme \"int9\"; there are float"),
            (r#"[{"scheme": "int8"}, {"tensors": "(", "scheme": "int8"}]"#, "rule 1: \"(\" is no regular expression"),
            (r#"[{"scheme": "int8", "weights": "int2"}]"#, "int8 or int4"),
            (r#"[{"scheme": "int8", "tensor": "x"}]"#, "unknown field `tensor`"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains(part), "{error}");
        }
    }
}
