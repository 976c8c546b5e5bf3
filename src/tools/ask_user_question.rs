//! `ask_user_question`: questions with choices, which end the turn; the next message is the answer (tools.md §11).

use super::{Repeat, Tool, ToolContext, arguments, outcome::ToolOutcome};
use crate::chat::json::Json;
use serde::{Deserialize, Serialize};

/// Name of the tool.
pub const NAME: &str = "ask_user_question";
/// Fewest and most choices of a question (tools.md §11).
const OPTIONS: std::ops::RangeInclusive<usize> = 2..=4;

/// The tool.
#[derive(Debug, Clone, Copy)]
pub struct AskUserQuestion;

#[derive(Deserialize, Serialize)]
struct Args {
    questions: Vec<Question>,
}

#[derive(Deserialize, Serialize)]
struct Question {
    header: String,
    question: String,
    options: Vec<Choice>,
}

#[derive(Deserialize, Serialize)]
struct Choice {
    label: String,
    description: String,
}

fn ask(args: &str) -> Result<ToolOutcome, ToolOutcome> {
    let args: Args = arguments::parse(args)?;
    if args.questions.is_empty() {
        return Err(ToolOutcome::error("questions must hold at least one question"));
    }
    for (at, question) in args.questions.iter().enumerate() {
        arguments::required(&format!("questions[{at}].header"), &question.header)?;
        arguments::required(&format!("questions[{at}].question"), &question.question)?;
        if !OPTIONS.contains(&question.options.len()) {
            return Err(ToolOutcome::error(format!(
                "questions[{at}].options must hold {} to {} options",
                OPTIONS.start(),
                OPTIONS.end()
            )));
        }
        for (n, option) in question.options.iter().enumerate() {
            arguments::required(&format!("questions[{at}].options[{n}].label"), &option.label)?;
            arguments::required(&format!("questions[{at}].options[{n}].description"), &option.description)?;
        }
    }
    Ok(ToolOutcome::ok(&args))
}

#[async_trait::async_trait]
impl Tool for AskUserQuestion {
    fn name(&self) -> &'static str {
        NAME
    }

    fn description(&self) -> &'static str {
        "Asks the user questions with choices and ends the turn; the user's next message is the answer. For decisions \
         that only the user can take."
    }

    fn input_schema(&self) -> Json {
        schema!({
            "type": "object",
            "properties": {
                "questions": {
                    "type": "array",
                    "minItems": 1,
                    "items": {
                        "type": "object",
                        "properties": {
                            "header": {"type": "string", "description": "The subject in a word or two."},
                            "question": {"type": "string", "description": "The question."},
                            "options": {
                                "type": "array",
                                "minItems": 2,
                                "maxItems": 4,
                                "items": {
                                    "type": "object",
                                    "properties": {
                                        "label": {"type": "string", "description": "The choice in a few words."},
                                        "description": {"type": "string", "description": "What it means."}
                                    },
                                    "required": ["label", "description"]
                                }
                            }
                        },
                        "required": ["header", "question", "options"]
                    }
                }
            },
            "required": ["questions"]
        })
    }

    fn repeat(&self) -> Repeat {
        Repeat::Again
    }

    async fn run(&self, _ctx: &ToolContext, args: &str) -> ToolOutcome {
        ask(args).unwrap_or_else(|failed| failed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    #[test]
    fn questions_are_echoed_or_the_place_of_the_mistake_is_told() {
        let option = json!({"label": "A", "description": "the first"});
        let question = json!({"header": "H", "question": "Q?", "options": [option, option]});
        let asked = json!({"questions": [question]});
        assert_eq!(ask(&asked.to_string()).unwrap().result.read::<Value>().unwrap(), asked);
        let change = |pointer: &str, value: Value| {
            let mut args = asked.clone();
            *args.pointer_mut(pointer).unwrap() = value;
            args
        };
        for (args, said) in [
            (json!({}), "missing field `questions`"),
            (change("/questions", json!([])), "at least one question"),
            (change("/questions/0/header", json!(" ")), "questions[0].header must not be blank"),
            (change("/questions/0/question", json!("")), "questions[0].question must not be blank"),
            (change("/questions/0/options", json!([option])), "questions[0].options must hold 2 to 4"),
            (change("/questions/0/options", json!([option, option, option, option, option])), "2 to 4"),
            (change("/questions/0/options/1/label", json!("")), "questions[0].options[1].label"),
            (change("/questions/0/options/1/description", json!("")), "options[1].description"),
        ] {
            let failed = ask(&args.to_string()).unwrap_err();
            assert!(failed.is_error && failed.result.get().contains(said), "{args}: {failed:?}");
        }
    }
}
