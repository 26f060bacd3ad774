//! Terraform's language with the line of every block, attribute and expression.

use hcl_edit::Span;
use hcl_edit::expr::{Expression, ObjectKey, TraversalOperator};
use hcl_edit::structure::{Block as RawBlock, Body as RawBody};

/// A file, or what is between a block's braces.
#[derive(Debug, Clone, Default)]
pub(super) struct Body {
    pub(super) attributes: Vec<(String, Expr)>,
    pub(super) blocks: Vec<Block>,
}

#[derive(Debug, Clone)]
pub(super) struct Block {
    /// `resource`, `module`, `locals`, ...
    pub(super) kind: String,
    pub(super) labels: Vec<String>,
    pub(super) line: usize,
    pub(super) body: Body,
}

/// An expression: its source and what is in it.
#[derive(Debug, Clone)]
pub(super) struct Expr {
    pub(super) line: usize,
    /// Its source, blanks and line ends as one blank each.
    pub(super) source: String,
    /// The value of a literal: text, number or bool.
    pub(super) literal: Option<String>,
    /// The keys of an object.
    pub(super) entries: Vec<(String, Expr)>,
    /// The other expressions right below it: items, arguments, branches.
    pub(super) parts: Vec<Expr>,
}

/// Why a file is no HCL.
#[derive(Debug, thiserror::Error)]
#[error("{problem}")]
pub(super) struct HclError {
    pub(super) line: usize,
    problem: String,
}

/// Reads a file.
pub(super) fn parse(text: &str) -> Result<Body, HclError> {
    let body = hcl_edit::parser::parse_body(text)
        .map_err(|error| HclError { line: error.location().line(), problem: error.message().to_owned() })?;
    let lines = text.match_indices('\n').map(|(at, _)| at + 1).collect();
    let source = Source { text, lines };
    Ok(source.body(&body))
}

impl Body {
    /// The value of an attribute.
    pub(super) fn get(&self, name: &str) -> Option<&Expr> {
        self.attributes.iter().find(|(key, _)| key == name).map(|(_, value)| value)
    }

    /// The blocks of a kind.
    pub(super) fn blocks_of<'a>(&'a self, kind: &'a str) -> impl Iterator<Item = &'a Block> {
        self.blocks.iter().filter(move |block| block.kind == kind)
    }

    /// Every block in it, at any depth.
    pub(super) fn all_blocks(&self) -> Vec<&Block> {
        self.blocks.iter().flat_map(|block| std::iter::once(block).chain(block.body.all_blocks())).collect()
    }
}

impl Block {
    /// A resource's type.
    pub(super) fn label(&self, index: usize) -> &str {
        self.labels.get(index).map_or("", String::as_str)
    }

    /// The literal value of an attribute.
    pub(super) fn literal(&self, name: &str) -> Option<&str> {
        self.body.get(name)?.literal.as_deref()
    }

    /// The line of an attribute, or of the block where there is none.
    pub(super) fn line_of(&self, name: &str) -> usize {
        self.body.get(name).map_or(self.line, |expr| expr.line)
    }
}

impl Expr {
    /// The value of a key of an object.
    pub(super) fn get(&self, key: &str) -> Option<&Expr> {
        self.entries.iter().find(|(name, _)| name == key).map(|(_, value)| value)
    }

    /// The expression and everything below it.
    pub(super) fn all(&self) -> Vec<&Expr> {
        let below = self.entries.iter().map(|(_, expr)| expr).chain(&self.parts);
        std::iter::once(self).chain(below.flat_map(Expr::all)).collect()
    }

    /// The literal items of a list, with their lines.
    pub(super) fn literals(&self) -> Vec<(&str, usize)> {
        self.parts.iter().filter_map(|part| Some((part.literal.as_deref()?, part.line))).collect()
    }

    /// Its source without the quotes of a template.
    pub(super) fn template(&self) -> &str {
        let source = self.source.as_str();
        source.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(source)
    }
}

struct Source<'a> {
    text: &'a str,
    /// Where each line but the first begins.
    lines: Vec<usize>,
}

