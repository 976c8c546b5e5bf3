//! The contract of `spec/cli-and-config.md`, in tables.

use super::*;
use std::{collections::BTreeMap, fs, path::Path};
use tempfile::TempDir;

mod example;

/// A machine of its own: a working directory, an empty home and no system file.
struct Machine(TempDir, Sources);

impl Machine {
    fn new() -> Self {
        let dir = TempDir::new().unwrap();
        let home = dir.path().join("home");
        let cwd = dir.path().join("cwd");
        fs::create_dir_all(&home).unwrap();
        fs::create_dir_all(&cwd).unwrap();
        let sources = Sources {
            config_file: None,
            env: BTreeMap::from([("HOME".into(), home.display().to_string())]),
            system_file: dir.path().join("etc.toml"),
            cwd,
            flags: Vec::new(),
        };
        Self(dir, sources)
    }
    fn file(self, name: &str, text: &str) -> Self {
        let path = self.1.cwd.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
        self
    }
    fn env(mut self, name: &str, value: &str) -> Self {
        self.1.env.insert(name.into(), value.into());
        self
    }
    fn flag(mut self, name: &'static str, key: &'static str, value: &str) -> Self {
        self.1.flags.push(Flag { name, key, value: value.into() });
        self
    }
    fn load(&self) -> Loaded {
        Config::load(&self.1).unwrap_or_else(|error| panic!("{:#?}", error.problems))
    }
    fn problems(&self) -> Vec<String> {
        match Config::load(&self.1) {
            Ok(_) => Vec::new(),
            Err(error) => error.problems.iter().map(ToString::to_string).collect(),
        }
    }
}

#[test]
fn nothing_configured_is_the_default_with_a_data_folder() {
    let machine = Machine::new();
    let loaded = machine.load();
    let data_dir = machine.0.path().join("home/.local/share/chatd");
    assert_eq!(loaded.config, Config { data_dir: data_dir.clone(), ..Config::default() });
    assert_eq!(loaded.config.sqlite_file(), Some(data_dir.join("chatd.db")));
    assert_eq!((loaded.file, loaded.warnings), (None, Vec::new()));
    let machine = machine.env("XDG_DATA_HOME", "/data");
    assert_eq!(machine.load().config.data_dir, Path::new("/data/chatd"));
    let machine = machine.env("XDG_DATA_HOME", "relative").env("HOME", "");
    assert_eq!(machine.problems(), ["data_dir: set it, since neither XDG_DATA_HOME nor HOME names a folder"]);
}

