//! Text to [`Node`]s: YAML with merge keys, read within bounds.
//!
//! Refused with the line: keys that stand twice, aliases that would grow past [`WEIGHT_MAX`] or contain themselves,
//! nesting deeper than [`DEPTH_MAX`], and a second document.

use std::collections::{HashMap, HashSet};

use anyhow::{Result, anyhow, bail};
use saphyr_parser::{Event, Parser, ScalarStyle, Span, StrInput};

use crate::config::node::{Node, Origin, Style, Value};

/// Most bytes that a document may occupy once its aliases are written out.
const WEIGHT_MAX: usize = 32 << 20;

/// Most maps and lists within each other.
const DEPTH_MAX: usize = 64;

/// Reads one document; no text at all is null.
///
/// # Errors
/// A sentence that begins with the origin and line; it never quotes a value.
pub(in crate::config) fn parse(text: &str, origin: &Origin) -> Result<Node> {
    let mut reader = Reader { parser: Parser::new_from_str(text), origin, anchors: HashMap::new(), budget: WEIGHT_MAX };
    let mut document = None;
    loop {
        let (event, line) = reader.next()?;
        match event {
            Event::StreamEnd => break,
            Event::StreamStart | Event::DocumentStart(_) | Event::DocumentEnd | Event::Nothing => {}
            _ if document.is_some() => bail!("{}: only one document is read from here", origin.at(line)),
            event => document = Some(reader.node(event, line, 0)?),
        }
    }
    Ok(document.unwrap_or_else(|| Node::null(origin.at(1))))
}

struct Reader<'text> {
    parser: Parser<'text, StrInput<'text>>,
    origin: &'text Origin,
    /// Finished anchored nodes by the parser's id; one that is still being read is missing.
    anchors: HashMap<usize, Node>,
    /// Bytes that may still be taken.
    budget: usize,
}

impl<'text> Reader<'text> {
    fn next(&mut self) -> Result<(Event<'text>, usize)> {
        match self.parser.next_event() {
            Some(Ok((event, Span { start, .. }))) => Ok((event, start.line())),
            Some(Err(error)) => {
                let place = self.origin.at(error.marker().line());
                Err(anyhow!("{place}: this is not YAML: {}", error.info()))
            }
            None => Ok((Event::StreamEnd, 1)),
        }
    }

    fn node(&mut self, event: Event<'text>, line: usize, depth: usize) -> Result<Node> {
        let origin = self.origin.at(line);
        if depth > DEPTH_MAX {
            bail!("{origin}: nested deeper than {DEPTH_MAX} levels");
        }
        let (value, anchor) = match event {
            Event::Scalar(text, style, anchor, tag) => {
                let string = tag.is_some_and(|tag| tag.is_yaml_core_schema() && tag.suffix == "str");
                let style = if style == ScalarStyle::Plain && !string { Style::Plain } else { Style::Quoted };
                (Value::Scalar { text: text.into_owned(), style }, anchor)
            }
            Event::SequenceStart(anchor, _) => (self.list(depth)?, anchor),
            Event::MappingStart(anchor, _) => (self.map(depth)?, anchor),
            Event::Alias(anchor) => return self.alias(anchor, &origin),
            _ => bail!("{origin}: a value is missing"),
        };
        let node = Node { origin, value };
        self.spend(&node, SpendOn::Itself)?;
        if anchor > 0 {
            self.spend(&node, SpendOn::Copy)?;
            self.anchors.insert(anchor, node.clone());
        }
        Ok(node)
    }

    fn list(&mut self, depth: usize) -> Result<Value> {
        let mut items = Vec::new();
        loop {
            match self.next()? {
                (Event::SequenceEnd, _) => return Ok(Value::List(items)),
                (event, line) => items.push(self.node(event, line, depth + 1)?),
            }
        }
    }

