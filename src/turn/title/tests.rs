use super::*;
use crate::{
    chat::message::{NewMessage, ToolCallPart},
    llm::event::FinishReason,
    turn::{cost::Prices, fixtures},
};

#[test]
fn the_first_words_are_the_first_title() {
    for (text, expected) in [
        ("", "New Chat"),
        (" \n\t", "New Chat"),
        ("fix the bug", "fix the bug"),
        ("one two  three\nfour five six", "one two three four five six"),
        ("one two three four five six seven", "one two three four five six…"),
        ("a\u{7}b", "ab"),
        ("\u{7}", "New Chat"),
    ] {
        assert_eq!(first(text), expected);
    }
    let exact = "é".repeat(80);
    assert_eq!(fallback(&exact), exact);
    let long = fallback(&"é".repeat(81));
    assert_eq!((long.chars().count(), long.ends_with('…')), (80, true));
    let both = fallback(&format!("{} tail {}", "a".repeat(78), "b ".repeat(9)));
    assert_eq!(both, format!("{}…", "a".repeat(78)));
}

#[test]
fn a_title_is_one_line_without_control_characters() {
    for (text, expected) in [
        ("as it  is", "as it  is"),
        ("a\tb\r\nc\u{2028}d\u{85}e", "a b c d e"),
        ("\u{0}\u{1b}[31mred\u{9b}0m\u{7f}", "[31mred0m"),
        ("\u{7}\n", " "),
    ] {
        assert_eq!(one_line(text), expected, "{text:?}");
    }
}

#[test]
fn proposals_are_cleaned_or_refused() {
    for (proposed, expected) in [
        ("Fix the login", Some("Fix the login")),
        ("  \"Fix  the\n login\" ", Some("Fix the login")),
        ("`'Fix` it'", Some("Fix` it")),
        ("“Über uns”", Some("Über uns")),
        ("a\u{0}b \u{7} c", Some("ab c")),
        ("1 2 3 4 5 6 7 8", Some("1 2 3 4 5 6 7 8")),
        ("1 2 3 4 5 6 7 8 9", None),
        ("", None),
        (" \"\" ", None),
        ("\u{0}", None),
    ] {
        assert_eq!(normalise(proposed).as_deref(), expected, "{proposed:?}");
    }
    assert_eq!(normalise(&"é".repeat(90)), Some("é".repeat(80)));
    assert_eq!(normalise(&format!("{} b", "a".repeat(79))), Some("a".repeat(79)));
}

fn step(parts: &[Part]) -> Step {
    Step {
        message: Some(NewMessage::new(Role::Assistant, Visibility::Both, parts)),
        figures: crate::chat::message::StepFigures::default(),
        reason: FinishReason::Stop,
        has_calls: false,
    }
}

#[test]
fn an_answer_is_read_in_either_form() {
    let called = |name: &str| {
        step(&[Part::ToolCall(ToolCallPart {
            tool_name: name.into(),
            args: Some(Json::of(&json!({ "title": "'Called'" }))),
            ..ToolCallPart::default()
        })])
    };
    assert_eq!(read(&called("propose_title")).as_deref(), Some("Called"));
    assert_eq!(read(&called("execute")), None);
    for (said, expected) in [
        ("{\"title\":\"Said\"}", Some("Said")),
        ("```json\n{\"title\": \"Fenced\"}\n```", Some("Fenced")),
        ("{\"title\":7}", None),
        ("A plain text", None),
        ("} {", None),
    ] {
        assert_eq!(read(&step(&[fixtures::text(said)])).as_deref(), expected, "{said}");
    }
    assert_eq!(read(&Step { message: None, ..step(&[]) }), None);
}

fn choice(id: u128, provider: &str, model: &str, key: bool) -> Arc<ModelChoice> {
    let kind = crate::llm::providers::lookup(provider).unwrap();
    Arc::new(ModelChoice {
        id: ModelConfigId(uuid::Uuid::from_u128(id)),
        name: model.into(),
        provider_type: provider.into(),
        endpoint: kind.endpoint(Some("http://h/v1"), key.then(|| "key-of-test".into()), false),
        context_limit: None,
        compaction_threshold: None,
        user_threshold: None,
        prices: Prices::default(),
        defaults: Request { model: model.into(), ..Request::default() },
        image_cap: None,
        strangers: Arc::default(),
    })
}

#[test]
fn small_models_that_can_be_called_go_before_the_chats_own() {
    let all = [
        choice(1, "anthropic", "claude-haiku-4-5", false),
        choice(2, "openai", "gpt-4o-mini", false),
        choice(3, "vercel", "anthropic/claude-haiku-4.5", true),
        choice(4, "google", "gemini-2.5-flash", true),
        choice(5, "openai-compat", "gpt-4o-mini", true),
        choice(6, "openai", "gpt-5", true),
    ];
    let ids = |list: Vec<Arc<ModelChoice>>| list.iter().map(|c| c.id.0.as_u128()).collect::<Vec<_>>();
    assert_eq!(ids(candidates(&all, None, &all[5])), [4, 3, 6]);
    assert_eq!(ids(candidates(&all, None, &all[3])), [4, 3]);
    assert_eq!(ids(candidates(&all, Some(all[4].id), &all[5])), [5]);
}

#[test]
fn only_a_long_message_is_cut() {
    let long = "é".repeat(4000);
    let sent = format!("{:?}", request(&choice(1, "openai", "m", true), &opening(&long)).messages);
    assert!(sent.matches('é').count() == 2000, "{}", sent.len());
}
