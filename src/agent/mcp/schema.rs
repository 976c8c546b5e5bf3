//! Schemas of arguments without references: the daemon is told the properties alone, and a provider that is shown a
//! reference to nothing refuses the whole prompt.

use serde_json::{Map, Value};

/// Most values of a schema in which the references are replaced; a few of them can stand for very many.
const MAX_VALUES: usize = 20_000;

/// The properties of a schema, with what they refer to in place of references. What refers to itself, or to nothing in
/// the schema, may be anything. `None`: it would be too large.
pub fn properties(schema: &Map<String, Value>) -> Option<Map<String, Value>> {
    let Some(Value::Object(properties)) = schema.get("properties") else { return Some(Map::new()) };
    let mut inlining = Inlining { schema, open: Vec::new(), left: MAX_VALUES };
    properties.iter().map(|(name, value)| Some((name.clone(), inlining.value(value)?))).collect()
}

struct Inlining<'a> {
    schema: &'a Map<String, Value>,
    /// The references that are being replaced.
    open: Vec<&'a str>,
    left: usize,
}

impl<'a> Inlining<'a> {
    fn value(&mut self, value: &'a Value) -> Option<Value> {
        self.left = self.left.checked_sub(1)?;
        Some(match value {
            Value::Array(items) => items.iter().map(|item| self.value(item)).collect::<Option<_>>()?,
            Value::Object(object) => Value::Object(match object.get("$ref") {
                Some(Value::String(reference)) => self.referred(reference, object)?,
                _ => self.object(object)?,
            }),
            other => other.clone(),
        })
    }

    fn object(&mut self, object: &'a Map<String, Value>) -> Option<Map<String, Value>> {
        object.iter().map(|(name, value)| Some((name.clone(), self.value(value)?))).collect()
    }

    /// What a reference stands for, with what stands beside it.
    fn referred(&mut self, reference: &'a str, beside: &'a Map<String, Value>) -> Option<Map<String, Value>> {
        let mut found = Map::new();
        if !self.open.contains(&reference)
            && let Some(Value::Object(target)) = self.target(reference)
        {
            self.open.push(reference);
            found = match target.get("$ref") {
                Some(Value::String(next)) => self.referred(next, target)?,
                _ => self.object(target)?,
            };
            self.open.pop();
        }
        for (name, value) in beside.iter().filter(|(name, _)| *name != "$ref") {
            found.insert(name.clone(), self.value(value)?);
        }
        Some(found)
    }

    /// `#/$defs/NAME` and its like: names with a slash or a tilde in them are not known.
    fn target(&self, reference: &str) -> Option<&'a Value> {
        let mut names = reference.strip_prefix("#/")?.split('/');
        let first = self.schema.get(names.next()?)?;
        names.try_fold(first, |value, name| value.get(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn inlined(schema: &Value) -> Option<Value> {
        properties(schema.as_object().unwrap()).map(Value::Object)
    }

    #[test]
    fn references_are_replaced() {
        let schema = json!({
            "type": "object",
            "$defs": {
                "Point": {"type": "object", "properties": {"x": {"$ref": "#/$defs/Number"}}},
                "Number": {"type": "number"},
                "Tree": {"type": "object", "properties": {"children": {"type": "array", "items": {"$ref": "#/$defs/Tree"}}}},
                "Alias": {"$ref": "#/$defs/Number"},
            },
            "properties": {
                "at": {"$ref": "#/$defs/Point", "description": "Where"},
                "tree": {"$ref": "#/$defs/Tree"},
                "either": {"anyOf": [{"$ref": "#/$defs/Alias"}, {"type": "null"}]},
                "nothing": {"$ref": "#/$defs/None"},
                "far": {"$ref": "https://example.org/schema"},
                "$ref": {"type": "string"},
            },
        });
        assert_eq!(
            inlined(&schema),
            Some(json!({
                "at": {"type": "object", "properties": {"x": {"type": "number"}}, "description": "Where"},
                "tree": {"type": "object", "properties": {"children": {"type": "array", "items": {}}}},
                "either": {"anyOf": [{"type": "number"}, {"type": "null"}]},
                "nothing": {}, "far": {}, "$ref": {"type": "string"},
            }))
        );
        assert_eq!(inlined(&json!({"type": "object"})), Some(json!({})));
    }

    #[test]
    fn what_stands_for_too_much_is_refused() {
        let level = |n: usize| {
            let next = json!({"$ref": format!("#/$defs/l{}", n + 1)});
            (format!("l{n}"), json!({"properties": {"a": next, "b": next, "c": next, "d": next}}))
        };
        let defs: Map<String, Value> = (0..30).map(level).collect();
        assert_eq!(inlined(&json!({"$defs": defs, "properties": {"x": {"$ref": "#/$defs/l0"}}})), None);
    }
}