#[test]
fn every_mistake_is_named_with_its_place_and_a_way_out() {
    let provider = "[[providers]]\nname = \"a\"\ntype = \"anthropic\"\n";
    for (text, problem) in [
        ("[server]\nlisen = \"x\"", "chatd.toml:2: server.lisen: unknown key; did you mean \"listen\"?"),
        (
            "[server]\nlisten_addr = \"x\"",
            "chatd.toml:2: server.listen_addr: unknown key; did you mean \"listen\"?",
        ),
        ("[sever]\nlisten = \"x\"", "chatd.toml:1: sever: unknown key; did you mean \"server\"?"),
        ("listen = \"x\"", "chatd.toml:1: listen: unknown key; did you mean \"server.listen\"?"),
        ("[log]\nlease = \"x\"", "chatd.toml:2: log.lease: unknown key; did you mean \"worker.lease\"?"),
        ("[log]\ncolour = 1", "chatd.toml:2: log.colour: unknown key; known here: format, filter"),
        (
            "[server]\nworkers = \"many\"",
            "chatd.toml:2: server.workers: expected a whole number, 0 or more, found \"many\"",
        ),
        (
            "[server]\nworkers = -1",
            "chatd.toml:2: server.workers: expected a whole number, 0 or more, found -1",
        ),
        (
            "[server]\nlisten = \"nowhere\"",
            "chatd.toml:2: server.listen: expected an address and port such as \"127.0.0.1:7777\", found \"nowhere\"",
        ),
        (
            "[server]\nshutdown_grace = 30",
            "chatd.toml:2: server.shutdown_grace: expected a duration such as \"30s\", \"5m\" or \"1h 30m\", found 30",
        ),
        (
            "[server]\nmax_body = \"big\"",
            "chatd.toml:2: server.max_body: expected a size such as \"1MiB\", found \"big\"",
        ),
        (
            "[server]\npublic_url = \"chatd.example.com\"",
            "chatd.toml:2: server.public_url: expected an absolute address such as \"https://host/path\"",
        ),
        (
            "[worker]\nenabled = \"yes\"",
            "chatd.toml:2: worker.enabled: expected true or false, found \"yes\"",
        ),
        (
            "[database]\nurl = \"mysql://u:canary@h/d\"",
            "chatd.toml:2: database.url: expected \"sqlite:FILE\" or \"postgres://user:password@host/database\"",
        ),
        (
            "[database]\nsynchronous = \"ful\"",
            "chatd.toml:2: database.synchronous: expected \"full\" or \"normal\", found \"ful\"; did you mean \"full\"?",
        ),
        ("[log]\nformat = 3", "chatd.toml:2: log.format: expected \"pretty\" or \"json\", found 3"),
        ("server = 3", "chatd.toml:1: server: expected a table, found 3"),
        ("providers = 3", "chatd.toml:1: providers: expected a list, found 3"),
        (
            "[auth]\nmode = \"none\"\n[server]\nlisten = \"0.0.0.0:80\"",
            "chatd.toml:2: auth.mode: \"none\" is only allowed on the loopback, and server.listen is 0.0.0.0:80; \
             use \"token\", or listen on 127.0.0.1",
        ),
        (
            "[worker]\nlease = \"10s\"",
            "chatd.toml:2: worker.lease: expected more than twice worker.heartbeat_interval (5s), found 10s",
        ),
        (
            "[worker]\nheartbeat_interval = \"15s\"",
            "chatd.toml:1: worker.lease: expected more than twice worker.heartbeat_interval (15s), found 30s",
        ),
        ("[stream]\nping_interval = \"0s\"", "chatd.toml:2: stream.ping_interval: expected more than 0s"),
        (
            "[chat]\ncompaction_threshold_percent = 101",
            "chatd.toml:2: chat.compaction_threshold_percent: expected a percentage from 0 to 100, found 101",
        ),
        (
            "[chat]\ncompaction_threshold_percent = 300",
            "chatd.toml:2: chat.compaction_threshold_percent: expected a whole number from 0 to 255, found 300",
        ),
        ("[[providers]]\ntype = \"scripted\"", "chatd.toml:1: providers[0].name: is required"),
        (
            "[[providers]]\nname = \"a\"\ntype = \"bedrock\"",
            "chatd.toml:3: providers[0].type: \"bedrock\" is not supported yet; reach its models through an \
             openai-compatible gateway",
        ),
        (
            "[[providers]]\nname = \"a\"\ntype = \"opnai\"",
            "chatd.toml:3: providers[0].type: expected \"anthropic\", \"openai\", \"openai-compatible\", \"azure\", \
             \"google\", \"openrouter\", \"vercel\" or \"scripted\", found \"opnai\"; did you mean \"openai\"?",
        ),
        (
            "[[providers]]\nname = \"a\"\ntype = \"openai-compatible\"",
            "chatd.toml:1: providers[0].base_url: is required for type \"openai-compatible\"",
        ),
        (
            "[[providers]]\nname = \"A b\"\ntype = \"scripted\"",
            "chatd.toml:2: providers[0].name: expected lower-case letters and digits with single dashes between, \
             found \"A b\"",
        ),
        (
            &format!("{provider}api_key = \"canary\"\napi_key_env = \"B\""),
            "chatd.toml:4: providers[0].api_key: give only one of api_key, api_key_env and api_key_file",
        ),
        (&format!("{provider}api_key = 77"), "chatd.toml:4: providers[0].api_key: expected a text in quotes"),
        (
            &format!("{provider}api_key_env = \"sk-canary\""),
            "chatd.toml:4: providers[0].api_key_env: expected the name of an environment variable, such as \
             \"ANTHROPIC_API_KEY\"",
        ),
        (
            &format!("{provider}script = \"x\""),
            "chatd.toml:4: providers[0].script: only type \"scripted\" has a script",
        ),
        (
            &format!("{provider}{provider}"),
            "chatd.toml:5: providers[1].name: \"a\" is the name of providers[0] already; names are unique",
        ),
        (
            &format!("{provider}[[models]]\nname = \"m\"\nmodel = \"x\"\nprovider = \"aa\""),
            "chatd.toml:7: models[0].provider: no provider is named \"aa\"; did you mean \"a\"?",
        ),
        (
            &format!("{provider}[[models]]\nname = \"m\"\nmodel = \"x\"\nprovider = \"a\"\ntemperature = 3"),
            "chatd.toml:8: models[0].temperature: expected a number from 0 to 2, found 3",
        ),
        (
            &format!(
                "{provider}[[models]]\nname = \"m\"\nmodel = \"x\"\nprovider = \"a\"\ninput_price_per_million = \"$3\""
            ),
            "chatd.toml:8: models[0].input_price_per_million: expected a price in dollars such as \"3\" or \"0.25\", \
             found \"$3\"",
        ),
        (
            "[[templates]]\nname = \"t\"\nkind = \"command\"\nstart = \"x\"",
            "chatd.toml:1: templates[0].stop: is required for kind \"command\"",
        ),
        (
            "[[templates]]\nname = \"t\"\nparameters = [{ name = \"p\", type = \"bool\", validation_regex = \"x\" }]",
            "chatd.toml:3: templates[0].parameters[0].validation_regex: only type \"string\" has one",
        ),
        (
            "[[templates]]\nname = \"t\"\nparameters = [{ name = \"p\", validation_regex = \"(x\" }]",
            "chatd.toml:3: templates[0].parameters[0].validation_regex: \"(x\" is no regular expression: found open group without closing ')'",
        ),
        (
            "[[mcp_servers]]\nname = \"m\"\nurl = \"http://h\"\nauth = \"api_key\"\napi_key = \"canary\"",
            "chatd.toml:1: mcp_servers[0].api_key_header: is required for auth \"api_key\"",
        ),
        (
            "[log]\nfilter = \"info=x=y\"",
            "chatd.toml:2: log.filter: expected levels such as \"info,chatd::turn=debug\", found \"info=x=y\"",
        ),
        (
            "[log]\nfilter = \"chatd=debug,warning\"",
            "chatd.toml:2: log.filter: \"warning\" is no level; did you mean \"warn\"?",
        ),
    ] {
        assert_eq!(Machine::new().file("chatd.toml", text).problems(), [problem], "{text}");
    }
    let broken = Machine::new().file("chatd.toml", "[server]\nlisten = \"canary\n").problems();
    assert!(broken.len() == 1 && broken[0].starts_with("chatd.toml:2: not valid TOML: "), "{broken:?}");
    assert!(!broken[0].contains("canary"));
}

