//! Every way a secret can come in, and every way anything goes out: none of the first is found in the
//! second, nor in the database.

use super::{chat_with, model, somebody};
use crate::support::{
    Engine, Harness, both,
    client::Api,
    daemon::DaemonProcess,
    fake_model::{fails, says},
};
use serde_json::json;

const IN_FILE: &str = "sk-canary-in-file-0123456789";
const IN_ENV: &str = "sk-canary-in-env-0123456789";
const LEGACY: &str = "sk-canary-legacy-0123456789";
const CENTRAL: &str = "sk-canary-central-0123456789";
const OWN: &str = "sk-canary-own-0123456789";
const OLDER_OWN: &str = "sk-canary-older-own-0123456789";
/// Refused, and therefore in error texts if anywhere.
const REFUSED: &str = "sk-canary refused-0123456789";

const ALL: [&str; 7] = [IN_FILE, IN_ENV, LEGACY, CENTRAL, OWN, OLDER_OWN, REFUSED];

async fn stored_in_clear(h: &Harness, daemon: &DaemonProcess, secret: &str) -> bool {
    match h.engine {
        Engine::Sqlite => {
            let files = std::fs::read_dir(daemon.data_dir()).expect("the data folder");
            let database = files
                .map(|f| f.expect("an entry").path())
                .filter(|p| p.file_name().is_some_and(|name| name.to_string_lossy().starts_with("chatd.db")));
            database.into_iter().any(|path| {
                let bytes = std::fs::read(&path).unwrap_or_default();
                bytes.windows(secret.len()).any(|w| w == secret.as_bytes())
            })
        }
        Engine::Postgres => {
            let hex: String = secret.bytes().map(|b| format!("{b:02x}")).collect();
            let sql = format!(
                "SELECT count(*) AS n FROM ( \
                   SELECT (xpath('/row/c/text()', query_to_xml(format( \
                     'SELECT count(*) AS c FROM %I t WHERE t::text LIKE ''%%{secret}%%'' OR t::text LIKE ''%%{hex}%%''', \
                     table_name), false, true, '')))[1]::text::bigint AS c \
                   FROM information_schema.tables WHERE table_schema = 'public') x WHERE c > 0"
            );
            h.number(daemon, &sql).await > 0
        }
    }
}

/// Everything that can be read by this caller.
async fn everything(api: &Api, chats: &[String]) -> String {
    let mut paths: Vec<String> = [
        "/chats",
        "/chats/models",
        "/chats/model-configs",
        "/chats/providers",
        "/chats/user-provider-configs",
        "/api/v2/ai/providers",
        "/api/v2/users/me/ai-provider-keys",
        "/api/v2/users/me",
        "//metrics",
        "//openapi.json",
        "//healthz",
        "//readyz",
        "/api/v2/buildinfo",
    ]
    .map(str::to_owned)
    .to_vec();
    for chat in chats {
        paths.extend([format!("/chats/{chat}"), format!("/chats/{chat}/messages")]);
    }
    let mut said = String::new();
    for path in paths {
        said += &String::from_utf8_lossy(&api.get(&path).await.body);
    }
    said
}

