//! What a template asks of whoever makes a workspace from it (tools.md §9.2, §9.3). The answers are texts; a workspace
//! keeps them, and its commands find them in their environment.

pub use crate::config::templates::{ParameterKind, TemplateParameter as Parameter, TemplatePreset as Preset};
use crate::{chat::json::Json, ids::TemplateId};
use regex_lite::Regex;
use std::collections::BTreeMap;
use uuid::Uuid;

/// Longest answer, in bytes.
pub const MAX_VALUE: usize = 8 << 10;
/// Before the name of a parameter in the environment of commands.
const VARIABLE: &str = "CHATD_PARAMETER_";

impl Parameter {
    /// Why this is no answer.
    fn refusal(&self, value: &str) -> Option<String> {
        let name = &self.name;
        if value.len() > MAX_VALUE || value.contains('\0') {
            return Some(format!("the value of {name:?} may have at most {MAX_VALUE} bytes, without NUL"));
        }
        if !self.options.is_empty() && !self.options.iter().any(|option| option.value == value) {
            let values: Vec<&str> = self.options.iter().map(|option| option.value.as_str()).collect();
            return Some(format!("{value:?} is no value of {name:?}; it is one of {}", values.join(", ")));
        }
        match self.kind {
            ParameterKind::String => self.pattern_refusal(value),
            ParameterKind::Bool if value == "true" || value == "false" => None,
            ParameterKind::Bool => Some(format!("{name:?} is true or false, not {value:?}")),
            ParameterKind::Number => {
                let Ok(number) = value.parse::<f64>() else {
                    return Some(format!("{name:?} is a number, not {value:?}"));
                };
                #[expect(clippy::cast_precision_loss, reason = "a limit that large is none")]
                let (min, max) = (
                    self.validation_min.map_or(f64::NEG_INFINITY, |min| min as f64),
                    self.validation_max.map_or(f64::INFINITY, |max| max as f64),
                );
                let fits = number.is_finite() && (min..=max).contains(&number);
                (!fits).then(|| {
                    self.refused(format!("{value} is out of the range of {name:?}, from {min} to {max}"))
                })
            }
        }
    }

    fn pattern_refusal(&self, value: &str) -> Option<String> {
        let (name, pattern) = (&self.name, self.validation_regex.as_deref()?);
        match Regex::new(pattern) {
            Ok(regex) if regex.is_match(value) => None,
            Ok(_) => {
                Some(self.refused(format!("{value:?} is no value of {name:?}: it has to match {pattern}")))
            }
            // The configuration was checked; nobody's answer is right until it is mended.
            Err(e) => {
                Some(format!("the template asks for {name:?} to match {pattern}, which is no pattern: {e}"))
            }
        }
    }

    /// The template's own words for it, where it has some.
    fn refused(&self, why: String) -> String {
        self.validation_error.as_ref().map_or(why, |own| format!("{:?}: {own}", self.name))
    }
}

/// Namespace of derived ids: a random UUID, fixed for ever.
const NAMESPACE: Uuid = Uuid::from_u128(0x7b0c_51f2_9e1d_4c0e_a4d7_0f86_31b2_95ea);

impl Preset {
    /// Its id: derived from its template and its name, so that it stays the same.
    #[must_use]
    pub fn id(&self, template: TemplateId) -> Uuid {
        Uuid::new_v5(&NAMESPACE, format!("{template}/{}", self.name).as_bytes())
    }
}

/// What a template asks, as its row keeps it.
#[derive(Debug, Clone, PartialEq)]
pub struct Questions {
    /// In the order of the template.
    pub parameters: Vec<Parameter>,
    /// In the order of the template.
    pub presets: Vec<Preset>,
}

impl Questions {
    /// Of the columns of a template.
    ///
    /// # Errors
    /// When they hold something else.
    pub fn of(parameters: &Json, presets: &Json) -> Result<Self, serde_json::Error> {
        Ok(Self { parameters: parameters.read()?, presets: presets.read()? })
    }

    /// The answer to each question: the one that is given, else the preset's, else the default.
    ///
    /// # Errors
    /// The name of what is wrong, and why.
    pub fn answered(
        &self,
        template: TemplateId,
        preset: Option<&str>,
        given: &BTreeMap<String, String>,
    ) -> Result<BTreeMap<String, String>, String> {
        let preset = match preset.map(str::trim).filter(|id| !id.is_empty()) {
            None => None,
            Some(_) if self.presets.is_empty() => return Err("this template has no presets".into()),
            Some(id) => {
                let wanted = Uuid::try_parse(id).map_err(|_| format!("preset_id {id:?} is no UUID"))?;
                let found = self.presets.iter().find(|preset| preset.id(template) == wanted);
                Some(found.ok_or_else(|| format!("this template has no preset {id}"))?)
            }
        };
        if let Some(name) = given.keys().find(|name| !self.parameters.iter().any(|p| p.name == **name)) {
            return Err(format!("this template has no parameter {name:?}"));
        }
        let mut answers = BTreeMap::new();
        for parameter in &self.parameters {
            let name = &parameter.name;
            let ready = preset.and_then(|preset| preset.parameters.get(name));
            let Some(value) = given.get(name).or(ready).or(parameter.default.as_ref()) else {
                return Err(format!("this template requires the parameter {name:?}"));
            };
            if let Some(why) = parameter.refusal(value) {
                return Err(why);
            }
            answers.insert(name.clone(), value.clone());
        }
        Ok(answers)
    }