#[test]
fn all_mistakes_are_told_at_once() {
    let text = "[server]\nlisen = 1\nworkers = \"x\"\n[worker]\nlease = \"1s\"\n[[models]]\nname = \"m\"\nprice = 1\n";
    let machine = Machine::new().file("chatd.toml", text).env("CHATD__LOG__FORMAT", "xml");
    assert_eq!(
        machine.problems(),
        [
            "chatd.toml:2: server.lisen: unknown key; did you mean \"listen\"?",
            "chatd.toml:3: server.workers: expected a whole number, 0 or more, found \"x\"",
            "chatd.toml:5: worker.lease: expected more than twice worker.heartbeat_interval (5s), found 1s",
            "chatd.toml:8: models[0].price: unknown key; known here: name, display_name, provider, model, default, \
             enabled, context_limit, max_output_tokens, compaction_threshold, temperature, top_p, top_k, \
             presence_penalty, frequency_penalty, reasoning_effort, use_responses_api, input_price_per_million, \
             output_price_per_million, cache_read_price_per_million, cache_write_price_per_million, provider_options",
            "environment CHATD__LOG__FORMAT: log.format: expected \"pretty\" or \"json\", found \"xml\"",
        ]
    );
    let error = Config::load(&machine.1).unwrap_err().to_string();
    assert_eq!(
        error,
        "chatd.toml:2: server.lisen: unknown key; did you mean \"listen\"? (and 4 more: see `chatd config check`)"
    );
}

