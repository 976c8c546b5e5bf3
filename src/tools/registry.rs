//! The tools of one turn: what is defined to the model, and what of it may run.

use super::Tool;
use crate::llm::request::ToolSpec;
use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
};

/// What a called name stands for.
#[derive(Clone)]
pub enum Lookup {
    /// A tool that may run.
    Tool(Arc<dyn Tool>),
    /// Defined, but not in this turn.
    Inactive,
    /// Run by the API client.
    Dynamic,
    /// Nothing has this name.
    Unknown,
}

/// The tools of one turn.
#[derive(Clone, Default)]
pub struct Registry {
    order: Vec<ToolSpec>,
    local: BTreeMap<String, Arc<dyn Tool>>,
    inactive: HashSet<String>,
    dynamic: HashSet<String>,
}

impl Registry {
    /// A turn that may run all of `tools`. Of two with one name the first wins.
    #[must_use]
    pub fn new(tools: Vec<Arc<dyn Tool>>) -> Self {
        let mut registry = Self::default();
        for tool in tools {
            let spec = tool.spec();
            if !registry.local.contains_key(&spec.name) {
                registry.local.insert(spec.name.clone(), tool);
                registry.order.push(spec);
            }
        }
        registry
    }

    /// Takes the permission to run from all tools but `names`. They stay defined.
    pub fn activate_only(&mut self, names: &HashSet<String>) {
        self.inactive = self.local.keys().filter(|name| !names.contains(*name)).cloned().collect();
    }

    /// Adds tools that the chat's workspace offers, behind our own and before those of the client. Another tool of the
    /// same name wins over one of them: neither we nor the client have chosen them. The losing names are returned, for
    /// a warning in the log.
    pub fn add_served(&mut self, tools: Vec<Arc<dyn Tool>>) -> Vec<String> {
        let mut lost = Vec::new();
        for tool in tools {
            let spec = tool.spec();
            if self.local.contains_key(&spec.name) || self.dynamic.contains(&spec.name) {
                lost.push(spec.name);
                continue;
            }
            self.local.insert(spec.name.clone(), tool);
            self.order.insert(self.order.len() - self.dynamic.len(), spec);
        }
        lost
    }

    /// Adds client-run tools, after all others. An active tool of ours wins over one of the same
    /// name; the losing names are returned, for a warning in the log.
    pub fn add_dynamic(&mut self, specs: Vec<ToolSpec>) -> Vec<String> {
        let mut lost = Vec::new();
        for spec in specs {
            let ours = self.local.contains_key(&spec.name) && !self.inactive.contains(&spec.name);
            if ours || self.dynamic.contains(&spec.name) {
                lost.push(spec.name);
                continue;
            }
            self.order.retain(|known| known.name != spec.name);
            self.dynamic.insert(spec.name.clone());
            self.order.push(spec);
        }
        lost
    }

    /// The definitions for the model, in order.
    #[must_use]
    pub fn specs(&self) -> &[ToolSpec] {
        &self.order
    }

    /// The names run by the client.
    #[must_use]
    pub fn dynamic(&self) -> &HashSet<String> {
        &self.dynamic
    }

    /// The names that may not be called together with others.
    #[must_use]
    pub fn exclusive(&self) -> HashSet<String> {
        self.local.values().filter(|tool| tool.is_exclusive()).map(|tool| tool.name().to_owned()).collect()
    }

    /// What a name stands for.
    #[must_use]
    pub fn lookup(&self, name: &str) -> Lookup {
        if self.dynamic.contains(name) {
            return Lookup::Dynamic;
        }
        match self.local.get(name) {
            Some(_) if self.inactive.contains(name) => Lookup::Inactive,
            Some(tool) => Lookup::Tool(Arc::clone(tool)),
            None => Lookup::Unknown,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chat::json::Json;

    fn all() -> Vec<Arc<dyn Tool>> {
        use crate::tools::offer::{built_in, everything};
        built_in(everything(false, false))
    }

    fn dynamic(name: &str) -> ToolSpec {
        ToolSpec { name: name.into(), description: String::new(), input_schema: Json::of("x") }
    }

    fn kind(registry: &Registry, name: &str) -> &'static str {
        match registry.lookup(name) {
            Lookup::Tool(_) => "tool",
            Lookup::Inactive => "inactive",
            Lookup::Dynamic => "dynamic",
            Lookup::Unknown => "unknown",
        }
    }

    #[test]
    fn names_resolve_and_collisions_go_to_the_built_in() {
        let mut registry = Registry::new(all());
        registry.activate_only(&HashSet::from(["read_file".to_owned(), "execute".to_owned()]));
        let lost = registry.add_dynamic(vec![
            dynamic("ask"),
            dynamic("execute"),
            dynamic("write_file"),
            dynamic("ask"),
        ]);
        assert_eq!(lost, ["execute", "ask"]);
        let names: Vec<&str> = registry.specs().iter().map(|spec| spec.name.as_str()).collect();
        assert_eq!(names[0], "read_file");
        assert_eq!(names[names.len() - 2..], ["ask", "write_file"]);
        assert_eq!(
            ["read_file", "execute", "ask", "write_file", "nope"].map(|name| kind(&registry, name)),
            ["tool", "tool", "dynamic", "dynamic", "unknown"]
        );
        let mut plain = Registry::new(all());
        plain.activate_only(&HashSet::new());
        assert_eq!((kind(&plain, "execute"), plain.specs().len()), ("inactive", all().len()));
    }

    #[test]
    fn what_a_workspace_offers_stands_before_the_clients_and_hides_nothing() {
        use crate::tools::workspace_mcp::WorkspaceMcp;
        let served = |name: &str| Arc::new(WorkspaceMcp::unlisted(name)) as Arc<dyn Tool>;
        let mut registry = Registry::new(all());
        registry.add_dynamic(vec![dynamic("ask"), dynamic("s__b")]);
        let lost = registry.add_served(["s__a", "execute", "s__b", "s__c", "s__a"].map(served).to_vec());
        assert_eq!(lost, ["execute", "s__b", "s__a"]);
        let names: Vec<&str> = registry.specs().iter().map(|spec| spec.name.as_str()).collect();
        assert_eq!(names[all().len()..], ["s__a", "s__c", "ask", "s__b"]);
        assert_eq!(["s__a", "s__b", "s__c"].map(|name| kind(&registry, name)), ["tool", "dynamic", "tool"]);
    }

    #[test]
    fn schemas_are_objects_with_properties() {
        for spec in Registry::new(all()).specs() {
            let schema: serde_json::Value = spec.input_schema.read().unwrap();
            assert_eq!(schema["type"], "object", "{}", spec.name);
            let properties = schema["properties"].as_object().unwrap();
            let required = schema["required"].as_array().cloned().unwrap_or_default();
            assert!(required.iter().all(|name| properties.contains_key(name.as_str().unwrap())), "{schema}");
        }
    }
}