    /// Adds to the answers of a workspace the defaults of what has been asked only since it was made.
    ///
    /// # Errors
    /// What has no default, and what to do.
    pub fn complete(&self, answers: &mut BTreeMap<String, String>) -> Result<(), String> {
        for Parameter { name, default, .. } in &self.parameters {
            if let Some(value) = default {
                answers.entry(name.clone()).or_insert_with(|| value.clone());
            } else if !answers.contains_key(name) {
                return Err(format!(
                    "the template asks for the parameter {name:?} since this workspace was made, which has no answer \
                     to it; make a new workspace, or give the parameter a default"
                ));
            }
        }
        Ok(())
    }
}

/// The variable of a parameter's answer: capital letters, digits and underscores.
#[must_use]
pub fn variable(name: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' };
    format!("{VARIABLE}{}", name.chars().map(plain).collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn questions() -> Questions {
        let parameters = json!([
            {"name": "branch"},
            {"name": "cpus", "type": "number", "default": "2", "validation_min": 1, "validation_max": 8},
            {"name": "gpu", "type": "bool", "default": "false"},
            {"name": "tag", "default": "v1", "validation_regex": "^v[0-9]+$"},
            {"name": "host", "default": "a.b", "validation_regex": "[.]", "validation_error": "write it in full"},
            {"name": "region", "default": "eu", "options": [{"name": "Europe", "value": "eu"}, {"name": "US", "value": "us"}]},
        ]);
        let presets = json!([{"name": "big", "parameters": {"cpus": "8", "branch": "main"}}]);
        Questions::of(&Json::of(&parameters), &Json::of(&presets)).unwrap()
    }

    #[test]
    fn what_is_given_comes_before_the_preset_and_that_before_the_default() {
        let (questions, template) = (questions(), TemplateId(Uuid::nil()));
        let big = questions.presets[0].id(template).to_string();
        let map = |pairs: &[(&str, &str)]| -> BTreeMap<String, String> {
            pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
        };
        let all = questions.answered(template, Some(&big), &map(&[("branch", "dev")])).unwrap();
        assert_eq!(
            all,
            map(&[
                ("branch", "dev"),
                ("cpus", "8"),
                ("gpu", "false"),
                ("host", "a.b"),
                ("region", "eu"),
                ("tag", "v1")
            ])
        );
        let other = TemplateId(Uuid::from_u128(1));
        for (preset, given, said) in [
            (None, map(&[]), "requires the parameter \"branch\""),
            (None, map(&[("nope", "x")]), "no parameter \"nope\""),
            (None, map(&[("branch", "a"), ("cpus", "many")]), "is a number"),
            (None, map(&[("branch", "a"), ("cpus", "9")]), "from 1 to 8"),
            (None, map(&[("branch", "a"), ("cpus", "NaN")]), "out of the range"),
            (None, map(&[("branch", "a"), ("gpu", "yes")]), "true or false"),
            (None, map(&[("branch", "a"), ("region", "mars")]), "one of eu, us"),
            (
                None,
                map(&[("branch", "a"), ("tag", "xv1")]),
                "\"xv1\" is no value of \"tag\": it has to match ^v[0-9]+$",
            ),
            (None, map(&[("branch", "a"), ("host", "short")]), "\"host\": write it in full"),
            (Some("x"), map(&[]), "is no UUID"),
            (Some(&*Uuid::nil().to_string()), map(&[]), "no preset"),
        ] {
            let why = questions.answered(template, preset, &given).unwrap_err();
            assert!(why.contains(said), "{why}");
        }
        assert!(questions.answered(other, Some(&big), &map(&[])).is_err(), "another template's");
        let mut earlier = map(&[("branch", "old"), ("cpus", "4")]);
        questions.complete(&mut earlier).unwrap();
        assert_eq!(
            earlier,
            map(&[
                ("branch", "old"),
                ("cpus", "4"),
                ("gpu", "false"),
                ("host", "a.b"),
                ("region", "eu"),
                ("tag", "v1")
            ])
        );
        assert!(questions.complete(&mut map(&[])).unwrap_err().contains("\"branch\" since"));
    }

    #[test]
    fn variables_are_plain() {
        assert_eq!(variable("git-branch.x"), "CHATD_PARAMETER_GIT_BRANCH_X");
    }
}