both! {
    async fn no_secret_comes_out_again(h: Harness) {
        for secret in ALL {
            h.log.forbid(secret);
        }
        h.configure("[log]\nfilter = \"debug,chatd=trace,hyper=trace,reqwest=trace,actix=trace,tungstenite=trace\"");
        let url = h.model.url();
        h.configure(&format!(
            "[[providers]]\nname = \"fake\"\ntype = \"openai-compatible\"\napi_key = \"{IN_FILE}\"\nbase_url = \"{url}/v1\"\n\
             [[providers]]\nname = \"second\"\ntype = \"openai-compatible\"\napi_key_env = \"SECOND_KEY\"\nbase_url = \"{url}/v1\"\n\
             [[models]]\nname = \"fake\"\nprovider = \"fake\"\nmodel = \"fake-model\"\ndefault = true\n\
             [[models]]\nname = \"second\"\nprovider = \"second\"\nmodel = \"second-model\"\n",
        ));
        // The daemon reads it in its working directory, its home.
        let home = h.folder().join("daemon-1");
        std::fs::create_dir_all(&home).unwrap();
        std::fs::write(home.join(".env"), format!("SECOND_KEY={IN_ENV}\n")).unwrap();
        let daemon = h.daemon().await;
        let token = daemon.token();
        h.log.forbid(token.split_once('-').unwrap().1);
        let (admin, ann) = (daemon.api(), somebody(&daemon, "ann").await);
        let mut said = String::new();
        let keep = |said: &mut String, answer: crate::support::client::Answer| {
            *said += &String::from_utf8_lossy(&answer.body);
        };

        let legacy = json!({ "provider": "openai", "api_key": LEGACY, "base_url": format!("{url}/v1"), "allow_user_api_key": true, "allow_central_api_key_fallback": true });
        let legacy = admin.post("/chats/providers", legacy).await.json(201);
        let central = json!({ "type": "openrouter", "name": "router", "base_url": format!("{url}/v1"), "api_keys": [CENTRAL] });
        let central = admin.post("/api/v2/ai/providers", central).await.json(201);
        said += &(legacy.to_string() + &central.to_string());
        let own = format!("/chats/user-provider-configs/{}", legacy["id"].as_str().unwrap());
        keep(&mut said, ann.put(&own, json!({ "api_key": OLDER_OWN })).await);
        keep(&mut said, ann.put("/api/v2/users/me/ai-provider-keys/router", json!({ "api_key": OWN })).await);
        for (path, body) in [
            ("/chats/providers", json!({ "provider": "google", "api_key": REFUSED })),
            ("/api/v2/ai/providers", json!({ "type": "google", "name": "g", "base_url": "", "api_keys": [REFUSED] })),
            ("/api/v2/ai/providers", json!({ "type": REFUSED, "name": "g", "base_url": "", "api_keys": [{ "x": REFUSED }] })),
            ("/api/v2/ai/providers", json!({ "type": "google", "name": "g", "base_url": "", "api_keys": REFUSED })),
            ("/chats/providers", json!({ "provider": "google", "api_key": [REFUSED] })),
        ] {
            let refused = admin.post(path, body).await;
            assert_eq!(refused.status, 400);
            keep(&mut said, refused);
        }
        keep(&mut said, ann.put(&own, json!({ "api_key": REFUSED })).await);

        let models = [model(&admin, &legacy, "m-legacy").await, model(&admin, &central, "m-central").await];
        let configs = admin.get("/chats/model-configs").await.json(200);
        let of = |name: &str| configs.as_array().unwrap().iter().find(|c| c["model"] == name).unwrap().clone();
        let mut chats = Vec::new();
        for (api, model, key) in [
            (&admin, of("fake-model"), IN_FILE), (&admin, of("second-model"), IN_ENV),
            (&admin, models[0].clone(), LEGACY), (&admin, models[1].clone(), CENTRAL),
            (&ann, models[0].clone(), OLDER_OWN), (&ann, models[1].clone(), OWN),
        ] {
            h.model.expect_key(Some(key));
            let quoting = json!({ "error": { "message": format!("Incorrect API key provided: {key}"), "code": key } });
            h.model.push([says("Fine."), fails(401, quoting)]);
            let chat = chat_with(api, &model, "Hello").await;
            let mut stream = api.stream(&chat, None).await;
            stream.answered(1).await;
            api.send(&chat, "Again").await;
            stream.until("the error", |f| f.error.is_some()).await;
            for event in stream.events() {
                said += &event.to_string();
            }
            said += &everything(api, std::slice::from_ref(&chat)).await;
            chats.push(chat);
        }
        said += &everything(&admin, &chats).await;
        for command in [&["config", "show", "--origin"][..], &["keys", "list"], &["keys", "rotate"], &["user", "list"], &["token", "list"]] {
            let ran = daemon.command(command).await;
            assert_eq!(ran.status, 0, "{}", ran.err);
            said += &(ran.out + &ran.err);
        }
        said += &everything(&ann, &chats[4..]).await;
        assert!(stored_in_clear(&h, &daemon, "m-central").await, "the search finds what is there");
        for secret in ALL.into_iter().chain([token.split_once('-').unwrap().1]) {
            assert!(!said.contains(secret), "{secret}: …{}", &said[said.find(secret).unwrap().saturating_sub(300)..]);
            assert!(!stored_in_clear(&h, &daemon, secret).await, "{secret} is in the database");
        }
    }
}
