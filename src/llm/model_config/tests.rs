#![allow(clippy::needless_pass_by_value, reason = "a helper that takes `json!({ … })` reads better by value")]

use super::*;
use serde_json::json;

fn stored(given: Value) -> Result<Value, Wrong> {
    normalise(given.as_object().unwrap()).map(Value::Object)
}

#[test]
fn prices_become_strings_below_cost_wherever_they_stood() {
    let given = json!({
        "cost": { "input_price_per_million_tokens": 3, "output_price_per_million_tokens": "15.00" },
        "input_price_per_million_tokens": "99", "cache_read_price_per_million_tokens": 0.3, "unknown": 1,
    });
    assert_eq!(
        stored(given).unwrap(),
        json!({ "cost": {
            "input_price_per_million_tokens": "3", "output_price_per_million_tokens": "15.00",
            "cache_read_price_per_million_tokens": "0.3" } })
    );
    let e = stored(json!({ "cost": { "input_price_per_million_tokens": [] } })).unwrap_err();
    assert_eq!(e.path, "model_config.cost.input_price_per_million_tokens");
    assert_eq!(stored(json!({ "cost": 3 })).unwrap_err().path, "model_config.cost");
    let plain = |given: Value| {
        let stored = stored(json!({ "cost": { "input_price_per_million_tokens": given } })).ok()?;
        stored["cost"]["input_price_per_million_tokens"].as_str().map(str::to_owned)
    };
    for (given, expected) in [
        (json!(" 0.30 "), "0.30"),
        (json!(1e-7), "0.0000001"),
        (json!(2.5e2), "250"),
        (json!(u64::MAX), "18446744073709551615"),
    ] {
        assert_eq!(plain(given.clone()).as_deref(), Some(expected), "{given}");
    }
    for bad in [
        json!("1e3"),
        json!("1."),
        json!(".5"),
        json!("+1"),
        json!("-1"),
        json!(-1),
        json!(-0.5),
        json!(""),
        json!("1 2"),
    ] {
        assert_eq!(plain(bad.clone()), None, "{bad}");
    }
    assert_eq!(stored(json!({ "cost": null, "temperature": null })).unwrap(), json!({}));
}

#[test]
fn every_key_has_its_type() {
    let good = json!({
        "max_output_tokens": 1, "temperature": 0.5, "top_p": 1, "top_k": 0, "presence_penalty": -2,
        "reasoning_effort": { "default": "low", "max": "high" },
        "openai_config": { "use_responses_api": false },
        "provider_options": {
            "openai": { "store": false, "reasoning_effort": " HIGH ", "metadata": { "a": 1 }, "include": ["x"] },
            "anthropic": { "thinking": { "budget_tokens": 1024 }, "effort": "max", "allowed_domains": ["a.b"] },
            "google": { "thinking_config": { "thinking_budget": -1 }, "safety_settings": [{ "category": "c", "threshold": "t" }] },
            "openaicompat": { "user": "u" },
            "openrouter": { "reasoning": { "enabled": true }, "provider": { "order": ["a"], "sort": "price" } },
            "vercel": { "providerOptions": { "models": ["m"] }, "top_logprobs": 2 },
        },
    });
    let mut expected = good.clone();
    expected["provider_options"]["openai"]["reasoning_effort"] = json!("high");
    assert_eq!(stored(good).unwrap(), expected);
    for (wrong, path) in [
        (json!({ "max_output_tokens": 0 }), "max_output_tokens"),
        (json!({ "max_output_tokens": 1.5 }), "max_output_tokens"),
        (json!({ "temperature": 2.1 }), "temperature"),
        (json!({ "temperature": "1" }), "temperature"),
        (json!({ "top_p": -0.1 }), "top_p"),
        (json!({ "top_k": -1 }), "top_k"),
        (json!({ "frequency_penalty": 3 }), "frequency_penalty"),
        (json!({ "reasoning_effort": { "default": "low" } }), "reasoning_effort"),
        (json!({ "reasoning_effort": { "default": "high", "max": "low" } }), "reasoning_effort"),
        (json!({ "reasoning_effort": { "default": "huge", "max": "low" } }), "reasoning_effort.default"),
        (json!({ "openai_config": { "use_responses_api": "no" } }), "openai_config.use_responses_api"),
        (json!({ "provider_options": [] }), "provider_options"),
        (json!({ "provider_options": { "openai": 1 } }), "provider_options.openai"),
        (json!({ "provider_options": { "openai": { "store": 1 } } }), "provider_options.openai.store"),
        (
            json!({ "provider_options": { "openai": { "service_tier": "x" } } }),
            "provider_options.openai.service_tier",
        ),
        (json!({ "provider_options": { "openai": { "include": [1] } } }), "provider_options.openai.include"),
        (
            json!({ "provider_options": { "anthropic": { "allowed_domains": ["a"], "blocked_domains": ["b"] } } }),
            "provider_options.anthropic.blocked_domains",
        ),
        (
            json!({ "provider_options": { "google": { "safety_settings": [{ "category": 1 }] } } }),
            "provider_options.google.safety_settings[0].category",
        ),
        (
            json!({ "provider_options": { "vercel": { "extra_body": "x" } } }),
            "provider_options.vercel.extra_body",
        ),
    ] {
        let e = stored(wrong.clone()).unwrap_err();
        assert_eq!(e.path, format!("model_config.{path}"), "{wrong}");
    }
}

#[test]
fn calls_read_what_is_stored() {
    let json = Json::of(&json!({
        "max_output_tokens": 5, "reasoning_effort": { "default": "low", "max": "max" },
        "openai_config": { "use_responses_api": true }, "provider_options": { "openai": { "store": true } },
    }));
    let call = CallConfig::read(&json).unwrap();
    assert_eq!((call.max_output_tokens, call.reasoning_effort.as_deref()), (Some(5), Some("low")));
    assert_eq!(call.use_responses_api, Some(true));
    assert_eq!(call.provider_options["openai"]["store"], json!(true));
}