#[test]
fn mistakes_in_variables_and_flags_name_them() {
    for (name, value, problem) in [
        (
            "CHATD__SERVER__LISEN",
            "x",
            "environment CHATD__SERVER__LISEN: server.lisen: unknown key; did you mean \"listen\"?",
        ),
        (
            "CHATD__SERVER__WORKERS",
            "many",
            "environment CHATD__SERVER__WORKERS: server.workers: expected a whole number, 0 or more, found \"many\"",
        ),
        (
            "CHATD__PROVIDERS__0__NAME",
            "x",
            "environment CHATD__PROVIDERS__0__NAME: providers.0.name: a list is set as a whole, in TOML: \
             CHATD__PROVIDERS='[{ name = \"…\" }]'",
        ),
        (
            "CHATD__PROVIDERS",
            "[{ name = \"a\", type = \"scripted\", nam = 1 }]",
            "environment CHATD__PROVIDERS: providers[0].nam: unknown key; did you mean \"name\"?",
        ),
        (
            "CHATD__SERVER",
            "x",
            "environment CHATD__SERVER: server: this is a table; set its keys one by one, with two underscores \
             between section and key",
        ),
    ] {
        assert_eq!(Machine::new().env(name, value).problems(), [problem]);
    }
    assert_eq!(
        Machine::new().flag("--listen", "server.listen", "x").problems(),
        [
            "flag --listen: server.listen: expected an address and port such as \"127.0.0.1:7777\", found \"x\""
        ]
    );
    assert_eq!(
        Machine::new().file(".env", "A=1\nCHATD__SERVER__WORKERS=x\n").problems(),
        [".env:2 CHATD__SERVER__WORKERS: server.workers: expected a whole number, 0 or more, found \"x\""]
    );
    assert_eq!(Machine::new().file(".env", "A=1\n?\n").problems(), [".env:2: expected NAME=value"]);
    let both = Machine::new().env("CHATD__LOG__FILTER", "info").env("CHATD__LOG__FILTER__X", "1").problems();
    assert_eq!(
        both,
        [
            "environment CHATD__LOG__FILTER__X: log.filter.x: log.filter is not a table, so it has no key of its own; \
          set log.filter as a whole"
        ]
    );
}

#[test]
fn a_later_source_wins_over_an_earlier_one() {
    let workers = |machine: &Machine| {
        let loaded = machine.load();
        (loaded.config.server.workers, loaded.origins.of("server.workers").to_string())
    };
    let machine = Machine::new();
    assert_eq!(workers(&machine), (0, "default".into()));
    fs::write(&machine.1.system_file, "[server]\nworkers = 1\n").unwrap();
    assert_eq!(workers(&machine), (1, format!("{}:2", machine.1.system_file.display())));
    let machine = machine.file("../home/.config/chatd/config.toml", "[server]\nworkers = 2\n");
    assert_eq!(workers(&machine).0, 2);
    let machine = machine.file("../xdg/chatd/config.toml", "[server]\nworkers = 3\n");
    let xdg = machine.0.path().join("xdg").display().to_string();
    let machine = machine.env("XDG_CONFIG_HOME", &xdg);
    assert_eq!(workers(&machine).0, 3);
    let machine = machine.file("chatd.toml", "[server]\nworkers = 4\n");
    assert_eq!(workers(&machine), (4, "chatd.toml:2".into()));
    let machine = machine.file("named.toml", "[server]\nworkers = 5\n").env("CHATD_CONFIG", "named.toml");
    assert_eq!(workers(&machine), (5, "named.toml:2".into()));
    let mut machine = machine.file("flag.toml", "[server]\nworkers = 6\n");
    machine.1.config_file = Some("flag.toml".into());
    assert_eq!(workers(&machine), (6, "flag.toml:2".into()));
    let machine = machine.file(".env", "CHATD__SERVER__WORKERS=7\n");
    assert_eq!(workers(&machine), (7, ".env:1 CHATD__SERVER__WORKERS".into()));
    let machine = machine.env("CHATD__SERVER__WORKERS", "8");
    assert_eq!(workers(&machine), (8, "environment CHATD__SERVER__WORKERS".into()));
    let machine = machine.flag("--workers", "server.workers", "9");
    assert_eq!(workers(&machine), (9, "flag --workers".into()));
}

#[test]
fn a_file_asked_for_by_name_must_be_there() {
    let mut machine = Machine::new().env("CHATD_CONFIG", "gone.toml").file("chatd.toml", "");
    assert_eq!(
        machine.problems(),
        ["environment CHATD_CONFIG: cannot read gone.toml: No such file or directory (os error 2)"]
    );
    machine.1.config_file = Some("lost.toml".into());
    assert_eq!(
        machine.problems(),
        ["flag --config: cannot read lost.toml: No such file or directory (os error 2)"]
    );
}