impl Source<'_> {
    fn line(&self, item: &impl Span) -> usize {
        let start = item.span().map_or(0, |span| span.start);
        1 + self.lines.partition_point(|line| *line <= start)
    }

    fn body(&self, body: &RawBody) -> Body {
        Body {
            attributes: body
                .attributes()
                .map(|item| (item.key.to_string(), self.at_key(&item.key, &item.value)))
                .collect(),
            blocks: body.blocks().map(|block| self.block(block)).collect(),
        }
    }

    fn block(&self, block: &RawBlock) -> Block {
        Block {
            kind: block.ident.to_string(),
            labels: block.labels.iter().map(|label| label.as_str().to_owned()).collect(),
            line: self.line(&block.ident),
            body: self.body(&block.body),
        }
    }

    fn at_key(&self, key: &impl Span, value: &Expression) -> Expr {
        Expr { line: self.line(key), ..self.expr(value) }
    }

    fn expr(&self, expr: &Expression) -> Expr {
        let span = expr.span().unwrap_or_default();
        let source = self.text.get(span).unwrap_or_default();
        let mut found = Expr {
            line: self.line(expr),
            source: source.split_whitespace().collect::<Vec<_>>().join(" "),
            literal: literal(expr),
            entries: Vec::new(),
            parts: Vec::new(),
        };
        if let Expression::Object(object) = expr {
            found.entries = object.iter().map(|(key, value)| self.entry(key, value.expr())).collect();
        }
        found.parts = below(expr).into_iter().map(|part| self.expr(part)).collect();
        found
    }

    fn entry(&self, key: &ObjectKey, value: &Expression) -> (String, Expr) {
        match key {
            ObjectKey::Ident(ident) => (ident.to_string(), self.at_key(ident, value)),
            ObjectKey::Expression(expr) => {
                let key = self.expr(expr);
                let name = key.literal.clone().unwrap_or_else(|| key.template().to_owned());
                (name, self.at_key(expr, value))
            }
        }
    }
}

fn literal(expr: &Expression) -> Option<String> {
    match expr {
        Expression::String(text) => Some(text.as_str().to_owned()),
        Expression::Bool(value) => Some(value.to_string()),
        Expression::Number(number) => Some(number.value().to_string()),
        _ => None,
    }
}

/// The expressions right below one, but for an object's values.
fn below(expr: &Expression) -> Vec<&Expression> {
    match expr {
        Expression::Array(items) => items.iter().collect(),
        Expression::Parenthesis(inner) => vec![inner.inner()],
        Expression::Conditional(inner) => vec![&inner.cond_expr, &inner.true_expr, &inner.false_expr],
        Expression::FuncCall(call) => call.args.iter().collect(),
        Expression::Traversal(path) => {
            let indexes = path.operators.iter().filter_map(|operator| match operator.value() {
                TraversalOperator::Index(index) => Some(index),
                _ => None,
            });
            std::iter::once(&path.expr).chain(indexes).collect()
        }
        Expression::UnaryOp(inner) => vec![&inner.expr],
        Expression::BinaryOp(inner) => vec![&inner.lhs_expr, &inner.rhs_expr],
        Expression::ForExpr(inner) => {
            let parts = [Some(&inner.intro.collection_expr), inner.key_expr.as_ref(), Some(&inner.value_expr)];
            parts.into_iter().flatten().collect()
        }
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_attributes_and_objects_know_their_lines() {
        let text = "# one\nresource \"a\" \"b\" {\n  x = \"y\"\n  z = merge({\n    \"k.${v}\" = { n = 1 }\n  }, [\"p\", \"q\"])\n}\n";
        let body = parse(text).expect("is HCL");
        let block = &body.blocks[0];
        assert_eq!((block.line, block.label(0), block.literal("x")), (2, "a", Some("y")));
        let value = block.body.get("z").expect("is there");
        assert_eq!(value.line, 4);
        let entry = value.all().into_iter().find_map(|expr| expr.get("k.${v}")).expect("the key is a template");
        assert_eq!((entry.line, entry.get("n").and_then(|n| n.literal.as_deref())), (5, Some("1")));
        assert_eq!(value.parts[1].literals(), [("p", 6), ("q", 6)]);
    }

    #[test]
    fn a_mistake_names_its_line() {
        assert_eq!(parse("a = 1\nb = \n").expect_err("no value").line, 2);
    }
}
