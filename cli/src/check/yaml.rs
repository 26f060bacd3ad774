//! YAML with the line of every value.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::Spanned;

/// A value and the line that it begins on; of what belongs to a key, the key's line.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Node {
    pub(super) line: usize,
    pub(super) value: Value,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Value {
    Null,
    Bool(bool),
    Number(String),
    Text(String),
    List(Vec<Node>),
    Map(Vec<(String, Node)>),
}

/// Why a file is no YAML.
#[derive(Debug, thiserror::Error)]
#[error("{problem}")]
pub(super) struct YamlError {
    pub(super) line: usize,
    problem: String,
}

/// Every document of a file; empty ones are left out.
pub(super) fn parse(text: &str) -> Result<Vec<Node>, YamlError> {
    let documents: Vec<Raw> = serde_saphyr::from_multiple(text).map_err(|error| YamlError {
        line: error.location().map_or(1, |location| location.line() as usize),
        problem: error.to_string().lines().next().unwrap_or_default().to_owned(),
    })?;
    Ok(documents.into_iter().map(|raw| raw.0).filter(|node| node.value != Value::Null).collect())
}

impl Node {
    /// The value of a key.
    pub(super) fn get(&self, key: &str) -> Option<&Node> {
        self.entries().iter().find(|(name, _)| name == key).map(|(_, node)| node)
    }

    /// The value at a path of keys, as in `spec.template.metadata`.
    pub(super) fn at(&self, path: &str) -> Option<&Node> {
        path.split('.').try_fold(self, |node, key| node.get(key))
    }

    /// A scalar as it is compared: `true`, `1` and text as they stand.
    pub(super) fn text(&self) -> Option<&str> {
        match &self.value {
            Value::Bool(true) => Some("true"),
            Value::Bool(false) => Some("false"),
            Value::Number(text) | Value::Text(text) => Some(text),
            Value::Null | Value::List(_) | Value::Map(_) => None,
        }
    }

    /// The scalar at a path.
    pub(super) fn text_at(&self, path: &str) -> Option<&str> {
        self.at(path)?.text()
    }

    /// The items of a list; none of anything else.
    pub(super) fn items(&self) -> &[Node] {
        match &self.value {
            Value::List(items) => items,
            _ => &[],
        }
    }

    /// The items of the list at a path.
    pub(super) fn items_at(&self, path: &str) -> &[Node] {
        self.at(path).map_or(&[], Node::items)
    }

    /// The keys of a map with their values; none of anything else.
    pub(super) fn entries(&self) -> &[(String, Node)] {
        match &self.value {
            Value::Map(entries) => entries,
            _ => &[],
        }
    }

    /// The line of the value at a path, or of the nearest thing above it.
    pub(super) fn line_at(&self, path: &str) -> usize {
        let mut node = self;
        for key in path.split('.') {
            match node.get(key) {
                Some(next) => node = next,
                None => break,
            }
        }
        node.line
    }

    /// Every scalar in the value, with its line and its key, if it has one.
    pub(super) fn scalars(&self) -> Vec<(Option<&str>, &str, usize)> {
        let mut found = Vec::new();
        self.collect_scalars(None, &mut found);
        found
    }

    fn collect_scalars<'a>(&'a self, key: Option<&'a str>, found: &mut Vec<(Option<&'a str>, &'a str, usize)>) {
        if let Some(text) = self.text() {
            found.push((key, text, self.line));
        }
        self.items().iter().for_each(|item| item.collect_scalars(key, found));
        self.entries().iter().for_each(|(key, value)| value.collect_scalars(Some(key), found));
    }
}

/// A node as it is deserialised.
struct Raw(Node);

impl<'de> Deserialize<'de> for Raw {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let spanned = Spanned::<RawValue>::deserialize(deserializer)?;
        let line = spanned.referenced.line() as usize;
        Ok(Self(Node { line, value: spanned.value.0 }))
    }
}

struct RawValue(Value);

impl<'de> Deserialize<'de> for RawValue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ValueVisitor).map(Self)
    }
}

struct ValueVisitor;

impl<'de> Visitor<'de> for ValueVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("YAML")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Number(value.to_string()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Number(value.to_string()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Value::Number(value.to_string()))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::Text(value.to_owned()))
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        while let Some(Raw(item)) = seq.next_element()? {
            items.push(item);
        }
        Ok(Value::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut entries = Vec::new();
        while let Some((key, Raw(mut node))) = map.next_entry::<Spanned<String>, Raw>()? {
            node.line = key.referenced.line() as usize;
            entries.push((key.value, node));
        }
        Ok(Value::Map(entries))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_knows_its_line() {
        let text = "# a comment\na: 1\nb:\n  - c: x\n    d: ${placeholder}\n---\ne:\n  f: |\n    long\n";
        let documents = parse(text).expect("is YAML");
        assert_eq!(documents.len(), 2);
        assert_eq!(documents[0].line_at("b"), 3);
        let item = &documents[0].items_at("b")[0];
        assert_eq!((item.line, item.line_at("d"), item.text_at("d")), (4, 5, Some("${placeholder}")));
        assert_eq!(documents[1].line_at("e.f"), 8);
        assert_eq!(documents[1].text_at("e.f"), Some("long\n"));
    }

    #[test]
    fn a_mistake_names_its_line() {
        let error = parse("a: 1\nb: [1\n").expect_err("a list without end");
        assert!(error.line >= 2, "{error} at {}", error.line);
    }
}