#[test]
fn variables_of_every_type_are_read() {
    let machine = Machine::new()
        .env("CHATD__DATA_DIR", "~/d")
        .env("CHATD__SERVER__LISTEN", "localhost:0")
        .env("CHATD__SERVER__MAX_BODY", "2MiB")
        .env("CHATD__SERVER__SHUTDOWN_GRACE", "1m")
        .env("CHATD__WORKER__ENABLED", "false")
        .env("CHATD__DATABASE__URL", "postgres://u:p@h/d")
        .env("CHATD__AUTH__OIDC__ISSUER", "https://login/")
        .env("CHATD__AUTH__OIDC__CLIENT_ID", "c")
        .env("CHATD__AUTH__OIDC__SCOPES", "[\"a\", \"b\"]")
        .env(
            "CHATD__PROVIDERS",
            "[{ name = \"own\", type = \"openai-compatible\", base_url = \"http://h/v1\" }]",
        )
        .env(
            "CHATD__MODELS",
            "[{ name = \"m\", provider = \"own\", model = \"x\", input_price_per_million = 0.10, \
             output_price_per_million = 15, provider_options = { openaicompat = { user = \"u\" } } }]",
        );
    let config = machine.load().config;
    assert_eq!(config.data_dir, machine.0.path().join("home/d"));
    assert_eq!(config.server.listen.to_string(), "127.0.0.1:0");
    assert_eq!((config.server.max_body, config.server.shutdown_grace.as_secs()), (2 << 20, 60));
    assert!(!config.worker.enabled);
    assert_eq!(config.sqlite_file(), None);
    let oidc = config.auth.oidc.unwrap();
    assert_eq!((oidc.issuer.unwrap().as_str(), oidc.scopes.len()), ("https://login", 2));
    assert_eq!(config.providers[0].base_url.as_ref().map(Endpoint::as_str), Some("http://h/v1"));
    let model = &config.models[0];
    let price = |price: &Option<Price>| price.as_ref().map(|p| p.as_str().to_owned());
    assert_eq!(price(&model.input_price_per_million), Some("0.10".into()));
    assert_eq!(price(&model.output_price_per_million), Some("15".into()));
    assert_eq!(model.provider_options["openaicompat"]["user"], "u");
}

#[test]
fn relative_paths_start_at_the_file_that_names_them() {
    let machine = Machine::new()
        .file(
            "conf/c.toml",
            "data_dir = \"d\"\n[[providers]]\nname = \"s\"\ntype = \"scripted\"\nscript = \"s.json\"",
        )
        .file("conf/s.json", "{}")
        .env("CHATD_CONFIG", "conf/c.toml");
    let config = machine.load().config;
    assert_eq!(config.data_dir, machine.1.cwd.join("conf/d"));
    assert_eq!(config.providers[0].script, Some(machine.1.cwd.join("conf/s.json")));
    let machine = machine.env("CHATD__DATA_DIR", "e");
    assert_eq!(machine.load().config.data_dir, machine.1.cwd.join("e"));
}

#[test]
fn keys_are_found_where_they_are_said_to_be() {
    let text = "[[providers]]\nname = \"a\"\ntype = \"anthropic\"\napi_key_file = \"key\"\n\
                [[providers]]\nname = \"b\"\ntype = \"openai\"\napi_key_env = \"MINE\"\n\
                [[providers]]\nname = \"c\"\ntype = \"google\"\n\
                [[providers]]\nname = \"d\"\ntype = \"vercel\"\napi_key_env = \"UNSET\"\n\
                [[mcp_servers]]\nname = \"m\"\nurl = \"http://h/\"\nauth = \"headers\"\nheaders_env = { X-T = \"MINE\" }";
    let machine = Machine::new()
        .file("chatd.toml", text)
        .file("key", "from-file\n")
        .env("MINE", " from-env\r\n")
        .file(".env", "GEMINI_API_KEY=usual\nAI_GATEWAY_API_KEY=not-asked-for");
    let loaded = machine.load();
    let keys: Vec<_> = loaded.config.providers.iter().map(|p| p.key.as_ref().map(Secret::expose)).collect();
    assert_eq!(keys, [Some("from-file"), Some("from-env"), Some("usual"), None]);
    assert_eq!(loaded.config.mcp_servers[0].resolved_headers["X-T"].expose(), "from-env");
    assert!(loaded.config.models.is_empty());
    let warnings: Vec<_> = loaded.warnings.iter().map(ToString::to_string).collect();
    assert_eq!(
        warnings,
        [
            "chatd.toml:15: providers[3].api_key_env: the environment variable UNSET is not set",
            "chatd.toml:16: mcp_servers[0]: has no effect in this version: it can be picked and connected, but its tools are not called"
        ]
    );
}