    fn map(&mut self, depth: usize) -> Result<Value> {
        let mut entries: Vec<(String, Node)> = Vec::new();
        let mut merged = Vec::new();
        let mut seen = HashSet::new();
        loop {
            let (key, line) = match self.next()? {
                (Event::MappingEnd, _) => break,
                (event, line) => (self.node(event, line, depth + 1)?, line),
            };
            let Value::Scalar { text: name, style } = key.value else {
                bail!("{}: a key must be one word, not a list or a map", key.origin);
            };
            let (event, value_line) = self.next()?;
            let mut value = self.node(event, value_line, depth + 1)?;
            if !seen.insert(name.clone()) {
                bail!("{}: the key {name:?} is written twice in this section", key.origin);
            }
            if name == "<<" && style == Style::Plain {
                merged.extend(sources(value)?);
            } else {
                // Operators look for the line of the key; a long value begins further down.
                value.origin = value.origin.at(line);
                entries.push((name, value));
            }
        }
        merge(&mut entries, merged);
        Ok(Value::Map(entries))
    }

    fn alias(&mut self, anchor: usize, origin: &Origin) -> Result<Node> {
        let Some(mut node) = self.anchors.get(&anchor).cloned() else {
            bail!("{origin}: an alias stands inside the very value that it names");
        };
        node.origin = origin.clone();
        self.spend(&node, SpendOn::Copy)?;
        Ok(node)
    }

    fn spend(&mut self, node: &Node, on: SpendOn) -> Result<()> {
        let weight = match (on, &node.value) {
            (SpendOn::Itself, Value::List(_) | Value::Map(_)) => size_of::<Node>(),
            _ => node.weight(),
        };
        self.budget = self
            .budget
            .checked_sub(weight)
            .ok_or_else(|| anyhow!("{}: the aliases up to here grow past {WEIGHT_MAX} bytes", node.origin))?;
        Ok(())
    }
}

/// What a node's weight is counted for.
#[derive(Clone, Copy)]
enum SpendOn {
    /// Its children have been counted already.
    Itself,
    /// All of it again.
    Copy,
}

/// The maps that a merge key names, the strongest first.
fn sources(value: Node) -> Result<Vec<Vec<(String, Node)>>> {
    let origin = value.origin.clone();
    let nodes = match value.value {
        Value::List(items) => items,
        _ => vec![value],
    };
    nodes
        .into_iter()
        .map(|node| match node.value {
            Value::Map(entries) => Ok(entries),
            _ => Err(anyhow!("{origin}: a merge key (<<) takes a map or a list of maps")),
        })
        .collect()
}

