DROP TABLE model_configs;
DROP TABLE user_provider_keys;
DROP TABLE ai_provider_keys;
DROP TABLE ai_providers;