#[test]
fn a_usual_key_brings_its_model_and_the_scripted_one_steps_back() {
    let names =
        |config: &Config| config.models.iter().map(|m| (m.name.clone(), m.default)).collect::<Vec<_>>();
    let machine = Machine::new().env("OPENAI_API_KEY", "k");
    assert_eq!(names(&machine.load().config), [("scripted".into(), false), ("gpt".into(), true)]);
    let machine = machine.env("ANTHROPIC_API_KEY", "k");
    let loaded = machine.load();
    let expected = [("scripted".into(), false), ("claude".into(), true), ("gpt".into(), false)];
    assert_eq!(names(&loaded.config), expected);
    let shown = to_toml(&loaded.config, Some(&loaded.origins)).unwrap();
    assert!(shown.contains("name = \"claude\"  # environment ANTHROPIC_API_KEY"), "{shown}");
    let machine = machine.env("CHATD__MODELS", "[]");
    let config = machine.load().config;
    assert!(config.models.is_empty() && config.providers.is_empty());
}

#[test]
fn a_secret_is_seen_nowhere() {
    let text = "[database]\nurl = \"postgres://u:canary@h/d?password=canary\"\n\
        [auth.oidc]\nissuer = \"https://canary@login\"\nclient_id = \"c\"\nclient_secret = \"canary\"\n\
        [telemetry]\notlp_endpoint = \"http://u:canary@h\"\n\
        [[providers]]\nname = \"a\"\ntype = \"anthropic\"\napi_key = \"canary\"\nbase_url = \"https://canary@h/\"\n\
        [[providers]]\nname = \"b\"\ntype = \"openai\"\n\
        [[providers]]\nname = \"f\"\ntype = \"google\"\napi_key_file = \"key\"\n\
        [[mcp_servers]]\nname = \"m\"\nurl = \"http://h/?key=canary\"\nauth = \"headers\"\nheaders = { X-T = \"canary\" }\n\
        [[mcp_servers]]\nname = \"n\"\nurl = \"http://h\"\nauth = \"oauth2\"\noauth2_client_secret = \"canary\"\n";
    let machine =
        Machine::new().file("chatd.toml", text).file("key", "canary").env("OPENAI_API_KEY", "canary");
    let loaded = machine.load();
    let shown = to_toml(&loaded.config, Some(&loaded.origins)).unwrap();
    for text in [format!("{loaded:?}"), format!("{:#?}", loaded.config), shown.clone()] {
        assert!(!text.contains("canary"), "{text}");
        assert!(text.contains(MASK));
    }
    assert!(shown.contains("api_key = \"[REDACTED]\"  # chatd.toml:12"), "{shown}");
    // The same file with a fault on every line still tells nothing.
    let broken = text
        .replace("= \"canary\"", "= [\"canary\"]")
        .replace("postgres:", "canary:")
        .replace("https://", "canary ");
    let problems = machine.file("chatd.toml", &broken).problems().join("\n");
    assert!(problems.lines().count() >= 5 && !problems.contains("canary"), "{problems}");
}

#[test]
fn what_is_shown_can_be_read_again() {
    let loaded = Machine::new().env("OPENAI_API_KEY", "k").load();
    for origins in [None, Some(&loaded.origins)] {
        let shown = to_toml(&loaded.config, origins).unwrap();
        let again = Machine::new().file("chatd.toml", &shown).env("OPENAI_API_KEY", "k").load();
        assert_eq!(again.config, loaded.config, "{shown}");
    }
    let text = "[[templates]]\nname = \"t\"\ndescription = \"\"\"one # not a comment\ntwo\"\"\"\n";
    let machine = Machine::new().file("chatd.toml", text);
    let loaded = machine.load();
    let shown = to_toml(&loaded.config, Some(&loaded.origins)).unwrap();
    let again = Machine::new().file("chatd.toml", &shown).load();
    assert_eq!(again.config.templates, loaded.config.templates, "{shown}");
}