/// Adds what is missing: a key that the map itself writes wins, then the first source that has it.
fn merge(entries: &mut Vec<(String, Node)>, merged: Vec<Vec<(String, Node)>>) {
    if merged.is_empty() {
        return;
    }
    let mut present: HashSet<String> = entries.iter().map(|(name, _)| name.clone()).collect();
    for (name, node) in merged.into_iter().flatten() {
        if present.insert(name.clone()) {
            entries.push((name, node));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin() -> Origin {
        Origin::File { name: "f.yml".into(), line: 1 }
    }

    /// A node in one line, quoted scalars in quotes.
    fn show(node: &Node) -> String {
        match &node.value {
            Value::Scalar { text, style: Style::Plain } => text.clone(),
            Value::Scalar { text, style: Style::Quoted } => format!("{text:?}"),
            Value::List(items) => format!("[{}]", items.iter().map(show).collect::<Vec<_>>().join(",")),
            Value::Map(entries) => {
                let entries: Vec<_> = entries.iter().map(|(key, node)| format!("{key}:{}", show(node))).collect();
                format!("{{{}}}", entries.join(","))
            }
        }
    }

    #[track_caller]
    fn check(text: &str, expected: Result<&str, &str>) {
        match (parse(text, &origin()), expected) {
            (Ok(node), Ok(expected)) => assert_eq!(show(&node), expected, "{text}"),
            (Err(error), Err(expected)) => assert!(error.to_string().contains(expected), "{text:.200}: {error}"),
            (Ok(node), Err(expected)) => panic!("{text}: read as {}, not refused with {expected}", show(&node)),
            (Err(error), Ok(_)) => panic!("{text}: {error}"),
        }
    }

    #[test]
    fn documents() {
        check("", Ok(""));
        check("a: yes\nb: 'yes'\nc: !!str yes", Ok(r#"{a:yes,b:"yes",c:"yes"}"#));
        check(
            r#"storage: {"filesystem":{"rootdirectory":"/a"},"n":[1,true]}"#,
            Ok(r#"{storage:{filesystem:{rootdirectory:"/a"},n:[1,true]}}"#),
        );
        check("a: [1, {b: c}]\n---\nd: e\n", Err("f.yml:3: only one document"));
        check("a: b\n c: d", Err("f.yml:2"));
        check("? [a]\n: b", Err("a key must be one word"));
    }

    #[test]
    fn merge_keys() {
        check("x: &x {a: 1, b: 2}\ny: {<<: *x, b: 3}", Ok("{x:{a:1,b:2},y:{b:3,a:1}}"));
        check("- &x {a: 1}\n- &y {a: 2, b: 2}\n- {<<: [*x, *y]}", Ok("[{a:1},{a:2,b:2},{a:1,b:2}]"));
        check("a: {'<<': {b: 1}}", Ok("{a:{<<:{b:1}}}"));
        check("a: {<<: 5}", Err("f.yml:1: a merge key (<<) takes"));
    }

    #[test]
    fn duplicates_are_refused_with_their_line() {
        check("a: 1\nb:\n  c: 1\n  d: 2\n  c: 3\n", Err("f.yml:5: the key \"c\" is written twice"));
    }

    #[test]
    fn bombs_are_refused() {
        let mut laughs = "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n".to_owned();
        for level in 1..12 {
            let list = vec![format!("*a{}", level - 1); 10].join(",");
            laughs = format!("{laughs}a{level}: &a{level} [{list}]\n");
        }
        check(&laughs, Err("the aliases up to here grow past"));
        let long = format!("a: &a {}\nb: [{}]", "x".repeat(100_000), vec!["*a"; 10_000].join(","));
        check(&long, Err("f.yml:2: the aliases up to here grow past"));
        check("a: &a [*a]", Err("f.yml:1: an alias stands inside"));
        check("a: &a {b: &b {c: *a}}", Err("f.yml:1: an alias stands inside"));
        check(&"[".repeat(100_000), Err("f.yml:1"));
        check(&"- ".repeat(100_000), Err("f.yml:1"));
        check("a: *nowhere", Err("f.yml:1"));
    }

    /// What another reader of YAML sees, scalars as text.
    fn same(node: &Node, other: &serde_yaml::Value) -> bool {
        match (&node.value, other) {
            (Value::List(items), serde_yaml::Value::Sequence(others)) => {
                items.len() == others.len() && items.iter().zip(others).all(|(item, other)| same(item, other))
            }
            (Value::Map(entries), serde_yaml::Value::Mapping(others)) => {
                entries.len() == others.len()
                    && entries
                        .iter()
                        .all(|(name, node)| others.get(name.as_str()).is_some_and(|other| same(node, other)))
            }
            (Value::Scalar { text, .. }, serde_yaml::Value::String(other)) => text == other,
            (Value::Scalar { text, .. }, serde_yaml::Value::Bool(other)) => text.parse() == Ok(*other),
            (Value::Scalar { text, .. }, serde_yaml::Value::Number(other)) => {
                text.parse::<f64>().ok() == other.as_f64()
            }
            (Value::Scalar { .. }, serde_yaml::Value::Null) => node.is_null(),
            _ => false,
        }
    }

    #[test]
    fn another_reader_sees_the_same() {
        let texts = [
            include_str!("../../conf/reference.yml"),
            include_str!("../../conf/gitlab.yml"),
            include_str!("../../conf/quickstart.yml"),
            include_str!("../../conf/s3.yml"),
            "base: &b {x: 1, y: 2}\nown: {<<: *b, y: 3}\nlist: [a, 'b', \"c\\n\", ~, 1.5]\nblock: |\n  one\n  two\nfold: >-\n  one\n  two\n",
        ];
        for text in texts {
            let mut other: serde_yaml::Value = serde_yaml::from_str(text).unwrap();
            other.apply_merge().unwrap();
            assert!(same(&parse(text, &origin()).unwrap(), &other), "{text}");
        }
    }
}
